//! What a payload's special sections come to once it is loaded: hooks, fix-ups of faults, bug
//! frames.

use alloc::vec::Vec;

use xsplice_abi::hook::HookKind;

/// Hooks of a payload: addresses of its functions.
#[derive(Debug, Default)]
pub struct Hooks {
    /// In section order.
    pub(crate) entries: Vec<(HookKind, u64)>,
}

impl Hooks {
    /// Addresses of the hooks of this kind, in order.
    pub fn of(&self, kind: HookKind) -> impl Iterator<Item = u64> + '_ {
        self.entries
            .iter()
            .filter(move |(entry, _)| *entry == kind)
            .map(|(_, address)| *address)
    }

    /// The hook of a kind with a single hook.
    #[must_use]
    pub fn single(&self, kind: HookKind) -> Option<u64> {
        self.of(kind).next()
    }

    /// Whether any of them forbids REPLACE.
    #[must_use]
    pub fn is_vetoing(&self) -> bool {
        self.entries.iter().any(|(kind, _)| kind.is_vetoing())
    }
}

/// One entry of an exception table: a fault at `fault` continues at `resume`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exception {
    /// Address of the instruction that may fault.
    pub fault: u64,
    /// Address where to go on.
    pub resume: u64,
}

/// One bug frame, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BugFrame {
    /// Address of the trapping instruction.
    pub address: u64,
    /// Kind: 0 to 3.
    pub kind: u8,
    /// Address of the file name, or of the function of kind 0.
    pub pointer: u64,
    /// Line.
    pub line: u32,
    /// Address of the message, for kind 3.
    pub message: Option<u64>,
}
