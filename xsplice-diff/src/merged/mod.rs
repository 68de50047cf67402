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
mod order;
mod places;
mod ranks;
mod tiles;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use rayon::prelude::*;
use xsplice_abi::section;

use crate::read::object::{ElfObject, Section};

use cover::cover;
use definitions::{Definitions, definitions};
pub use order::Order;
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

/// What an object was merged from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// The objects.
    pub parts: BTreeSet<ObjectIndex>,
    /// In which order it has them.
    pub order: Order,
}

/// Merged objects, each with the objects that it was merged from.
pub type Found = BTreeMap<ObjectIndex, Members>;

/// The merged objects among `objects`. What cannot be read is no part of anything and not merged.
///
/// Only objects whose names all are names of smaller ones too are looked at closely: merging makes
/// no names.
#[must_use]
pub fn find(objects: &[Candidate<'_>]) -> Found {
    Tree::read(objects, None).judge(&BTreeMap::new())
}

/// The merged objects of each of two trees that have most objects in common. What is loaded alike
/// in both, with all its parts, is looked at once.
#[must_use]
pub fn find_in_both(one: &[Candidate<'_>], other: &[Candidate<'_>]) -> [Found; 2] {
    let one = Tree::read(one, None);
    let other = Tree::read(other, Some(&one));
    let found = one.judge(&BTreeMap::new());
    let known = other.known_from(&one, &found);
    let found_again = other.judge(&known);
    [found, found_again]
}

/// Names of what an object defines and others can refer to, weak and COMMON definitions too; `None`
/// for what cannot be read.
#[must_use]
pub fn global_names(object: &[u8]) -> Option<BTreeSet<&[u8]>> {
    Some(definitions(object)?.global.into_iter().collect())
}

/// The objects of one tree.
struct Tree<'a, 'data> {
    objects: &'a [Candidate<'data>],
    read: Vec<Definitions<'data>>,
    /// Those that may be merged, the smallest first.
    suspects: Vec<ObjectIndex>,
    /// Empty when nothing is suspected.
    parsed: Vec<Option<Arc<ElfObject<'data>>>>,
}

impl<'a, 'data> Tree<'a, 'data> {
    /// Reads the objects. What stands at one place in memory with one of another tree is that, and
    /// is not read again.
    fn read(objects: &'a [Candidate<'data>], other: Option<&Tree<'_, 'data>>) -> Tree<'a, 'data> {
        let read: Vec<Definitions<'_>> = objects
            .par_iter()
            .map(|object| definitions(object.bytes).unwrap_or_default())
            .collect();
        let suspects = suspects(objects, &read);
        let others = other.map_or(&[][..], |other| other.objects).iter();
        let known = other.map_or(&[][..], |other| &other.parsed);
        let known: HashMap<_, _> = others.map(place_of).zip(known).collect();
        let parse = |object: &Candidate<'data>| match known.get(&place_of(object)) {
            Some(&known) => known.clone(),
            None => ElfObject::parse(object.name, object.bytes)
                .ok()
                .map(Arc::new),
        };
        let parsed = match suspects.is_empty() {
            true => Vec::new(),
            false => objects.par_iter().map(parse).collect(),
        };
        Tree {
            objects,
            read,
            suspects,
            parsed,
        }
    }

    fn is_suspect(&self) -> Vec<bool> {
        let mut is_suspect = vec![false; self.objects.len()];
        for &index in &self.suspects {
            is_suspect[index] = true;
        }
        is_suspect
    }

    /// What is known of this tree's suspects from another tree: they and all that they were merged
    /// from are loaded alike in both, and of the latter none is suspected here.
    fn known_from(&self, other: &Tree<'_, '_>, found: &Found) -> Found {
        let is_suspect = self.is_suspect();
        let by_name = self.objects.iter().enumerate();
        let by_name: HashMap<&str, ObjectIndex> = by_name
            .map(|(index, object)| (object.name, index))
            .collect();
        let same: Vec<Option<ObjectIndex>> = (0..other.parsed.len())
            .into_par_iter()
            .map(|index| {
                let here = *by_name.get(other.objects[index].name)?;
                let theirs = other.parsed[index].as_ref()?;
                let ours = self.parsed.get(here)?.as_ref()?;
                let is_alike = Arc::ptr_eq(ours, theirs) || is_loaded_alike(ours, theirs);
                is_alike.then_some(here)
            })
            .collect();
        let part = |theirs: &ObjectIndex| same[*theirs].filter(|&ours| !is_suspect[ours]);
        found
            .iter()
            .filter_map(|(&theirs, members)| {
                let ours = same[theirs].filter(|&ours| is_suspect[ours])?;
                let members = Members {
                    parts: members.parts.iter().map(part).collect::<Option<_>>()?,
                    order: members.order.mapped(part),
                };
                Some((ours, members))
            })
            .collect()
    }

    /// Which suspects consist of objects that are none; `known` are some of these.
    fn judge(&self, known: &Found) -> Found {
        let is_suspect = self.is_suspect();
        let mut parts = Parts::default();
        for (index, object) in self.parsed.iter().enumerate() {
            if let Some(object) = object.as_ref().filter(|_| !is_suspect[index]) {
                parts.add(index, object);
            }
        }
        let mut merged = known.clone();
        let mut open: Vec<ObjectIndex> = self.suspects.clone();
        open.retain(|index| !known.contains_key(index));
        let found: Vec<_> = open
            .par_iter()
            .map(|&index| self.parts_of(index, &parts))
            .collect();
        // A suspect that turns out not to be merged was compiled, and may be a part of a larger
        // one. What was covered without it stays so.
        let mut compiled: Vec<ObjectIndex> = Vec::new();
        for (index, found) in open.into_iter().zip(found) {
            let found = found.or_else(|| {
                let names: HashSet<&[u8]> = self.read[index].names.iter().copied().collect();
                let mut new = compiled.iter().map(|part| &self.read[*part].names);
                let may_be_of_it = new.any(|own| own.iter().all(|name| names.contains(name)));
                may_be_of_it.then(|| self.parts_of(index, &parts)).flatten()
            });
            if let Some(found) = found {
                merged.insert(index, found);
            } else if let Some(object) = &self.parsed[index] {
                parts.add(index, object);
                compiled.push(index);
            }
        }
        merged
    }

    /// What one suspect was merged from; `None` where it was not, or not from these.
    fn parts_of(&self, index: ObjectIndex, parts: &Parts<'_, '_>) -> Option<Members> {
        let object = self.parsed[index].as_ref()?;
        let names: HashSet<&[u8]> = self.read[index].names.iter().copied().collect();
        // What defines a strong name that the merged object does not define was not merged into it.
        let is_eligible = |part: ObjectIndex| {
            let strong = &self.read[part].strong;
            strong.iter().all(|name| names.contains(name))
        };
        let found = cover(object, parts, is_eligible)?;
        has_files_of(&self.read[index], &found.parts, &self.read).then_some(found)
    }
}

/// Where an object's bytes are, and what it is called.
fn place_of<'data>(object: &Candidate<'data>) -> (usize, usize, &'data str) {
    (
        object.bytes.as_ptr().addr(),
        object.bytes.len(),
        object.name,
    )
}

/// The objects that define nothing that smaller ones do not define, the smallest first.
fn suspects(objects: &[Candidate<'_>], read: &[Definitions<'_>]) -> Vec<ObjectIndex> {
    let mut order: Vec<ObjectIndex> = (0..objects.len()).collect();
    order.sort_by_cached_key(|&index| {
        let object = &objects[index];
        let is_named_alike = Reverse(is_named_after_its_source(object.name, &read[index]));
        (
            read[index].loaded_bytes,
            object.standing,
            is_named_alike,
            index,
        )
    });
    let mut known: HashSet<&[u8]> = HashSet::default();
    let mut suspects = Vec::new();
    for &index in &order {
        let names = &read[index].names;
        if !names.is_empty() && names.iter().all(|name| known.contains(name)) {
            suspects.push(index);
        }
        known.extend(names);
    }
    suspects
}

/// Whether two objects have the same sections, symbols and relocations but for what is not loaded.
fn is_loaded_alike(one: &ElfObject<'_>, other: &ElfObject<'_>) -> bool {
    let is_alike = |one: &Section<'_>, other: &Section<'_>| {
        let heads = |section: &Section<'_>| {
            let relocations = section.relocations.clone();
            (
                section.kind,
                section.flags,
                section.alignment,
                section.entry_size,
                relocations,
            )
        };
        one.name == other.name
            && heads(one) == heads(other)
            && (!one.is_allocated() || (one.size == other.size && one.data == other.data))
    };
    one.sections.len() == other.sections.len()
        && one.symbols == other.symbols
        && one.relocations == other.relocations
        && one
            .sections
            .iter()
            .zip(&other.sections)
            .all(|(one, other)| is_alike(one, other))
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
