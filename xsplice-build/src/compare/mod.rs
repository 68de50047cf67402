//! Runs the differ over every pair of objects, on all cores.

pub(crate) mod absent;
pub mod callers;
pub(crate) mod layouts;
pub mod merged;
pub mod proof;
pub(crate) mod toolchain;

use std::collections::BTreeSet;

use rayon::prelude::*;
use xsplice_diff::DiffError;
use xsplice_diff::ObjectDiff;
use xsplice_diff::Options;
use xsplice_diff::drop_whole;
use xsplice_diff::gather;
use xsplice_diff::refuse_foreign;
use xsplice_diff::report::judge::SharedByTree;
use xsplice_diff::report::object_diff::Verdict;
use xsplice_diff::shared_names;
use xsplice_diff::take_whole;

use crate::command::progress::Progress;
use crate::compare::merged::Merged;
use crate::inputs::{Bytes, Input};

/// The result of comparing all pairs; every list is in order of object name.
#[derive(Debug, Default)]
pub struct Comparison<'data> {
    /// Objects that differ and whose difference means something: changed, ignored or refused.
    pub diffs: Vec<ObjectDiff<'data>>,
    /// Objects whose files are equal.
    pub equal: usize,
    /// Objects whose files differ, but nothing that matters in them.
    pub unchanged: usize,
    /// Objects that only the original tree has.
    pub removed: Vec<String>,
    /// Objects that only the patched tree has.
    pub added: Vec<String>,
}

impl Comparison<'_> {
    /// What the objects of both trees have to do with the names that changed somewhere.
    #[must_use]
    pub(crate) fn shared_by_tree(&self, inputs: &[Input], merged: &Merged) -> SharedByTree {
        let evidence = || self.diffs.iter().map(|diff| &diff.evidence);
        let names = evidence().flat_map(|one| &one.names);
        let begun = evidence().flat_map(|one| one.begun.keys());
        let changed: BTreeSet<&str> = names
            .map(|change| change.name.as_str())
            .chain(begun.map(String::as_str))
            .chain(self.diffs.iter().flat_map(ObjectDiff::replaced_weak))
            .collect();
        if changed.is_empty() {
            return SharedByTree::default();
        }
        shared_by_tree(inputs, merged, &changed)
    }
}

/// The result for one pair.
enum Outcome<'data> {
    Equal,
    /// The object is only in the original tree: what it removes.
    Removed(Box<ObjectDiff<'data>>),
    Diff(Box<ObjectDiff<'data>>),
}

/// Compares all inputs but the merged ones.
///
/// # Errors
///
/// Every input that is not an object the differ can read.
pub fn compare<'data>(
    inputs: &'data [Input],
    merged: &Merged,
    options: &Options,
    progress: &Progress,
) -> Result<Comparison<'data>, Vec<DiffError>> {
    let inputs: Vec<&Input> = inputs
        .iter()
        .filter(|input| !merged.parts.contains_key(&input.name))
        .collect();
    let outcomes: Vec<_> = inputs
        .par_iter()
        .map(|input| {
            let outcome = compare_one(input, options);
            progress.step();
            outcome
        })
        .collect();

    let mut comparison = Comparison::default();
    let mut errors = Vec::new();
    for (input, outcome) in inputs.iter().zip(outcomes) {
        if matches!(input.bytes, Bytes::Added { .. }) {
            comparison.added.push(input.name.clone());
        }
        match outcome {
            Ok(Outcome::Equal) => comparison.equal += 1,
            Ok(Outcome::Removed(diff)) => {
                comparison.removed.push(input.name.clone());
                if !diff.refusals.is_empty() || !diff.evidence.names.is_empty() {
                    comparison.diffs.push(*diff);
                }
            }
            Ok(Outcome::Diff(diff)) => {
                if diff.verdict() == Verdict::Unchanged {
                    comparison.unchanged += 1;
                }
                comparison.diffs.push(*diff);
            }
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Ok(comparison)
    } else {
        Err(errors)
    }
}

/// An object that is not for x86-64 becomes a refusal, reported with all others.
fn compare_one<'data>(input: &'data Input, options: &Options) -> Result<Outcome<'data>, DiffError> {
    compare_readable(input, options).or_else(|error| {
        let foreign = match &input.bytes {
            _ if !error.is_foreign() => None,
            Bytes::Both { original, patched } => {
                refuse_foreign(&input.name, Some(original), patched)
            }
            Bytes::Added { patched } => refuse_foreign(&input.name, None, patched),
            Bytes::Removed { .. } => None,
        };
        foreign
            .map(|diff| Outcome::Diff(Box::new(diff)))
            .ok_or(error)
    })
}

fn compare_readable<'data>(
    input: &'data Input,
    options: &Options,
) -> Result<Outcome<'data>, DiffError> {
    let diff = match &input.bytes {
        Bytes::Both { .. } if input.is_equal() => return Ok(Outcome::Equal),
        Bytes::Both { original, patched } => gather(&input.name, original, patched, options)?,
        Bytes::Added { patched } => take_whole(&input.name, patched, options)?,
        Bytes::Removed { original } => {
            // An unreadable object was not linked into the base.
            let diff = drop_whole(&input.name, original, options)
                .unwrap_or_else(|_| ObjectDiff::unchanged(&input.name));
            return Ok(Outcome::Removed(Box::new(diff)));
        }
    };
    Ok(Outcome::Diff(Box::new(diff)))
}

/// Which objects have to do with `names`. Merged objects are left out, since their parts are read.
fn shared_by_tree(inputs: &[Input], merged: &Merged, names: &BTreeSet<&str>) -> SharedByTree {
    let own = |all: Vec<&str>| -> Vec<String> {
        let own = all.into_iter().filter(|name| names.contains(name));
        own.map(str::to_owned).collect()
    };
    let of = |name: &str, bytes: Option<&[u8]>| {
        // An unreadable object is equal in both trees, and not part of the base.
        let found = bytes.and_then(|bytes| shared_names(name, bytes).ok());
        let found = found.unwrap_or_default();
        (
            own(found.weak),
            own(found.needed),
            own(found.defined),
            own(found.at_boot),
        )
    };
    let found: Vec<_> = inputs
        .par_iter()
        .filter(|input| !merged.parts.contains_key(&input.name))
        .map(|input| {
            let name = input.name.as_str();
            let (weak, _, defined_before, at_boot) = of(name, input.original());
            let (_, needed, defined, _) = of(name, input.patched());
            (name, weak, defined_before, needed, defined, at_boot)
        })
        .collect();
    let mut shared = SharedByTree::default();
    for (object, weak, defined_before, needed, defined, at_boot) in found {
        let defined_weak = weak.iter().filter(|name| defined_before.contains(name));
        for name in defined_weak {
            let objects = shared.weak_definitions.entry(name.clone()).or_default();
            objects.push(object.to_owned());
        }
        for name in weak {
            shared.weak.entry(name).or_default().push(object.to_owned());
        }
        for name in needed {
            let users = shared.needed.entry(name).or_default();
            users.push(object.to_owned());
        }
        shared.defined.extend(defined);
        shared.at_boot.extend(at_boot);
    }
    shared
}
