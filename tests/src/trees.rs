//! Builds the example target before and after a patch, and the payload between the two.
//!
//! Everything is built in the run that uses it, by the commands that a reader would type, so that
//! nothing can be left over from another one.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::shell::{Line, Shell};

/// The example target, from the root of the workspace.
const TARGET: &str = "fixtures/target";
/// Prints what the target's functions give when they are compiled for the host.
const EXPECTED_SOURCE: &str = include_str!("expected.c");
/// The sources that it is linked with.
const EXPECTED_FROM: [&str; 8] = [
    "core/branch.c",
    "core/check.c",
    "core/greeting.c",
    "core/mix.c",
    "core/operations.c",
    "core/version.c",
    "core/zero.c",
    "traps/check.c",
];

/// Builds of the example target in one folder.
#[derive(Clone, Debug)]
pub struct Trees {
    /// Runs the commands; its folder is the root of the workspace.
    pub shell: Shell,
    /// Where everything goes.
    pub out: PathBuf,
    /// Folder of the built commands.
    pub tools: PathBuf,
}

/// What the target's functions give, compiled for the host from the same sources: computed by C
/// code that no kernel and no payload has touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// `extra_version()`.
    pub extra_version: String,
    /// What a worker's check of `hot_mix` gives.
    pub hot: u32,
    /// What every check gives, by its name.
    pub values: BTreeMap<String, u64>,
}

impl Trees {
    /// The original tree.
    #[must_use]
    pub fn original(&self) -> PathBuf {
        self.out.join("orig")
    }

    /// The kernel that boots.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.original().join("xsplice-kernel")
    }

    /// Builds the original tree and links the kernel.
    ///
    /// # Errors
    /// When make fails.
    pub fn build_original(&self) -> Result<()> {
        self.make(&self.original(), None)
    }

    /// Copies the target's source to `source`, lets `change` change the copy, and builds it as
    /// `tree`.
    ///
    /// # Errors
    /// When it cannot be copied or changed, or make fails.
    pub fn build_changed(
        &self,
        tree: &Path,
        source: &Path,
        change: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let absolute = self.copy_source(source)?;
        change(&absolute)?;
        self.make(tree, Some(source))
    }

    /// Copies the target's source to `source`, whatever was there; gives its path from anywhere.
    fn copy_source(&self, source: &Path) -> Result<PathBuf> {
        let absolute = self.shell.folder.join(source);
        if absolute.exists() {
            fs::remove_dir_all(&absolute).with_context(|| absolute.display().to_string())?;
        }
        let parent = absolute.parent().context("the source lies in a folder")?;
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        self.shell
            .run(&Line::new("cp").arg("-r").arg(TARGET).arg(source))?;
        Ok(absolute)
    }

    /// Applies `fixtures/target/patches/PATCH.patch` to a copy of the source and builds that; gives
    /// the folder of the source and that of the tree.
    ///
    /// # Errors
    /// When the patch does not apply or make fails.
    pub fn build_patched(&self, patch: &str) -> Result<(PathBuf, PathBuf)> {
        let source = self.out.join("source").join(patch);
        let tree = self.out.join("patched").join(patch);
        self.copy_source(&source)?;
        self.shell.run(
            &Line::new("patch")
                .arg("-s")
                .arg("-p1")
                .arg("-d")
                .arg(&source)
                .input(format!("{TARGET}/patches/{patch}.patch")),
        )?;
        self.make(&tree, Some(&source))?;
        Ok((source, tree))
    }

    fn make(&self, tree: &Path, source: Option<&Path>) -> Result<()> {
        let mut line = Line::new("make")
            .arg("-s")
            .arg("-C")
            .arg(TARGET)
            .variable("O", tree);
        if let Some(source) = source {
            line = line.variable("SRC", source);
        }
        self.shell.run(&line).map(drop)
    }

    /// Makes the payload called `name` out of the original tree and `tree`; `stacked_on` is the
    /// payload that it is to be applied on top of.
    ///
    /// # Errors
    /// When xsplice-build fails or leaves no payload.
    pub fn payload(&self, name: &str, tree: &Path, stacked_on: Option<&Path>) -> Result<PathBuf> {
        let payload = self.out.join(format!("{name}.xsplice"));
        // The kernel proper is an archive that lies in neither tree, so no account can be made.
        let mut line = Line::new(self.tools.join("xsplice-build"))
            .arg("--no-account")
            .arg("--orig")
            .arg(self.original())
            .arg("--patched")
            .arg(tree)
            .arg("-n")
            .arg(name)
            .arg("-o")
            .arg(&payload);
        if let Some(below) = stacked_on {
            line = line.arg("--depends").arg(below);
        }
        self.shell.run(&line)?;
        let path = self.shell.folder.join(&payload);
        ensure!(path.is_file(), "{}: not written", path.display());
        Ok(payload)
    }

    /// Compiles the target's functions in `source` for the host and runs them.
    ///
    /// # Errors
    /// When the compiler or the program fails.
    pub fn expected(&self, source: &Path) -> Result<Expected> {
        let folder = self.shell.folder.join(&self.out);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("expected.c"), EXPECTED_SOURCE)?;
        let program = self.out.join("expected");
        let mut line = Line::new("gcc")
            .arg("-O1")
            .arg("-I")
            .arg(source.join("include"))
            .arg("-I")
            .arg("runtime/include")
            .arg("-o")
            .arg(&program)
            .arg(self.out.join("expected.c"));
        for file in EXPECTED_FROM {
            line = line.arg(source.join(file));
        }
        self.shell.run(&line)?;
        // Looked up in the folder, not in PATH.
        let printed = self
            .shell
            .run(&Line::new(self.shell.folder.join(&program)))?;
        let (values, version) = printed
            .split_once("version_text=")
            .with_context(|| format!("no version_text in {printed:?}"))?;
        let values = crate::kernel::values(values)?;
        let hot = values.get("hot_mix").context("no hot_mix")?;
        Ok(Expected {
            extra_version: version.trim_end().to_owned(),
            hot: u32::try_from(*hot)?,
            values,
        })
    }
}
