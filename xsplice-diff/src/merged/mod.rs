//! Tells objects that a build merged from others (`ld -r`) from those that it compiled, by what
//! they hold.
//!
//! Build trees hold both. Comparing a merged object tells nothing that its parts do not tell, and
//! its functions stand in the image once, under the names of both. FILE symbols do not tell the two
//! kinds apart: assembler has none, `ld -r` makes one up, and several parts may have the same. So
//! an object counts as merged only when every byte of it that is loaded, with its relocations and
//! symbols, is a section of an object beside it ([`cover`]). A copy of an object is merged from
//! one. Debug information is never looked at.

mod cover;
mod definitions;
mod elements;
mod places;
mod tiles;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use rayon::prelude::*;
use xsplice_abi::section;

use crate::read::object::ElfObject;

use cover::cover;
use definitions::{Definitions, definitions};
use tiles::Parts;

/// Index of an object in the list that [`find`] was given.
pub(crate) type ObjectIndex = usize;

/// An object of a tree.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'data> {
    /// Its path. It decides nothing but which of two equal objects counts as the copy.
    pub name: &'data str,
    /// Its bytes.
    pub bytes: &'data [u8],
    /// Whether it will be compared.
    pub standing: Standing,
}

/// What becomes of an object that is not merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It is compared.
    Compared,
    /// It was left out by name. It may be a part all the same; but of equal objects the one that is
    /// compared counts as compiled, so that leaving out one copy does not leave out the other.
    LeftOut,
}

/// Sections that linkers make anew instead of taking them as they are, and that no payload holds.
fn made_anew(name: &[u8]) -> bool {
    [section::PROPERTY, section::BUILD_ID, ".eh_frame"]
        .iter()
        .any(|made| made.as_bytes() == name)
}

/// The merged objects among `objects`, each with the objects that it was merged from. What cannot
/// be read is no part of anything and not merged.
///
/// Only objects whose names all are names of smaller ones too are looked at closely: merging makes
/// no names.
#[must_use]
pub fn find(objects: &[Candidate<'_>]) -> BTreeMap<ObjectIndex, BTreeSet<ObjectIndex>> {
    let read: Vec<Definitions<'_>> = objects
        .par_iter()
        .map(|object| definitions(object.bytes).unwrap_or_default())
        .collect();
    let mut order: Vec<ObjectIndex> = (0..objects.len()).collect();
    order.sort_by_key(|&index| {
        let object = &objects[index];
        let is_named_alike = Reverse(is_named_after_its_source(object.name, &read[index]));
        (
            read[index].loaded_bytes,
            object.standing,
            is_named_alike,
            index,
        )
    });

    let mut known: HashSet<&[u8]> = HashSet::new();
    let mut suspects = Vec::new();
    for &index in &order {
        let names = &read[index].names;
        if !names.is_empty() && names.iter().all(|name| known.contains(name)) {
            suspects.push(index);
        }
        known.extend(names);
    }
    if suspects.is_empty() {
        return BTreeMap::new();
    }
    judge(objects, &read, &suspects)
}

/// Whether an object is called like the one file that it was compiled from.
fn is_named_after_its_source(name: &str, read: &Definitions<'_>) -> bool {
    let stem = |path: &[u8]| {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        let end = name.iter().position(|byte| *byte == b'.');
        name[..end.unwrap_or(name.len())].to_vec()
    };
    matches!(read.files[..], [file] if stem(file) == stem(name.as_bytes()))
}

/// Which of `suspects` consist of objects that are none.
fn judge(
    objects: &[Candidate<'_>],
    read: &[Definitions<'_>],
    suspects: &[ObjectIndex],
) -> BTreeMap<ObjectIndex, BTreeSet<ObjectIndex>> {
    let parsed: Vec<Option<ElfObject<'_>>> = objects
        .par_iter()
        .map(|object| ElfObject::parse(object.name, object.bytes).ok())
        .collect();
    let mut is_suspect = vec![false; objects.len()];
    for &index in suspects {
        is_suspect[index] = true;
    }
    let mut parts = Parts::default();
    for (index, object) in parsed.iter().enumerate() {
        if let Some(object) = object.as_ref().filter(|_| !is_suspect[index]) {
            parts.add(index, object);
        }
    }
    // A suspect that turns out not to be merged was compiled, and may be a part of a larger one.
    let mut merged = BTreeMap::new();
    for &index in suspects {
        let Some(object) = &parsed[index] else {
            continue;
        };
        let names: HashSet<&[u8]> = read[index].names.iter().copied().collect();
        // What defines a strong name that the merged object does not define was not merged into it.
        let is_eligible = |part: ObjectIndex| {
            let strong = &read[part].strong;
            strong.iter().all(|name| names.contains(name))
        };
        match cover(object, &parts, is_eligible) {
            Some(found) if has_files_of(&read[index], &found, read) => {
                merged.insert(index, found);
            }
            _ => parts.add(index, object),
        }
    }
    merged
}

/// Whether each FILE symbol of a merged object is one of its parts', or made up for one that has
/// none. Of a part that holds nothing, which some builds make from an empty file, the name alone
/// is left.
fn has_files_of(
    object: &Definitions<'_>,
    parts: &BTreeSet<ObjectIndex>,
    read: &[Definitions<'_>],
) -> bool {
    let empty = read.iter().filter(|part| part.holds_nothing());
    let known: BTreeSet<&[u8]> = parts
        .iter()
        .map(|&part| &read[part])
        .chain(empty)
        .flat_map(|part| part.files.iter().copied())
        .collect();
    let made_up = object.files.iter().filter(|file| !known.contains(*file));
    let nameless = parts.iter().filter(|&&part| read[part].files.is_empty());
    made_up.count() <= nameless.count()
}
