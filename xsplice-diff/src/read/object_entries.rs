//! What the tables of an object hold: sections, symbols, relocations, and the indices by which
//! they name each other.

use std::ops::Range;

use object::elf;

/// Index of a section header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SectionId(pub u32);

/// Index of a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SymbolId(pub u32);

/// A section.
#[derive(Debug)]
pub struct Section<'data> {
    /// Its name.
    pub name: &'data str,
    /// `sh_type`.
    pub kind: u32,
    /// `sh_flags`.
    pub flags: u64,
    /// In bytes; at least 1.
    pub alignment: u64,
    /// `sh_entsize`.
    pub entry_size: u64,
    /// In bytes.
    pub size: u64,
    /// Its bytes; empty for `SHT_NOBITS`.
    pub data: &'data [u8],
    /// Range of [`ElfObject::relocations`].
    pub relocations: Range<usize>,
}

impl Section<'_> {
    /// Whether the section is part of the loaded image.
    #[must_use]
    pub fn is_allocated(&self) -> bool {
        self.has(elf::SHF_ALLOC)
    }

    /// Whether it holds code.
    #[must_use]
    pub fn is_executable(&self) -> bool {
        self.has(elf::SHF_EXECINSTR)
    }

    /// Whether it is writable.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.has(elf::SHF_WRITE)
    }

    /// Whether the linker may merge its entries with equal ones.
    #[must_use]
    pub fn is_mergeable(&self) -> bool {
        self.has(elf::SHF_MERGE)
    }

    /// Whether it holds terminated strings.
    #[must_use]
    pub fn holds_strings(&self) -> bool {
        self.has(elf::SHF_STRINGS)
    }

    /// Whether it is thread-local.
    #[must_use]
    pub(crate) fn is_thread_local(&self) -> bool {
        self.has(elf::SHF_TLS)
    }

    /// Whether it has no bytes in the file.
    #[must_use]
    pub fn is_nobits(&self) -> bool {
        self.kind == elf::SHT_NOBITS.0
    }

    fn has(&self, flag: elf::SectionFlags) -> bool {
        self.flags & flag.0 != 0
    }
}

/// A symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'data> {
    /// Its name; empty for section symbols.
    pub name: &'data str,
    /// Where it lives.
    pub place: SymbolPlace,
    /// Offset in its section in bytes, or its value.
    pub value: u64,
    /// In bytes.
    pub size: u64,
    /// `STT_*`.
    pub kind: u8,
    /// `STB_*`.
    pub binding: u8,
    /// For a local: the `STT_FILE` symbol before it.
    pub file: Option<&'data str>,
}

impl Symbol<'_> {
    /// Whether other objects cannot refer to it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.binding == elf::STB_LOCAL.0
    }

    /// Whether it is a section symbol.
    #[must_use]
    pub fn is_section(&self) -> bool {
        self.kind == elf::STT_SECTION.0
    }

    /// Whether another object may define the name too.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        self.binding == elf::STB_WEAK.0
    }

    /// Whether it names code that chooses at boot which function has the name.
    #[must_use]
    pub fn is_chosen_at_boot(&self) -> bool {
        self.kind == elf::STT_GNU_IFUNC.0
    }

    /// Whether it names a function.
    #[must_use]
    pub fn is_function(&self) -> bool {
        self.kind == elf::STT_FUNC.0 || self.kind == elf::STT_GNU_IFUNC.0
    }
}

/// Where a symbol lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolPlace {
    /// In another object.
    Undefined,
    /// Nowhere: it is a number.
    Absolute,
    /// Wherever the linker puts it; the value is its alignment.
    Common,
    /// In a section.
    Section(SectionId),
}

/// A relocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// Offset of the field in its section, in bytes.
    pub offset: u64,
    /// Added to the symbol's value.
    pub addend: i64,
    /// Its symbol.
    pub symbol: SymbolId,
    /// One of the machine's types.
    pub kind: u32,
}
