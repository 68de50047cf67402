//! Runs the differ over every pair of objects, on all cores.

use rayon::prelude::*;
use xsplice_diff::report::Verdict;
use xsplice_diff::{DiffError, ObjectDiff, Options, diff_objects, take_whole};

use crate::inputs::{Bytes, Input};
use crate::merged::Merged;
use crate::progress::Progress;

/// What comparing all pairs gave; every list is in order of object name.
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
    /// Leaves out merged objects that say nothing that their parts do not say.
    pub fn drop_covered(&mut self, merged: &Merged) {
        let covered = merged.covered(&self.diffs);
        self.diffs.retain(|diff| !covered.contains(&diff.object));
    }
}

/// What became of one pair.
enum Outcome<'data> {
    Equal,
    Removed,
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
            Ok(Outcome::Removed) => comparison.removed.push(input.name.clone()),
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

fn compare_one<'data>(input: &'data Input, options: &Options) -> Result<Outcome<'data>, DiffError> {
    let diff = match &input.bytes {
        Bytes::Both { original, patched } if original[..] == patched[..] => {
            return Ok(Outcome::Equal);
        }
        Bytes::Both { original, patched } => diff_objects(&input.name, original, patched, options)?,
        Bytes::Added { patched } => take_whole(&input.name, patched, options)?,
        Bytes::Removed { .. } => return Ok(Outcome::Removed),
    };
    Ok(Outcome::Diff(Box::new(diff)))
}
