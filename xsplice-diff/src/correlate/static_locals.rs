//! Correlates static locals: variables named `name.N` (gcc) or `function.name` (clang), whose
//! numbers are no evidence. They are told apart by who refers to them, by size and by initial
//! contents; those that are equal in all of this by the instructions around their uses, and last,
//! when both builds have the same ones, by their numbers, which is reported. Others are left open.
//! A variable that disappears from one function while one of the same name and size appears in
//! another is left open too: the code may have moved, and a second copy would lose the state.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::{HashMap, HashMapExt as _};

use super::groups::{Group, groups};
use super::{Correlation, Why, numbered};
use crate::read::items::{ItemId, ItemKind};
use crate::read::names;
use crate::read::section_class::SectionClass;
use crate::read::side::Build;
use crate::read::side::is_content;

/// The evidence that tells variables of one name apart.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Signature<'data> {
    /// Functions and data that refer to the variable, by the names that the author gave them.
    referrers: Vec<&'data str>,
    size: u64,
    bytes: &'data [u8],
    /// The strings and constants that its initial value leads to.
    says: Vec<&'data [u8]>,
}

/// How many candidates are named for a variable that is left open.
const CANDIDATES_MAX: usize = 8;

pub(super) fn pair(original: &Build<'_>, patched: &Build<'_>, correlation: &mut Correlation) {
    let groups = groups(original, patched, correlation, |build, item, name| {
        let symbol = build.symbol(item)?;
        let candidate = matches!(
            build.items.item(item).kind,
            ItemKind::Datum | ItemKind::UnsizedDatum
        ) && (symbol.is_local() || names::is_numbered(name))
            && !is_content(build, item)
            && !matches!(build.items.class(item), SectionClass::Ignored(_));
        candidate.then(|| names::given(name).to_owned())
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

/// Whether a variable holds state that a second copy would lack.
fn is_state(build: &Build<'_>, item: ItemId) -> bool {
    !build.items.class(item).is_constant()
}

/// The functions of each build, by the names that the author gave them.
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
    numbered::pair_by_contexts(original, patched, &mut group, correlation);
    pair_by_number((original, patched), &mut group, (old, new), correlation);
    let left = Left::new(original, &group, old, functions);
    for item in &group.patched {
        let Some(signature) = new.get(item) else {
            continue;
        };
        let candidates = left.candidates(signature, functions);
        match candidates.as_slice() {
            [] => {
                let alike = if is_state(patched, *item) {
                    left.of_size(signature.size)
                } else {
                    Vec::new()
                };
                if !alike.is_empty() {
                    correlation.ambiguous.push((*item, alike));
                }
            }
            [one] if group.patched.len() == 1 && group.original.len() == 1 => {
                correlation.pair_because(*one, *item, Why::Alone);
            }
            _ => correlation.ambiguous.push((*item, candidates)),
        }
    }
}

/// Pairs variables that their uses do not tell apart by their whole names: a compiler numbers them
/// in the order of the source, so the numbers mean the same as long as both builds have the same
/// ones, of the same sizes, in the same functions.
fn pair_by_number(
    (original, patched): (&Build<'_>, &Build<'_>),
    group: &mut Group,
    (before, after): (
        &HashMap<ItemId, Signature<'_>>,
        &HashMap<ItemId, Signature<'_>>,
    ),
    correlation: &mut Correlation,
) {
    let same_users = |one: ItemId, other: ItemId| {
        let (one, other) = (before.get(&one), after.get(&other));
        one.zip(other)
            .is_some_and(|(one, other)| one.referrers == other.referrers)
    };
    let of = |build: &Build<'_>, items: &[ItemId]| -> BTreeMap<String, (u64, ItemId)> {
        let named = items.iter().map(|item| {
            let size = build.items.item(*item).size;
            (build.name(*item).to_owned(), (size, *item))
        });
        named.collect()
    };
    let (old, new) = (of(original, &group.original), of(patched, &group.patched));
    let same = old.len() == group.original.len()
        && new.len() == group.patched.len()
        && old.len() == new.len()
        && old
            .iter()
            .zip(&new)
            .all(|(old, new)| (old.0, old.1.0) == (new.0, new.1.0) && same_users(old.1.1, new.1.1));
    if same {
        for ((_, one), (_, other)) in old.into_values().zip(new.into_values()) {
            correlation.pair_because(one, other, Why::Number);
        }
        group.drop_paired(correlation);
    }
}

/// The originals of one name without a counterpart, indexed by what makes them candidates.
/// Comparing each of them with each patched one would take quadratic time.
struct Left<'group, 'data> {
    original: &'group [ItemId],
    /// Positions in `original` of variables whose function is gone.
    from_gone: Vec<usize>,
    /// Positions by who refers to them.
    by_referrer: HashMap<&'data str, Vec<usize>>,
    /// Positions of those that hold state, by size in bytes.
    by_size: HashMap<u64, Vec<usize>>,
}

impl<'group, 'data> Left<'group, 'data> {
    fn new(
        build: &Build<'_>,
        group: &'group Group,
        signatures: &HashMap<ItemId, Signature<'data>>,
        functions: &Functions<'_>,
    ) -> Left<'group, 'data> {
        let mut left = Left {
            original: &group.original,
            from_gone: Vec::new(),
            by_referrer: HashMap::new(),
            by_size: HashMap::new(),
        };
        for (position, item) in group.original.iter().enumerate() {
            let Some(signature) = signatures.get(item) else {
                continue;
            };
            let gone = |referrer: &&str| !functions.patched.contains(*referrer);
            if signature.referrers.iter().any(gone) {
                left.from_gone.push(position);
            }
            for referrer in &signature.referrers {
                left.by_referrer.entry(referrer).or_default().push(position);
            }
            if is_state(build, *item) {
                left.by_size
                    .entry(signature.size)
                    .or_default()
                    .push(position);
            }
        }
        left
    }

    /// The first candidates for a patched variable that shares no function with an original: the
    /// code that used it moved into a new function, or out of one that is gone; or one function
    /// uses several that are alike.
    fn candidates(&self, new: &Signature<'_>, functions: &Functions<'_>) -> Vec<ItemId> {
        let went_to_new = new
            .referrers
            .iter()
            .any(|referrer| !functions.original.contains(referrer));
        if went_to_new {
            let first = self.original.iter().take(CANDIDATES_MAX);
            return first.copied().collect();
        }
        let shared = new
            .referrers
            .iter()
            .filter_map(|referrer| self.by_referrer.get(referrer));
        let mut positions: Vec<usize> = std::iter::once(&self.from_gone)
            .chain(shared)
            .flat_map(|positions| positions.iter().take(CANDIDATES_MAX))
            .copied()
            .collect();
        positions.sort_unstable();
        positions.dedup();
        self.first(&positions)
    }

    /// The first originals of a size that hold state.
    fn of_size(&self, size: u64) -> Vec<ItemId> {
        let positions = self.by_size.get(&size).map_or(&[][..], Vec::as_slice);
        self.first(positions)
    }

    fn first(&self, positions: &[usize]) -> Vec<ItemId> {
        let items = positions
            .iter()
            .filter_map(|position| self.original.get(*position));
        items.take(CANDIDATES_MAX).copied().collect()
    }
}

/// Correlates variables that share a referrer with exactly one variable of the other build.
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
            correlation.pair_because(*one, *other, Why::Alone);
        }
    }
    group
        .original
        .retain(|item| correlation.patched(*item).is_none());
    group
        .patched
        .retain(|item| correlation.original(*item).is_none());
}

fn function_names<'data>(build: &Build<'data>) -> BTreeSet<&'data str> {
    build
        .items
        .ids()
        .filter(|item| build.items.item(*item).kind == ItemKind::Function)
        .map(|item| names::root(build.name(item)))
        .collect()
}

/// The contents of the strings and constants that an item leads to, in order.
fn said<'data>(build: &Build<'data>, item: ItemId) -> Vec<&'data [u8]> {
    let targets = build
        .relocations(item)
        .filter_map(|(_, target)| target.item());
    let contents = targets.filter(|item| build.items.item(*item).kind == ItemKind::Content);
    contents.map(|item| build.bytes(item)).collect()
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
                says: said(build, *item),
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
