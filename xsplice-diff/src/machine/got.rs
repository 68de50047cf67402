//! Accesses through the GOT: how they may be rewritten, and what the linker made of them.

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
    /// The same place in the linked image.
    pub linked: &'code [u8],
    /// Address of the first byte in the image.
    pub address: u64,
    /// Offset of the field.
    pub offset: usize,
    /// The relocation's type.
    pub kind: u32,
    /// Of the relocation.
    pub addend: i64,
}

/// What an access became in a linked image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linked {
    /// Where it leads.
    pub to: Reached,
    /// Offset of the first byte of the instruction that the linker may have touched.
    pub start: usize,
    /// Offset behind the last.
    pub end: usize,
}

/// Where an access leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// To what the word at this address holds.
    Slot(u64),
    /// To this address.
    Target(u64),
}

/// Rewrites the instruction around the field at `offset` of `code`, if the relocation type says
/// that it may be and the form is known.
#[must_use]
pub fn relax(machine: &Machine, code: &mut [u8], offset: u64, kind: u32, addend: i64) -> Access {
    match machine.architecture {
        Architecture::X86_64 => x86_64::got::relax(code, offset, kind, addend),
    }
}

/// What an access became; `None` for anything that the psABI does not allow.
#[must_use]
pub fn linked(machine: &Machine, field: &Field<'_>) -> Option<Linked> {
    match machine.architecture {
        Architecture::X86_64 => x86_64::got::linked(field),
    }
}
