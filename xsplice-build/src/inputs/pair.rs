//! Pairs the objects of two trees by their relative path.
//!
//! Only names are read here, and, to find a base, the first bytes of files that are no objects. The
//! differ reads the objects.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use globset::{Glob, GlobSet, GlobSetBuilder};
use walkdir::WalkDir;

/// One object that one or both trees have. Names are relative to the tree, with `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pair {
    /// Both trees have it.
    Both {
        name: String,
        original: PathBuf,
        patched: PathBuf,
    },
    /// Only the patched tree has it.
    Added { name: String, patched: PathBuf },
    /// Only the original tree has it.
    Removed { name: String, original: PathBuf },
}

impl Pair {
    /// The object's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Pair::Both { name, .. } | Pair::Added { name, .. } | Pair::Removed { name, .. } => name,
        }
    }
}

/// What the two `--orig` and `--patched` arguments hold, in order of name.
#[derive(Debug)]
pub struct Pairs {
    /// The objects.
    pub pairs: Vec<Pair>,
    /// Objects that `--ignore-object` left out.
    pub ignored: Vec<Pair>,
    /// Archives that were not left out. Their members may also exist as files.
    pub archives: Vec<Pair>,
    /// Files of the original tree that are no objects, in order of path: the base may be among
    /// them. They are opened only when a base is needed, because that takes longer than everything
    /// else here.
    pub others: Vec<PathBuf>,
    /// The same of the patched tree: its image may be among them.
    pub others_of_patched: Vec<PathBuf>,
}

/// Pairs two trees, or two objects.
///
/// # Errors
///
/// A path that cannot be read, a tree without objects, a file paired with a folder, or a pattern
/// that is no glob.
pub fn pair(original: &Path, patched: &Path, ignore: &[String]) -> Result<Pairs> {
    let ignore = globs(ignore)?;
    match (is_tree(original)?, is_tree(patched)?) {
        (true, true) => pair_trees(original, patched, &ignore),
        (false, false) => Ok(pair_files(original, patched)),
        (true, false) => bail!(
            "{} is a folder and {} is not; give two folders or two objects",
            original.display(),
            patched.display()
        ),
        (false, true) => bail!(
            "{} is a folder and {} is not; give two folders or two objects",
            patched.display(),
            original.display()
        ),
    }
}

fn is_tree(path: &Path) -> Result<bool> {
    let metadata = path
        .metadata()
        .with_context(|| format!("{}: cannot read", path.display()))?;
    Ok(metadata.is_dir())
}

fn globs(patterns: &[String]) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = Glob::new(pattern)
            .with_context(|| format!("--ignore-object {pattern}: not a pattern"))?;
        set.add(glob);
    }
    Ok(set.build()?)
}

fn pair_files(original: &Path, patched: &Path) -> Pairs {
    let name = patched
        .file_name()
        .unwrap_or(patched.as_os_str())
        .to_string_lossy()
        .into_owned();
    let pair = Pair::Both {
        name,
        original: original.to_path_buf(),
        patched: patched.to_path_buf(),
    };
    Pairs {
        pairs: vec![pair],
        ignored: Vec::new(),
        archives: Vec::new(),
        others: Vec::new(),
        others_of_patched: Vec::new(),
    }
}

fn pair_trees(original: &Path, patched: &Path, ignore: &GlobSet) -> Result<Pairs> {
    let (originals, patcheds) = rayon::join(|| read_tree(original), || read_tree(patched));
    let (originals, patcheds) = (originals?, patcheds?);
    for (tree, files) in [(original, &originals), (patched, &patcheds)] {
        if files.objects.is_empty() && files.archives.is_empty() {
            bail!(
                "{}: no object files (*.o, *.a) in this folder; give the folder the build put its \
                 objects into",
                tree.display()
            );
        }
    }

    let (ignored, pairs): (Vec<_>, Vec<_>) = by_name(originals.objects, patcheds.objects)
        .into_iter()
        .partition(|pair| ignore.is_match(pair.name()));
    let mut archives = by_name(originals.archives, patcheds.archives);
    archives.retain(|pair| !ignore.is_match(pair.name()));
    Ok(Pairs {
        pairs,
        ignored,
        archives,
        others: originals.others,
        others_of_patched: patcheds.others,
    })
}

/// Pairs files of one name, in order of name.
fn by_name(
    originals: BTreeMap<String, PathBuf>,
    mut patcheds: BTreeMap<String, PathBuf>,
) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (name, original) in originals {
        pairs.push(match patcheds.remove(&name) {
            Some(patched) => Pair::Both {
                name,
                original,
                patched,
            },
            None => Pair::Removed { name, original },
        });
    }
    let added = patcheds.into_iter();
    pairs.extend(added.map(|(name, patched)| Pair::Added { name, patched }));
    pairs.sort_by(|a, b| a.name().cmp(b.name()));
    pairs
}

#[derive(Default)]
struct TreeFiles {
    objects: BTreeMap<String, PathBuf>,
    archives: BTreeMap<String, PathBuf>,
    others: Vec<PathBuf>,
}

/// How the names of objects end.
const OBJECT_EXTENSIONS: [&str; 3] = ["o", "obj", "os"];

fn read_tree(root: &Path) -> Result<TreeFiles> {
    let mut files = TreeFiles::default();
    for entry in WalkDir::new(root).follow_links(true) {
        let entry = match entry {
            Ok(entry) => entry,
            // Build trees contain dangling links and links to parent folders.
            Err(error) if is_broken_link(&error) => continue,
            Err(error) => {
                return Err(error).with_context(|| format!("{}: cannot read", root.display()));
            }
        };
        if !entry.file_type().is_file() {
            continue;
        }
        let path = entry.path();
        let extension = path.extension().and_then(OsStr::to_str);
        let of_kind = match extension {
            Some(extension) if OBJECT_EXTENSIONS.contains(&extension) => &mut files.objects,
            Some("a") => &mut files.archives,
            _ => {
                files.others.push(path.to_path_buf());
                continue;
            }
        };
        let relative = path.strip_prefix(root).unwrap_or(path);
        of_kind.insert(relative.to_string_lossy().into_owned(), path.to_path_buf());
    }
    files.others.sort_unstable();
    Ok(files)
}

fn is_broken_link(error: &walkdir::Error) -> bool {
    error.loop_ancestor().is_some()
        || error
            .path()
            .is_some_and(|path| path.is_symlink() && !path.exists())
}

/// Whether a file starts like a linked 64-bit ELF image. An unreadable file is none.
#[must_use]
pub(crate) fn may_be_image(path: &Path) -> bool {
    const ELF64: [u8; 5] = [0x7f, b'E', b'L', b'F', 2];
    const TYPE_OFFSET: usize = 16;
    const LINKED: [[u8; 2]; 2] = [[2, 0], [3, 0]];

    let mut start = [0; 18];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok()
        && start.starts_with(&ELF64)
        && LINKED.iter().any(|kind| start[TYPE_OFFSET..] == *kind)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{Pair, pair};

    fn tree(root: &Path, files: &[&str]) {
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().expect("a file of the test has a folder"))
                .expect("the test's folder can be made");
            fs::write(path, b"x").expect("the test's file can be written");
        }
    }

    #[test]
    fn objects_pair_by_relative_path_in_order_of_name() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        tree(&a, &["z.o", "sub/x.o", "gone.o", "notes.txt"]);
        tree(&b, &["z.o", "sub/x.o", "new.o"]);
        let pairs = pair(&a, &b, &[]).expect("two trees").pairs;
        let names: Vec<_> = pairs.iter().map(Pair::name).collect();
        assert_eq!(names, ["gone.o", "new.o", "sub/x.o", "z.o"]);
        assert!(matches!(pairs[0], Pair::Removed { .. }));
        assert!(matches!(pairs[1], Pair::Added { .. }));
        assert!(matches!(pairs[2], Pair::Both { .. }));
    }

    #[test]
    fn ignored_objects_are_named_and_left_out() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        tree(&a, &["sub/version.o", "x.o"]);
        tree(&b, &["sub/version.o", "x.o"]);
        let pairs = pair(&a, &b, &["**/version.o".to_owned()]).expect("two trees");
        let ignored: Vec<_> = pairs.ignored.iter().map(Pair::name).collect();
        assert_eq!(ignored, ["sub/version.o"]);
        assert_eq!(pairs.pairs.len(), 1);
    }

    #[test]
    fn a_tree_without_objects_and_a_tree_against_a_file_are_errors() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        tree(&a, &["x.o"]);
        tree(&b, &["x.c"]);
        let error = pair(&a, &b, &[]).expect_err("b has no objects").to_string();
        assert!(
            error.contains("no object files") && error.contains("/b"),
            "{error}"
        );
        assert!(pair(&a, &b.join("x.c"), &[]).is_err());
        assert!(pair(&a.join("missing"), &b, &[]).is_err());
    }
}
