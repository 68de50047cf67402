//! The hash of a function's type that stands before it, where indirect calls are checked (CFI).

use crate::compare::comparer::Comparer;
use crate::read::items::ItemId;
use crate::verdict::kinds::RefusalCode;
use crate::verdict::place::Place;
use crate::verdict::refusals::Verdicts;

/// Refuses a changed hash of a prototype, which indirect callers check.
pub(crate) fn check(
    comparer: &mut Comparer<'_, '_>,
    counterpart: ItemId,
    item: ItemId,
    verdicts: &mut Verdicts,
) {
    if !comparer.differences(counterpart, item).is_empty() {
        verdicts.refuse(
            RefusalCode::SymbolKindChanged,
            Place::of(comparer.patched, item),
            "the type that indirect callers check changed; keep the function's prototype and \
             give the new one another name",
        );
    }
}
