//! Refuses a name that changed from data to a function or the other way round. Users of the name in
//! the base still mean the old item.

use std::collections::HashMap;

use crate::compare::comparer::Comparer;
use crate::read::items::{ItemId, ItemKind};
use crate::verdict::kinds::RefusalCode;
use crate::verdict::place::Place;
use crate::verdict::refusals::Verdicts;

/// Looks for global names that are data in one build and functions in the other. Locals cannot
/// clash: the base's local is looked up with its file and kind.
pub fn check(comparer: &Comparer<'_, '_>, verdicts: &mut Verdicts) {
    let (original, patched) = (comparer.original, comparer.patched);
    let global =
        |symbol: &crate::read::object::Symbol<'_>| !symbol.is_local() && !symbol.name.is_empty();
    let lost: HashMap<&str, ItemId> = original
        .items
        .ids()
        .filter(|item| comparer.correlation.patched(*item).is_none())
        .filter(|item| original.symbol(*item).is_some_and(global))
        .map(|item| (original.name(item), item))
        .collect();
    if lost.is_empty() {
        return;
    }
    for item in patched.items.ids() {
        if comparer.correlation.original(item).is_some()
            || !patched.symbol(item).is_some_and(global)
        {
            continue;
        }
        let Some(counterpart) = lost.get(patched.name(item)) else {
            continue;
        };
        let (old, new) = (
            kind(original.items.item(*counterpart).kind),
            kind(patched.items.item(item).kind),
        );
        if old != new {
            verdicts.refuse(
                RefusalCode::SymbolKindChanged,
                Place::of(patched, item),
                &format!(
                    "is {old} in the original and {new} in the patched object; give the new one \
                     another name, and leave the old one"
                ),
            );
        }
    }
}

fn kind(item: ItemKind) -> &'static str {
    match item {
        ItemKind::Function | ItemKind::Label => "a function",
        _ => "data",
    }
}
