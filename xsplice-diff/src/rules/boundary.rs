//! References relative to a section that may mean either of two neighbouring variables.
//!
//! Where variables share a section, the assembler writes a reference to a static one as an offset
//! from the section's start. The end of an array is then the start of the next variable, and
//! `array[i - 1]` starts inside the variable before the array. As long as both neighbours are as
//! far apart as in the base, either meaning gives the same address. Where the patch moved them
//! apart, one of the two is wrong, and the new code would run over the end of its array.

use crate::compare::comparer::{Comparer, shown_target};
use crate::machine::Use;
use crate::read::items::{Item, ItemId, ItemKind};
use crate::read::relocation::Target;
use crate::read::side::Build;

/// Largest variable, in bytes, that is taken for a scalar. Code neither indexes a scalar nor takes
/// the address of its end, so a reference there cannot mean a neighbour.
const SCALAR_BYTES: u64 = 8;
/// Farthest that code reaches before the start of an array with an index that does not count from
/// zero, when nothing tells what it means: `array[letter - 'a']`, with elements of eight bytes.
const BEFORE_START_BYTES: u64 = 1024;

/// What is wrong with the reference `index` of `source`, if it may mean two variables that are at
/// another distance in the base.
#[must_use]
pub(crate) fn ambiguous(
    comparer: &Comparer<'_, '_>,
    source: ItemId,
    index: usize,
) -> Option<String> {
    let patched = comparer.patched;
    let relocation = &patched.object.relocations[index];
    let target = patched.targets[index];
    let Target::Item { item, .. } = target else {
        return None;
    };
    if !patched.object.symbol(relocation.symbol).is_section() || !is_variable(patched, item) {
        return None;
    }
    let place = patched.items.item(item);
    // What is read or written without an index is the variable that is named: nobody reads what
    // lies behind an array. Data, and what cannot be decoded, holds an address.
    let used = patched.use_of(source, index).unwrap_or(Use::Address);
    if matches!(used, Use::Access | Use::Branch) {
        return None;
    }
    let at = u64::try_from(target.meant()).ok()?;
    let meant = place.offset.saturating_add(at);
    // Nothing is indexed that is no array.
    let is_start = at == 0 && (used != Use::Indexed || place.size > SCALAR_BYTES);
    let other = if is_start {
        end_of_another(comparer, source, item, meant)
    } else {
        None
    };
    let other = other.or_else(|| {
        let reach = if is_start { 0 } else { BEFORE_START_BYTES };
        (used == Use::Indexed || !is_start)
            .then(|| start_of_another(comparer, source, item, meant, reach))
            .flatten()
    })?;
    Some(format!(
        "may refer to {} or to its neighbour {}, which are not as far apart as in the base; build \
         both trees with -fdata-sections, or put what is new behind what was there",
        shown_target(patched, target),
        patched.shown(other)
    ))
}

fn is_array(build: &Build<'_>, item: ItemId) -> bool {
    is_variable(build, item) && build.items.item(item).size > SCALAR_BYTES
}

/// An array that ends where `item` begins, is used by `source` too, and moved away from it.
fn end_of_another(
    comparer: &Comparer<'_, '_>,
    source: ItemId,
    item: ItemId,
    meant: u64,
) -> Option<ItemId> {
    let patched = comparer.patched;
    before(patched, item)
        .filter(|other| patched.items.item(*other).end() == meant)
        .filter(|other| refers_to(patched, source, *other))
        .filter(|other| is_array(patched, *other))
        .filter(|other| !keep_distance(comparer, item, *other))
}

/// An array behind `item` that moved away from it, and that may be indexed from the place that is
/// meant: one within `reach` bytes, or one before which `source` reached by as much in the
/// original. Where it did so in `item`, it does so still.
fn start_of_another(
    comparer: &Comparer<'_, '_>,
    source: ItemId,
    item: ItemId,
    meant: u64,
    reach: u64,
) -> Option<ItemId> {
    let patched = comparer.patched;
    let before = indexed_before(comparer, source, item);
    let was_meant = |of: ItemId| {
        moved_by(comparer, of).is_some_and(|by| {
            let old = i128::from(meant).checked_sub(by);
            old.is_some_and(|old| before.contains(&old))
        })
    };
    if was_meant(item) {
        return None;
    }
    let section = patched.items.item(item).section;
    let all = u32::try_from(patched.items.all.len()).unwrap_or(u32::MAX);
    (item.0.saturating_add(1)..all)
        .map(ItemId)
        .take_while(|other| patched.items.item(*other).section == section)
        .filter(|other| is_array(patched, *other))
        .filter(|other| {
            let distance = patched.items.item(*other).offset.saturating_sub(meant);
            distance > 0 && (distance <= reach || was_meant(*other))
        })
        .find(|other| !keep_distance(comparer, item, *other))
}

/// How far a variable moved in its section, in bytes; `None` for a new one.
fn moved_by(comparer: &Comparer<'_, '_>, item: ItemId) -> Option<i128> {
    let counterpart = comparer.correlation.original(item)?;
    let old = comparer.original.items.item(counterpart).offset;
    Some(i128::from(comparer.patched.items.item(item).offset) - i128::from(old))
}

/// Places that the original of `source` indexed, by the symbol of the section that `item` was in,
/// as offsets in that section.
fn indexed_before(comparer: &Comparer<'_, '_>, source: ItemId, item: ItemId) -> Vec<i128> {
    let original = comparer.original;
    let Some(counterpart) = comparer.correlation.original(source) else {
        return Vec::new();
    };
    let name = comparer.patched.section_name(item);
    original
        .relocation_range(counterpart)
        .filter(|index| original.use_of(counterpart, *index) == Some(Use::Indexed))
        .filter(|index| {
            let symbol = original.object.relocations[*index].symbol;
            original.object.symbol(symbol).is_section()
        })
        .filter_map(|index| {
            let target = original.targets[index];
            let place = original.items.item(target.item()?);
            let is_there = original.object.section(place.section).name == name;
            is_there.then(|| i128::from(place.offset) + i128::from(target.meant()))
        })
        .collect()
}

fn is_variable(build: &Build<'_>, item: ItemId) -> bool {
    matches!(
        build.items.item(item).kind,
        ItemKind::Datum | ItemKind::UnsizedDatum
    )
}

/// The variable before another one in its section.
fn before(build: &Build<'_>, item: ItemId) -> Option<ItemId> {
    /// Between two variables lies at most one gap.
    const LOOK_AT: usize = 2;
    let section = build.items.item(item).section;
    (0..item.0)
        .rev()
        .map(ItemId)
        .take(LOOK_AT)
        .find(|one| build.items.item(*one).section == section && is_variable(build, *one))
}

/// Whether something else in `source` leads into `wanted`.
fn refers_to(build: &Build<'_>, source: ItemId, wanted: ItemId) -> bool {
    let into = |target: &Target| target.item() == Some(wanted);
    build.relocations(source).any(|(_, target)| into(&target))
}

/// Whether two variables are as far apart as their counterparts.
fn keep_distance(comparer: &Comparer<'_, '_>, one: ItemId, other: ItemId) -> bool {
    let (original, patched) = (comparer.original, comparer.patched);
    let counterparts = (
        comparer.correlation.original(one),
        comparer.correlation.original(other),
    );
    let (Some(old_one), Some(old_other)) = counterparts else {
        return false;
    };
    let distance = |a: &Item, b: &Item| a.offset.wrapping_sub(b.offset);
    let (old_one, old_other) = (original.items.item(old_one), original.items.item(old_other));
    old_one.section == old_other.section
        && distance(old_one, old_other)
            == distance(patched.items.item(one), patched.items.item(other))
}
