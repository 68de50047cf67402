//! Tells objects that the build merged from others (`ld -r`) from those that it compiled.
//!
//! Build trees hold both. A merged object holds nothing that its parts do not hold, in either tree
//! ([`xsplice_diff::merged`] proves it section by section), so it is neither compared nor proven.

use std::collections::{BTreeMap, BTreeSet};

use xsplice_diff::merged;

use crate::inputs::Input;

/// The merged objects of both trees.
#[derive(Debug, Default)]
pub struct Merged {
    /// Name of a merged object → names of the objects that it was merged from.
    pub parts: BTreeMap<String, Vec<String>>,
}

/// Finds the objects that are merged in each tree that has them. What was left out by name may
/// still be a part.
#[must_use]
pub fn find(inputs: &[Input], left_out: &[Input]) -> Merged {
    let all: Vec<&Input> = inputs.iter().chain(left_out).collect();
    let (original, patched) = rayon::join(
        || in_tree(&all, Input::original),
        || in_tree(&all, Input::patched),
    );
    let merged = inputs.iter().filter_map(|input| {
        let parts: Option<Vec<_>> = [
            (input.original().is_some(), &original),
            (input.patched().is_some(), &patched),
        ]
        .into_iter()
        .filter(|(is_there, _)| *is_there)
        .map(|(_, tree)| tree.get(input.name.as_str()))
        .collect();
        let parts: BTreeSet<&str> = parts?.into_iter().flatten().copied().collect();
        let parts = parts.into_iter().map(str::to_owned).collect();
        Some((input.name.clone(), parts))
    });
    Merged {
        parts: merged.collect(),
    }
}

/// The merged objects of one tree, by name.
fn in_tree<'i>(
    inputs: &[&'i Input],
    bytes: fn(&Input) -> Option<&[u8]>,
) -> BTreeMap<&'i str, Vec<&'i str>> {
    let (names, objects): (Vec<&str>, Vec<&[u8]>) = inputs
        .iter()
        .filter_map(|input| Some((input.name.as_str(), bytes(input)?)))
        .unzip();
    merged::find(&objects)
        .into_iter()
        .map(|(object, parts)| {
            let parts = parts.into_iter().map(|part| names[part]);
            (names[object], parts.collect())
        })
        .collect()
}
