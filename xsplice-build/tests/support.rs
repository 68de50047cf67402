//! Two small trees in a folder of their own, and the command run on them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

/// Runs a program that must succeed.
#[track_caller]
pub(crate) fn run(program: &str, arguments: &[&str], folder: &Path) {
    xsplice_test_objects::run(Command::new(program).args(arguments).current_dir(folder));
}

/// A folder with `orig/` and `patched/` in it, once somebody has filled them.
pub(crate) struct Trees {
    folder: TempDir,
}

impl Trees {
    pub(crate) fn new() -> Trees {
        Trees {
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Makes a payload for Xen of the two trees: the exit status, and the report.
    pub(crate) fn build(&self, further: &[&str]) -> (i32, Value) {
        let fixed = "--orig orig --patched patched --abi livepatch -n x -o x.livepatch --json -";
        let output = Command::new(env!("CARGO_BIN_EXE_xsplice-build"))
            .args(fixed.split(' '))
            .args(further)
            .current_dir(self.folder())
            .output()
            .expect("the tool runs");
        let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
        });
        (output.status.code().expect("an exit status"), report)
    }
}
