//! References relative to a section that may mean either of two neighbouring variables.
//!
//! Where variables share a section, the assembler writes a reference to a static one as an offset
//! from the section's start. The end of an array is then the start of the next variable, and
//! `array[i - 1]` starts inside the variable before the array. As long as both neighbours are as
//! far apart as in the base, either meaning gives the same address. Where the patch moved them
//! apart, one of the two is wrong, and the new code would run over the end of its array.

use crate::compare::comparer::{Comparer, shown_target};
use crate::read::items::{Item, ItemId, ItemKind};
use crate::read::object::Relocation;
use crate::read::relocation::{Target, is_pc_relative};
use crate::read::side::Build;

/// Largest variable, in bytes, that is taken for a scalar. Code neither indexes a scalar nor takes
/// the address of its end, so a reference there cannot mean a neighbour.
const SCALAR_BYTES: u64 = 8;
/// How many bytes before the start of an array a reference may lie, for indices that count from one
/// or a little more.
const BEFORE_START_BYTES: u64 = 64;

/// What is wrong with the reference `index` of `source`, if it may mean two variables that are at
/// another distance in the base.
#[must_use]
pub fn ambiguous(comparer: &Comparer<'_, '_>, source: ItemId, index: usize) -> Option<String> {
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
    let access = access(patched, source, relocation);
    if access == Access::Plain {
        return None;
    }
    let is_array = |other: &ItemId| patched.items.item(*other).size > SCALAR_BYTES;
    let at = u64::try_from(target.meant()).ok()?;
    let meant = place.offset.saturating_add(at);
    let ends_there = || {
        before(patched, item)
            .filter(|other| patched.items.item(*other).end() == meant)
            .filter(|other| refers_to(patched, source, *other))
            .filter(is_array)
    };
    let begins_soon = || {
        let distance = |other: ItemId| patched.items.item(other).offset.saturating_sub(meant);
        behind(patched, item)
            .filter(|other| (1..=BEFORE_START_BYTES).contains(&distance(*other)))
            .filter(is_array)
    };
    // A scalar is not indexed.
    let is_no_start = at != 0 || (access == Access::Indexed && place.size <= SCALAR_BYTES);
    let other = if is_no_start {
        begins_soon()
    } else {
        ends_there()
    }?;
    if keep_distance(comparer, item, other) {
        return None;
    }
    Some(format!(
        "may refer to {} or to its neighbour {}, which are not as far apart as in the base; build \
         both trees with -fdata-sections, or put what is new behind what was there",
        shown_target(patched, target),
        patched.shown(other)
    ))
}

fn is_variable(build: &Build<'_>, item: ItemId) -> bool {
    matches!(
        build.items.item(item).kind,
        ItemKind::Datum | ItemKind::UnsizedDatum
    )
}

/// The variable before another one in its section; padding lies between some.
fn before(build: &Build<'_>, item: ItemId) -> Option<ItemId> {
    let near = (0..item.0).rev().map(ItemId);
    first_variable(build, item, near)
}

fn behind(build: &Build<'_>, item: ItemId) -> Option<ItemId> {
    let all = u32::try_from(build.items.all.len()).unwrap_or(u32::MAX);
    let near = (item.0.saturating_add(1)..all).map(ItemId);
    first_variable(build, item, near)
}

fn first_variable(
    build: &Build<'_>,
    item: ItemId,
    mut near: impl Iterator<Item = ItemId>,
) -> Option<ItemId> {
    /// Between two variables lies at most one gap.
    const LOOK_AT: usize = 2;
    let section = build.items.item(item).section;
    near.by_ref()
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

/// How an instruction, or data, uses the address in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// It reads or writes there. Such an access is to the variable at that address: code does not
    /// read behind the end of an array.
    Plain,
    /// It adds an index or a pointer first.
    Indexed,
    /// It takes the address.
    Address,
}

fn access(build: &Build<'_>, source: ItemId, relocation: &Relocation) -> Access {
    const LEA: u8 = 0x8d;
    /// A SIB byte without index and base.
    const NO_INDEX_NO_BASE: u8 = 0x25;
    let section = build.object.section(build.items.item(source).section);
    let before = usize::try_from(relocation.offset)
        .ok()
        .filter(|_| section.is_executable())
        .and_then(|at| section.data.get(..at));
    // The mode and the r/m field of a ModRM byte: relative to the instruction pointer; a SIB byte
    // follows; a register and 32 bits of displacement.
    let operand = |modrm: u8| modrm & 0b1100_0111;
    let has_base = |modrm: u8| modrm & 0b1100_0000 == 0b1000_0000;
    match before {
        Some([.., opcode, modrm]) if is_pc_relative(relocation.kind) => {
            if operand(*modrm) == 0b0000_0101 && *opcode == LEA {
                Access::Address
            } else {
                Access::Plain
            }
        }
        Some([.., modrm, NO_INDEX_NO_BASE]) if operand(*modrm) == 0b0000_0100 => Access::Plain,
        Some([.., modrm, _]) if matches!(operand(*modrm), 0b0000_0100 | 0b1000_0100) => {
            Access::Indexed
        }
        Some([.., modrm]) if has_base(*modrm) => Access::Indexed,
        _ => Access::Address,
    }
}
