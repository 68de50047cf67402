//! Two small trees in a folder of their own, and the command run on them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

pub(crate) use xsplice_test_objects::shop::{FIX, adding};

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

/// A source of two files, several builds of it, and a fix: for the tests that need more than one
/// build.
pub(crate) struct Shop {
    folder: TempDir,
}

/// What a command said.
pub(crate) struct Told {
    pub(crate) status: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Shop {
    /// Builds these, each with its own flags of the compiler.
    pub(crate) fn with(builds: &[(&str, &str)]) -> Shop {
        let shop = Shop {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        for (name, config) in builds {
            shop.make_changed(name, config);
        }
        shop.write("fix.patch", FIX);
        shop
    }

    /// Writes the source of a build, and builds it.
    pub(crate) fn make_changed(&self, name: &str, config: &str) {
        xsplice_test_objects::shop::make(self.folder(), name, config);
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    /// A command that is not run yet, of `xsplice-build` or `xsplice-store`.
    pub(crate) fn command(&self, tool: &str, arguments: &[&str]) -> Command {
        let program = match tool {
            "xsplice-build" => env!("CARGO_BIN_EXE_xsplice-build"),
            "xsplice-store" => env!("CARGO_BIN_EXE_xsplice-store"),
            other => panic!("{other}: another crate's"),
        };
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder());
        command
    }

    pub(crate) fn run(&self, tool: &str, arguments: &[&str]) -> Told {
        let mut command = self.command(tool, arguments);
        let output = command.output().expect("the tool runs");
        Told {
            status: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Adds a build that must be taken.
    #[track_caller]
    pub(crate) fn add(&self, name: &str) {
        let objects = format!("{name}.built");
        let told = self.run("xsplice-store", &adding(name, &objects));
        assert_eq!(told.status, Some(0), "{}", told.err);
    }
}
