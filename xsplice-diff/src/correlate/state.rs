//! Variables that a payload would start afresh although the base has their state under another
//! name.
//!
//! Where a variable vanishes and one of the same size appears in the same code, the author may
//! have renamed it, or taken one out and put another one in. Nothing in the objects tells which,
//! so it is left open, and refused where the new one is included.

use foldhash::{HashMap, HashMapExt as _, HashSet};

use super::Correlation;
use super::contexts::Contexts;
use crate::read::items::{ItemId, ItemKind};
use crate::read::section_class::SectionClass;
use crate::read::side::Build;

/// How many candidates are named for a variable that is left open.
const CANDIDATES_MAX: usize = 8;

/// Whether an item is a variable that somebody may write to.
fn is_state(build: &Build<'_>, item: ItemId) -> bool {
    matches!(
        build.items.item(item).kind,
        ItemKind::Datum | ItemKind::UnsizedDatum
    ) && matches!(
        build.items.class(item),
        SectionClass::Data | SectionClass::Bss | SectionClass::PerCpu
    )
}

/// Finds the variables without a counterpart, and leaves those open that may be one.
pub(super) fn find_lost(original: &Build<'_>, patched: &Build<'_>, correlation: &mut Correlation) {
    let lost: Vec<ItemId> = original
        .items
        .ids()
        .filter(|item| correlation.patched(*item).is_none() && is_state(original, *item))
        .collect();
    if lost.is_empty() {
        return;
    }
    let known: HashSet<ItemId> = correlation.ambiguous.iter().map(|open| open.0).collect();
    let new: Vec<ItemId> = patched
        .items
        .ids()
        .filter(|item| correlation.original(*item).is_none() && is_state(patched, *item))
        .filter(|item| !known.contains(item))
        .collect();
    let mut by_size: HashMap<u64, Vec<ItemId>> = HashMap::new();
    for item in &lost {
        let size = original.items.item(*item).size;
        by_size.entry(size).or_default().push(*item);
    }
    let old_uses = Contexts::new(original, lost.iter().copied());
    let new_uses = Contexts::new(patched, new.iter().copied());
    for item in new {
        let size = patched.items.item(item).size;
        let alike: Vec<ItemId> = by_size
            .get(&size)
            .into_iter()
            .flatten()
            .copied()
            .filter(|o| new_uses.likeness(item, &old_uses, *o) > 0)
            .take(CANDIDATES_MAX)
            .collect();
        if !alike.is_empty() {
            correlation.ambiguous.push((item, alike));
        }
    }
    correlation.lost_state = lost;
}
