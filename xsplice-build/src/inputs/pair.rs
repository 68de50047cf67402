//! Pairs the objects of two trees by their relative path.
//!
//! Only names and the first bytes of files are read here. The differ reads the objects.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use globset::{Glob, GlobSet, GlobSetBuilder};
use rayon::prelude::*;
use walkdir::WalkDir;

use crate::inputs::content::{Kind, kind_of};

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
    /// Patterns of `--ignore-object` that match neither an object nor an archive.
    pub idle_patterns: Vec<String>,
    /// Archives that were not left out. Their members may also exist as files.
    pub archives: Vec<Pair>,
    /// Linked images of the original tree, in order of path: the base may be among them.
    pub images: Vec<PathBuf>,
    /// The same of the patched tree.
    pub images_of_patched: Vec<PathBuf>,
}

/// Pairs two trees, or two objects.
///
/// # Errors
///
/// A path that cannot be read, a tree without objects, a file paired with a folder, or a pattern
/// that is no glob.
pub fn pair(original: &Path, patched: &Path, ignore: &[String]) -> Result<Pairs> {
    let globs = globs(ignore)?;
    match (is_tree(original)?, is_tree(patched)?) {
        (true, true) => pair_trees(original, patched, (&globs, ignore)),
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
        idle_patterns: Vec::new(),
        archives: Vec::new(),
        images: Vec::new(),
        images_of_patched: Vec::new(),
    }
}

fn pair_trees(
    original: &Path,
    patched: &Path,
    (ignore, patterns): (&GlobSet, &[String]),
) -> Result<Pairs> {
    let (originals, patcheds) = rayon::join(|| read_tree(original), || read_tree(patched));
    let (originals, patcheds) = (originals?, patcheds?);
    for (tree, files) in [(original, &originals), (patched, &patcheds)] {
        if files.objects.is_empty() && files.archives.is_empty() {
            bail!(
                "{}: no object files in this folder; give the folder the build put its \
                 objects into",
                tree.display()
            );
        }
    }

    let all = by_name(originals.objects, patcheds.objects);
    let mut archives = by_name(originals.archives, patcheds.archives);
    let in_both = |pair: &Pair| matches!(pair, Pair::Both { .. });
    if !all.iter().chain(&archives).any(in_both) {
        bail!(
            "{} and {} have no object of one name; give the folders that two builds of one source \
             put their objects into",
            original.display(),
            patched.display()
        );
    }
    let matched: BTreeSet<usize> = all
        .iter()
        .chain(&archives)
        .flat_map(|pair| ignore.matches(pair.name()))
        .collect();
    let idle = patterns.iter().enumerate();
    let idle = idle.filter(|(index, _)| !matched.contains(index));
    let (ignored, pairs): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|pair| ignore.is_match(pair.name()));
    archives.retain(|pair| !ignore.is_match(pair.name()));
    if pairs.is_empty() && archives.is_empty() {
        bail!("--ignore-object leaves out every object; name those alone that are not in the base");
    }
    Ok(Pairs {
        pairs,
        ignored,
        idle_patterns: idle.map(|(_, pattern)| pattern.clone()).collect(),
        archives,
        images: originals.images,
        images_of_patched: patcheds.images,
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
    images: Vec<PathBuf>,
}

fn read_tree(root: &Path) -> Result<TreeFiles> {
    let mut paths = Vec::new();
    for entry in WalkDir::new(root).follow_links(true) {
        let entry = match entry {
            Ok(entry) => entry,
            // Build trees contain dangling links and links to parent folders.
            Err(error) if is_broken_link(&error) => continue,
            Err(error) => {
                return Err(error).with_context(|| format!("{}: cannot read", root.display()));
            }
        };
        if entry.file_type().is_file() {
            paths.push(entry.into_path());
        }
    }
    paths.sort_unstable();
    let kinds: Vec<Kind> = paths.par_iter().map(|path| kind_of(path)).collect();
    let mut files = TreeFiles::default();
    for (path, kind) in paths.into_iter().zip(kinds) {
        let of_kind = match kind {
            Kind::Object => &mut files.objects,
            Kind::Archive => &mut files.archives,
            Kind::Image => {
                files.images.push(path);
                continue;
            }
            Kind::Other => continue,
        };
        let relative = path.strip_prefix(root).unwrap_or(&path);
        of_kind.insert(name_of(relative), path);
    }
    Ok(files)
}

/// What a file is called. Bytes that are no text are written as such, so that two files never have
/// one name.
fn name_of(path: &Path) -> String {
    let mut name = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        name.push_str(chunk.valid());
        name.push_str(&chunk.invalid().escape_ascii().to_string());
    }
    name
}

fn is_broken_link(error: &walkdir::Error) -> bool {
    error.loop_ancestor().is_some()
        || error
            .path()
            .is_some_and(|path| path.is_symlink() && !path.exists())
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
    fn names_that_are_no_text_stay_apart() {
        use std::os::unix::ffi::OsStrExt as _;
        let name = |bytes: &[u8]| super::name_of(Path::new(std::ffi::OsStr::from_bytes(bytes)));
        assert_eq!(name("d/ä.o".as_bytes()), "d/ä.o");
        assert_eq!(name(b"d/\xff.o"), "d/\\xff.o");
        assert_ne!(name(b"\xfe.o"), name(b"\xff.o"));
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
