//! The payloads that are loaded, and the stack of those that are applied.

use alloc::vec::Vec;

use xsplice_abi::errno::Errno;
use xsplice_abi::hook::HookKind;

use crate::payload::{Payload, PayloadId};
use crate::platform::Region;

/// What is to happen in the quiescent zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
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
    pub(crate) const fn payload(self) -> PayloadId {
        match self {
            Work::Apply(id) | Work::Revert(id) | Work::Replace(id) => id,
        }
    }

    /// What it does, for messages.
    #[must_use]
    pub(crate) const fn verb(self) -> &'static str {
        match self {
            Work::Apply(_) => "apply",
            Work::Revert(_) => "revert",
            Work::Replace(_) => "replace",
        }
    }

    /// The hook that is asked before the CPUs are stopped. REPLACE has none: no payload takes part
    /// in it that has such a hook.
    #[must_use]
    pub(crate) const fn pre_hook(self) -> Option<HookKind> {
        match self {
            Work::Apply(_) => Some(HookKind::PreApply),
            Work::Revert(_) => Some(HookKind::PreRevert),
            Work::Replace(_) => None,
        }
    }

    /// The hook that is told the result after the CPUs run again.
    #[must_use]
    pub(crate) const fn post_hook(self) -> Option<HookKind> {
        match self {
            Work::Apply(_) => Some(HookKind::PostApply),
            Work::Revert(_) => Some(HookKind::PostRevert),
            Work::Replace(_) => None,
        }
    }
}

/// An action under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scheduled {
    /// What.
    pub work: Work,
    /// Its result inside the zone; `None` before.
    pub result: Option<i32>,
}

/// All payloads.
#[derive(Debug, Default)]
pub(crate) struct Stack {
    /// Loaded, in order of their upload.
    pub payloads: Vec<Payload>,
    /// Applied, the oldest first.
    pub applied: Vec<PayloadId>,
    /// Reverted by the action under way, the newest first; what a failed REPLACE puts back.
    pub reverted: Vec<PayloadId>,
    /// Changes whenever a payload is loaded or unloaded.
    pub version: u32,
    /// What happens next in the quiescent zone.
    pub scheduled: Option<Scheduled>,
    /// Unmapped regions whose pages wait until every CPU has flushed its TLB.
    pub unmapped: Vec<Region>,
    next_id: u32,
}

impl Stack {
    /// An id that no payload has had.
    pub(crate) fn new_id(&mut self) -> PayloadId {
        self.next_id = self.next_id.wrapping_add(1);
        PayloadId(self.next_id)
    }

    /// The payload of this id.
    #[must_use]
    pub(crate) fn get(&self, id: PayloadId) -> Option<&Payload> {
        self.payloads.iter().find(|payload| payload.id == id)
    }

    /// The payload of this id, to be changed.
    pub(crate) fn get_mut(&mut self, id: PayloadId) -> Option<&mut Payload> {
        self.payloads.iter_mut().find(|payload| payload.id == id)
    }

    /// The payload with this name, NUL included.
    ///
    /// # Errors
    /// [`Errno::ENOENT`].
    pub(crate) fn named(&self, name: &[u8]) -> Result<&Payload, Errno> {
        self.payloads
            .iter()
            .find(|payload| payload.name == name)
            .ok_or(Errno::ENOENT)
    }

    /// How many regions the payloads have.
    #[must_use]
    pub(crate) fn mapped_regions(&self) -> usize {
        let regions = self.payloads.iter().map(|payload| payload.regions.len());
        regions.sum()
    }

    /// The payload applied last.
    #[must_use]
    pub(crate) fn top(&self) -> Option<&Payload> {
        self.applied.last().and_then(|id| self.get(*id))
    }
}
