//! Whether a variable of the base stands on an address that included code can read and write.
//!
//! Instructions that move whole vectors fault on an address that is not aligned. A variable may ask
//! for more alignment than it did although its section does not, because another one there asks for
//! as much. What the base is certain to have given it is what its section and its offset there say.

use crate::compare::comparer::Comparer;
use crate::read::items::ItemId;

/// What is wrong with the reference `index` of `source` to a variable of which the original is
/// `counterpart`, `meant` bytes from its start.
#[must_use]
pub(crate) fn misaligned(
    comparer: &Comparer<'_, '_>,
    source: ItemId,
    index: usize,
    wanted: ItemId,
    counterpart: ItemId,
) -> Option<String> {
    let (original, patched) = (comparer.original, comparer.patched);
    let old = original.items.item(counterpart);
    let given = original.object.section(old.section).alignment;
    let new = patched.items.item(wanted);
    let asked = patched.object.section(new.section).alignment;
    // Most stand as they stood: only what moved has to be decoded.
    let moved = given < asked || new.offset % asked != old.offset % asked;
    // A size that changed is refused anyway.
    if !moved || old.size != new.size {
        return None;
    }
    let needed = patched.alignment_needed(source, index);
    let meant = u64::try_from(patched.targets[index].meant()).unwrap_or(0);
    let stands = given >= needed && (old.offset.wrapping_add(meant)).is_multiple_of(needed);
    let stands_now = new.offset.wrapping_add(meant).is_multiple_of(needed) && asked >= needed;
    (!stands && stands_now).then(|| {
        format!(
            "reads or writes {} by an instruction that needs an address that is a multiple of \
             {needed}, and the base gave it none; give what needs the alignment another name",
            patched.shown(wanted)
        )
    })
}
