//! Refuses functions that a jump at their start cannot replace: the function is too small, or the
//! base enters its old code elsewhere than at the start.

use object::elf;

use crate::compare::changes::Changes;
use crate::compare::comparer::Comparer;
use crate::read::items::{Item, ItemId};
use crate::read::object::{SectionId, SymbolId, SymbolPlace};
use crate::read::side::Build;
use crate::verdict::kinds::RefusalCode;
use crate::verdict::place::Place;
use crate::verdict::refusals::Verdicts;

/// Checks every function to be replaced, and references of the base into its interior.
pub(crate) fn check(comparer: &Comparer<'_, '_>, changes: &Changes, verdicts: &mut Verdicts) {
    let original = comparer.original;
    let labels = if changes.functions.is_empty() {
        GlobalLabels(Vec::new())
    } else {
        GlobalLabels::new(original)
    };
    for root in changes.functions.keys() {
        let Some(counterpart) = comparer.correlation.original(*root) else {
            continue;
        };
        let bytes = original.bytes(counterpart);
        let needed = original.object.machine.size_needed(bytes);
        let has = original.items.item(counterpart).named_size();
        if has < needed as u64 {
            verdicts.refuse(
                RefusalCode::FunctionTooSmall,
                Place::of(original, counterpart),
                &format!(
                    "the function has {has} byte{}, and the jump to its replacement takes \
                     {needed}; change its callers instead",
                    if has == 1 { "" } else { "s" }
                ),
            );
        }
        if original
            .symbol(counterpart)
            .is_some_and(|symbol| symbol.kind == elf::STT_GNU_IFUNC.0)
        {
            verdicts.refuse(
                RefusalCode::SymbolKindChanged,
                Place::of(original, counterpart),
                "the changed function chose another one at boot (IFUNC), and the choice stands; \
                 change the functions that it chooses from",
            );
        }
        entry_labels(original, &labels, counterpart, verdicts);
    }
    for reference in &comparer.original_users.interior {
        let root = comparer.correlation.original_root(reference.function);
        let replaced = comparer
            .correlation
            .patched(root)
            .is_some_and(|root| changes.functions.contains_key(&root));
        let referrer = comparer.correlation.original_root(reference.from);
        // A table that is included leads into the new code.
        let stays = !comparer
            .correlation
            .patched(referrer)
            .is_some_and(|referrer| {
                changes.functions.contains_key(&referrer) || changes.constants.contains(&referrer)
            });
        if replaced && stays {
            let mut place = Place::of(original, reference.from);
            place.offset = Some(reference.offset);
            verdicts.refuse(
                RefusalCode::InteriorReference,
                place,
                &format!(
                    "refers to {}+{:#x}, inside a function that is replaced; what the base holds \
                     there will no longer run: refer to the function's start",
                    original.shown(reference.function),
                    reference.at
                ),
            );
        }
    }
}

/// Global labels of one build, by section and offset.
struct GlobalLabels(Vec<(SectionId, u64, SymbolId)>);

impl GlobalLabels {
    fn new(build: &Build<'_>) -> GlobalLabels {
        let mut labels: Vec<_> = (0..)
            .map(SymbolId)
            .zip(&build.object.symbols)
            .filter(|(_, symbol)| !symbol.is_local())
            .filter_map(|(id, symbol)| match symbol.place {
                SymbolPlace::Section(section) => Some((section, symbol.value, id)),
                _ => None,
            })
            .collect();
        labels.sort_unstable();
        GlobalLabels(labels)
    }

    /// Labels behind the start of an item and before its end.
    fn inside(&self, item: &Item) -> &[(SectionId, u64, SymbolId)] {
        let place = |label: &(SectionId, u64, SymbolId)| (label.0, label.1);
        let from = self
            .0
            .partition_point(|label| place(label) <= (item.section, item.offset));
        let to = self
            .0
            .partition_point(|label| place(label) < (item.section, item.end()));
        self.0.get(from..to).unwrap_or_default()
    }
}

/// Other objects may enter a function by a global label in its interior.
fn entry_labels(
    original: &Build<'_>,
    labels: &GlobalLabels,
    counterpart: ItemId,
    verdicts: &mut Verdicts,
) {
    for (_, value, symbol) in labels.inside(original.items.item(counterpart)) {
        let mut place = Place::of(original, counterpart);
        place.offset = Some(*value);
        verdicts.refuse(
            RefusalCode::InteriorEntry,
            place,
            &format!(
                "the changed function has the entry label {} in its interior, which would still \
                 lead to the old code; make the change in a function that every path calls",
                original.object.symbol(*symbol).name
            ),
        );
    }
}
