//! The pairs of trees that are measured: generated ones always, the real Xen's when they are there.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::shapes::ObjectPair;
use crate::case;
use crate::compiler::link;

/// Name of the linked image in a tree, as Xen's build calls it.
pub const IMAGE: &str = "xen-syms";

/// The change of the real Xen that is measured: one function of one object.
const XEN_CHANGE: &str = "minor-version";

/// Two trees of objects that differ in one function.
#[derive(Clone, Debug)]
pub struct TreePair {
    /// What the table calls it.
    pub name: String,
    /// The tree that the base was linked from, the base in it.
    pub original: PathBuf,
    /// The tree with the fix.
    pub patched: PathBuf,
}

impl TreePair {
    /// The base.
    #[must_use]
    pub fn base(&self) -> PathBuf {
        self.original.join(IMAGE)
    }

    /// Trees of one object each below `folder`, and the base linked from the original; or what is
    /// there from an earlier run.
    ///
    /// # Errors
    /// When a file cannot be written, or the linker is not there or fails.
    pub fn of_object(name: &str, object: &ObjectPair, folder: &Path) -> Result<TreePair> {
        /// The object's callees are nowhere: their addresses are 0 in the base.
        const FLAGS: &str = "--unresolved-symbols=ignore-all";
        let pair = TreePair {
            name: name.to_owned(),
            original: folder.join(name).join("original"),
            patched: folder.join(name).join("patched"),
        };
        if pair.base().is_file() {
            return Ok(pair);
        }
        for (from, tree) in [
            (&object.original, &pair.original),
            (&object.patched, &pair.patched),
        ] {
            fs::create_dir_all(tree).with_context(|| tree.display().to_string())?;
            fs::copy(from, tree.join("object.o"))
                .with_context(|| format!("{}: not copied", from.display()))?;
        }
        let linked = folder.join(name).join("linked");
        link(&pair.original, &linked, FLAGS)?;
        fs::rename(&linked, pair.base()).with_context(|| pair.base().display().to_string())?;
        Ok(pair)
    }

    /// The real trees below `cache`, where `make xen` leaves them; `None` when it has not run.
    #[must_use]
    pub fn of_xen(cache: &Path) -> Option<TreePair> {
        let pair = TreePair {
            name: "Xen".to_owned(),
            original: cache.join("trees/original"),
            patched: cache.join("trees").join(XEN_CHANGE),
        };
        (pair.base().is_file() && pair.patched.is_dir()).then_some(pair)
    }

    /// Copies the base and what the compiler wrote to `folder`, as the budgets speak of it. Xen's
    /// build leaves each object in its tree once more, merged with others, up to three times.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn compiled_alone(&self, folder: &Path) -> Result<TreePair> {
        let pair = TreePair {
            name: format!("{}, compiled objects", self.name),
            original: folder.join("original"),
            patched: folder.join("patched"),
        };
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        for (from, to) in [
            (&self.original, &pair.original),
            (&self.patched, &pair.patched),
        ] {
            copy_objects(from, to)?;
            for object in objects(to)? {
                let path = to.join(&object);
                let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
                let is_merged = xsplice_diff::source_files(&object, &bytes)
                    .is_ok_and(|sources| sources.len() > 1);
                if is_merged {
                    fs::remove_file(&path).with_context(|| path.display().to_string())?;
                }
            }
        }
        fs::copy(self.base(), pair.base()).with_context(|| pair.base().display().to_string())?;
        Ok(pair)
    }

    /// Copies both trees to `folder` so that no object is equal to its twin: each of the patched
    /// tree has one byte more behind its last section, which means nothing. An object that cannot
    /// be skipped must be read and compared. Objects of another machine, of which Xen's build has
    /// some, cannot, and stay as they are.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn all_different(&self, folder: &Path) -> Result<TreePair> {
        let pair = TreePair {
            name: self.name.clone(),
            original: folder.join("original"),
            patched: folder.join("patched"),
        };
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        copy_objects(&self.original, &pair.original)?;
        copy_objects(&self.patched, &pair.patched)?;
        for object in objects(&pair.patched)? {
            let path = pair.patched.join(&object);
            let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
            if xsplice_diff::source_files(&object, &bytes).is_err() {
                continue;
            }
            OpenOptions::new()
                .append(true)
                .open(&path)
                .and_then(|mut file| file.write_all(&[0]))
                .with_context(|| path.display().to_string())?;
        }
        Ok(pair)
    }

    /// How many objects the original tree has, and how many bytes the objects of both take.
    ///
    /// # Errors
    /// When a tree cannot be read, or has no objects.
    pub fn extent(&self) -> Result<Extent> {
        let mut extent = Extent::default();
        for tree in [&self.original, &self.patched] {
            for object in objects(tree)? {
                let path = tree.join(object);
                let metadata = path
                    .metadata()
                    .with_context(|| path.display().to_string())?;
                extent.bytes += metadata.len();
                extent.objects += usize::from(tree == &self.original);
            }
        }
        ensure!(
            extent.objects > 0,
            "{}: no objects",
            self.original.display()
        );
        Ok(extent)
    }
}

/// How large a pair of trees is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Objects of the original tree.
    pub objects: usize,
    /// Bytes of the objects of both trees.
    pub bytes: u64,
}

fn objects(tree: &Path) -> Result<Vec<String>> {
    let mut files = case::files(tree)?;
    files.retain(|file| file.ends_with(".o"));
    Ok(files)
}

fn copy_objects(from: &Path, to: &Path) -> Result<()> {
    for object in objects(from)? {
        let target = to.join(&object);
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        fs::copy(from.join(&object), &target)
            .with_context(|| format!("{}: not copied", target.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::TreePair;
    use crate::workspace;

    #[test]
    fn a_tree_that_is_all_different_has_one_byte_more_in_every_patched_object_alone() {
        let object = workspace().join("fixtures/cases/string-only/original/f.o");
        let object = fs::read(object).expect("an object of the cases");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let pair = TreePair {
            name: "small".to_owned(),
            original: folder.path().join("a"),
            patched: folder.path().join("b"),
        };
        for tree in [&pair.original, &pair.patched] {
            fs::create_dir_all(tree.join("sub")).expect("a folder");
            fs::write(tree.join("sub/x.o"), &object).expect("a file");
            fs::write(tree.join("foreign.o"), b"xyz").expect("a file");
            fs::write(tree.join("notes.txt"), b"n").expect("a file");
        }
        let other = pair
            .all_different(&folder.path().join("c"))
            .expect("the copy");
        let length = |path: PathBuf| path.metadata().expect("a copied object").len();
        let bytes = u64::try_from(object.len()).expect("a small file");
        assert_eq!(length(other.original.join("sub/x.o")), bytes);
        assert_eq!(length(other.patched.join("sub/x.o")), bytes + 1);
        assert_eq!(length(other.patched.join("foreign.o")), 3);
        assert!(!other.patched.join("notes.txt").exists());
        let extent = other.extent().expect("the extent");
        assert_eq!((extent.objects, extent.bytes), (2, 2 * bytes + 7));
    }

    #[test]
    fn without_a_finished_build_of_xen_there_is_no_pair() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(TreePair::of_xen(folder.path()).is_none());
    }
}
