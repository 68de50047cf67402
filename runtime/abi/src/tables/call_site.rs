//! An entry of `.alt_call_sites`: an indirect call through memory that the boot may make direct.

use super::layout::{Field, LeadsTo};
use zerocopy::byteorder::little_endian::I32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Xen's `struct alt_call` (`asm/alternative-call.h`, 4.21): one displacement.
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
pub struct CallSite {
    /// From this field to the call, in bytes.
    pub call: I32,
}

const _: () = assert!(size_of::<CallSite>() == 4);

impl CallSite {
    /// The section of these entries.
    pub const SECTION: &str = ".alt_call_sites";
    pub(super) const FIELDS: &'static [Field] = &[Field::new(CallSite::CALL_AT, LeadsTo::Owner)];
    /// Size of an entry in bytes.
    pub const BYTES: u64 = size_of::<CallSite>() as u64;
    /// Offset of the field that leads to the call, in bytes.
    pub const CALL_AT: u64 = core::mem::offset_of!(CallSite, call) as u64;
}
