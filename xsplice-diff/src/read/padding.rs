//! Tells padding that alignment leaves between two items from reserved space.
//!
//! Both are zeros without a symbol: a boot stack or a pool is often no more than `.skip 4096` with
//! a label behind it. Padding means nothing, and appears, disappears and changes its size with its
//! neighbours. Reserved space is memory that code uses: when the patch enlarges it and the base
//! does not, code writes beyond its end.

use crate::machine;
use crate::read::items::{ItemId, ItemKind};
use crate::read::side::Build;

/// Whether an item holds only what assemblers and linkers fill gaps with: zeros, and in code NOPs
/// and breakpoints.
#[must_use]
pub(crate) fn is_padding(build: &Build<'_>, item: ItemId) -> bool {
    build.relocation_range(item).is_empty() && (is_zero(build, item) || is_code_filler(build, item))
}

/// Whether an item is padding and no larger than alignment requires: the item behind it, or the end
/// of the section, is aligned to more bytes than the item has. NOPs and breakpoints always count as
/// padding: nothing is stored in them, and compilers put any number of them in front of functions.
///
/// Shortcut S6: alignment leaves at most as much as the place behind is aligned to, and nobody can
/// mean bytes that come and go with their neighbours.
#[must_use]
pub(crate) fn is_filler(build: &Build<'_>, item: ItemId) -> bool {
    if !build.relocation_range(item).is_empty() {
        return false;
    }
    if !is_zero(build, item) {
        return is_code_filler(build, item);
    }
    let place = build.items.item(item);
    place.size < alignment_at(build, place.section, place.end())
}

/// The alignment that a place in a section is certain to have, in bytes.
fn alignment_at(build: &Build<'_>, section: crate::read::object::SectionId, offset: u64) -> u64 {
    let whole = build.object.section(section).alignment.max(1);
    match offset {
        0 => whole,
        _ => whole.min(1 << offset.trailing_zeros()),
    }
}

pub(crate) fn is_zero(build: &Build<'_>, item: ItemId) -> bool {
    build.bytes(item).iter().all(|byte| *byte == 0)
}

/// NOPs and breakpoints.
fn is_code_filler(build: &Build<'_>, item: ItemId) -> bool {
    let section = build.object.section(build.items.item(item).section);
    if !section.is_executable() {
        return false;
    }
    machine::is_padding(build.object.machine, build.bytes(item))
}

/// Whether an item is a gap of the kind that alignment leaves.
#[must_use]
pub(crate) fn is_left_by_alignment(build: &Build<'_>, item: ItemId) -> bool {
    build.items.item(item).kind == ItemKind::Gap && is_filler(build, item)
}
