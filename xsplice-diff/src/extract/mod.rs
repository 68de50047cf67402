//! What passes from the differ to the linker: the included ranges of the patched object, the
//! functions that they replace, and the original code.
//!
//! Every section of an extract holds exactly what goes into a payload, and every relocation names
//! its target: another section of the extract, the running image, or a symbol that another object
//! defines. The linker never looks at an object again.
//!
//! In memory it borrows from the objects; [`write`] turns it into a relocatable ELF that
//! `readelf` reads, [`read`] turns that back.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xsplice_abi::Profile;

use crate::debug_info::toolchain::Toolchain;
use crate::machine::Machine;

mod description;
mod read;
mod write;

pub use read::read;
pub use write::write;
pub(crate) use write::write_parts;

/// Index into [`Extract::sections`].
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize
)]
pub struct SectionIndex(pub usize);

/// Index into [`Extract::symbols`].
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize
)]
pub struct SymbolIndex(pub usize);

/// Everything of one object that goes into a payload.
#[derive(Clone, Debug, PartialEq)]
pub struct Extract<'data> {
    /// The object's path in its tree, or its file name.
    pub object: String,
    /// What its code runs on.
    pub machine: &'static Machine,
    /// The ABI that hook sections and accept marks were read for.
    pub abi: &'static Profile,
    /// Allocated sections, in the order of the patched object.
    pub sections: Vec<Section<'data>>,
    /// What relocations and records name.
    pub symbols: Vec<Symbol>,
    /// Functions of the base that are replaced, by file and name.
    pub records: Vec<Record<'data>>,
    /// Included constants that the base may have as they are: their addresses may mean something.
    pub constants: Vec<Constant<'data>>,
    /// What the author accepted, for `.modinfo`: `WHAT:NAME`.
    pub accepted: Vec<String>,
    /// What the original was compiled by: when the proof fails, it may tell why.
    pub compiled_by: Toolchain,
}

/// One range of an allocated section of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section<'data> {
    /// The section's name in the object.
    pub name: String,
    /// `sh_type`.
    pub kind: u32,
    /// `sh_flags`, without group and link-order bits.
    pub flags: u64,
    /// Alignment of the piece in bytes; a power of two.
    pub alignment: u64,
    /// `sh_entsize`; 0 when entries have no fixed size.
    pub entry_size: u64,
    /// Size in bytes.
    pub size: u64,
    /// The bytes; empty for `SHT_NOBITS`.
    pub data: Cow<'data, [u8]>,
    /// By offset.
    pub relocations: Vec<Relocation>,
}

/// A relocation inside a [`Section`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// Offset in the piece, in bytes.
    pub offset: u64,
    /// One of the machine's relocation types.
    pub kind: u32,
    /// What it refers to.
    pub symbol: SymbolIndex,
    /// As in the ELF: what is added to the symbol's value.
    pub addend: i64,
}

/// A symbol of an extract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symbol {
    /// As the object names it; empty for items without a name (strings, constants).
    pub name: String,
    /// For a local: the `STT_FILE` symbol that qualifies it.
    pub file: Option<String>,
    /// `STB_*`.
    pub binding: u8,
    /// `STT_*`.
    pub kind: u8,
    /// In bytes.
    pub size: u64,
    /// Where it lives.
    pub place: Place,
    /// Of a name that may mean something else than what this object has under it, weak or chosen
    /// at boot: what is meant where neither the base nor another object has the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<Otherwise>,
}

/// What a name means that nobody else has: a place counted from another symbol of the extract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Otherwise {
    /// That symbol; it has no other meaning itself.
    pub symbol: SymbolIndex,
    /// From there, in bytes.
    pub offset: i64,
}

/// Where a symbol lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// Included in this extract.
    Section {
        /// The piece.
        section: SectionIndex,
        /// Offset in the piece, in bytes.
        value: u64,
    },
    /// In the running image: existing data, or an existing function, replaced or not (the jump at
    /// its start leads to the new code). Locals are qualified by [`Symbol::file`].
    Base,
    /// Not defined in this object: the base, or another extract, has it.
    Undefined,
    /// A number.
    Absolute(u64),
}

/// A function of the base that is replaced.
#[derive(Clone, Debug, PartialEq)]
pub struct Record<'data> {
    /// The function's name in the original object, which is its name in the base.
    pub name: String,
    /// For a local: the `STT_FILE` symbol that qualifies it.
    pub file: Option<String>,
    /// `STB_*` in the original object.
    pub binding: u8,
    /// The new code.
    pub symbol: SymbolIndex,
    /// In bytes.
    pub old_size: u64,
    /// In bytes.
    pub new_size: u64,
    /// Whether the original object takes the function's address (as opposed to calling it).
    pub address_taken: bool,
    /// All names of the function in the original object, locals with their file.
    pub aliases: Vec<(String, Option<String>)>,
    /// What the base must hold at the old address.
    pub original: OriginalItem<'data>,
}

/// An included constant that did not change.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant<'data> {
    /// The copy.
    pub symbol: SymbolIndex,
    /// What the base must hold for the copy not to be needed.
    pub original: OriginalItem<'data>,
}

/// A function or datum of the original object, with what is needed to find it in the base and
/// to prove that it is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OriginalItem<'data> {
    /// The symbol's name.
    pub name: String,
    /// For a local: the `STT_FILE` symbol that qualifies it.
    pub file: Option<String>,
    /// `STB_*`.
    pub binding: u8,
    /// The section that holds it.
    pub section_name: String,
    /// Offset in that section, in bytes.
    pub section_offset: u64,
    /// How many of its bytes its symbol names; code behind those belongs to it too.
    pub named_size: u64,
    /// Its bytes, relocations not applied.
    #[serde(skip)]
    pub bytes: Cow<'data, [u8]>,
    /// Relocations of these bytes, by offset.
    pub relocations: Vec<OriginalRelocation<'data>>,
    /// Ranges that the boot patches (alternatives and alternative calls), as (offset, length) in
    /// bytes: compared as linked, but not fit for an expectation. By offset.
    pub patched_at_boot: Vec<(u64, u64)>,
}

/// A relocation of an [`OriginalItem`] or of content that it refers to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OriginalRelocation<'data> {
    /// Offset in the item, in bytes.
    pub offset: u64,
    /// One of the machine's relocation types.
    pub kind: u32,
    /// Added to the address of the target's first byte: S + A in the psABI's words, with S the
    /// address of the target.
    pub addend: i64,
    /// What it refers to.
    pub target: OriginalTarget<'data>,
}

/// What an [`OriginalRelocation`] refers to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OriginalTarget<'data> {
    /// A named item or a symbol that another object defines.
    Symbol {
        /// Its name.
        name: String,
        /// For a local: the `STT_FILE` symbol that qualifies it.
        file: Option<String>,
    },
    /// Content without a name of its own, whose place in the base only the field itself tells:
    /// a string, a constant, a jump table.
    Content {
        /// The bytes from its first to its last, a string with its terminator.
        #[serde(with = "description::hex")]
        bytes: Cow<'data, [u8]>,
        /// Relocations of these bytes. Cut at a depth of [`CONTENT_DEPTH_MAX`]; what lies deeper is
        /// [`OriginalTarget::SectionOffset`]. Shared by all references to the same content of an
        /// object.
        relocations: Arc<[OriginalRelocation<'data>]>,
    },
    /// A place in a section without symbol and content.
    SectionOffset {
        /// The section's name.
        section: String,
        /// Offset in the section, in bytes, of the place that the addend counts from.
        offset: u64,
        /// The nearest symbol at or below it in that section, with its file when local, and
        /// how many bytes below.
        near: Option<(String, Option<String>, u64)>,
    },
    /// A number.
    Absolute(u64),
}

/// How deep content that refers to content is followed.
pub(crate) const CONTENT_DEPTH_MAX: usize = 4;

/// An out-of-line part (`f.cold`) of a replaced function. The linker does not need it; listings for
/// people show it.
#[derive(Clone, Debug, PartialEq)]
pub struct Part<'data> {
    /// The new code of the function that it is a part of, as its record names it.
    pub record: SymbolIndex,
    /// Its name in the patched object, or in the original where it went.
    pub name: String,
    /// In the original; `None` for a part that was added.
    pub original: Option<OriginalItem<'data>>,
    /// In the patched object; `None` for a part that was removed.
    pub patched: Option<SymbolIndex>,
}
