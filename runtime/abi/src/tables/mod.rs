//! The tables that every loader walks, by section name, and the layout of their entries. No other
//! code contains an entry's layout or a field's offset, but two that have bug frames of their own
//! on purpose: `xsplice-account`, which shares no rule with anyone, and the test kernel, which is
//! one of the systems that are patched.

mod alternative;
mod bug_frame;
mod call_site;
mod exception;
mod foreign;
mod layout;

pub use alternative::Alternative;
pub use bug_frame::{BugFrame, BugKind};
pub use call_site::CallSite;
pub use exception::ExceptionEntry;
pub use foreign::ForeignTable;
pub use layout::{Field, Layout, LeadsTo, LineField};

use crate::machine::{EntryForm, Machine};

/// How special-section entries are laid out for a loader: their form, and their sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntrySizes {
    /// Where an entry has what.
    pub form: EntryForm,
    /// `.bug_frames.0` to `.bug_frames.2`.
    pub bug_frame: u64,
    /// `.bug_frames.3` (assertions): two more words, where the form has them at all.
    pub bug_frame_assert: u64,
    /// `.ex_table`.
    pub exception: u64,
    /// `.altinstructions`.
    pub alternative: u64,
    /// `.alt_call_sites`.
    pub alternative_call: u64,
}

impl EntrySizes {
    /// Those of the entries that this folder lays out: of Xen 4.14 to today, on a machine.
    #[must_use]
    pub const fn of(machine: &Machine) -> EntrySizes {
        let form = machine.entry_form;
        EntrySizes {
            form,
            bug_frame: BugFrame::bytes(form, BugKind::Bug),
            bug_frame_assert: BugFrame::bytes(form, BugKind::Assertion),
            exception: ExceptionEntry::BYTES,
            alternative: Alternative::bytes(form),
            alternative_call: CallSite::BYTES,
        }
    }
}

/// A table that a loader walks. Code that handles tables matches all variants without a wildcard,
/// so that a new table cannot be mistaken for another.
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
            ExceptionEntry::SECTION => Some(SpecialTable::Exceptions),
            Alternative::SECTION => Some(SpecialTable::Alternatives),
            CallSite::SECTION => Some(SpecialTable::CallSites),
            _ => {
                let number = name.strip_prefix(BugFrame::SECTIONS)?;
                let kind = BugKind::ALL
                    .into_iter()
                    .find(|kind| kind.suffix() == number);
                kind.map(SpecialTable::BugFrames)
            }
        }
    }

    /// The fields of an entry that relocations fill.
    #[must_use]
    pub const fn fields(self, form: EntryForm) -> &'static [Field] {
        match self {
            SpecialTable::BugFrames(kind) => BugFrame::fields(form, kind),
            SpecialTable::Exceptions => ExceptionEntry::FIELDS,
            SpecialTable::Alternatives => Alternative::FIELDS,
            SpecialTable::CallSites => CallSite::FIELDS,
        }
    }

    /// How an entry is laid out for a loader with these sizes.
    #[must_use]
    pub const fn layout(self, sizes: &EntrySizes) -> Layout {
        Layout {
            bytes: self.entry_bytes(sizes),
            fields: self.fields(sizes.form),
            line: match self {
                SpecialTable::BugFrames(_) => BugFrame::line_field(sizes.form),
                SpecialTable::Exceptions | SpecialTable::Alternatives | SpecialTable::CallSites => {
                    None
                }
            },
        }
    }

    /// How far the code that an entry is about lies from the entry's start, in bytes; `entry` is
    /// the entry's bytes.
    #[must_use]
    pub fn owner(self, form: EntryForm, entry: &[u8]) -> Option<i32> {
        match self {
            SpecialTable::BugFrames(kind) => Some(BugFrame::read(form, kind, entry)?.location),
            // It is the first field of each.
            SpecialTable::Exceptions | SpecialTable::Alternatives | SpecialTable::CallSites => {
                Some(i32::from_le_bytes(*entry.first_chunk()?))
            }
        }
    }

    /// How many bytes of the code that an entry is about the boot may rewrite; `None`: none.
    /// `entry` is the entry's bytes.
    #[must_use]
    pub fn rewritten_bytes(self, machine: &Machine, entry: &[u8]) -> Option<u64> {
        match self {
            SpecialTable::Alternatives => {
                let entry = Alternative::read(machine.entry_form, entry)?;
                Some(entry.place_bytes().into())
            }
            SpecialTable::CallSites => u64::try_from(machine.pointer_call?.bytes()).ok(),
            SpecialTable::BugFrames(_) | SpecialTable::Exceptions => None,
        }
    }

    /// Whether loaders walk it on a machine. Xen on Arm has neither fix-ups of faults nor calls
    /// that it makes direct, and refuses the first.
    #[must_use]
    pub const fn is_walked_on(self, machine: &Machine) -> bool {
        match self {
            SpecialTable::BugFrames(_) | SpecialTable::Alternatives => true,
            SpecialTable::Exceptions | SpecialTable::CallSites => {
                matches!(machine.entry_form, EntryForm::Packed)
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

/// A table by which the boot rewrites places of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewriting {
    /// Which.
    pub table: SpecialTable,
    /// Its section, where the linker script left it one of its own.
    pub name: &'static str,
    /// Symbols that the image walks it by, start and end, as they have been called.
    pub bounds: &'static [(&'static str, &'static str)],
}

/// All of them.
pub const REWRITING: [Rewriting; 2] = [
    Rewriting {
        table: SpecialTable::Alternatives,
        name: Alternative::SECTION,
        bounds: &[("__alt_instructions", "__alt_instructions_end")],
    },
    Rewriting {
        table: SpecialTable::CallSites,
        name: CallSite::SECTION,
        bounds: &[
            ("__alt_call_sites_start", "__alt_call_sites_end"),
            ("__alt_call_sites", "__alt_call_sites_end"),
        ],
    },
];

/// Whether a section has the name of a table but of a kind that loaders do not know, so that they
/// would ignore it.
#[must_use]
pub fn is_unknown(name: &str) -> bool {
    name.starts_with(BugFrame::SECTIONS) && SpecialTable::of(name).is_none()
}

/// Whether a section of this name is a table that no loader of ours walks: one that looks like
/// theirs and is unknown, or one of another system.
#[must_use]
pub fn is_walked_by_nobody(name: &str) -> bool {
    is_unknown(name) || ForeignTable::of(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::{BugKind, EntrySizes, ForeignTable, SpecialTable, is_unknown, is_walked_by_nobody};
    use crate::machine::ALL;

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
        for name in [".bug_frames.9", "__bug_table", ".smp_locks"] {
            assert!(is_walked_by_nobody(name), "{name}");
        }
        for name in [".bug_frames.3", ".ex_table", ".rodata", "__bug_tables"] {
            assert!(!is_walked_by_nobody(name), "{name}");
        }
    }

    #[test]
    fn fields_lie_in_their_entries_in_order() {
        let known = [
            SpecialTable::Exceptions,
            SpecialTable::Alternatives,
            SpecialTable::CallSites,
        ]
        .into_iter()
        .chain(BugKind::ALL.map(SpecialTable::BugFrames));
        for table in known {
            for machine in ALL {
                assert_lies_in(&table.layout(&EntrySizes::of(machine)));
            }
        }
        let foreign = super::foreign::FOREIGN.iter();
        foreign
            .flat_map(|table: &ForeignTable| table.layouts)
            .for_each(assert_lies_in);
    }

    fn assert_lies_in(layout: &super::Layout) {
        const FIELD_BYTES: u64 = 4;
        assert!(
            layout.fields.first().is_some_and(|first| first.at == 0),
            "{layout:?}"
        );
        assert!(
            layout.fields.is_sorted_by_key(|field| field.at),
            "{layout:?}"
        );
        let ends = layout.fields.iter().map(|field| field.at + FIELD_BYTES);
        assert!(ends.max() <= Some(layout.bytes), "{layout:?}");
    }
}
