//! What a linker made of an instruction: what its field says about the target, and whether code
//! was moved away to make room for something else.
//!
//! Where instructions have one size, a field is some bits of one, and the others must be as the
//! object has them. A linker may still write another instruction that comes to the same, and this
//! is recognised form by form, so that anything else is a difference.

use xsplice_abi::machine::{Architecture, RelocationType, Told};

use super::{Machine, aarch64};

/// Bytes of the image from an address on, as many as asked; `None` where there are none.
pub type Fetch<'a> = &'a dyn Fn(u64, u64) -> Option<&'a [u8]>;

/// A field that was linked.
#[derive(Clone, Copy, Debug)]
pub struct Place<'code> {
    /// The object's bytes from the field on.
    pub ours: &'code [u8],
    /// The same place once it was linked.
    pub linked: &'code [u8],
    /// Address of the field.
    pub address: u64,
}

/// What a linked field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linked {
    /// About the sum of target and addend.
    pub told: Told,
    /// Whether the linker wrote another instruction.
    pub is_rewritten: bool,
}

/// What the field of a relocation of this type says; `None` when the bits beside it are not those
/// of the object.
#[must_use]
pub fn told(
    machine: &Machine,
    kind: &RelocationType,
    place: &Place<'_>,
    fetch: Fetch<'_>,
) -> Option<Linked> {
    match machine.architecture {
        Architecture::X86_64 => Some(Linked {
            told: kind.field.told(place.linked, place.address)?,
            is_rewritten: false,
        }),
        Architecture::AArch64 => aarch64::linked::told(kind, place, fetch),
    }
}

/// Bytes of the instruction at `place` when the linker moved it elsewhere and left a branch to it;
/// `None` when it did not.
#[must_use]
pub fn moved_away(machine: &Machine, place: &Place<'_>, fetch: Fetch<'_>) -> Option<usize> {
    match machine.architecture {
        Architecture::X86_64 => None,
        Architecture::AArch64 => aarch64::linked::moved_away(place, fetch),
    }
}

/// Where the code at an address leads, if it does nothing but lead a branch there that does not
/// reach.
#[must_use]
pub fn veneer(machine: &Machine, address: u64, fetch: Fetch<'_>) -> Option<u64> {
    match machine.architecture {
        Architecture::X86_64 => None,
        Architecture::AArch64 => aarch64::linked::veneer(address, fetch),
    }
}
