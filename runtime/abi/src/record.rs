//! The records of `PREFIXfuncs`: one per function to replace.
//!
//! Bytes 0 to 31 are the same in every profile; the tail differs.

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::limits::EXPECT_BYTES_MAX;

/// The part that all profiles share, at offset 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RecordHead {
    /// Address of the function's NUL-terminated name, in `PREFIXstrings`.
    pub name: U64,
    /// Address of the new function. 0 means NOPs where the profile allows it.
    pub new_addr: U64,
    /// Address of the old function. 0 means look `name` up where the profile allows it.
    pub old_addr: U64,
    /// Size of the new function in bytes.
    pub new_size: U32,
    /// Size of the old function in bytes.
    pub old_size: U32,
}

/// Offsets of the fields that carry relocations, in bytes.
pub mod offset {
    /// [`super::RecordHead::name`].
    pub const NAME: usize = 0;
    /// [`super::RecordHead::new_addr`].
    pub const NEW_ADDR: usize = 8;
    /// [`super::RecordHead::old_addr`].
    pub const OLD_ADDR: usize = 16;
    /// [`super::RecordHead::new_size`].
    pub const NEW_SIZE: usize = 24;
    /// [`super::RecordHead::old_size`].
    pub const OLD_SIZE: usize = 28;
    /// First byte of the tail.
    pub const TAIL: usize = 32;
}

/// A record of the `xsplice` profile: 64 bytes, the tail owned by the patcher and zero on upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct XspliceRecord {
    /// Shared part.
    pub head: RecordHead,
    /// Where the patcher keeps the overwritten bytes; zero on upload.
    pub undo: [u8; 8],
    /// Zero.
    pub pad: [u8; 24],
}

/// A record of the `xsplice-v1` profile: 64 bytes with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct XspliceV1Record {
    /// Shared part.
    pub head: RecordHead,
    /// [`XSPLICE_V1_VERSION`].
    pub version: u8,
    /// Owned by the patcher; zero on upload.
    pub opaque: [u8; 31],
}

/// A record of the `livepatch` profile: 104 bytes with a version and an expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LivepatchRecord {
    /// Shared part.
    pub head: RecordHead,
    /// [`LIVEPATCH_VERSION`].
    pub version: u8,
    /// Zero.
    pub pad: [u8; LIVEPATCH_PAD_BYTES],
    /// What the old function must start with.
    pub expect: LivepatchExpect,
}

/// Expectation of a [`LivepatchRecord`], at offset 72.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LivepatchExpect {
    /// Bit 0: enabled. Bits 1 to 5: length. Bits 6 and 7: zero.
    pub control: u8,
    /// The bytes; those beyond the length are zero.
    pub data: [u8; EXPECT_BYTES_MAX],
}

impl LivepatchExpect {
    /// No expectation: all zero, as the loader demands.
    pub const DISABLED: LivepatchExpect = LivepatchExpect {
        control: 0,
        data: [0; EXPECT_BYTES_MAX],
    };

    /// Expects `bytes`; `None` when they are more than [`EXPECT_BYTES_MAX`].
    #[must_use]
    pub fn bytes(bytes: &[u8]) -> Option<LivepatchExpect> {
        let length = u8::try_from(bytes.len()).ok()?;
        let mut expect = LivepatchExpect {
            control: 1 | (length << 1),
            data: [0; EXPECT_BYTES_MAX],
        };
        expect.data.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(expect)
    }

    /// Whether the loader compares at all.
    #[must_use]
    pub const fn is_enabled(&self) -> bool {
        self.control & 1 != 0
    }

    /// Length in bytes, 0 to 31.
    #[must_use]
    pub const fn length(&self) -> u8 {
        (self.control >> 1) & 0x1f
    }

    /// Bits 6 and 7, which must be zero.
    #[must_use]
    pub const fn reserved(&self) -> u8 {
        self.control >> 6
    }
}

/// An entry of `.xsplice.expect`, one a record in record order, for profiles with 64-byte records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ExpectEntry {
    /// Number of bytes that are compared, 0 (none) to 31.
    pub length: u8,
    /// The bytes; those beyond the length are zero.
    pub data: [u8; EXPECT_BYTES_MAX],
}

/// A record of `.xsplice.words`: one 8-byte word of data that is changed in place, such as an
/// entry of a function-pointer table. Applied with the functions and undone by revert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct WordRecord {
    /// Address of a NUL-terminated name for messages.
    pub name: U64,
    /// Address of the word; a multiple of 8.
    pub address: U64,
    /// What the word must hold before.
    pub expected: U64,
    /// What it holds while the payload is applied.
    pub value: U64,
}

impl WordRecord {
    /// Offset of [`WordRecord::name`], in bytes.
    pub const NAME_AT: u64 = core::mem::offset_of!(WordRecord, name) as u64;
    /// Offset of [`WordRecord::address`], in bytes.
    pub const ADDRESS_AT: u64 = core::mem::offset_of!(WordRecord, address) as u64;
    /// Offset of [`WordRecord::expected`], in bytes.
    pub const EXPECTED_AT: u64 = core::mem::offset_of!(WordRecord, expected) as u64;
    /// Offset of [`WordRecord::value`], in bytes.
    pub const VALUE_AT: u64 = core::mem::offset_of!(WordRecord, value) as u64;
}

/// The tail of a profile's records, behind the shared head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// All zero.
    Zero,
    /// A version byte at offset 32, then zero.
    Version(u8),
    /// A version byte at offset 32, an expectation at 72.
    VersionAndExpect(u8),
}

/// Why a loader does not take a record's tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailFault {
    /// It is of another version.
    Version(u8),
    /// What must be zero is not.
    NotZero,
}

const fn livepatch(head: RecordHead, version: u8, expect: LivepatchExpect) -> LivepatchRecord {
    LivepatchRecord {
        head,
        version,
        pad: [0; LIVEPATCH_PAD_BYTES],
        expect,
    }
}

impl Tail {
    /// Fills the bytes behind a record's head: of a new record, whose function must start with
    /// `expect`. `None` when these are more than there is a place for, or `tail` is not as long as
    /// this kind's.
    #[must_use]
    pub fn encode(self, expect: &[u8], tail: &mut [u8]) -> Option<()> {
        tail.fill(0);
        match self {
            Tail::Zero => {}
            Tail::Version(version) => *tail.first_mut()? = version,
            Tail::VersionAndExpect(version) => {
                let expect = if expect.is_empty() {
                    LivepatchExpect::DISABLED
                } else {
                    LivepatchExpect::bytes(expect)?
                };
                let record = livepatch(RecordHead::new_zeroed(), version, expect);
                let bytes = record.as_bytes().get(offset::TAIL..)?;
                (bytes.len() == tail.len()).then(|| tail.copy_from_slice(bytes))?;
            }
        }
        Some(())
    }

    /// What the bytes behind a record's head expect, whatever else is wrong with them.
    #[must_use]
    pub fn expectation(self, tail: &[u8]) -> Option<LivepatchExpect> {
        match self {
            Tail::Zero | Tail::Version(_) => None,
            Tail::VersionAndExpect(_) => {
                const AT: usize = core::mem::offset_of!(LivepatchRecord, expect) - offset::TAIL;
                let (expect, _) = LivepatchExpect::read_from_prefix(tail.get(AT..)?).ok()?;
                Some(expect)
            }
        }
    }

    /// What the bytes behind a record's head expect, when a loader takes them.
    ///
    /// # Errors
    /// Another version, or bytes that must be zero.
    pub fn read(self, tail: &[u8]) -> Result<LivepatchExpect, TailFault> {
        let version = tail.first().copied().unwrap_or(0);
        let expect = match self {
            Tail::Zero => LivepatchExpect::DISABLED,
            Tail::Version(demanded) | Tail::VersionAndExpect(demanded) if version != demanded => {
                return Err(TailFault::Version(version));
            }
            Tail::Version(_) => LivepatchExpect::DISABLED,
            Tail::VersionAndExpect(_) => self.expectation(tail).ok_or(TailFault::NotZero)?,
        };
        let rest = match self {
            Tail::Zero => tail,
            Tail::Version(_) => tail.get(1..).unwrap_or_default(),
            Tail::VersionAndExpect(_) => tail
                .get(1..=LIVEPATCH_PAD_BYTES)
                .ok_or(TailFault::NotZero)?,
        };
        if rest.iter().all(|byte| *byte == 0) {
            Ok(expect)
        } else {
            Err(TailFault::NotZero)
        }
    }
}

/// Size of [`LivepatchRecord::pad`].
const LIVEPATCH_PAD_BYTES: usize = 39;

/// [`XspliceV1Record::version`].
pub const XSPLICE_V1_VERSION: u8 = 1;
/// [`LivepatchRecord::version`].
pub const LIVEPATCH_VERSION: u8 = 2;

const _: () = {
    assert!(size_of::<RecordHead>() == 32);
    assert!(core::mem::offset_of!(RecordHead, name) == offset::NAME);
    assert!(core::mem::offset_of!(RecordHead, new_addr) == offset::NEW_ADDR);
    assert!(core::mem::offset_of!(RecordHead, old_addr) == offset::OLD_ADDR);
    assert!(core::mem::offset_of!(RecordHead, new_size) == offset::NEW_SIZE);
    assert!(core::mem::offset_of!(RecordHead, old_size) == offset::OLD_SIZE);
    assert!(size_of::<XspliceRecord>() == 64);
    assert!(core::mem::offset_of!(XspliceRecord, undo) == 32);
    assert!(core::mem::offset_of!(XspliceRecord, pad) == 40);
    assert!(size_of::<XspliceV1Record>() == 64);
    assert!(core::mem::offset_of!(XspliceV1Record, version) == 32);
    assert!(size_of::<LivepatchRecord>() == 104);
    assert!(core::mem::offset_of!(LivepatchRecord, version) == 32);
    assert!(core::mem::offset_of!(LivepatchRecord, expect) == 72);
    assert!(size_of::<LivepatchExpect>() == 32);
    assert!(size_of::<ExpectEntry>() == 32);
    assert!(size_of::<WordRecord>() == 32);
};

#[cfg(test)]
mod tests {
    use super::LivepatchExpect;

    #[test]
    fn an_expectation_packs_its_length_above_the_enabled_bit() {
        let expect = LivepatchExpect::bytes(&[1, 2, 3]).expect("three bytes fit");
        assert_eq!(expect.control, 0b111);
        assert!(expect.is_enabled());
        assert_eq!((expect.length(), expect.reserved()), (3, 0));
        assert_eq!(LivepatchExpect::bytes(&[0; 32]), None);
        assert_eq!(
            LivepatchExpect::bytes(&[0; 31]).map(|e| e.length()),
            Some(31)
        );
    }
}
