//! Tables whose entries belong to functions, as data: how large an entry is, which field names its
//! owner, which bits are line numbers, and which code its fields lead to.
//!
//! Layouts: Xen's `bug.h`, `alternative.h` and `uaccess.h`; Linux's `asm/bug.h`,
//! `asm/extable.h`, `linux/jump_label.h`, `linux/static_call_types.h`, `asm/alternative.h`,
//! `asm/orc_types.h`.

use xsplice_abi::section;
use xsplice_abi::tables::{Alternative, BugFrame, CallSite, ExceptionEntry};

use crate::read::object::{ElfObject, Relocation, SectionId};
use crate::read::section_class::begins_with;

/// A kind of special section.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: Name,
    /// Size of an entry in bytes where neither `sh_entsize` nor the spacing of the owner fields
    /// tells; 0: the section is one entry.
    pub entry_bytes: u64,
    /// How many relocations an entry has at most up to the next entry's first; their spacing
    /// tells the size of an entry.
    pub relocations_per_entry: usize,
    /// Where the field lies that names the owner, in bytes.
    pub owner: u64,
    /// Where an entry holds line numbers.
    pub line: Line,
    /// What the fields' distances count from.
    pub origin: Origin,
    /// Whether entries go into a payload.
    pub included: Included,
}

/// How a table is recognised.
#[derive(Debug, PartialEq, Eq)]
pub enum Name {
    /// By its whole name.
    Exact(&'static str),
    /// By the start of its name, with a number behind it.
    Numbered(&'static str),
}

/// Where an entry holds line numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// There are none.
    None,
    /// In the top eight bits of the first two words, and so of the relocations' addends.
    TopBits,
    /// In two bytes of the entry, at this offset.
    Word {
        /// In bytes.
        at: u64,
    },
}

/// What PC-relative fields of an entry count from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The field itself.
    Field,
    /// The start of the entry.
    Entry,
}

/// Whether entries go into a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Included {
    /// With their owner.
    WithOwner,
    /// Never: the loader has no use for them.
    Never,
}

const fn table(name: Name, entry_bytes: u64, relocations_per_entry: usize) -> Table {
    Table {
        name,
        entry_bytes,
        relocations_per_entry,
        owner: 0,
        line: Line::None,
        origin: Origin::Field,
        included: Included::WithOwner,
    }
}

/// Every table; the first that matches counts.
pub static TABLES: [Table; 19] = [
    Table {
        line: Line::TopBits,
        origin: Origin::Entry,
        ..table(
            Name::Exact(section::BUG_FRAMES_ASSERTION),
            BugFrame::ASSERTION_BYTES,
            3,
        )
    },
    Table {
        line: Line::TopBits,
        origin: Origin::Entry,
        ..table(Name::Numbered(section::BUG_FRAMES), BugFrame::BYTES, 2)
    },
    table(Name::Exact(section::EX_TABLE), ExceptionEntry::BYTES, 2),
    table(Name::Exact(".ex_table.pre"), ExceptionEntry::BYTES, 2),
    table(Name::Exact(section::ALTINSTRUCTIONS), Alternative::BYTES, 2),
    table(Name::Exact(section::ALT_CALL_SITES), CallSite::BYTES, 1),
    Table {
        line: Line::Word { at: 8 },
        ..table(Name::Exact("__bug_table"), 12, 2)
    },
    table(Name::Exact("__ex_table"), 12, 2),
    table(Name::Exact("__jump_table"), 16, 3),
    table(Name::Exact(".static_call_sites"), 8, 2),
    table(Name::Exact(".parainstructions"), 16, 1),
    table(Name::Exact(".smp_locks"), 4, 1),
    table(Name::Exact("__mcount_loc"), 8, 1),
    table(Name::Exact("__patchable_function_entries"), 8, 1),
    table(Name::Exact(".printk_index"), 8, 1),
    table(Name::Exact(".retpoline_sites"), 4, 1),
    table(Name::Exact(".return_sites"), 4, 1),
    table(Name::Exact(".call_sites"), 4, 1),
    table(Name::Exact(".ibt_endbr_seal"), 4, 1),
];

/// The table that a section of this name is.
#[must_use]
pub fn table_for(name: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| match table.name {
        Name::Exact(exact) => name == exact,
        Name::Numbered(prefix) => {
            begins_with(name, prefix)
                && name.strip_prefix(prefix).is_some_and(|rest| {
                    !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit())
                })
        }
    })
}

/// Whether a section of this name holds code that entries of special sections refer to.
#[must_use]
pub fn is_special_code(name: &str) -> bool {
    matches!(
        name,
        section::FIXUP | section::ALTINSTR_REPLACEMENT | ".altinstr_aux"
    )
}

/// Whether the code of such a section runs in place. Replacements of alternatives do not: each is
/// copied to the code that it replaces.
#[must_use]
pub fn runs_in_place(name: &str) -> bool {
    matches!(name, section::FIXUP | ".altinstr_aux")
}

/// Size of an entry of a special section in bytes, such that the section is a whole number of
/// entries: from `sh_entsize`, from the spacing of the relocations, or from the table. `None` where
/// no such size is known.
#[must_use]
pub fn entry_bytes(object: &ElfObject<'_>, section: SectionId, table: &Table) -> Option<u64> {
    let header = object.section(section);
    let relocations = object.relocations_of(section);
    let tiles = |size: u64| {
        size != 0
            && header.size.is_multiple_of(size)
            && header.size / size <= relocations.len() as u64
            && tiles_owners(relocations, header.size, size, table.owner)
    };
    let spacing = relocations
        .iter()
        .skip(1)
        .take(table.relocations_per_entry)
        .map(|relocation| relocation.offset);
    std::iter::once(header.entry_size)
        .chain(std::iter::once(table.entry_bytes))
        .chain(spacing)
        .chain(std::iter::once(header.size))
        .find(|size| tiles(*size))
}

/// Whether every entry of `size` bytes has a relocation in its owner field.
fn tiles_owners(relocations: &[Relocation], total: u64, size: u64, owner: u64) -> bool {
    let owners = relocations
        .iter()
        .filter(|relocation| relocation.offset % size == owner)
        .count();
    owners as u64 == total / size
}
