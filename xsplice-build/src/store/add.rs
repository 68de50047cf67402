//! `add`: proves that objects and base are one build, keeps the contents, and puts the build into
//! place in one step at the very end.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::syncfs;
use xsplice_console::tree::{Tree, digest_of};
use xsplice_link::Base;

use super::record::{BaseRecord, BuildRecord, FORMAT, NAME_LENGTH_MAX, TreeRecord, is_build_name};
use super::unpack::Source;
use super::{BASE, BUILDS, RECORD, Store, check, find, listing};
use crate::command::store::Add;
use crate::inputs::base;
use crate::inputs::pair::pair;

/// Lists of the kept trees, below the folder of a build.
pub(crate) const SOURCE_LIST: &str = "source.list";
pub(crate) const OBJECTS_LIST: &str = "objects.list";

/// Whether the build was new.
#[derive(Debug)]
pub(crate) enum Found {
    /// It was not there.
    New(BuildRecord),
    /// It was there already, just so.
    Known(BuildRecord),
}

/// Adds a build.
///
/// # Errors
///
/// Inputs that cannot be read, objects that are not of the base, another build of the same name or
/// build-id, and what cannot be written. The store then holds what it held before.
pub(crate) fn add(given: &Add) -> Result<(BuildRecord, Found)> {
    check_name(&given.name)?;
    let store = Store::open_or_make(&given.place.store)?;
    let source = Source::open(&given.source, &store.unfinished())?;
    if !given.objects.is_dir() {
        bail!(
            "--objects {}: is no folder; give the folder that the build was made in",
            given.objects.display()
        );
    }
    let images = pair(&given.objects, &given.objects, &[])?.images;
    let file = base::find(given.base.as_deref(), &images, &given.objects)?;
    let path = file.path().to_owned();
    let base = Base::parse(&path.display().to_string(), &file)?;
    if let Some(fault) = check::is_one_build(&base, &given.objects)? {
        bail!(fault);
    }
    let read = |root: &Path| {
        let tree = Tree::read(root, &|_| false);
        tree.with_context(|| format!("{}: cannot be read", root.display()))
    };
    let trees = Trees {
        source: read(source.path())?,
        objects: read(&given.objects)?,
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let record = BuildRecord {
        format: FORMAT,
        name: given.name.clone(),
        build_id: base.build_id().to_string(),
        make: given.make.clone(),
        base: BaseRecord {
            file: name.into_owned(),
            sha256: digest_of(&file),
        },
        source: tree_record(&trees.source, given, &given.source)?,
        objects: tree_record(&trees.objects, given, &given.objects)?,
    };
    find::check_free(&store.records()?, &record)?;
    store.keep_file(&path, &record.base.sha256)?;
    if !given.by_path {
        store.keep_tree(source.path(), &trees.source)?;
        store.keep_tree(&given.objects, &trees.objects)?;
    }
    let is_new = store.put(&record, &trees)?;
    let found = if is_new {
        Found::New(record.clone())
    } else {
        Found::Known(record.clone())
    };
    Ok((record, found))
}

/// The trees of a build.
struct Trees {
    source: Tree,
    objects: Tree,
}

fn check_name(name: &str) -> Result<()> {
    if !is_build_name(name) {
        bail!(
            "--name {name:?}: a build's name has 1 to {NAME_LENGTH_MAX} letters, digits, '.', '-', \
             '_' or '+', and begins with a letter or digit"
        );
    }
    Ok(())
}

fn tree_record(tree: &Tree, given: &Add, path: &Path) -> Result<TreeRecord> {
    let path = if given.by_path {
        let full = path.canonicalize();
        Some(full.with_context(|| format!("{}: cannot be read", path.display()))?)
    } else {
        None
    };
    Ok(TreeRecord {
        digest: tree.digest(),
        files: tree.files(),
        bytes: tree.size(),
        path,
    })
}

impl Store {
    /// Puts a build into its place, whose contents are kept; whether it was new.
    fn put(&self, record: &BuildRecord, trees: &Trees) -> Result<bool> {
        let failed = || format!("{}: the store cannot be written", self.root().display());
        let folder = tempfile::tempdir_in(self.unfinished()).with_context(failed)?;
        for (name, tree) in [(SOURCE_LIST, &trees.source), (OBJECTS_LIST, &trees.objects)] {
            let text = listing::text(tree);
            fs::write(folder.path().join(name), text).with_context(failed)?;
        }
        fs::write(folder.path().join(RECORD), record.text()?).with_context(failed)?;
        self.name_base(record, folder.path()).with_context(failed)?;
        // What the name promises must be on the disk before the name is.
        let builds = File::open(self.root().join(BUILDS)).with_context(failed)?;
        syncfs(&builds).with_context(failed)?;
        // Of two that add at once, one looks and renames after the other.
        builds.lock().with_context(failed)?;
        let is_new = find::check_free(&self.records()?, record)?;
        if is_new {
            open_to_all(folder.path()).with_context(failed)?;
            fs::rename(folder.path(), self.build(&record.build_id)).with_context(failed)?;
            builds.sync_all().with_context(failed)?;
        }
        Ok(is_new)
    }
}

impl Store {
    /// Links the base's content by the name that it had, in `folder`, which becomes that of the
    /// build: whoever checks a payload needs it, and knows it by that name.
    fn name_base(&self, record: &BuildRecord, folder: &Path) -> std::io::Result<()> {
        let content = self.content(&record.base.sha256);
        let content = content.strip_prefix(self.root()).unwrap_or(&content);
        let below = folder.join(BASE);
        fs::create_dir(&below)?;
        open_to_all(&below)?;
        // From STORE/builds/BUILD-ID/base.
        symlink(
            Path::new("../../..").join(content),
            below.join(&record.base.file),
        )
    }
}

/// A temporary folder is private, and a build is not.
fn open_to_all(folder: &Path) -> std::io::Result<()> {
    const FOLDER: u32 = 0o755;
    fs::set_permissions(folder, fs::Permissions::from_mode(FOLDER))
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn a_name_is_a_word_and_a_folder() {
        for name in ["4.17.5-prod", "a", "x_1+b"] {
            check_name(name).expect(name);
        }
        for name in ["", ".", "..", "-x", "a/b", "a b", &"x".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
