//! Tells whether a kept build was made from this source, command and environment.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use sha1::{Digest, Sha1};

use super::copy::entries;

/// Variables that change with the terminal or login and do not affect builds.
const SESSION: [&str; 14] = [
    "_",
    "COLUMNS",
    "DISPLAY",
    "INVOCATION_ID",
    "LINES",
    "LS_COLORS",
    "NO_COLOR",
    "OLDPWD",
    "PWD",
    "SHLVL",
    "TERM",
    "TMUX",
    "TMUX_PANE",
    "WINDOWID",
];
const SESSION_PREFIXES: [&str; 5] = ["SSH_", "XDG_", "DBUS_", "XSPLICE_", "TERM_"];

/// Programs whose version decides what a build makes, besides `$CC`.
const TOOLS: [&str; 6] = ["cc", "gcc", "clang", "as", "ld", "make"];

/// The state of a tree by names, sizes and times: a cheap way to notice that something wrote into
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// SHA-1 of the list.
    pub digest: [u8; 20],
    /// When the newest file was written, in seconds since 1970.
    pub newest_seconds: i64,
}

/// Lists the tree at `root`, without `except`.
///
/// # Errors
///
/// What cannot be read.
pub fn listing(root: &Path, except: &Path) -> Result<Listing> {
    let mut hash = Sha1::new();
    let mut newest_seconds = 0;
    for entry in entries(root, except) {
        let entry = entry.with_context(|| format!("{}: cannot read", root.display()))?;
        if entry.file_type().is_dir() {
            continue;
        }
        let metadata = entry.metadata()?;
        newest_seconds = newest_seconds.max(metadata.mtime());
        hash.update(entry.path().as_os_str().as_bytes());
        for number in [
            i128::from(metadata.size()),
            i128::from(metadata.mtime()),
            i128::from(metadata.mtime_nsec()),
        ] {
            hash.update(number.to_le_bytes());
        }
    }
    Ok(Listing {
        digest: hash.finalize().into(),
        newest_seconds,
    })
}

/// What an original build was made from: one line a part, each a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Of a source tree, to be built by `command` in the work folder `work`.
    ///
    /// # Errors
    ///
    /// What cannot be read.
    pub fn of(source: &Path, work: &Path, command: &str, listed: &Listing) -> Result<Fingerprint> {
        let environment: BTreeMap<_, _> = std::env::vars_os()
            .filter(|(name, _)| {
                let name = name.to_string_lossy();
                !SESSION.contains(&name.as_ref())
                    && !SESSION_PREFIXES
                        .iter()
                        .any(|prefix| name.starts_with(prefix))
            })
            .collect();
        let mut hash = Sha1::new();
        for (name, value) in environment {
            hash.update(name.as_bytes());
            hash.update(b"=");
            hash.update(value.as_bytes());
            hash.update(b"\0");
        }
        let environment = hex(hash);
        let mut text = String::from("xsplice original build 1\n");
        let _ = writeln!(text, "command {command:?}");
        let _ = writeln!(text, "folder {:?}", work.as_os_str());
        let _ = writeln!(text, "environment {environment}");
        let _ = writeln!(text, "tools {}", tools());
        let _ = writeln!(text, "date {}", listed.newest_seconds);
        let _ = writeln!(text, "source {}", contents(source, work)?);
        Ok(Fingerprint(text))
    }

    /// To be kept beside the build.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

fn contents(root: &Path, except: &Path) -> Result<String> {
    let mut hash = Sha1::new();
    for entry in entries(root, except) {
        let entry = entry.with_context(|| format!("{}: cannot read", root.display()))?;
        let path = entry.path();
        let kind = entry.file_type();
        let bytes = if kind.is_symlink() {
            fs::read_link(path)?.into_os_string().into_encoded_bytes()
        } else if kind.is_file() {
            fs::read(path).with_context(|| format!("{}: cannot read", path.display()))?
        } else {
            continue;
        };
        let name = path.strip_prefix(root).unwrap_or(path);
        hash.update(name.as_os_str().as_bytes());
        hash.update(b"\0");
        hash.update(entry.metadata()?.permissions().mode().to_le_bytes());
        hash.update(u64::try_from(bytes.len())?.to_le_bytes());
        hash.update(&bytes);
    }
    Ok(hex(hash))
}

/// The versions that the tools report; a missing tool is left out.
fn tools() -> String {
    let mut hash = Sha1::new();
    let own = std::env::var("CC").unwrap_or_default();
    let own = own.split_whitespace().next();
    for tool in TOOLS.into_iter().chain(own) {
        if let Ok(output) = Command::new(tool).arg("--version").output() {
            hash.update(&output.stdout);
        }
        hash.update(b"\0");
    }
    hex(hash)
}

fn hex(hash: Sha1) -> String {
    let digest = hash.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
