//! What a payload asks to be changed: functions and words, their addresses known.

use xsplice_abi::limits::EXPECT_BYTES_MAX;
use xsplice_abi::record::LivepatchExpect;

use crate::check::Fault;

/// What takes the old function's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// A jump to this address.
    Jump(u64),
    /// NOPs up to this offset of the old function.
    Nops(u8),
}

/// The bytes that a function must start with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    length: u8,
    data: [u8; EXPECT_BYTES_MAX],
}

impl Expectation {
    /// Expects nothing.
    pub const NONE: Expectation = Expectation {
        length: 0,
        data: [0; EXPECT_BYTES_MAX],
    };

    /// The bytes; empty when nothing is expected.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.data
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }

    /// How many bytes these are.
    pub(crate) fn length(&self) -> u8 {
        self.length
    }

    pub(crate) fn new(length: u8, data: [u8; EXPECT_BYTES_MAX]) -> Result<Expectation, Fault> {
        let rest = data
            .get(usize::from(length)..)
            .ok_or(Fault::ExpectLong { bytes: length })?;
        if rest.iter().any(|byte| *byte != 0) {
            return Err(Fault::ExpectReserved);
        }
        Ok(Expectation { length, data })
    }

    pub(crate) fn from_record(expect: &LivepatchExpect) -> Result<Expectation, Fault> {
        if expect.reserved() != 0 || (!expect.is_enabled() && *expect != LivepatchExpect::DISABLED)
        {
            return Err(Fault::ExpectReserved);
        }
        Expectation::new(expect.length(), expect.data)
    }
}

/// One record, its addresses known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'image> {
    /// The function's name.
    pub name: &'image str,
    /// Start of the old function.
    pub old_address: u64,
    /// Size of the old function in bytes.
    pub old_bytes: u32,
    /// What takes its place.
    pub replacement: Replacement,
    /// Size of the new function, or number of NOPs, in bytes.
    pub new_bytes: u32,
    /// What it must start with.
    pub expectation: Expectation,
}

/// One word of data that is changed in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<'image> {
    /// Name for messages.
    pub name: &'image str,
    /// Address, a multiple of 8.
    pub address: u64,
    /// What it holds before.
    pub expected: u64,
    /// What it holds while the payload is applied.
    pub value: u64,
}
