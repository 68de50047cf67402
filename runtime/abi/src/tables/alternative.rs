//! An entry of `.altinstructions`: code that the boot, or the loader, replaces where the machine
//! has a feature.

use super::layout::{Field, LeadsTo};
use crate::machine::EntryForm;
use zerocopy::byteorder::little_endian::{I32, U16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bit of the feature number that inverts its meaning (Xen since 4.17.6).
const FEATURE_INVERTED: u16 = 1 << 15;

/// Xen 4.17 `struct alt_instr` (`asm/alternative.h`), 14 bytes without gaps. The plain form is
/// without the last two, which are zero here.
#[derive(
    Clone,
    Copy,
    Debug,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned
)]
#[repr(C)]
pub struct Alternative {
    /// From this field to the original instruction, in bytes.
    pub original: I32,
    /// From this field to the replacement, in bytes.
    pub replacement: I32,
    feature_bits: U16,
    /// Length of the original instruction in bytes.
    pub original_bytes: u8,
    /// Length of the replacement in bytes.
    pub replacement_bytes: u8,
    /// NOPs behind the original instruction, in bytes.
    pub padding_bytes: u8,
    /// Private to the loader.
    pub private: u8,
}

const _: () = assert!(size_of::<Alternative>() == 14);

impl Alternative {
    /// The section of these entries.
    pub const SECTION: &str = ".altinstructions";
    pub(super) const FIELDS: &'static [Field] = &[
        Field::new(Alternative::ORIGINAL_AT, LeadsTo::Owner),
        Field::new(Alternative::REPLACEMENT_AT, LeadsTo::Replacement),
    ];
    /// Size of an entry of the packed form in bytes.
    pub const BYTES: u64 = size_of::<Alternative>() as u64;
    /// Offset of the field that leads to the original instruction, in bytes.
    pub const ORIGINAL_AT: u64 = core::mem::offset_of!(Alternative, original) as u64;
    /// Offset of the field that leads to the replacement, in bytes.
    pub const REPLACEMENT_AT: u64 = core::mem::offset_of!(Alternative, replacement) as u64;

    /// Size of an entry in bytes.
    #[must_use]
    pub const fn bytes(form: EntryForm) -> u64 {
        match form {
            EntryForm::Packed => Alternative::BYTES,
            EntryForm::Plain => core::mem::offset_of!(Alternative, padding_bytes) as u64,
        }
    }

    /// The entry that `bytes` begin with; `None` where they are fewer than one.
    #[must_use]
    pub fn read(form: EntryForm, bytes: &[u8]) -> Option<Alternative> {
        let held = usize::try_from(Alternative::bytes(form)).ok()?;
        let mut whole = [0; size_of::<Alternative>()];
        whole.get_mut(..held)?.copy_from_slice(bytes.get(..held)?);
        Alternative::read_from_bytes(&whole).ok()
    }

    /// The entry in `bytes`, of which systems that leave out the last fields have fewer.
    #[must_use]
    pub fn read_padded(bytes: &[u8]) -> Option<Alternative> {
        let mut whole = [0; size_of::<Alternative>()];
        let held = bytes.len().min(whole.len());
        let has_lengths = held > core::mem::offset_of!(Alternative, replacement_bytes);
        whole[..held].copy_from_slice(&bytes[..held]);
        let read = || Alternative::read(EntryForm::Packed, &whole);
        has_lengths.then(read).flatten()
    }

    /// Whether the place is filled with NOPs alone. Linux has flags where Xen has the lengths, and
    /// the length of the replacement in the last byte, which is 0 in Xen's objects: both must be.
    #[must_use]
    pub fn replaces_by_nothing(&self) -> bool {
        self.replacement_bytes == 0 && self.private == 0
    }

    /// Whether a replacement must be as long as what it replaces. Xen on Arm stops where it is not.
    #[must_use]
    pub const fn lengths_must_be_equal(form: EntryForm) -> bool {
        matches!(form, EntryForm::Plain)
    }

    /// The feature's number.
    #[must_use]
    pub fn feature(&self) -> u16 {
        self.feature_bits.get() & !FEATURE_INVERTED
    }

    /// Whether the replacement is for machines that lack the feature.
    #[must_use]
    pub fn is_inverted(&self) -> bool {
        self.feature_bits.get() & FEATURE_INVERTED != 0
    }

    /// Length of the place that the replacement may fill, in bytes: instruction and NOPs.
    #[must_use]
    pub fn place_bytes(&self) -> u16 {
        u16::from(self.original_bytes) + u16::from(self.padding_bytes)
    }
}
