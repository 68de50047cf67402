//! Applies the patch to a copy with the `patch` program, without fuzz, after a trial.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::source::patch_file::{FileChange, PatchFile};

/// By how many lines each hunk was shifted when applied, by the file's and the hunk's position in
/// the patch.
pub(crate) type Offsets = Vec<(usize, usize, i64)>;

/// A patch with what is needed to apply it.
#[derive(Debug)]
pub(crate) struct Trial<'a> {
    /// What is in it.
    pub patch: &'a PatchFile,
    /// Where it is, absolute.
    pub path: &'a Path,
    /// How many leading names are cut off its paths.
    pub level: usize,
}

/// How many leading names must be cut off the patch's paths, so that the files that it changes
/// are in `source`. One, as git writes them, is tried first.
///
/// # Errors
///
/// A file is missing however many leading names are removed.
pub(crate) fn strip_level(patch: &PatchFile, source: &Path) -> Result<usize> {
    const LEVELS: [usize; 6] = [1, 0, 2, 3, 4, 5];
    let missing = |level: usize| {
        patch
            .files
            .iter()
            .filter(|file| !may_make(file))
            .find(|file| {
                file.old.as_deref().is_some_and(|old| {
                    let exists = |path: &str| {
                        cut(path, level).is_some_and(|path| source.join(path).is_file())
                    };
                    // GNU patch uses whichever of the two names exists.
                    !exists(old) && !file.new.as_deref().is_some_and(exists)
                })
            })
    };
    if let Some(level) = LEVELS.into_iter().find(|level| missing(*level).is_none()) {
        return Ok(level);
    }
    let name = missing(1).map_or("a file", FileChange::shown);
    bail!(
        "{}: {name} is not in {}; is this the source that the patch is for?",
        patch.path,
        source.display()
    )
}

/// Whether the patch may make the file: `diff -N` names it on both sides then, and says only by
/// the numbers that there was nothing.
fn may_make(file: &FileChange) -> bool {
    let [hunk] = file.hunks.as_slice() else {
        return false;
    };
    hunk.old_lines == 0 && hunk.old_start == 1
}

/// Renames the files of a patch as they are in the source, without the leading names that were
/// removed to apply it.
pub(crate) fn strip(patch: &mut PatchFile, level: usize) {
    let named = |path: &mut Option<String>| {
        if let Some(name) = path.as_deref().and_then(|path| cut(path, level)) {
            *path = Some(name.to_owned());
        }
    };
    for file in &mut patch.files {
        named(&mut file.old);
        named(&mut file.new);
    }
}

/// A path without its first names.
pub(super) fn cut(path: &str, names: usize) -> Option<&str> {
    (0..names).try_fold(path, |path, _| path.split_once('/').map(|(_, rest)| rest))
}

impl Trial<'_> {
    /// Tries the patch on `source` without changing it; returns where the hunks would go.
    ///
    /// # Errors
    ///
    /// Every hunk that does not fit.
    pub(crate) fn check(&self, source: &Path) -> Result<Offsets> {
        let (applies, output) = self.run(source, &["--dry-run"])?;
        let mut offsets = Offsets::new();
        let mut failed = String::new();
        let mut file = None;
        for line in output.lines() {
            if let Some(name) = line.strip_prefix("checking file ") {
                let name = name.split(" (").next().unwrap_or(name).trim_matches('\'');
                file = self.index_of(name, file);
            }
            if line.starts_with("Reversed (or previously applied)") {
                bail!(
                    "{} is in {} already; give the source without it",
                    self.patch.path,
                    source.display()
                );
            }
            let Some((number, rest)) = line
                .strip_prefix("Hunk #")
                .and_then(|rest| rest.split_once(' '))
            else {
                continue;
            };
            let (Some(file), Some(index)) = (
                file,
                number.parse().ok().and_then(|n: usize| n.checked_sub(1)),
            ) else {
                continue;
            };
            if rest.starts_with("FAILED") {
                let change = &self.patch.files[file];
                let line = change.hunks.get(index).map_or(0, |hunk| hunk.patch_line);
                let _ = write!(
                    failed,
                    "\n  {}:{line}: hunk {number} of {} does not fit: other lines stand there",
                    self.patch.path,
                    change.shown()
                );
            } else if let Some((_, offset)) = rest.split_once("(offset ") {
                let offset = offset.split(' ').next().and_then(|text| text.parse().ok());
                offsets.extend(offset.map(|lines| (file, index, lines)));
            }
        }
        if !failed.is_empty() {
            bail!(
                "{} does not apply to {} (without fuzz):{failed}",
                self.patch.path,
                source.display()
            );
        }
        if !applies {
            bail!(
                "{} does not apply to {}:\n{}",
                self.patch.path,
                source.display(),
                output.trim_end()
            );
        }
        Ok(offsets)
    }

    /// Applies it to the copy at `tree`.
    ///
    /// # Errors
    ///
    /// When it does not apply, which the trial should have shown.
    pub(crate) fn apply(&self, tree: &Path) -> Result<()> {
        let (applies, output) = self.run(tree, &[])?;
        if !applies {
            bail!(
                "{} does not apply to the copy of the built tree, though it does to the source; \
                 does the build change its own source?\n{}",
                self.patch.path,
                output.trim_end()
            );
        }
        Ok(())
    }

    fn run(&self, folder: &Path, further: &[&str]) -> Result<(bool, String)> {
        let output = Command::new("patch")
            .arg(format!("-p{}", self.level))
            .args(["--fuzz=0", "--forward", "--batch"])
            .args(["--no-backup-if-mismatch", "--reject-file=-"])
            .args(further)
            .arg("-i")
            .arg(self.path)
            .arg("-d")
            .arg(folder)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()
            .context("the program `patch` cannot be started; is it installed?")?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Ok((output.status.success(), text))
    }

    /// The file that `patch` names; those that it names twice are meant in order.
    fn index_of(&self, name: &str, before: Option<usize>) -> Option<usize> {
        let is_meant = |file: &FileChange| {
            [&file.old, &file.new]
                .into_iter()
                .flatten()
                .any(|path| cut(path, self.level) == Some(name))
        };
        let after = before.map_or(0, |before| before + 1);
        (after..self.patch.files.len())
            .chain(0..after)
            .find(|index| self.patch.files.get(*index).is_some_and(is_meant))
    }
}

/// Moves the hunks to where they were put in.
pub(crate) fn shift(patch: &mut PatchFile, offsets: &Offsets) {
    for (file, hunk, lines) in offsets {
        let hunk = patch
            .files
            .get_mut(*file)
            .and_then(|file| file.hunks.get_mut(*hunk));
        if let Some(hunk) = hunk {
            let moved = |number: u64| number.saturating_add_signed(*lines);
            hunk.old_start = moved(hunk.old_start);
            hunk.new_start = moved(hunk.new_start);
            for change in &mut hunk.changes {
                change.number = moved(change.number);
                change.place = moved(change.place);
            }
        }
    }
}
