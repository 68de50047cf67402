//! What an access through a slot of addresses became when the linker knew the address.
//!
//! The forms are those of the System V psABI for x86-64, "Optimize GOTPCRELX Relocations".

use crate::read::fields::Form;

/// An access as it is in the image or payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access {
    /// Offset of the first byte of the instruction that may differ.
    pub start: usize,
    /// Offset behind the last.
    pub end: usize,
    /// Offset of the field.
    pub field: usize,
    /// How the field says where it leads; [`Form::Slot`] when the slot is still used.
    pub form: Form,
}

/// Bytes of the field.
const FIELD: usize = 4;
/// Opcode and operand byte in front of it.
const OPCODE: usize = 2;

/// Compares the instruction whose field is at `offset` of both.
pub(super) fn access(ours: &[u8], theirs: &[u8], offset: usize, trailing: u8) -> Option<Access> {
    let end = offset.checked_add(FIELD)?;
    theirs.get(..end)?;
    let head = offset.checked_sub(OPCODE)?;
    let (&[old, old_operand], &[new, new_operand]) =
        (ours.get(head..offset)?, theirs.get(head..offset)?)
    else {
        return None;
    };
    let access = |start, field, form| {
        Some(Access {
            start,
            end,
            field,
            form,
        })
    };
    let prefix = head.checked_sub(1);
    let prefixes = prefix.and_then(|at| Some((*ours.get(at)?, *theirs.get(at)?)));
    let is_same_prefix = prefixes.is_none_or(|(old, new)| old == new);
    if is_same_prefix && (old, old_operand) == (new, new_operand) {
        return access(offset, offset, Form::Slot);
    }
    if usize::from(trailing) != FIELD {
        return None;
    }
    match (old, old_operand, new, new_operand) {
        (0x8b, a, 0x8d, b) if a == b && is_same_prefix => access(head, offset, Form::Relative),
        (0xff, 0x15, 0x67, 0xe8) => access(head, offset, Form::Relative),
        (0xff, 0x15, 0xe8, _) | (0xff, 0x25, 0xe9, _) => {
            let is_padded = *theirs.get(end - 1)? == 0x90;
            is_padded.then_some(())?;
            access(head, offset - 1, Form::Relative)
        }
        _ => {
            let register = (old_operand >> 3) & 7;
            let expected = match old {
                0x8b => (0xc7, 0xc0 | register),
                0x85 => (0xf7, 0xc0 | register),
                binary if binary & 0xc7 == 0x03 => (0x81, 0xc0 | (binary & 0x38) | register),
                _ => return None,
            };
            if (new, new_operand) != expected {
                return None;
            }
            match prefixes {
                // The register's high bit moves from one place of the prefix to another.
                Some((old, new)) if old & 0xf0 == 0x40 => {
                    let moved = (old & !0x05) | ((old & 0x04) >> 2);
                    (new == moved).then_some(())?;
                    access(prefix?, offset, Form::AbsoluteSigned)
                }
                _ if is_same_prefix => access(head, offset, Form::Absolute),
                _ => None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_became_an_address_is_followed() {
        let ours = [0x48, 0x8b, 0x05, 0, 0, 0, 0];
        let theirs = [0x48, 0x8d, 0x05, 1, 2, 3, 4];
        let found = access(&ours, &theirs, 3, 4).expect("an allowed form");
        assert_eq!(
            (found.form, found.field, found.start),
            (Form::Relative, 3, 1)
        );
    }

    #[test]
    fn another_register_is_no_form_of_the_same() {
        let ours = [0x48, 0x8b, 0x05, 0, 0, 0, 0];
        let theirs = [0x48, 0x8d, 0x0d, 1, 2, 3, 4];
        assert_eq!(access(&ours, &theirs, 3, 4), None);
    }
}
