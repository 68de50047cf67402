//! What became of a function or datum of an object, by the differ's verdict.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use xsplice_diff::ObjectDiff;
use xsplice_diff::debug_info::source_lines;
use xsplice_diff::debug_info::source_lines::{Defined, Mark, defined};
use xsplice_diff::read::names::{clone_family, cold_parent};
use xsplice_diff::verdict::kinds::Reason;

use super::Trees;
use crate::inputs::{Bytes, Input};
use crate::source::patch_file::Side;

/// What became of a function or datum.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It is the same in both builds.
    Same,
    /// The patched build does not have it.
    Removed,
    /// It was left out, and why.
    Ignored(String),
    /// It was accepted, and as what.
    Accepted(String),
    /// It is included.
    Payload,
    /// The differ refuses it.
    Refused(String),
}

/// Looks outcomes up.
#[derive(Debug)]
pub struct Outcomes<'a> {
    diffs: HashMap<&'a str, &'a ObjectDiff<'a>>,
    inputs: HashMap<&'a str, &'a Input>,
    left_out: HashSet<&'a str>,
    /// What the patched objects define; filled on request.
    patched: RefCell<HashMap<String, Rc<Defined>>>,
}

impl<'a> Outcomes<'a> {
    /// Of the objects of two trees.
    #[must_use]
    pub fn new(trees: &Trees<'a>) -> Outcomes<'a> {
        let by_name = |input: &'a Input| (input.name.as_str(), input);
        Outcomes {
            diffs: trees
                .diffs
                .iter()
                .map(|diff| (diff.object.as_str(), diff))
                .collect(),
            inputs: trees.inputs.iter().map(by_name).collect(),
            left_out: trees
                .left_out
                .iter()
                .map(|input| input.name.as_str())
                .collect(),
            patched: RefCell::default(),
        }
    }

    /// Whether both builds of an object are equal to the byte.
    #[must_use]
    pub fn is_equal(&self, object: &str) -> bool {
        self.inputs
            .get(object)
            .is_some_and(|input| input.is_equal())
    }

    /// Whether an object was left out by name, so that nothing is known of it.
    #[must_use]
    pub(crate) fn is_left_out(&self, object: &str) -> bool {
        self.left_out.contains(object)
    }

    /// Whether an object has no functional difference: at most debug information differs.
    #[must_use]
    pub(crate) fn is_unchanged(&self, object: &str) -> bool {
        self.is_equal(object)
            || self.diffs.get(object).is_some_and(|diff| {
                diff.functions.is_empty()
                    && diff.data.is_empty()
                    && diff.ignored.is_empty()
                    && diff.accepted.is_empty()
                    && diff.refusals.is_empty()
            })
    }

    /// Whether that holds for every object.
    #[must_use]
    pub(crate) fn are_all_unchanged(&self) -> bool {
        self.inputs.keys().all(|object| self.is_unchanged(object))
    }

    /// Names of the functions of `object` that are in the payload.
    pub fn functions_of(&self, object: &str) -> impl Iterator<Item = &'a str> {
        let diff = self.diffs.get(object).copied();
        diff.into_iter()
            .flat_map(|diff| &diff.functions)
            .map(|function| function.name.as_str())
    }

    /// Names of all functions that are in the payload, in order.
    #[must_use]
    pub(crate) fn all_functions(&self) -> Vec<&'a str> {
        let all = self.diffs.values().flat_map(|diff| &diff.functions);
        let mut names: Vec<&str> = all.map(|function| function.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// What became of the function or datum `name` of `object`, as `side` calls it.
    #[must_use]
    pub fn of(&self, object: &str, side: Side, name: &str) -> Outcome {
        let bytes = self.inputs.get(object).map(|input| &input.bytes);
        if let Some(Bytes::Removed { .. }) = bytes {
            return Outcome::Ignored(format!(
                "{object} is only in the original tree; what it defines stays as it is"
            ));
        }
        let said = self
            .diffs
            .get(object)
            .map_or(Outcome::Same, |diff| said_by(diff, name));
        if said != Outcome::Same || self.is_equal(object) {
            return said;
        }
        match (bytes, side) {
            (Some(Bytes::Both { patched, .. }), Side::Old) => {
                let names = &self.defined(object, patched).names;
                if names.iter().any(|known| is_same(known, name)) {
                    Outcome::Same
                } else {
                    Outcome::Removed
                }
            }
            (Some(Bytes::Both { patched, .. } | Bytes::Added { patched }), Side::New) => {
                match self.defined(object, patched).marks.get(name) {
                    Some(Mark::Hook) => Outcome::Payload,
                    Some(Mark::Accept) => Outcome::Accepted("an XSPLICE_ACCEPT itself".to_owned()),
                    None => Outcome::Same,
                }
            }
            _ => Outcome::Same,
        }
    }

    /// What a patched object defines; nothing for one that cannot be read.
    fn defined(&self, object: &str, patched: &[u8]) -> Rc<Defined> {
        let mut known = self.patched.borrow_mut();
        let read = || Rc::new(defined(object, patched).unwrap_or_default());
        Rc::clone(known.entry(object.to_owned()).or_insert_with(read))
    }
}

/// Whether two names mean one function: its out-of-line parts and numbered clones count as the
/// function.
fn is_same(one: &str, other: &str) -> bool {
    let family = |name: &str| clone_family(cold_parent(name).unwrap_or(name));
    one == other || family(one) == family(other)
}

fn said_by(diff: &ObjectDiff<'_>, name: &str) -> Outcome {
    let refused = diff
        .refusals
        .iter()
        .find(|refusal| refusal.place.symbol.as_deref() == Some(name));
    if let Some(refusal) = refused {
        let code = serde_json::to_value(refusal.code).unwrap_or_default();
        return Outcome::Refused(code.as_str().unwrap_or_default().to_owned());
    }
    let accepted = diff.accepted.iter().find(|accepted| {
        accepted
            .symbol
            .as_deref()
            .is_some_and(|symbol| is_same(symbol, name))
    });
    let holds_constant = |reason: &Reason| match reason {
        Reason::ConstantDiffers { name: constant, .. } => constant == name,
        _ => false,
    };
    let is_included = diff.functions.iter().any(|function| {
        is_same(&function.name, name) || function.reasons.iter().any(holds_constant)
    }) || diff.data.iter().any(|data| is_same(&data.name, name));
    if is_included {
        return Outcome::Payload;
    }
    if let Some(accepted) = accepted {
        return Outcome::Accepted(accepted.what.clone());
    }
    match diff
        .ignored
        .iter()
        .find(|ignored| is_same(&ignored.name, name))
    {
        Some(ignored) => Outcome::Ignored(ignored.why.clone()),
        None => Outcome::Same,
    }
}

/// Whether a row of a line table has instructions.
#[must_use]
pub(super) fn is_code(line: &source_lines::CodeLine) -> bool {
    line.weight == source_lines::Weight::Instructions
}
