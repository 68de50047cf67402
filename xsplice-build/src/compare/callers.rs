//! Who refers to the included functions, in the whole tree.
//!
//! This reads every object, including those that are equal in both trees, so it only runs when the
//! result is shown.

use std::collections::HashSet;
use std::fmt::Write;

use anyhow::{Context, Result};
use rayon::prelude::*;
use xsplice_abi::Profile;
use xsplice_diff::ObjectDiff;
use xsplice_diff::html::Callers;
use xsplice_diff::html::text::count;
use xsplice_diff::tell::referrers::Sought;

use crate::compare::merged::Merged;
use crate::compare::proof::ProofSummary;
use crate::inputs::Input;

/// Searches the patched tree, and the objects that only the original tree has, because their code
/// keeps running. Merged objects are left out, since their parts are read; so are objects that are
/// not linked into the base.
///
/// # Errors
///
/// An object with included functions that cannot be read again.
pub fn find(
    diffs: &[ObjectDiff<'_>],
    inputs: &[Input],
    merged: &Merged,
    proof: Option<&ProofSummary>,
    abi: &Profile,
) -> Result<Callers> {
    let mut sought = Sought::new(diffs);
    if diffs.iter().all(|diff| diff.functions.is_empty()) {
        return Ok(Callers::default());
    }
    for input in inputs {
        if let Some(patched) = input.patched() {
            sought
                .add_names(&input.name, patched, abi)
                .context("the patched object was readable before")?;
        }
    }
    let not_linked: HashSet<&str> = proof
        .iter()
        .flat_map(|proof| proof.superseded.iter().chain(&proof.unlinked))
        .map(String::as_str)
        .collect();
    let is_spare = |name: &str| merged.parts.contains_key(name) || not_linked.contains(name);
    let found: Vec<_> = inputs
        .par_iter()
        .filter(|input| !is_spare(&input.name) || sought.is_held_by(&input.name))
        .filter_map(|input| {
            let bytes = input.patched().or_else(|| input.original())?;
            // Files that are no x86-64 objects cannot call these functions.
            let found = sought.look(&input.name, bytes, abi).ok()?;
            Some((input.patched().is_some(), found))
        })
        .collect();
    let patched = found.iter().filter(|(is_patched, _)| *is_patched).count();
    let from = from(inputs.len(), patched, found.len() - patched);
    let found = found.into_iter().map(|(_, found)| found);
    Ok(Callers {
        of: sought.gather(found),
        from,
    })
}

/// Which objects were read, as the end of a sentence.
fn from(inputs: usize, patched: usize, only_original: usize) -> String {
    if inputs == 1 {
        return "the relocations of the patched object; other objects were not looked at"
            .to_owned();
    }
    let objects = count(patched, "object");
    let mut text = format!("the relocations of {objects} of the patched tree");
    if only_original > 0 {
        let _ = write!(
            text,
            " and of {only_original} that only the original tree has"
        );
    }
    text
}
