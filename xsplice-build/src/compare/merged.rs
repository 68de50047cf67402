//! Tells objects that the build merged from others (`ld -r`) from those that it compiled.
//!
//! Build trees hold both. A merged object holds nothing that its parts do not hold, in either tree
//! ([`xsplice_diff::merged`] proves it section by section), so it is neither compared nor proven.

use std::collections::{BTreeMap, BTreeSet};

use xsplice_diff::merged;
use xsplice_diff::merged::{Candidate, Members, Order, Standing};

use crate::inputs::Input;

/// The merged objects of both trees.
#[derive(Debug, Default)]
pub struct Merged {
    /// Name of a merged object → names of the objects that it was merged from. Those that were left
    /// out by name are here, too.
    pub parts: BTreeMap<String, Vec<String>>,
}

/// Finds the objects that are merged in each tree that has them. What was left out by name may
/// still be a part.
///
/// An object that is merged from other objects than before counts as compiled, unless those came or
/// went with the change, or were in no merged object before and define no name that a part defined:
/// then what differs is in themselves alone. A member of a library that something refers to for the
/// first time joins like that.
///
/// One that has its parts in another order than before, where that counts, counts as compiled too:
/// no part shows in which order the base meets what is in them.
#[must_use]
pub fn find(inputs: &[Input], left_out: &[Input]) -> Merged {
    let compared = inputs.iter().map(|input| (input, Standing::Compared));
    let named = left_out.iter().map(|input| (input, Standing::LeftOut));
    let all: Vec<(&Input, Standing)> = compared.chain(named).collect();
    let (originals, patcheds) = (
        in_tree(&all, Input::original),
        in_tree(&all, Input::patched),
    );
    let [found, found_again] = merged::find_in_both(&originals, &patcheds);
    let original = Tree::new(&originals, found);
    let patched = Tree::new(&patcheds, found_again);
    let merged = all.iter().filter_map(|(input, _)| {
        let name = input.name.as_str();
        let before = input.original().map(|_| original.parts.get(name));
        let after = input.patched().map(|_| patched.parts.get(name));
        let parts: BTreeSet<&str> = match (before, after) {
            (Some(before), Some(after)) => {
                let (before, after) = (before?, after?);
                let is_whole = before.difference(after).all(|part| !patched.has(part))
                    && after
                        .difference(before)
                        .all(|part| !original.has(part) || original.joins(part, before));
                let is_as_before = is_whole && keeps_order((&original, &patched), name);
                is_as_before.then(|| before.union(after).copied().collect())?
            }
            (before, after) => before.or(after)??.clone(),
        };
        let parts = parts.into_iter().map(str::to_owned).collect();
        Some((name.to_owned(), parts))
    });
    Merged {
        parts: merged.collect(),
    }
}

/// The objects of one tree.
struct Tree<'i> {
    objects: BTreeMap<&'i str, &'i [u8]>,
    /// The merged ones, and what they were merged from.
    parts: BTreeMap<&'i str, BTreeSet<&'i str>>,
    /// Of these, the order of their parts.
    orders: BTreeMap<&'i str, Order>,
    /// The name of each object, by its index.
    names: Vec<&'i str>,
}

impl<'i> Tree<'i> {
    fn new(objects: &[Candidate<'i>], found: merged::Found) -> Tree<'i> {
        let name = |index: usize| objects[index].name;
        let named = |members: &Members| members.parts.iter().map(|part| name(*part)).collect();
        let parts = found.iter();
        let parts = parts.map(|(object, members)| (name(*object), named(members)));
        Tree {
            objects: objects
                .iter()
                .map(|object| (object.name, object.bytes))
                .collect(),
            parts: parts.collect(),
            orders: found
                .into_iter()
                .map(|(object, members)| (name(object), members.order))
                .collect(),
            names: objects.iter().map(|object| object.name).collect(),
        }
    }

    fn named(&self, row: &[usize]) -> Vec<&'i str> {
        row.iter().map(|part| self.names[*part]).collect()
    }

    fn has(&self, object: &str) -> bool {
        self.objects.contains_key(object)
    }

    /// Whether an object can be added to these parts without one of their names becoming its own.
    fn joins(&self, object: &str, parts: &BTreeSet<&str>) -> bool {
        let names = |name: &str| merged::global_names(self.objects.get(name)?);
        let Some(own) = names(object) else {
            return false;
        };
        parts
            .iter()
            .all(|part| names(part).is_some_and(|names| names.is_disjoint(&own)))
    }
}

/// Whether an object that is merged in both trees has the parts that are in both in the same order
/// where that counts, and the weak definitions of the same parts.
fn keeps_order((original, patched): (&Tree<'_>, &Tree<'_>), object: &str) -> bool {
    let (Some(before), Some(after)) = (original.orders.get(object), patched.orders.get(object))
    else {
        return false;
    };
    let rows_agree = before.walked.iter().all(|(section, ours)| {
        let ours: Vec<&str> = original.named(ours);
        let theirs = after.walked.get(section).map(|row| patched.named(row));
        let theirs = theirs.unwrap_or_default();
        let kept = ours.iter().filter(|part| theirs.contains(part));
        kept.eq(theirs.iter().filter(|part| ours.contains(part)))
    });
    let is_of_same = |(name, part): (&String, &usize)| {
        let other = after.weak.get(name);
        other.is_none_or(|other| original.names[*part] == patched.names[*other])
    };
    rows_agree && before.weak.iter().all(is_of_same)
}

/// The objects of one tree.
fn in_tree<'i>(
    inputs: &[(&'i Input, Standing)],
    bytes: fn(&Input) -> Option<&[u8]>,
) -> Vec<Candidate<'i>> {
    inputs
        .iter()
        .filter_map(|(input, standing)| {
            Some(Candidate {
                name: input.name.as_str(),
                bytes: bytes(input)?,
                standing: *standing,
            })
        })
        .collect()
}
