//! Where in a build those objects lie that were kept of another one.
//!
//! Who ships a system keeps the folder with its objects, and that may be a folder of the tree that
//! is built: `xen`, of a source that `make -C xen` builds.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use walkdir::WalkDir;

/// The folder of `built` in which files have the paths that they have in `kept`: `built` itself, or
/// one below it. A kept object that is no folder faces the whole build.
///
/// # Errors
///
/// A folder that cannot be read; no file of `built` is where `kept` has it; or two folders would
/// do.
pub(crate) fn facing(kept: &Path, built: &Path) -> Result<PathBuf> {
    if !kept.is_dir() {
        return Ok(built.to_owned());
    }
    let known: HashSet<PathBuf> = files(kept)?.into_iter().collect();
    let mut folders: Vec<(PathBuf, usize)> = Vec::new();
    let mut indices = HashMap::new();
    for file in files(built)? {
        for folder in file.ancestors().skip(1) {
            let is_there = file
                .strip_prefix(folder)
                .is_ok_and(|path| known.contains(path));
            if !is_there {
                continue;
            }
            let index = *indices.entry(folder.to_owned()).or_insert(folders.len());
            if index == folders.len() {
                folders.push((folder.to_owned(), 0));
            }
            folders[index].1 += 1;
        }
    }
    // Of folders that have as many, the one that is highest.
    let rank =
        |(folder, count): &(PathBuf, usize)| (usize::MAX - count, folder.components().count());
    folders.sort_by_key(|folder| (rank(folder), folder.0.clone()));
    match folders.as_slice() {
        [best, next, ..] if rank(best) == rank(next) => bail!(
            "{}: its files are in {} and in {} of what the source builds; give the folder that the \
             shipped objects were made in",
            kept.display(),
            best.0.display(),
            next.0.display()
        ),
        [(folder, _), ..] if folder.as_os_str().is_empty() => Ok(built.to_owned()),
        [(folder, _), ..] => Ok(built.join(folder)),
        [] => bail!(
            "{}: no file of it is where the build of the source leaves one; give the folder that \
             the shipped objects were made in",
            kept.display()
        ),
    }
}

/// The files below a folder, relative to it, in order of name.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in WalkDir::new(root).sort_by_file_name() {
        let entry = entry.with_context(|| format!("{}: cannot be read", root.display()))?;
        if !entry.file_type().is_dir() {
            let path = entry.path().strip_prefix(root).unwrap_or(entry.path());
            found.push(path.to_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::facing;

    fn make(root: &Path, files: &[&str]) {
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, "").expect("a file");
        }
    }

    #[test]
    fn objects_of_a_folder_face_that_folder() {
        let place = tempfile::tempdir().expect("a folder");
        let (kept, built) = (place.path().join("kept"), place.path().join("built"));
        make(
            &built,
            &[
                "Makefile",
                "xen/a.o",
                "xen/b/c.o",
                "xen/Makefile",
                "tools/a.o",
            ],
        );
        make(&kept, &["a.o", "b/c.o", "Makefile"]);
        assert_eq!(facing(&kept, &built).expect("it faces"), built.join("xen"));
        // The whole tree faces the whole, also when it has more, or less.
        make(
            &kept,
            &[
                "xen/a.o",
                "xen/b/c.o",
                "xen/Makefile",
                "tools/a.o",
                "more/d.o",
            ],
        );
        assert_eq!(facing(&kept, &built).expect("it faces"), built);
        fs::remove_dir_all(built.join("tools")).expect("the test's own");
        assert_eq!(facing(&kept, &built).expect("it faces"), built);
    }

    #[test]
    fn a_folder_that_faces_nothing_is_told() {
        let place = tempfile::tempdir().expect("a folder");
        let (kept, built) = (place.path().join("kept"), place.path().join("built"));
        make(&built, &["a.o"]);
        make(&kept, &["x/y.o"]);
        let error = facing(&kept, &built).expect_err("it faces nothing");
        assert!(error.to_string().contains("give the folder"), "{error}");
        // It faces either, and nobody can tell which.
        make(&built, &["one/x/y.o", "two/x/y.o"]);
        let error = facing(&kept, &built).expect_err("it faces two");
        assert!(error.to_string().contains("one and in two"), "{error}");
    }
}
