//! Hooks: code of the payload that runs around an action, and the structure it is given.

use zerocopy::{Immutable, IntoBytes, KnownLayout};

/// A kind of hook, named by its section `PREFIXhooks.NAME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HookKind {
    /// Array of `void (*)(void)`; runs inside the quiescent zone; the profile's
    /// [`HookOrder`] says whether after the jumps are written.
    Load,
    /// Array of `void (*)(void)`; runs inside the quiescent zone; the profile's
    /// [`HookOrder`] says whether before the jumps are removed.
    Unload,
    /// May veto; runs before the action is scheduled.
    PreApply,
    /// Replaces the patcher's own apply, inside the quiescent zone.
    Apply,
    /// Receives the result; runs after the CPUs are released.
    PostApply,
    /// May veto; runs before the action is scheduled.
    PreRevert,
    /// Replaces the patcher's own revert, inside the quiescent zone.
    Revert,
    /// Receives the result; runs after the CPUs are released.
    PostRevert,
}

/// When load and unload hooks run, relative to the writing of the jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookOrder {
    /// Load hooks after the jumps are written, unload hooks before they are removed: both run while
    /// the replaced functions are in effect, so that an unload hook can call what a load hook
    /// could.
    WhileReplaced,
    /// Load hooks before the jumps are written, unload hooks after they are removed: as Xen does.
    WhileNotReplaced,
}

/// Size of a pointer in a hook section, in bytes.
pub const POINTER_BYTES: u64 = 8;

/// How many pointers a hook section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookCount {
    /// One or more, called in order.
    Array,
    /// Exactly one.
    Single,
}

impl HookKind {
    /// Every kind, in the order of their sections' names.
    pub const ALL: [HookKind; 8] = [
        HookKind::Load,
        HookKind::Unload,
        HookKind::PreApply,
        HookKind::Apply,
        HookKind::PostApply,
        HookKind::PreRevert,
        HookKind::Revert,
        HookKind::PostRevert,
    ];

    /// The section's name after `PREFIXhooks.`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            HookKind::Load => "load",
            HookKind::Unload => "unload",
            HookKind::PreApply => "preapply",
            HookKind::Apply => "apply",
            HookKind::PostApply => "postapply",
            HookKind::PreRevert => "prerevert",
            HookKind::Revert => "revert",
            HookKind::PostRevert => "postrevert",
        }
    }

    /// When it runs, in the words of the patch author's guide.
    #[must_use]
    pub const fn when(self, order: HookOrder) -> &'static str {
        match (self, order) {
            (HookKind::Load, HookOrder::WhileReplaced) => {
                "while every CPU stands still, after the jumps are written"
            }
            (HookKind::Load, HookOrder::WhileNotReplaced) => {
                "while every CPU stands still, before the jumps are written"
            }
            (HookKind::Unload, HookOrder::WhileReplaced) => {
                "while every CPU stands still, before the jumps are taken back"
            }
            (HookKind::Unload, HookOrder::WhileNotReplaced) => {
                "while every CPU stands still, after the jumps are taken back"
            }
            (HookKind::Apply, _) => "in place of the loader's own apply",
            (HookKind::Revert, _) => "in place of the loader's own revert",
            (HookKind::PreApply | HookKind::PreRevert, _) => {
                "before the CPUs are stopped; may veto"
            }
            (HookKind::PostApply | HookKind::PostRevert, _) => "after the CPUs run again",
        }
    }

    /// How many pointers its section holds.
    #[must_use]
    pub const fn count(self) -> HookCount {
        match self {
            HookKind::Load | HookKind::Unload => HookCount::Array,
            HookKind::PreApply
            | HookKind::Apply
            | HookKind::PostApply
            | HookKind::PreRevert
            | HookKind::Revert
            | HookKind::PostRevert => HookCount::Single,
        }
    }

    /// Whether a payload with this hook cannot take part in REPLACE (its pre- and post-hooks
    /// cannot be coalesced or rolled back).
    #[must_use]
    pub const fn is_vetoing(self) -> bool {
        match self {
            HookKind::PreApply
            | HookKind::PostApply
            | HookKind::PreRevert
            | HookKind::PostRevert => true,
            HookKind::Load | HookKind::Unload | HookKind::Apply | HookKind::Revert => false,
        }
    }
}

/// The argument of every hook but load and unload, passed by pointer: `struct xsplice_hook_arg` of
/// `xsplice.h`. Fields are only ever added at the end, and `bytes` tells how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[derive(IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HookArgument {
    /// Size of this structure in bytes.
    pub bytes: u32,
    /// State of the payload: [`crate::hypercall::STATE_CHECKED`] or `STATE_APPLIED`.
    pub state: u32,
    /// Result of the action, 0 or a negated error number; post-hooks read it.
    pub rc: i32,
    /// Number of records.
    pub records: u32,
    /// Address of the payload's NUL-terminated name.
    pub name: u64,
    /// Address of the first record.
    pub funcs: u64,
}

const _: () = assert!(size_of::<HookArgument>() == 32);
