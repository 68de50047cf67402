//! The payload before it is written: sections, symbols and relocations by index, without ELF
//! encoding. All decisions about a payload's contents are made on this structure; [`crate::write`]
//! only encodes it.

pub mod record;

use std::borrow::Cow;

/// Index of a section of a [`Layout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutSection(pub usize);

/// Index of a symbol of a [`Layout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutSymbol(pub usize);

/// The kind of memory of a section, which also determines its ELF flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Memory {
    /// `AX`.
    Text,
    /// `A`.
    ReadOnly,
    /// `WA`.
    Writable,
}

/// What a section consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// `SHT_PROGBITS`.
    Bytes(Vec<u8>),
    /// `SHT_NOTE`.
    Note(Vec<u8>),
    /// `SHT_NOBITS`, of this many bytes.
    Zero(u64),
}

impl Content {
    /// Size in memory, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        match self {
            Content::Bytes(bytes) | Content::Note(bytes) => {
                u64::try_from(bytes.len()).expect("a usize fits 64 bits")
            }
            Content::Zero(size_bytes) => *size_bytes,
        }
    }

    /// The bytes in the file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Content::Bytes(bytes) | Content::Note(bytes) => bytes,
            Content::Zero(_) => &[],
        }
    }
}

/// One allocated section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Full name.
    pub name: Cow<'static, str>,
    /// Region it is loaded into.
    pub memory: Memory,
    /// Bytes.
    pub content: Content,
    /// A power of two, at least 1.
    pub alignment: u64,
    /// `sh_entsize`; 0 where entries have no fixed size.
    pub entry_bytes: u64,
    /// By offset.
    pub relocations: Vec<Relocation>,
}

/// A relocation against the section that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// Byte offset in the section.
    pub offset: u64,
    /// `R_X86_64_*`.
    pub kind: u32,
    /// What it points at.
    pub symbol: OutSymbol,
    /// Added to the symbol's value.
    pub addend: i64,
}

/// Where a symbol is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the payload, this many bytes into a section.
    Section(OutSection, u64),
    /// Left to the loader, by name.
    Undefined,
    /// At a fixed address of the base (`--prelink`).
    Absolute(u64),
}

/// Whether later payloads may refer to a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Visibility {
    /// `STB_LOCAL`.
    Private,
    /// `STB_GLOBAL`: undefined, or exported on request.
    Global,
}

/// What a symbol names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `STT_FUNC`.
    Function,
    /// `STT_OBJECT`.
    Data,
    /// `STT_NOTYPE`.
    Label,
    /// `STT_SECTION`.
    Section,
}

/// One symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Name; empty for a section symbol.
    pub name: String,
    /// Function, data, label or section.
    pub kind: Kind,
    /// Private or global.
    pub visibility: Visibility,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Where it is.
    pub place: Place,
}

/// A whole payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// In file order.
    pub sections: Vec<Section>,
    /// Private ones and globals in any order; the writer sorts them.
    pub symbols: Vec<Symbol>,
}

impl Layout {
    /// Adds a section.
    pub fn add_section(&mut self, section: Section) -> OutSection {
        self.sections.push(section);
        OutSection(self.sections.len() - 1)
    }

    /// Adds a symbol.
    pub fn add_symbol(&mut self, symbol: Symbol) -> OutSymbol {
        self.symbols.push(symbol);
        OutSymbol(self.symbols.len() - 1)
    }

    /// The section of this name.
    #[must_use]
    pub fn section_named(&self, name: &str) -> Option<OutSection> {
        let position = self
            .sections
            .iter()
            .position(|section| section.name == name)?;
        Some(OutSection(position))
    }
}

/// The psABI name of a relocation type, or its number.
#[must_use]
pub fn type_name(kind: u32) -> Cow<'static, str> {
    xsplice_diff::read::relocation::kind_name(kind).into()
}
