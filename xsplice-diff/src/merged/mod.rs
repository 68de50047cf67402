//! Tells objects that a build merged from others (`ld -r`) from those that it compiled, by what
//! they hold.
//!
//! Build trees hold both. Comparing a merged object tells nothing that its parts do not tell, and
//! its functions stand in the image once, under the names of both. FILE symbols do not tell the two
//! kinds apart: assembler has none, `ld -r` makes one up, and several parts may have the same. So an
//! object counts as merged only when every byte of it that is loaded, with its relocations, is a
//! section of an object beside it ([`tiles`]). Debug information is never looked at.

mod globals;
mod tiles;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rayon::prelude::*;

use crate::read::object::ElfObject;

use globals::{Globals, globals};
use tiles::Parts;

/// Index of an object in the list that [`find`] was given.
pub type ObjectIndex = usize;

/// The merged objects among `objects`, each with the objects that it was merged from. What cannot
/// be read is no part of anything and not merged.
///
/// Only objects that define a name which a smaller one defines too are looked at closely: one link
/// cannot hold two strong definitions, so one of the two must be a merged object or a copy.
#[must_use]
pub fn find(objects: &[&[u8]]) -> BTreeMap<ObjectIndex, BTreeSet<ObjectIndex>> {
    let globals: Vec<Globals<'_>> = objects
        .par_iter()
        .map(|bytes| globals(bytes).unwrap_or_default())
        .collect();
    let mut order: Vec<ObjectIndex> = (0..objects.len()).collect();
    order.sort_by_key(|&index| (globals[index].loaded_bytes, index));

    let mut definers: HashMap<&[u8], ObjectIndex> = HashMap::new();
    let mut suspects = Vec::new();
    for &index in &order {
        let mut is_suspect = false;
        for name in &globals[index].names {
            is_suspect |= *definers.entry(name).or_insert(index) != index;
        }
        if is_suspect {
            suspects.push(index);
        }
    }
    if suspects.is_empty() {
        return BTreeMap::new();
    }
    judge(objects, &globals, &suspects)
}

/// Which of `suspects` consist of objects that are none.
fn judge(
    objects: &[&[u8]],
    globals: &[Globals<'_>],
    suspects: &[ObjectIndex],
) -> BTreeMap<ObjectIndex, BTreeSet<ObjectIndex>> {
    let parsed: Vec<Option<ElfObject<'_>>> = objects
        .par_iter()
        .map(|bytes| ElfObject::parse("", bytes).ok())
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
        match parts.of(object) {
            Some(found) if defines_only(&globals[index], &found, globals) => {
                merged.insert(index, found);
            }
            _ => parts.add(index, object),
        }
    }
    merged
}

/// Whether each strong name that the object defines is one of its parts' names.
fn defines_only(
    object: &Globals<'_>,
    parts: &BTreeSet<ObjectIndex>,
    globals: &[Globals<'_>],
) -> bool {
    let known: BTreeSet<&[u8]> = parts
        .iter()
        .flat_map(|&part| globals[part].names.iter().copied())
        .collect();
    object.names.iter().all(|name| known.contains(name))
}
