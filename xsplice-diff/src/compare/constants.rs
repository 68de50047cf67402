//! Which constants go with the functions that change, and which the base keeps.

use std::collections::BTreeMap;

use crate::compare::changes::Changes;
use crate::compare::comparer::Comparer;
use crate::read::items::ItemId;

/// Constants that lead into the interior of a function which changes, and that this function alone
/// uses, are included with it although they are the same: where they are, they lead to the old
/// code.
pub(crate) fn take_label_tables(comparer: &Comparer<'_, '_>, changes: &mut Changes) {
    for reference in &comparer.original_users.interior {
        let root = comparer.correlation.original_root(reference.function);
        let Some(function) = comparer.correlation.patched(root) else {
            continue;
        };
        let Some(table) = comparer.correlation.patched(reference.from) else {
            continue;
        };
        if changes.functions.contains_key(&function)
            && comparer.patched_users.only_function(table) == Some(function)
            && comparer.is_private_constant(reference.from, table)
        {
            changes.constants.insert(table);
        }
    }
}

/// The constants without identity that are the same in both builds. One that leads into the
/// interior of a function which changes is not: it leads to the new code in one build.
#[must_use]
pub(crate) fn unchanged(
    comparer: &mut Comparer<'_, '_>,
    changes: &Changes,
) -> BTreeMap<ItemId, ItemId> {
    let pairs = &comparer.correlation.same_constant;
    let leads_inside = |item: ItemId| {
        let mut targets = comparer.patched.relocations(item);
        targets.any(|(_, target)| {
            target.meant() != 0
                && target.item().is_some_and(|item| {
                    let root = comparer.correlation.patched_root(item);
                    changes.functions.contains_key(&root)
                })
        })
    };
    let pairs: Vec<(ItemId, ItemId)> = pairs
        .iter()
        .map(|(new, old)| (*new, *old))
        .filter(|(new, _)| !leads_inside(*new))
        .collect();
    pairs
        .into_iter()
        .filter(|(new, old)| comparer.content_difference(*old, *new).is_none())
        .collect()
}
