//! A loaded payload: what the loader makes of a file, and what actions and fault handlers look at
//! from then on.

pub mod directory;
pub mod stack;
pub mod tables;

use alloc::vec::Vec;

use xsplice_abi::Profile;
use xsplice_abi::hypercall::{STATE_APPLIED, STATE_CHECKED};
use xsplice_abi::note::BUILD_ID_BYTES_MAX;

use crate::names::Name;
use crate::patch::{Patch, WordPatch};
use crate::payload::tables::Hooks;
use crate::platform::{Access, Region};

/// Identifies a loaded payload for as long as it is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PayloadId(pub u32);

/// A build-id of up to [`BUILD_ID_BYTES_MAX`] bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BuildId {
    bytes: [u8; BUILD_ID_BYTES_MAX],
    length: usize,
}

impl BuildId {
    /// The id with these bytes; those beyond the largest length are cut off.
    #[must_use]
    pub fn new(id: &[u8]) -> BuildId {
        let length = id.len().min(BUILD_ID_BYTES_MAX);
        let mut bytes = [0; BUILD_ID_BYTES_MAX];
        for (to, from) in bytes.iter_mut().zip(id) {
            *to = *from;
        }
        BuildId { bytes, length }
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl core::fmt::Display for BuildId {
    /// In hexadecimal digits.
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.as_bytes()
            .iter()
            .try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl core::fmt::Debug for BuildId {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, out)
    }
}

/// State of a loaded payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadState {
    /// Loaded and checked.
    Checked,
    /// In effect.
    Applied,
}

impl PayloadState {
    /// As the hypercalls say it.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            PayloadState::Checked => STATE_CHECKED,
            PayloadState::Applied => STATE_APPLIED,
        }
    }
}

/// The state of a payload's writable data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// As in the file, or there is none.
    Fresh,
    /// It has been applied, and its data may have been written since.
    Used,
}

/// One region of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Where.
    pub region: Region,
    /// For what.
    pub access: Access,
    /// Bytes in use.
    pub used_bytes: u64,
}

/// A loaded payload.
#[derive(Debug)]
pub struct Payload {
    /// Which.
    pub id: PayloadId,
    /// Its name, with the NUL at its end.
    pub name: Vec<u8>,
    /// Its ABI.
    pub profile: &'static Profile,
    /// Its own build-id.
    pub build_id: BuildId,
    /// What it stacks on.
    pub depends: BuildId,
    /// The base it was made for, where its profile says.
    pub base: Option<BuildId>,
    /// Its memory, at most one region of each kind.
    pub regions: Vec<Placed>,
    /// Its functions.
    pub patches: Vec<Patch>,
    /// Its in-place words.
    pub words: Vec<WordPatch>,
    /// Names of functions and words, one after the other.
    pub names: Vec<u8>,
    /// Address of its first record; 0 without records.
    pub records_address: u64,
    /// Its hooks.
    pub hooks: Hooks,
    /// Its `.modinfo`.
    pub metadata: Vec<u8>,
    /// Whether it has writable data besides its records.
    pub writable_bytes: u64,
    /// Payloads whose symbols or code it refers to.
    pub uses: Vec<PayloadId>,
    /// State.
    pub state: PayloadState,
    /// Result of the last action: 0 or a negated error number.
    pub rc: i32,
    /// Whether it has been applied before.
    pub freshness: Freshness,
}

impl Payload {
    /// Its name without the NUL.
    #[must_use]
    pub fn label(&self) -> &str {
        let name = self.name.strip_suffix(&[0]).unwrap_or(&self.name);
        core::str::from_utf8(name).unwrap_or_default()
    }

    /// A name that was stored in [`Payload::names`].
    #[must_use]
    pub fn stored_name(&self, name: Name) -> &str {
        name.read(&self.names)
    }
}
