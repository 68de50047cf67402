//! The tables that every loader walks, by section name, and the layout of their entries. Nobody
//! else lays an entry out or says by number where a field stands.

mod alternative;
mod bug_frame;
mod call_site;
mod exception;

pub use alternative::Alternative;
pub use bug_frame::{BugFrame, BugKind};
pub use call_site::CallSite;
pub use exception::ExceptionEntry;

use crate::section;

/// Sizes of special-section entries in bytes, as this profile's loader reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntrySizes {
    /// `.bug_frames.0` to `.bug_frames.2`.
    pub bug_frame: u64,
    /// `.bug_frames.3` (assertions): two more words.
    pub bug_frame_assert: u64,
    /// `.ex_table`.
    pub exception: u64,
    /// `.altinstructions`.
    pub alternative: u64,
    /// `.alt_call_sites`.
    pub alternative_call: u64,
}

/// A table that a loader walks. Whoever handles tables matches all of these, so that a new one
/// cannot be taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SpecialTable {
    /// `.bug_frames.N`, of [`BugFrame`].
    BugFrames(BugKind),
    /// `.ex_table`, of [`ExceptionEntry`].
    Exceptions,
    /// `.altinstructions`, of [`Alternative`].
    Alternatives,
    /// `.alt_call_sites`, of [`CallSite`].
    CallSites,
}

impl SpecialTable {
    /// The table that a section of this name is.
    #[must_use]
    pub fn of(name: &str) -> Option<SpecialTable> {
        match name {
            section::EX_TABLE => Some(SpecialTable::Exceptions),
            section::ALTINSTRUCTIONS => Some(SpecialTable::Alternatives),
            section::ALT_CALL_SITES => Some(SpecialTable::CallSites),
            _ => {
                let number = name.strip_prefix(section::BUG_FRAMES)?;
                let kind = BugKind::ALL
                    .into_iter()
                    .find(|kind| kind.suffix() == number);
                kind.map(SpecialTable::BugFrames)
            }
        }
    }

    /// Size of an entry in bytes for a loader with these sizes.
    #[must_use]
    pub const fn entry_bytes(self, sizes: &EntrySizes) -> u64 {
        match self {
            SpecialTable::BugFrames(BugKind::Assertion) => sizes.bug_frame_assert,
            SpecialTable::BugFrames(_) => sizes.bug_frame,
            SpecialTable::Exceptions => sizes.exception,
            SpecialTable::Alternatives => sizes.alternative,
            SpecialTable::CallSites => sizes.alternative_call,
        }
    }
}

/// Whether a section of this name looks like a table that loaders walk but is none that they know:
/// they would never look at it.
#[must_use]
pub fn is_unknown(name: &str) -> bool {
    name.starts_with(section::BUG_FRAMES) && SpecialTable::of(name).is_none()
}

#[cfg(test)]
mod tests {
    use super::{BugKind, SpecialTable, is_unknown};

    #[test]
    fn tables_are_known_by_their_whole_names() {
        let bug = SpecialTable::of(".bug_frames.2");
        assert_eq!(bug, Some(SpecialTable::BugFrames(BugKind::Bug)));
        for name in [".bug_frames.4", ".bug_frames.", ".bug_frames.02"] {
            assert_eq!(SpecialTable::of(name), None, "{name}");
            assert!(is_unknown(name), "{name}");
        }
        for name in [".ex_table.pre", ".ex_tables", ".altinstr_replacement"] {
            assert_eq!(SpecialTable::of(name), None, "{name}");
            assert!(!is_unknown(name), "{name}");
        }
    }
}
