//! Looks for users of changed layouts in all objects of the original tree.
//!
//! Objects are only read again when a layout changed, so the common case costs nothing.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;
use xsplice_diff::ObjectDiff;
use xsplice_diff::layouts::{self, LayoutChange};
use xsplice_diff::verdict::kinds::Status;

use crate::compare::merged::Merged;
use crate::inputs::{Bytes, Input};

/// The layout changes of `diffs`, each type once, with their users in the tree.
#[must_use]
pub(crate) fn follow(
    diffs: &[ObjectDiff<'_>],
    inputs: &[Input],
    merged: &Merged,
) -> Vec<LayoutChange> {
    let mut changes = layouts::merge(diffs.iter().flat_map(|diff| &diff.layouts.changes));
    let unpaired: Vec<_> = diffs
        .iter()
        .flat_map(|diff| &diff.layouts.unpaired)
        .collect();
    if !unpaired.is_empty() {
        let elsewhere: Vec<_> = inputs
            .par_iter()
            .filter(|input| !merged.parts.contains_key(&input.name))
            .filter_map(|input| match &input.bytes {
                Bytes::Both { original, patched } if !input.is_equal() => {
                    layouts::changed_elsewhere(&input.name, original, patched, &unpaired).ok()
                }
                _ => None,
            })
            .collect();
        changes.extend(elsewhere.into_iter().flatten());
        changes = layouts::merge(&changes);
    }
    if changes.iter().any(|change| change.breaks) {
        let changed = changed_functions(diffs);
        let none = HashSet::new();
        let found: Vec<_> = inputs
            .par_iter()
            .filter(|input| !merged.parts.contains_key(&input.name))
            .filter_map(|input| {
                let changed = changed.get(input.name.as_str()).unwrap_or(&none);
                // Unreadable objects are reported by the comparison or by the proof.
                layouts::users_in(&input.name, input.original()?, &changes, changed).ok()
            })
            .collect();
        layouts::add_users(&mut changes, found.into_iter().flatten());
    }
    changes
}

/// Names of the functions that are replaced, by object.
fn changed_functions(diffs: &[ObjectDiff<'_>]) -> HashMap<String, HashSet<String>> {
    let of = |diff: &ObjectDiff<'_>| {
        let names = diff
            .functions
            .iter()
            .filter(|function| function.status == Status::Changed)
            .map(|function| function.name.clone());
        (diff.object.clone(), names.collect())
    };
    diffs.iter().map(of).collect()
}
