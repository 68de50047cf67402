//! An entry of `.ex_table`: where to go on after a fault.

use super::layout::{Field, LeadsTo};
use zerocopy::byteorder::little_endian::I32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Xen's `struct exception_table_entry` (`asm/uaccess.h`).
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
pub struct ExceptionEntry {
    /// From this field to the instruction that may fault, in bytes.
    pub fault: I32,
    /// From this field to the code to go on with, in bytes.
    pub resume: I32,
}

const _: () = assert!(size_of::<ExceptionEntry>() == 8);

impl ExceptionEntry {
    /// The section of these entries.
    pub const SECTION: &str = ".ex_table";
    pub(super) const FIELDS: &'static [Field] = &[
        Field::new(ExceptionEntry::FAULT_AT, LeadsTo::Owner),
        Field::new(ExceptionEntry::RESUME_AT, LeadsTo::Code),
    ];
    /// Size of an entry in bytes.
    pub const BYTES: u64 = size_of::<ExceptionEntry>() as u64;
    /// Offset of the field that leads to the instruction, in bytes.
    pub const FAULT_AT: u64 = core::mem::offset_of!(ExceptionEntry, fault) as u64;
    /// Offset of the field that leads to the code to go on with, in bytes.
    pub const RESUME_AT: u64 = core::mem::offset_of!(ExceptionEntry, resume) as u64;
}
