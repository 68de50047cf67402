//! What an access through a slot of addresses became when the linker knew the address.

use xsplice_diff::machine::{Machine, got};

use crate::read::fields::{Field, Form, Leads};

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

/// Compares the instruction whose field is at `offset` of both.
pub(super) fn access(
    machine: &Machine,
    ours: &[u8],
    theirs: &[u8],
    offset: usize,
    field: &Field,
) -> Option<Access> {
    let Leads::Symbol { addend, .. } = field.leads else {
        return None;
    };
    let became = got::linked(
        machine,
        &got::Field {
            bytes: ours,
            linked: theirs,
            offset,
            kind: field.kind?,
            addend,
        },
    )?;
    Some(Access {
        start: became.start,
        end: became.end,
        field: became.field.start,
        form: match became.form {
            got::Form::Slot => Form::Slot,
            got::Form::Distance => Form::Relative,
            got::Form::SignedNumber => Form::AbsoluteSigned,
            got::Form::Number => Form::Absolute,
        },
    })
}

#[cfg(test)]
mod tests {
    use xsplice_abi::machine::x86_64::{MACHINE, REX_GOTPCRELX};
    use xsplice_diff::read::object::SymbolId;

    use super::*;

    fn became(ours: &[u8], theirs: &[u8]) -> Option<Access> {
        let field = Field {
            offset: 3,
            width: 4,
            kind: Some(REX_GOTPCRELX.number),
            known: None,
            form: Form::Slot,
            trailing: 4,
            ahead: 0,
            leads: Leads::Symbol {
                symbol: SymbolId(1),
                addend: -4,
            },
        };
        access(&MACHINE, ours, theirs, 3, &field)
    }

    #[test]
    fn a_load_that_became_an_address_is_followed() {
        let ours = [0x48, 0x8b, 0x05, 0, 0, 0, 0];
        let theirs = [0x48, 0x8d, 0x05, 1, 2, 3, 4];
        let found = became(&ours, &theirs).expect("an allowed form");
        assert_eq!(
            (found.form, found.field, found.start),
            (Form::Relative, 3, 1)
        );
    }

    #[test]
    fn another_register_is_no_form_of_the_same() {
        let ours = [0x48, 0x8b, 0x05, 0, 0, 0, 0];
        let theirs = [0x48, 0x8d, 0x0d, 1, 2, 3, 4];
        assert_eq!(became(&ours, &theirs), None);
    }
}
