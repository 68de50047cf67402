//! Accesses through the GOT: how they may be rewritten, and what the linker made of them.

use std::ops::Range;

use xsplice_abi::machine::Architecture;

use super::{Machine, x86_64};

/// What becomes of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The instruction was rewritten; a distance is at this offset, with this addend.
    Direct {
        /// Offset of the field.
        offset: u64,
        /// Added to the target.
        addend: i64,
    },
    /// The instruction stays; its field points at a slot.
    Slot,
}

/// An access whose field the object has at `offset` of its `bytes`.
#[derive(Clone, Copy, Debug)]
pub struct Field<'code> {
    /// The object's.
    pub bytes: &'code [u8],
    /// The same place once it was linked.
    pub linked: &'code [u8],
    /// Offset of the field.
    pub offset: usize,
    /// The relocation's type.
    pub kind: u32,
    /// Of the relocation.
    pub addend: i64,
}

/// What an access became when it was linked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linked {
    /// What its field holds now.
    pub form: Form,
    /// Where the field is now, as offsets.
    pub field: Range<usize>,
    /// Offset of the first byte of the instruction that the linker may have touched.
    pub start: usize,
    /// Offset behind the last.
    pub end: usize,
}

/// What the field of an access holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The distance to a slot, as the object's.
    Slot,
    /// The distance to the target.
    Distance,
    /// The address of the target, extended by its sign.
    SignedNumber,
    /// The address of the target, extended by zeros.
    Number,
}

/// Where an access leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// To what the word at this address holds.
    Slot(u64),
    /// To this address.
    Target(u64),
}

impl Linked {
    /// Where it leads, when the code begins at an address.
    #[must_use]
    pub fn reached(&self, access: &Field<'_>, address: u64) -> Option<Reached> {
        let bytes = access.linked.get(self.field.clone())?;
        let mut wide = [0; 8];
        wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
        let number = u64::from_le_bytes(wide);
        let unused = u64::BITS.checked_sub(8 * u32::try_from(bytes.len()).ok()?)?;
        let signed = number.checked_shl(unused)?.cast_signed() >> unused;
        let place = address.wrapping_add(self.field.start as u64);
        let counted = place
            .wrapping_add_signed(signed)
            .wrapping_sub(access.addend.cast_unsigned());
        Some(match self.form {
            Form::Slot => Reached::Slot(counted),
            Form::Distance => Reached::Target(counted),
            Form::SignedNumber => Reached::Target(signed.cast_unsigned()),
            Form::Number => Reached::Target(number),
        })
    }
}

/// Rewrites the instruction around the field at `offset` of `code`, if the relocation type says
/// that it may be and the form is known.
#[must_use]
pub fn relax(machine: &Machine, code: &mut [u8], offset: u64, kind: u32, addend: i64) -> Access {
    match machine.architecture {
        Architecture::X86_64 => x86_64::got::relax(code, offset, kind, addend),
        // No type of its goes through a slot by one instruction.
        Architecture::AArch64 => Access::Slot,
    }
}

/// What an access became; `None` for anything that the psABI does not allow.
#[must_use]
pub fn linked(machine: &Machine, field: &Field<'_>) -> Option<Linked> {
    match machine.architecture {
        Architecture::X86_64 => x86_64::got::linked(field),
        Architecture::AArch64 => None,
    }
}
