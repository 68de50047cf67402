//! Pairs functions and constants that the compiler numbered (`cmp.0`, `ops.1`): by content and by
//! the code that uses them, never by the number alone.
//!
//! A pointer to such a function may be stored, and a number that means another one would lead it to
//! other code; so one that nothing tells apart is left open and refused where it is included.

use foldhash::HashSet;

use super::contexts::{Contexts, best_pairs};
use super::groups::{Group, groups};
use super::{Correlation, Why};
use crate::read::items::{ItemId, ItemKind};
use crate::read::names;
use crate::read::side::{Build, is_content};

/// Pairs local functions of one name but for their numbers, other than clones and cold parts.
pub(super) fn pair_functions(
    original: &Build<'_>,
    patched: &Build<'_>,
    correlation: &mut Correlation,
) {
    let numbered = groups(original, patched, correlation, |build, item, name| {
        let is_one = build.items.item(item).kind == ItemKind::Function
            && names::is_numbered(name)
            && !names::is_clone(name)
            && names::cold_parent(name).is_none();
        is_one.then(|| names::given(name).to_owned())
    });
    for mut group in numbered.into_values() {
        if group.is_done() {
            continue;
        }
        group.pair_equal_bytes(original, patched, correlation);
        pair_by_contexts(original, patched, &mut group, correlation);
        match (group.original.as_slice(), group.patched.as_slice()) {
            ([], _) | (_, []) => {}
            ([one], [other]) => {
                correlation.pair_because(*one, *other, Why::Alone);
            }
            (old, new) => {
                let open = new.iter().map(|item| (*item, old.to_vec()));
                correlation.ambiguous.extend(open);
            }
        }
    }
}

/// Pairs what changed code uses in the same way, where both builds have as many.
pub(super) fn pair_by_contexts(
    original: &Build<'_>,
    patched: &Build<'_>,
    group: &mut Group,
    correlation: &mut Correlation,
) {
    if group.is_done() || group.original.len() != group.patched.len() {
        return;
    }
    let old = Contexts::new(original, group.original.iter().copied());
    let new = Contexts::new(patched, group.patched.iter().copied());
    for (o, p) in best_pairs((&group.original, &old), (&group.patched, &new)) {
        correlation.pair_because(o, p, Why::Contexts);
    }
    group.drop_paired(correlation);
}

/// Finds the constants of the original that those without identity may be: of one name but for
/// their numbers, with the same bytes.
pub(super) fn pair_constants(
    original: &Build<'_>,
    patched: &Build<'_>,
    correlation: &mut Correlation,
) {
    let constants = groups(original, patched, correlation, |build, item, name| {
        let is_constant = build.items.item(item).kind == ItemKind::Datum && is_content(build, item);
        is_constant.then(|| (names::given(name).to_owned(), build.bytes(item).to_vec()))
    });
    let mut taken: HashSet<ItemId> = correlation.same_constant.values().copied().collect();
    for mut group in constants.into_values() {
        group.original.retain(|item| !taken.contains(item));
        group
            .patched
            .retain(|item| !correlation.same_constant.contains_key(item));
        if let ([one], [other]) = (group.original.as_slice(), group.patched.as_slice()) {
            correlation.same_constant.insert(*other, *one);
            taken.insert(*one);
            continue;
        }
        let old = Contexts::new(original, group.original.iter().copied());
        let new = Contexts::new(patched, group.patched.iter().copied());
        for (o, p) in best_pairs((&group.original, &old), (&group.patched, &new)) {
            correlation.same_constant.insert(p, o);
            taken.insert(o);
        }
    }
}
