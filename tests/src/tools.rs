//! Runs the built commands.
//!
//! Cargo tells a test where the binaries of its own package lie, not those of other packages, and
//! `cargo test -p xsplice-tests` would not even build them. So the first use asks cargo to build
//! them (a fraction of a second when they are fresh) into the target folder and profile that the
//! test itself was built in: a test can then never run a stale command. `XSPLICE_BIN_DIR` names
//! a folder with finished binaries instead.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use wait_timeout::ChildExt;

use crate::case::BASE;

/// The commands, which are built together.
pub const COMMANDS: [&str; 4] = [
    "xsplice-diff",
    "xsplice-link",
    "xsplice-build",
    "xsplice-ctl",
];

/// The version that payloads of the tests name, by environment: another release of the tools
/// changes no committed file. The documents show what the release of this version writes.
pub const PAYLOAD_VERSION: (&str, &str) = ("XSPLICE_TOOL_VERSION", "0.1.0");

/// Longest that one run may take. Generous: the machine may be busy.
const RUN_LIMIT: Duration = Duration::from_secs(60);

/// What a run left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Folder of the built commands.
///
/// # Panics
/// When they cannot be built: no test that needs them means anything then.
#[must_use]
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| match std::env::var_os("XSPLICE_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => build().expect("cargo builds the commands under test"),
    })
}

fn build() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    // TARGET/PROFILE/deps/TEST or TARGET/PROFILE/BIN
    let mut profile = own.parent().context("the test lies in no folder")?;
    if profile.file_name() == Some(OsStr::new("deps")) {
        profile = profile.parent().context("deps lies in no folder")?;
    }
    let target = profile.parent().context("the profile lies in no folder")?;
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["build", "--quiet", "--bins", "--target-dir"])
        .arg(target)
        .current_dir(crate::workspace());
    for package in COMMANDS {
        command.args(["-p", package]);
    }
    if profile.file_name() == Some(OsStr::new("release")) {
        command.arg("--release");
    }
    let output = command.output().context("cargo was not started")?;
    if !output.status.success() {
        bail!("{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(profile.to_path_buf())
}

/// Runs `xsplice-build` on `original/`, `patched/` and the image called [`BASE`] below `folder`;
/// the payload is called `output`.
///
/// # Errors
/// When it cannot be started.
pub fn build_payload<S: AsRef<OsStr>>(
    folder: &Path,
    output: &str,
    further: impl IntoIterator<Item = S>,
) -> Result<Run> {
    let fixed = ["--orig", "original", "--patched", "patched", "--base", BASE];
    let mut arguments: Vec<OsString> = fixed.map(OsString::from).into();
    arguments.extend(["-o", output].map(OsString::from));
    arguments.extend(further.into_iter().map(|one| one.as_ref().to_owned()));
    run("xsplice-build", arguments, folder)
}

/// Runs `command` (one of the built ones) with `arguments` in `folder`.
///
/// # Errors
/// When it cannot be started or runs for more than a minute.
pub fn run<I, S>(command: &str, arguments: I, directory: &Path) -> Result<Run>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    run_with(command, arguments, directory, |_| ())
}

/// Like [`run`]; `prepare` may change the process before it starts.
///
/// # Errors
/// As for [`run`].
pub fn run_with<I, S>(
    command: &str,
    arguments: I,
    directory: &Path,
    prepare: impl FnOnce(&mut Command),
) -> Result<Run>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut process = Command::new(folder().join(command));
    process
        .args(arguments)
        .current_dir(directory)
        .env_remove("RUST_BACKTRACE")
        .env_remove("RUST_LOG")
        .env(PAYLOAD_VERSION.0, PAYLOAD_VERSION.1)
        .env("COLUMNS", "100");
    prepare(&mut process);
    limited(&mut process)
}

/// Runs `process` to its end or the limit.
///
/// # Errors
/// When it cannot be started, runs too long, or prints what is not text.
pub fn limited(process: &mut Command) -> Result<Run> {
    let mut child = process
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{process:?}: not started"))?;
    let stdout = drain(child.stdout.take().context("stdout is a pipe")?);
    let stderr = drain(child.stderr.take().context("stderr is a pipe")?);
    let Some(status) = child.wait_timeout(RUN_LIMIT)? else {
        child.kill()?;
        child.wait()?;
        bail!("{process:?}: still running after {RUN_LIMIT:?}");
    };
    let text = |reader: thread::JoinHandle<std::io::Result<Vec<u8>>>| -> Result<String> {
        let bytes = reader.join().expect("a reader does not panic")?;
        String::from_utf8(bytes).context("a command printed what is not UTF-8")
    };
    Ok(Run {
        status: status.code(),
        stdout: text(stdout)?,
        stderr: text(stderr)?,
    })
}

fn drain(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<std::io::Result<Vec<u8>>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes)?;
        Ok(bytes)
    })
}

/// What `readelf -aW` says about `file`, blanks squeezed.
///
/// # Errors
/// When readelf fails or warns: what it cannot read without a word is malformed.
pub fn readelf(file: &Path) -> Result<String> {
    Ok(squeezed("-aW", file)?.join("\n"))
}

/// What stands before each line of [`source_lines`].
pub const LINE: &str = "line: ";

/// The line table of `file` as `line: FILE LINE ADDRESS ...`, one row a line.
///
/// # Errors
/// As for [`readelf`].
pub fn source_lines(file: &Path) -> Result<String> {
    let rows = squeezed("-wL", file)?;
    Ok(rows.iter().map(|row| format!("\n{LINE}{row}")).collect())
}

fn squeezed(flags: &str, file: &Path) -> Result<Vec<String>> {
    let text = xsplice_test_objects::readelf(flags, file).map_err(anyhow::Error::msg)?;
    let blanks = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(text.lines().map(blanks).collect())
}
