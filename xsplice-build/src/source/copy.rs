//! Copies a source tree so that `make` sees no difference: times, modes and links are kept.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};
use walkdir::{DirEntry, WalkDir};
use xsplice_console::tree::is_left_out;

use super::FINGERPRINT;
use super::interrupt::Interrupt;

/// Entries of a tree in order of name; without `except`, without the work folders of other runs,
/// and without what version control keeps: a build that asks it for a version would find the
/// patched tree modified, and differ for that reason alone.
pub(crate) fn entries<'a>(
    root: &Path,
    except: &'a Path,
) -> impl Iterator<Item = walkdir::Result<DirEntry>> + use<'a> {
    WalkDir::new(root)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(move |entry| {
            entry.depth() == 0
                || !(is_left_out(entry.file_name())
                    || entry.path() == except
                    || entry.path().join(FINGERPRINT).exists())
        })
}

/// Copies the tree `from` to `to`, which must not exist.
///
/// # Errors
///
/// What cannot be read or written, and an interruption.
pub(crate) fn copy_tree(
    from: &Path,
    to: &Path,
    except: &Path,
    interrupt: &Interrupt,
) -> Result<()> {
    // A copy out of the work folder itself leaves nothing out.
    let except = if from.starts_with(except) { to } else { except };
    let mut folders = Vec::new();
    for entry in entries(from, except) {
        interrupt.check()?;
        let entry = entry.with_context(|| format!("{}: cannot read", from.display()))?;
        let path = entry.path();
        let failed = || format!("{}: cannot be copied", path.display());
        let target = to.join(path.strip_prefix(from).unwrap_or(path));
        let kind = entry.file_type();
        if kind.is_dir() {
            fs::create_dir_all(&target).with_context(failed)?;
            folders.push((path.to_owned(), target));
        } else if kind.is_symlink() {
            symlink(fs::read_link(path).with_context(failed)?, &target).with_context(failed)?;
        } else if kind.is_file() {
            fs::copy(path, &target).with_context(failed)?;
            keep_times(path, &target).with_context(failed)?;
        }
    }
    // Writing into a folder changes its time, so the folders come last, the deepest first.
    for (path, target) in folders.iter().rev() {
        let permissions = fs::metadata(path)?.permissions();
        keep_times(path, target)
            .with_context(|| format!("{}: cannot be copied", path.display()))?;
        fs::set_permissions(target, permissions)?;
    }
    Ok(())
}

fn keep_times(from: &Path, to: &Path) -> std::io::Result<()> {
    let metadata = fs::metadata(from)?;
    let times = FileTimes::new()
        .set_modified(metadata.modified()?)
        .set_accessed(metadata.accessed()?);
    File::open(to)?.set_times(times)
}
