//! The payloads that are loaded, and the stack of those that are applied.

use alloc::vec::Vec;

use xsplice_abi::Profile;
use xsplice_abi::errno::Errno;
use xsplice_abi::hypercall::{STATE_APPLIED, STATE_CHECKED};
use xsplice_abi::note::BUILD_ID_BYTES_MAX;

use crate::load::special::Hooks;
use crate::patch::{Patch, WordPatch};
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

/// What a payload's written data may look like by now.
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
    /// Whether it brings data that it writes, beyond its records.
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
        self.names
            .get(name.start..name.end)
            .and_then(|bytes| core::str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }
}

/// A name within a buffer of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    start: usize,
    end: usize,
}

impl Name {
    /// Appends `name` to `names`.
    ///
    /// # Errors
    /// No memory.
    pub fn store(names: &mut Vec<u8>, name: &str) -> Result<Name, OutOfMemory> {
        names.try_reserve(name.len()).map_err(|_| OutOfMemory)?;
        let start = names.len();
        names.extend_from_slice(name.as_bytes());
        Ok(Name {
            start,
            end: names.len(),
        })
    }

    /// The name in `names`.
    #[must_use]
    pub fn read(self, names: &[u8]) -> &str {
        names
            .get(self.start..self.end)
            .and_then(|bytes| core::str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }
}

/// Memory could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("out of memory")]
pub struct OutOfMemory;

/// What is to happen in the quiescent zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Put this one on top of the stack.
    Apply(PayloadId),
    /// Take this one off the top.
    Revert(PayloadId),
    /// Take all off, newest first, and put this one there.
    Replace(PayloadId),
}

impl Work {
    /// The payload that was named.
    #[must_use]
    pub const fn payload(self) -> PayloadId {
        match self {
            Work::Apply(id) | Work::Revert(id) | Work::Replace(id) => id,
        }
    }

    /// What it does, for messages.
    #[must_use]
    pub const fn verb(self) -> &'static str {
        match self {
            Work::Apply(_) => "apply",
            Work::Revert(_) => "revert",
            Work::Replace(_) => "replace",
        }
    }
}

/// An action under way.
#[derive(Clone, Copy, Debug)]
pub struct Scheduled {
    /// What.
    pub work: Work,
    /// What came of it inside the zone; `None` before.
    pub result: Option<i32>,
}

/// All payloads.
#[derive(Debug, Default)]
pub struct Stack {
    /// Loaded, in order of their upload.
    pub payloads: Vec<Payload>,
    /// Applied, the oldest first.
    pub applied: Vec<PayloadId>,
    /// Reverted by the action under way, the newest first; what a failed REPLACE puts back.
    pub reverted: Vec<PayloadId>,
    /// Changes whenever a payload comes or goes.
    pub version: u32,
    /// What happens next in the quiescent zone.
    pub scheduled: Option<Scheduled>,
    /// Unmapped regions whose pages wait until every CPU has flushed its TLB.
    pub unmapped: Vec<Region>,
    next_id: u32,
}

impl Stack {
    /// An id that no payload has had.
    pub fn new_id(&mut self) -> PayloadId {
        self.next_id = self.next_id.wrapping_add(1);
        PayloadId(self.next_id)
    }

    /// The payload of this id.
    #[must_use]
    pub fn get(&self, id: PayloadId) -> Option<&Payload> {
        self.payloads.iter().find(|payload| payload.id == id)
    }

    /// The payload of this id, to be changed.
    pub fn get_mut(&mut self, id: PayloadId) -> Option<&mut Payload> {
        self.payloads.iter_mut().find(|payload| payload.id == id)
    }

    /// The payload with this name, NUL included.
    ///
    /// # Errors
    /// [`Errno::ENOENT`].
    pub fn named(&self, name: &[u8]) -> Result<&Payload, Errno> {
        self.payloads
            .iter()
            .find(|payload| payload.name == name)
            .ok_or(Errno::ENOENT)
    }

    /// How many regions payloads have, and wait to be released.
    #[must_use]
    pub fn mapped_regions(&self) -> usize {
        let mapped = self.payloads.iter().map(|payload| payload.regions.len());
        mapped.sum::<usize>() + self.unmapped.len()
    }

    /// The payload applied last.
    #[must_use]
    pub fn top(&self) -> Option<&Payload> {
        self.applied.last().and_then(|id| self.get(*id))
    }
}
