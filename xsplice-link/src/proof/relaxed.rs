//! Decodes what a GOT access of the object became in the base.
//!
//! The linker may leave it (then the slot in the base holds the target), compute the address
//! (`lea`), load it as an immediate, or make an indirect branch direct. System V psABI x86-64,
//! "Optimize GOTPCRELX Relocations", lists the forms; each is checked against the object's
//! instruction and the base's, so that an instruction that merely looks similar is a difference.

use crate::base::Base;

/// A decoded access.
pub(super) struct Relaxed {
    /// Address of the target.
    pub target: u64,
    /// Offset of the first byte of the instruction that the linker may have touched.
    pub start: usize,
    /// Offset behind the last.
    pub end: usize,
}

/// Bytes of the field.
const FIELD_BYTES: usize = 4;
/// Addend of a field that ends its instruction; no other access is relaxed.
const USUAL_ADDEND: i64 = -4;
/// Opcode and ModRM before it.
const OPCODE_BYTES: usize = 2;

/// Decodes the access whose field the object has at `offset`, with this addend.
pub(super) fn decode(
    base: &Base<'_>,
    bytes: &[u8],
    linked: &[u8],
    address: u64,
    offset: usize,
    addend: i64,
) -> Option<Relaxed> {
    let end = offset.checked_add(FIELD_BYTES)?;
    let field = i64::from(i32::from_le_bytes(
        linked.get(offset..end)?.try_into().ok()?,
    ));
    let next = address.wrapping_add(end as u64);
    let relative = next.wrapping_add_signed(field);
    let immediate = field.cast_unsigned();

    let opcode_at = offset.checked_sub(OPCODE_BYTES)?;
    let (&[old_opcode, old_mod_rm], &[opcode, mod_rm]) = (
        bytes.get(opcode_at..offset)?,
        linked.get(opcode_at..offset)?,
    ) else {
        return None;
    };
    let prefix_at = opcode_at.checked_sub(1);
    let prefixes = prefix_at.and_then(|at| Some((*bytes.get(at)?, *linked.get(at)?)));
    let same_prefix = prefixes.is_none_or(|(old, new)| old == new);

    if same_prefix && (old_opcode, old_mod_rm) == (opcode, mod_rm) {
        // G + GOT + A - P: bytes behind the field make the addend less than -4.
        let place = address.wrapping_add(offset as u64);
        let slot_at = place
            .wrapping_add_signed(field)
            .wrapping_add_signed(addend.wrapping_neg());
        return Some(Relaxed {
            target: base.running_word_at(slot_at)?,
            start: offset,
            end,
        });
    }
    if addend != USUAL_ADDEND {
        return None;
    }
    let direct = |target| Relaxed {
        target,
        start: opcode_at,
        end,
    };
    match (old_opcode, old_mod_rm, opcode, mod_rm) {
        // mov -> lea
        (0x8b, old, 0x8d, new) if old == new && same_prefix => Some(direct(relative)),
        // call *slot -> addr32 call; or call and a nop behind it
        (0xff, 0x15, 0x67, 0xe8) => Some(direct(relative)),
        (0xff, 0x15, 0xe8, _) | (0xff, 0x25, 0xe9, _) => {
            let moved = linked.get(offset - 1..end - 1)?;
            let field = i64::from(i32::from_le_bytes(moved.try_into().ok()?));
            let is_padded = *linked.get(end - 1)? == 0x90;
            is_padded.then(|| direct(next.wrapping_sub(1).wrapping_add_signed(field)))
        }
        _ => {
            let register = (old_mod_rm >> 3) & 7;
            let expected = match old_opcode {
                0x8b => (0xc7, 0xc0 | register),
                0x85 => (0xf7, 0xc0 | register),
                binary if binary & 0xc7 == 0x03 => (0x81, 0xc0 | (binary & 0x38) | register),
                _ => return None,
            };
            if (opcode, mod_rm) != expected {
                return None;
            }
            let is_rex = |byte: u8| byte & 0xf0 == 0x40;
            match prefixes {
                // The register moves from the ModRM's reg field (REX.R) to its rm field (REX.B).
                Some((old, new)) if is_rex(old) => {
                    let moved = (old & !0x05) | ((old & 0x04) >> 2);
                    (new == moved).then_some(Relaxed {
                        target: immediate,
                        start: prefix_at?,
                        end,
                    })
                }
                // A 32-bit register: the upper half of the address is zero.
                _ => same_prefix.then(|| direct(immediate & u64::from(u32::MAX))),
            }
        }
    }
}
