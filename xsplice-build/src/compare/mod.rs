//! Runs the differ over every pair of objects, on all cores.

pub mod callers;
pub mod layouts;
pub mod merged;
pub mod proof;
pub mod toolchain;

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use xsplice_diff::DiffError;
use xsplice_diff::ObjectDiff;
use xsplice_diff::Options;
use xsplice_diff::drop_whole;
use xsplice_diff::gather;
use xsplice_diff::refuse_foreign;
use xsplice_diff::report::object_diff::Verdict;
use xsplice_diff::take_whole;
use xsplice_diff::weak_names;

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

impl<'data> Comparison<'data> {
    /// The weak symbols of the original tree whose names changed somewhere, by name, each with the
    /// objects that have it.
    #[must_use]
    pub fn weak_symbols(&self, inputs: &[Input], merged: &Merged) -> BTreeMap<String, Vec<String>> {
        let changed: BTreeSet<&str> = self
            .diffs
            .iter()
            .flat_map(|diff| &diff.evidence.names)
            .map(|change| change.name.as_str())
            .collect();
        if changed.is_empty() {
            return BTreeMap::new();
        }
        weak_symbols(inputs, merged, &changed)
    }

    /// Leaves out merged objects whose differences were all found in their parts.
    pub fn leave_out_covered(&mut self, merged: &Merged) {
        let covered = merged.covered(&self.diffs);
        self.diffs.retain(|diff| !covered.contains(&diff.object));
    }
}

/// The result for one pair.
enum Outcome<'data> {
    Equal,
    /// The object is only in the original tree: what it removes.
    Removed(Box<ObjectDiff<'data>>),
    Diff(Box<ObjectDiff<'data>>),
}

/// Compares all inputs.
///
/// # Errors
///
/// Every input that is not an object the differ can read.
pub fn compare<'data>(
    inputs: &'data [Input],
    options: &Options,
    progress: &Progress,
) -> Result<Comparison<'data>, Vec<DiffError>> {
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
        Bytes::Both { original, patched } if original[..] == patched[..] => {
            return Ok(Outcome::Equal);
        }
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

/// Which of `names` are weak symbols of which objects of the original tree. Merged objects are left
/// out, since their parts are read.
fn weak_symbols(
    inputs: &[Input],
    merged: &Merged,
    names: &BTreeSet<&str>,
) -> BTreeMap<String, Vec<String>> {
    let found: Vec<(&str, Vec<String>)> = inputs
        .par_iter()
        .filter(|input| !merged.parts.contains_key(&input.name))
        .filter_map(|input| {
            // An unreadable object is equal in both trees, and not part of the base.
            let all = weak_names(&input.name, input.original()?).ok()?;
            let own = all.into_iter().filter(|name| names.contains(name));
            Some((input.name.as_str(), own.map(str::to_owned).collect()))
        })
        .collect();
    let mut weak: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (object, own) in found {
        for name in own {
            weak.entry(name).or_default().push(object.to_owned());
        }
    }
    weak
}
