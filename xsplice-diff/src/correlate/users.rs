//! Pairs what has no name of its author's by who refers to it.
//!
//! Where a function or table is the same in both builds but for what its fields lead to, each
//! field leads to counterparts: a variable is the same one, whatever number the compiler gave it,
//! and even where the author gave it another name. One that two such places contradict is left
//! open.

use foldhash::{HashMap, HashMapExt as _};

use super::{Correlation, Why};
use crate::read::items::{ItemId, ItemKind};
use crate::read::names;
use crate::read::relocation::Target;
use crate::read::section_class::SectionClass;
use crate::read::side::{Build, is_content};

/// Pairs found in one round show new ones in the next: a closure that uses a static local.
const ROUNDS_MAX: usize = 4;

/// Pairs items by fields of users that are the same otherwise.
pub(super) fn pair(original: &Build<'_>, patched: &Build<'_>, correlation: &mut Correlation) {
    for _ in 0..ROUNDS_MAX {
        let Votes { agreed, crossed } = votes(original, patched, correlation);
        correlation.crossed.extend(crossed);
        let mut found = false;
        for (o, p) in agreed {
            if is_content(patched, p) {
                correlation.same_constant.entry(p).or_insert(o);
            } else {
                found |= correlation.pair_because(o, p, Why::Users);
            }
        }
        if !found {
            break;
        }
    }
}

/// What users of items tell.
#[derive(Default)]
struct Votes {
    /// The pairs that nothing contradicts, in order.
    agreed: Vec<(ItemId, ItemId)>,
    /// Constants of the patched object of whose pairs one contradicts another.
    crossed: Vec<ItemId>,
}

/// Asks the users of all items that have no counterpart.
fn votes(original: &Build<'_>, patched: &Build<'_>, correlation: &Correlation) -> Votes {
    let mut of_patched: HashMap<ItemId, Option<ItemId>> = HashMap::new();
    let mut of_original: HashMap<ItemId, Option<ItemId>> = HashMap::new();
    let mut vote = |o: ItemId, p: ItemId| {
        let agree = |votes: &mut HashMap<ItemId, Option<ItemId>>, of: ItemId, other: ItemId| {
            let slot = votes.entry(of).or_insert(Some(other));
            *slot = slot.filter(|one| *one == other);
        };
        agree(&mut of_patched, p, o);
        agree(&mut of_original, o, p);
    };
    let is_open = |p: ItemId| match is_content(patched, p) {
        true => !correlation.same_constant.contains_key(&p),
        false => correlation.original(p).is_none(),
    };
    let candidates: Vec<bool> = patched
        .items
        .ids()
        .map(|p| is_open(p) && is_candidate(patched, p))
        .collect();
    if !candidates.contains(&true) {
        return Votes::default();
    }
    for user in patched.items.ids() {
        let Some(counterpart) = correlation.original(user) else {
            continue;
        };
        let leads_to_one = patched
            .relocations(user)
            .filter_map(|(_, target)| target.item())
            .any(|item| candidates[item.index()]);
        if !leads_to_one || !is_same_but_for_targets(original, counterpart, patched, user) {
            continue;
        }
        let pairs = original
            .relocations(counterpart)
            .zip(patched.relocations(user));
        for ((_, old), (_, new)) in pairs {
            if let (
                Target::Item {
                    item: o,
                    offset: from,
                    ..
                },
                Target::Item {
                    item: p,
                    offset: to,
                    ..
                },
            ) = (old, new)
                && from == to
                && candidates[p.index()]
                && may_be_one(original, o, patched, p)
            {
                vote(o, p);
            }
        }
    }
    let mut votes = Votes::default();
    for (p, o) in of_patched {
        match o.filter(|o| of_original.get(o) == Some(&Some(p))) {
            None if is_content(patched, p) => votes.crossed.push(p),
            Some(o) if is_content(patched, p) || correlation.patched(o).is_none() => {
                votes.agreed.push((o, p));
            }
            None | Some(_) => {}
        }
    }
    votes.agreed.sort_unstable();
    votes
}

/// Whether the name of an item is no evidence: the compiler numbered it, or it is a variable that
/// only this object knows.
fn is_candidate(build: &Build<'_>, item: ItemId) -> bool {
    let Some(symbol) = build.symbol(item) else {
        return false;
    };
    let is_numbered = names::is_numbered(symbol.name);
    match build.items.item(item).kind {
        ItemKind::Function => is_numbered && names::cold_parent(symbol.name).is_none(),
        ItemKind::Datum | ItemKind::UnsizedDatum => {
            is_numbered || (symbol.is_local() && !build.items.class(item).is_constant())
        }
        ItemKind::Label | ItemKind::Content | ItemKind::Gap => false,
    }
}

/// Whether two items may be one: of one kind, and data of one size in memory of one kind.
fn may_be_one(original: &Build<'_>, o: ItemId, patched: &Build<'_>, p: ItemId) -> bool {
    if original.symbol(o).is_none() || !is_candidate(original, o) {
        return false;
    }
    let (old, new) = (original.items.item(o), patched.items.item(p));
    let same_family = names::clone_family(names::given(original.name(o)))
        == names::clone_family(names::given(patched.name(p)));
    match (old.kind, new.kind) {
        (ItemKind::Function, ItemKind::Function) => same_family,
        (ItemKind::Datum | ItemKind::UnsizedDatum, ItemKind::Datum | ItemKind::UnsizedDatum) => {
            let (was, is) = (original.items.class(o), patched.items.class(p));
            let is_state = |class| matches!(class, SectionClass::Data | SectionClass::Bss);
            let same_memory = was == is || (is_state(was) && is_state(is));
            old.size == new.size && same_memory && (same_family || is_state(is))
        }
        _ => false,
    }
}

/// Whether two items are equal but for where their fields lead.
fn is_same_but_for_targets(
    original: &Build<'_>,
    o: ItemId,
    patched: &Build<'_>,
    p: ItemId,
) -> bool {
    let (old, new) = (original.bytes(o), patched.bytes(p));
    let (old_start, new_start) = (original.items.item(o).offset, patched.items.item(p).offset);
    let machine = patched.object.machine;
    let fields = || {
        let pairs = original.relocations(o).zip(patched.relocations(p));
        pairs.map(|((old, _), (new, _))| (old, new))
    };
    let same_fields = original.relocation_range(o).len() == patched.relocation_range(p).len()
        && fields().all(|(old, new)| {
            old.offset - old_start == new.offset - new_start
                && machine.alike(old.kind) == machine.alike(new.kind)
        });
    if old.len() != new.len() || !same_fields {
        return false;
    }
    let mut from = 0;
    for (field, _) in fields() {
        let at = usize::try_from(field.offset - old_start).unwrap_or(usize::MAX);
        let bytes = usize::try_from(machine.field_bytes(field.kind)).unwrap_or(usize::MAX);
        if at > from && old.get(from..at) != new.get(from..at) {
            return false;
        }
        from = from.max(at.saturating_add(bytes));
    }
    old.get(from..) == new.get(from..)
}
