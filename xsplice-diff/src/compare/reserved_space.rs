//! Whether two gaps of zeros reserve the same space, apart from padding.

use crate::compare::comparer::Comparer;
use crate::read::items::{Item, ItemId};
use crate::read::padding::{is_filler, is_zero};
use crate::read::side::Build;

/// Whether two counterpart gaps that look like padding reserve the same space.
///
/// Shortcut S7: what is left once the padding in front is taken off is what somebody asked for.
#[must_use]
pub(crate) fn is_same_room(comparer: &Comparer<'_, '_>, o: ItemId, p: ItemId) -> bool {
    let (original, patched) = (comparer.original, comparer.patched);
    let (old, new) = (original.items.item(o), patched.items.item(p));
    if old.size == new.size {
        return true;
    }
    if !is_zero(original, o) && !is_zero(patched, p) {
        return true;
    }
    let alignment = given(original, old).min(given(patched, new));
    if is_filler(original, o) && is_filler(patched, p) {
        // Between the same two neighbours, and at the same offset, alignment cannot account for a
        // difference.
        let same_start = old.offset % alignment == new.offset % alignment;
        let is_code = patched.object.section(new.section).is_executable();
        return is_code || !(same_start && has_same_neighbours(comparer, o, p));
    }
    // Space that remains once the padding in front of it is subtracted.
    std::iter::successors(Some(1_u64), |power| power.checked_mul(2))
        .take_while(|power| *power <= alignment)
        .any(|power| room(old, power) == room(new, power))
}

fn room(gap: &Item, alignment: u64) -> Option<u64> {
    let start = gap.offset.checked_next_multiple_of(alignment)?;
    gap.end().checked_sub(start)
}

fn given(build: &Build<'_>, item: &Item) -> u64 {
    build.object.section(item.section).alignment.max(1)
}

/// Whether the neighbours of two gaps, before and behind, are counterparts.
fn has_same_neighbours(comparer: &Comparer<'_, '_>, o: ItemId, p: ItemId) -> bool {
    let (before, behind) = neighbours(comparer.original, o);
    let (before_new, behind_new) = neighbours(comparer.patched, p);
    let same = |old: Option<ItemId>, new: Option<ItemId>| match (old, new) {
        (Some(old), Some(new)) => comparer.correlation.original(new) == Some(old),
        (None, None) => true,
        _ => false,
    };
    same(before, before_new) && same(behind, behind_new)
}

fn neighbours(build: &Build<'_>, item: ItemId) -> (Option<ItemId>, Option<ItemId>) {
    let section = build.items.item(item).section;
    let in_section = |id: Option<u32>| {
        let id = ItemId(id?);
        let found = build.items.all.get(id.index())?;
        (found.section == section).then_some(id)
    };
    (
        in_section(item.0.checked_sub(1)),
        in_section(item.0.checked_add(1)),
    )
}
