//! Recognises a ripple: a structure got another layout, and many functions differ only in
//! displacements. Each of them has a label; this module reports that there are many, because
//! objects of the old layout exist in the running system.

use std::collections::BTreeSet;

use crate::layouts::say_differences;
use crate::report::object_diff::ObjectDiff;
use crate::verdict::kinds::Reason;

/// So many functions with the same kind of difference count as a ripple; fewer may each have their
/// own cause.
pub const FUNCTIONS_MIN: usize = 10;

/// What to tell about the ripple in some diffs: how many functions and objects, and the types
/// where debug information names them. `None` when there is none.
#[must_use]
pub fn ripple(diffs: &[ObjectDiff<'_>]) -> Option<String> {
    let mut functions = 0;
    let mut objects = BTreeSet::new();
    let mut types = BTreeSet::new();
    for function in diffs.iter().flat_map(|diff| &diff.functions) {
        let label = function.reasons.iter().find_map(|reason| match reason {
            Reason::LayoutOnly { types } => Some(types),
            _ => None,
        });
        if let Some(named) = label {
            functions += 1;
            objects.insert(function.object.as_str());
            types.extend(named.iter().map(String::as_str));
        }
    }
    if functions < FUNCTIONS_MIN {
        return None;
    }
    let plural = if objects.len() == 1 { "" } else { "s" };
    Some(format!(
        "{functions} functions in {} object{plural} differ in displacements alone: {}; existing \
         objects keep the old layout: keep the structure, and put what is new into a shadow \
         variable",
        objects.len(),
        causes(diffs, &types)
    ))
}

/// What changed, with the members where debug information tells them.
fn causes(diffs: &[ObjectDiff<'_>], types: &BTreeSet<&str>) -> String {
    if types.is_empty() {
        return "the layout of a structure changed".to_owned();
    }
    let changes = || diffs.iter().flat_map(|diff| &diff.layouts.changes);
    let all: BTreeSet<String> = types
        .iter()
        .map(|name| {
            changes()
                .find(|change| change.said == *name)
                .map_or_else(|| (*name).to_owned(), say_differences)
        })
        .collect();
    all.into_iter().collect::<Vec<_>>().join("; ")
}
