//! Pairs static locals: variables named `name.N` (gcc) or `function.name` (clang), whose numbers
//! prove nothing. Who refers to them, their size and what they hold at first tells which is
//! which; two that all of this cannot tell apart are paired in order and reported so when the
//! count is the same, and are left open otherwise. One that vanished from a function that stays,
//! while one of its name and size appears in another, is left open too: the code may have moved
//! with it, and a second copy would begin anew.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::groups::{Group, groups};
use super::{Correlation, is_content};
use crate::build::Build;
use crate::items::{ItemId, ItemKind};
use crate::names;
use crate::section_class::SectionClass;

/// What tells variables of one name apart.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Signature<'data> {
    /// Functions and data that refer to the variable, by the names that the author gave them.
    referrers: Vec<&'data str>,
    size: u64,
    bytes: &'data [u8],
}

/// Candidates that are named for a variable that is left open.
const CANDIDATES_MAX: usize = 8;

/// The name that the author gave a static local.
fn given_name(name: &str) -> &str {
    names::without_number(name).unwrap_or(name)
}

pub(super) fn pair(original: &Build<'_>, patched: &Build<'_>, correlation: &mut Correlation) {
    let groups = groups(original, patched, correlation, |build, item, name| {
        let symbol = build.symbol(item)?;
        let candidate = matches!(
            build.items.item(item).kind,
            ItemKind::Datum | ItemKind::UnsizedDatum
        ) && symbol.is_local()
            && !is_content(build, item)
            && !matches!(build.items.class(item), SectionClass::Ignored(_));
        candidate.then(|| given_name(name).to_owned())
    });
    let open: Vec<(String, Group)> = groups
        .into_iter()
        .filter(|(_, group)| !group.is_done())
        .collect();
    if open.is_empty() {
        return;
    }
    let old = signatures(original, open.iter().flat_map(|(_, group)| &group.original));
    let new = signatures(patched, open.iter().flat_map(|(_, group)| &group.patched));
    let functions = Functions {
        original: function_names(original),
        patched: function_names(patched),
    };
    for (_, group) in open {
        pair_group(
            (original, patched),
            group,
            &old,
            &new,
            &functions,
            correlation,
        );
    }
}

/// Whether a variable holds what a second copy would not.
fn is_state(build: &Build<'_>, item: ItemId) -> bool {
    !build.items.class(item).is_constant()
}

/// The functions that either build has, by the names that the author gave them.
struct Functions<'data> {
    original: BTreeSet<&'data str>,
    patched: BTreeSet<&'data str>,
}

fn pair_group(
    (original, patched): (&Build<'_>, &Build<'_>),
    mut group: Group,
    old: &HashMap<ItemId, Signature<'_>>,
    new: &HashMap<ItemId, Signature<'_>>,
    functions: &Functions<'_>,
    correlation: &mut Correlation,
) {
    group.pair_unique(correlation, |item| old.get(&item), |item| new.get(&item));
    group.pair_unique(
        correlation,
        |item| old.get(&item).map(|one| (&one.referrers, one.size)),
        |item| new.get(&item).map(|one| (&one.referrers, one.size)),
    );
    pair_by_shared_referrers(&mut group, old, new, correlation);
    if group.is_done() {
        return;
    }
    // Those that nothing tells apart: as many before as after, and the same in every respect.
    let mut alike: BTreeMap<&Signature<'_>, Group> = BTreeMap::new();
    for item in &group.original {
        if let Some(signature) = old.get(item) {
            alike.entry(signature).or_default().original.push(*item);
        }
    }
    for item in &group.patched {
        if let Some(signature) = new.get(item) {
            alike.entry(signature).or_default().patched.push(*item);
        }
    }
    for mut same in alike.into_values() {
        if same.original.len() == same.patched.len() {
            correlation.by_order.extend(&same.patched);
            same.pair_in_order(correlation);
        }
    }
    group
        .original
        .retain(|item| correlation.patched(*item).is_none());
    group
        .patched
        .retain(|item| correlation.original(*item).is_none());
    for item in &group.patched {
        let Some(signature) = new.get(item) else {
            continue;
        };
        let candidates: Vec<ItemId> = group
            .original
            .iter()
            .copied()
            .filter(|candidate| {
                old.get(candidate)
                    .is_some_and(|one| may_have_moved(one, signature, functions))
            })
            .take(CANDIDATES_MAX)
            .collect();
        match candidates.as_slice() {
            [] => {
                let left: Vec<ItemId> = group
                    .original
                    .iter()
                    .copied()
                    .filter(|one| {
                        let is_alike = old.get(one).is_some_and(|old| old.size == signature.size);
                        is_alike && is_state(original, *one) && is_state(patched, *item)
                    })
                    .take(CANDIDATES_MAX)
                    .collect();
                if !left.is_empty() {
                    correlation.ambiguous.push((*item, left));
                }
            }
            [one] if group.patched.len() == 1 && group.original.len() == 1 => {
                correlation.pair(*one, *item);
            }
            _ => correlation.ambiguous.push((*item, candidates)),
        }
    }
}

/// Pairs variables that share a referrer with exactly one on the other side.
fn pair_by_shared_referrers(
    group: &mut Group,
    old: &HashMap<ItemId, Signature<'_>>,
    new: &HashMap<ItemId, Signature<'_>>,
    correlation: &mut Correlation,
) {
    let by_referrer = |items: &[ItemId], signatures: &HashMap<ItemId, Signature<'_>>| {
        let mut map: BTreeMap<String, Vec<ItemId>> = BTreeMap::new();
        for item in items {
            for referrer in signatures.get(item).into_iter().flat_map(|s| &s.referrers) {
                map.entry((*referrer).to_owned()).or_default().push(*item);
            }
        }
        map
    };
    let before = by_referrer(&group.original, old);
    let after = by_referrer(&group.patched, new);
    for (referrer, olds) in &before {
        if let ([one], Some([other])) = (olds.as_slice(), after.get(referrer).map(Vec::as_slice)) {
            correlation.pair(*one, *other);
        }
    }
    group
        .original
        .retain(|item| correlation.patched(*item).is_none());
    group
        .patched
        .retain(|item| correlation.original(*item).is_none());
}

/// Whether the variable may be the same although no function refers to both: the code that used
/// it moved into a function that is new, or out of one that is gone; or both are used by the
/// same function and several are alike.
fn may_have_moved(old: &Signature<'_>, new: &Signature<'_>, functions: &Functions<'_>) -> bool {
    let shared = old
        .referrers
        .iter()
        .any(|referrer| new.referrers.contains(referrer));
    let came_from_gone = old
        .referrers
        .iter()
        .any(|referrer| !functions.patched.contains(referrer));
    let went_to_new = new
        .referrers
        .iter()
        .any(|referrer| !functions.original.contains(referrer));
    shared || came_from_gone || went_to_new
}

fn function_names<'data>(build: &Build<'data>) -> BTreeSet<&'data str> {
    build
        .items
        .ids()
        .filter(|item| build.items.item(*item).kind == ItemKind::Function)
        .map(|item| names::root(build.name(item)))
        .collect()
}

fn signatures<'a, 'data>(
    build: &Build<'data>,
    wanted: impl Iterator<Item = &'a ItemId>,
) -> HashMap<ItemId, Signature<'data>> {
    let mut signatures: HashMap<ItemId, Signature<'data>> = wanted
        .map(|item| {
            let signature = Signature {
                referrers: Vec::new(),
                size: build.items.item(*item).size,
                bytes: build.bytes(*item),
            };
            (*item, signature)
        })
        .collect();
    build.each_reference(|source, _, target| {
        if let Some(item) = target.item()
            && let Some(signature) = signatures.get_mut(&item)
        {
            let referrer = match build.items.item(source).kind {
                ItemKind::Function => names::root(build.name(source)),
                _ => build.name(source),
            };
            if source != item {
                signature.referrers.push(referrer);
            }
        }
    });
    for signature in signatures.values_mut() {
        signature.referrers.sort_unstable();
        signature.referrers.dedup();
    }
    signatures
}
