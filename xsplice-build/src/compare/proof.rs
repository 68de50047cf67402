//! Compares the whole original tree with the base: a single function may match by chance, a whole
//! tree does not.

use std::collections::HashSet;

use rayon::prelude::*;
use serde::Serialize;
use xsplice_diff::originals;
use xsplice_link::Base;
use xsplice_link::proof::{TreeProof, prove_object};

use crate::command::progress::Progress;
use crate::compare::merged::Merged;
use crate::inputs::{Bytes, Input};

/// The proof of the original tree against the base.
#[derive(Debug, Default)]
pub struct Proof {
    /// Counts and failures, in order of object name.
    pub tree: TreeProof,
    /// Objects that differ and have functions, none of which is in the base.
    pub unlinked: HashSet<String>,
    /// Objects that cannot be compared: for another machine, or no ELF at all.
    pub foreign: Vec<String>,
}

/// How the original tree compares with the base, for the report.
#[derive(Clone, Debug, Serialize)]
pub struct ProofSummary {
    /// Objects that are linked into the base.
    pub objects: usize,
    /// Their functions whose bytes the base holds.
    pub proven: usize,
    /// Their constants of a name that the base holds as they were compiled.
    pub constants: usize,
    /// Their functions that the base has no symbol of.
    pub absent: usize,
    /// Their functions that the base holds otherwise, each with the first difference.
    pub failed: Vec<String>,
    /// Their constants that the base holds otherwise, each with the first difference.
    pub failed_constants: Vec<String>,
    /// Objects in place of which others were linked that define the same names.
    pub superseded: Vec<String>,
    /// Objects that have functions, none of which is in the base.
    pub unlinked: Vec<String>,
    /// Files that were not compared: no x86-64 objects.
    pub foreign: Vec<String>,
}

/// Proves every function of every original object, but the merged ones.
#[must_use]
pub fn prove(base: &Base<'_>, inputs: &[Input], merged: &Merged, progress: &Progress) -> Proof {
    let proofs: Vec<_> = inputs
        .par_iter()
        .filter(|input| !merged.parts.contains_key(&input.name))
        .filter_map(|input| {
            let object = input.original()?;
            let proof =
                originals(&input.name, object).map(|items| prove_object(base, &input.name, &items));
            progress.step();
            Some((input.name.as_str(), proof))
        })
        .collect();

    let mut result = Proof::default();
    for (name, proof) in proofs {
        match proof {
            Ok(proof) => result.tree.add(proof),
            // Objects that differ between the trees were read before, so this one is equal in both.
            Err(_) => result.foreign.push(name.to_owned()),
        }
    }
    // What is the same in both trees has not changed: included code may bring it along.
    let unlinked: HashSet<&str> = result.tree.unlinked.iter().map(String::as_str).collect();
    let changed = inputs
        .iter()
        .filter(|input| unlinked.contains(input.name.as_str()) && !input.is_equal());
    result.unlinked = changed.map(|input| input.name.clone()).collect();
    result
}

/// Whether enough of the tree is in the base: otherwise the base was linked from another tree.
pub(crate) fn is_source_of_base(tree: &TreeProof) -> bool {
    /// A tree with a smaller share in the base is not the tree that the base was linked from.
    const PERCENT_NEEDED: usize = 90;

    let is_enough = |part: usize, rest: usize| part * 100 >= (part + rest) * PERCENT_NEEDED;
    let objects = count(tree.objects);
    objects != 0
        && is_enough(objects, tree.superseded.len())
        && is_enough(count(tree.proven), tree.failed.len())
}

/// Where the base holds what PATCHED has.
#[derive(Debug, Default)]
pub(crate) struct OtherWay<'i> {
    /// How many objects differ whose patched functions, and not the original ones, are in the base.
    pub(crate) patched_in_base: usize,
    /// How many are the other way round.
    pub(crate) original_in_base: usize,
    /// Objects that only PATCHED has and functions of which the base holds, and how many functions.
    pub(crate) not_in_original: Vec<(&'i str, u64)>,
}

impl OtherWay<'_> {
    /// Whether ORIG and PATCHED were mistaken for one another.
    pub(crate) fn is_swapped(&self) -> bool {
        self.patched_in_base != 0 && self.original_in_base == 0
    }
}

/// Looks for the patched functions in the base, of objects that differ or are new.
pub(crate) fn other_way<'i>(base: &Base<'_>, inputs: &'i [Input], merged: &Merged) -> OtherWay<'i> {
    let proof = |input: &Input, bytes: Option<&[u8]>| {
        let items = originals(&input.name, bytes?).ok()?;
        let proof = prove_object(base, &input.name, &items);
        (proof.proven != 0 || !proof.failed.is_empty()).then_some(proof)
    };
    let mut found = OtherWay::default();
    for input in inputs
        .iter()
        .filter(|input| !merged.parts.contains_key(&input.name) && !input.is_equal())
    {
        let Some(patched) = proof(input, input.patched()) else {
            continue;
        };
        match &input.bytes {
            Bytes::Added { .. } if patched.failed.is_empty() => {
                found.not_in_original.push((&input.name, patched.proven));
            }
            Bytes::Both { .. } => {
                let Some(original) = proof(input, input.original()) else {
                    continue;
                };
                match (original.failed.is_empty(), patched.failed.is_empty()) {
                    (false, true) => found.patched_in_base += 1,
                    (true, false) => found.original_in_base += 1,
                    _ => {}
                }
            }
            _ => {}
        }
    }
    found
}

/// Why the base was not linked from the tree.
pub(crate) fn other_tree(tree: &TreeProof, base: &Base<'_>, suggestion: &str) -> String {
    let (proven, failed) = (count(tree.proven), tree.failed.len());
    let (objects, superseded) = (count(tree.objects), tree.superseded.len());
    let base = base.path();
    let held = match (objects, superseded) {
        (0, 0) => format!("no function of this tree is in {base}"),
        (0, 1) => format!("the only object of this tree is not in {base} as it was compiled"),
        (0, all) => format!("none of {all} objects is in {base} as it was compiled"),
        _ => format!(
            "only {proven} of {} functions of {objects} of {} objects are in {base} as they were \
             compiled",
            proven + failed,
            objects + superseded,
        ),
    };
    format!(
        "{held}; give the tree that this image was linked from, or the image that was linked from \
         this tree{suggestion}"
    )
}

/// Converts a count of items in memory.
pub(crate) fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
