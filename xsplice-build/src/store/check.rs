//! `check`: every content is what its digest says, and objects and base are still one build.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use xsplice_console::tree::Tree;
use xsplice_link::Base;
use xsplice_link::command::input;

use super::add::{OBJECTS_LIST, SOURCE_LIST};
use super::contents::Purpose;
use super::record::{BuildRecord, TreeRecord};
use super::unpack::Source;
use super::{BASE, Store, listing};
use crate::command::progress::{Progress, Visibility};
use crate::compare::merged;
use crate::compare::proof::{is_source_of_base, other_tree, prove};
use crate::inputs::archives;
use crate::inputs::open_all;
use crate::inputs::pair::{Pairs, pair};

/// What is wrong with a build, a sentence each.
///
/// # Errors
///
/// The store cannot be read or written.
pub(crate) fn check(store: &Store, record: &BuildRecord) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    // On the store's own disk objects need not be copied.
    let scratch = tempfile::tempdir_in(store.unfinished())
        .or_else(|_| tempfile::tempdir())
        .context("there is no place for temporary files")?;
    let base_fault = store.fault(&record.base.sha256);
    faults.extend(base_fault.map(|fault| format!("base: {fault}")));
    for (what, tree, list) in [
        ("source", &record.source, SOURCE_LIST),
        ("objects", &record.objects, OBJECTS_LIST),
    ] {
        let found = store.tree_faults(record, tree, list, scratch.path());
        faults.extend(found.into_iter().map(|fault| format!("{what}: {fault}")));
    }
    // What is spoiled proves nothing.
    if !faults.is_empty() {
        return Ok(faults);
    }
    let objects = store.objects(record, &scratch.path().join("objects"))?;
    let path = store.base(record);
    let file = input::open(&path)?;
    let base = Base::parse(&path.display().to_string(), &file)?;
    if base.build_id().to_string() != record.build_id {
        faults.push(format!("base: its build-id is {}", base.build_id()));
    }
    faults.extend(is_one_build(&base, &objects)?);
    Ok(faults)
}

/// Why the objects are not those that the base was linked from; `None` when they are.
///
/// # Errors
///
/// Objects that cannot be read.
pub(crate) fn is_one_build(base: &Base<'_>, objects: &Path) -> Result<Option<String>> {
    let Pairs {
        pairs, archives, ..
    } = pair(objects, objects, &[])?;
    let mut inputs = open_all(pairs)?;
    archives::add_members(&mut inputs, archives, &[])?;
    let merged = merged::find(&inputs, &[]);
    let progress = Progress::start("proving", inputs.len(), Visibility::Hidden);
    let proof = prove(base, &inputs, &merged, &progress);
    let is_one = is_source_of_base(&proof.tree);
    Ok((!is_one).then(|| format!("objects: {}", other_tree(&proof.tree, base, ""))))
}

impl Store {
    /// Where the base of a build is.
    pub(crate) fn base(&self, record: &BuildRecord) -> PathBuf {
        self.content(&record.base.sha256)
    }

    /// The same under the name that it had; `None` where the store was copied without its links.
    pub(crate) fn named_base(&self, record: &BuildRecord) -> Option<PathBuf> {
        let link = self
            .build(&record.build_id)
            .join(BASE)
            .join(&record.base.file);
        link.is_file().then_some(link)
    }

    /// What is wrong with a tree of a build.
    fn tree_faults(
        &self,
        record: &BuildRecord,
        tree: &TreeRecord,
        list: &str,
        scratch: &Path,
    ) -> Vec<String> {
        if let Some(path) = &tree.path {
            let found = Source::open(path, scratch).and_then(|source| unchanged(tree, &source));
            return found
                .err()
                .map(|error| format!("{error:#}"))
                .into_iter()
                .collect();
        }
        match self.kept(record, tree, list) {
            Ok(kept) => self.faults(&kept),
            Err(error) => vec![format!("{error:#}")],
        }
    }

    /// The list of a kept tree.
    fn kept(&self, record: &BuildRecord, tree: &TreeRecord, list: &str) -> Result<Tree> {
        let path = self.build(&record.build_id).join(list);
        let kept = listing::read(&path)?;
        if kept.digest() != tree.digest {
            bail!(
                "{}: is spoiled: its digest is not that of the tree",
                path.display()
            );
        }
        Ok(kept)
    }

    /// The objects of a build: where they are, or made at `folder` for reading.
    ///
    /// # Errors
    ///
    /// They are spoiled, or are no longer what they were.
    pub(crate) fn objects(&self, record: &BuildRecord, folder: &Path) -> Result<PathBuf> {
        if let Some(path) = &record.objects.path {
            unchanged(&record.objects, &Source::folder(path))?;
            return Ok(path.clone());
        }
        let tree = self.kept(record, &record.objects, OBJECTS_LIST)?;
        self.restore(&tree, folder, Purpose::Reading)?;
        Ok(folder.to_owned())
    }

    /// The source of a build: where it is, or made below `folder` for building.
    ///
    /// # Errors
    ///
    /// As [`Store::objects`].
    pub(crate) fn source(&self, record: &BuildRecord, folder: &Path) -> Result<Source> {
        if let Some(path) = &record.source.path {
            fs::create_dir_all(folder)
                .with_context(|| format!("{}: cannot be made", folder.display()))?;
            let source = Source::open(path, folder)?;
            unchanged(&record.source, &source)?;
            return Ok(source);
        }
        let tree = self.kept(record, &record.source, SOURCE_LIST)?;
        self.restore(&tree, folder, Purpose::Building)?;
        Ok(Source::folder(folder))
    }
}

/// Checks that a tree outside of the store is what it was.
fn unchanged(tree: &TreeRecord, source: &Source) -> Result<()> {
    let path = source.path();
    let now = Tree::read(path, &|_| false)
        .with_context(|| format!("{}: cannot be read", path.display()))?;
    if now.digest() != tree.digest {
        bail!(
            "{}: is no longer what it was when the build was added; add the build again from what \
             was shipped",
            path.display()
        );
    }
    Ok(())
}
