//! `--source` may be a folder or a tarball; a tarball is unpacked by `tar`, which knows every
//! compression that a distribution uses and keeps the files' times.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// A source as a folder.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    /// Where it was unpacked; removed when this is dropped.
    _unpacked: Option<TempDir>,
}

impl Source {
    /// The folder of `path`; a tarball is unpacked below `scratch`.
    ///
    /// # Errors
    ///
    /// It cannot be read or unpacked.
    pub(crate) fn open(path: &Path, scratch: &Path) -> Result<Source> {
        let metadata = fs::metadata(path)
            .with_context(|| format!("--source {}: cannot be read", path.display()))?;
        if metadata.is_dir() {
            return Ok(Source::folder(path));
        }
        let folder = tempfile::tempdir_in(scratch)
            .with_context(|| format!("{}: cannot be written", scratch.display()))?;
        let output = Command::new("tar")
            .arg("-xf")
            .arg(path)
            .arg("--no-same-owner")
            .arg("-C")
            .arg(folder.path())
            .env("LC_ALL", "C")
            .output()
            .context("the program `tar` cannot be started; is it installed?")?;
        if !output.status.success() {
            bail!(
                "--source {}: is neither a folder nor a tarball that `tar` can unpack:\n{}",
                path.display(),
                String::from_utf8_lossy(&output.stderr).trim_end()
            );
        }
        let root = only_folder(folder.path())?;
        Ok(Source {
            path: root,
            _unpacked: Some(folder),
        })
    }

    /// One that is a folder already.
    pub(crate) fn folder(path: &Path) -> Source {
        Source {
            path: path.to_owned(),
            _unpacked: None,
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The one folder that a tarball holds at its top, as releases do; else the top itself.
fn only_folder(top: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(top)?;
    Ok(match (entries.next().transpose()?, entries.next()) {
        (Some(entry), None) if entry.file_type()?.is_dir() => entry.path(),
        _ => top.to_owned(),
    })
}
