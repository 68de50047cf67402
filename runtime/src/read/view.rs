//! The parts of a payload, independent of the reader.
//!
//! The loader fills a [`View`] with its own reader ([`crate::read::elf`]), `xsplice-link verify`
//! with another one; the checks use only this. Nothing is judged here: numbers are as in the file.
//! But every slice lies inside the file, and every name is UTF-8 without a NUL.

use alloc::vec::Vec;

/// Index of a section header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SectionId(pub u32);

impl SectionId {
    /// As an index into [`View::sections`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Index of a symbol in the symbol table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SymbolId(pub u32);

impl SymbolId {
    /// As an index into [`View::symbols`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Fields of the ELF header that matter to a loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// `e_ident`: class at 4, encoding at 5, version at 6, OS ABI at 7, ABI version at 8.
    pub ident: [u8; 16],
    /// `e_type`.
    pub kind: u16,
    /// `e_machine`.
    pub machine: u16,
    /// `e_version`.
    pub version: u32,
    /// `e_phnum`.
    pub program_headers: u16,
    /// `e_shnum` as written.
    pub section_headers: u16,
    /// `e_shstrndx` as written.
    pub name_section: u16,
}

/// A section with its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section<'data> {
    /// Name.
    pub name: &'data str,
    /// `sh_type`.
    pub kind: u32,
    /// `sh_flags`.
    pub flags: u64,
    /// `sh_addr`.
    pub address: u64,
    /// `sh_offset`.
    pub offset: u64,
    /// `sh_size` in bytes.
    pub size: u64,
    /// `sh_link`.
    pub link: u32,
    /// `sh_info`.
    pub info: u32,
    /// `sh_addralign`.
    pub alignment: u64,
    /// `sh_entsize` in bytes.
    pub entry_size: u64,
    /// Contents; empty for `SHT_NOBITS` and `SHT_NULL`.
    pub data: &'data [u8],
}

/// Where a symbol's value counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `SHN_UNDEF`: defined elsewhere.
    Undefined,
    /// `SHN_ABS`: the value is the address.
    Absolute,
    /// `SHN_COMMON`: space yet to be given.
    Common,
    /// In this section, which may not exist.
    Section(SectionId),
    /// A reserved index that loaders do not know.
    Reserved(u16),
}

/// A symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'data> {
    /// Name; may be empty.
    pub name: &'data str,
    /// `STB_*`.
    pub binding: u8,
    /// `STT_*`.
    pub kind: u8,
    /// What `value` counts from.
    pub place: Place,
    /// `st_value`.
    pub value: u64,
    /// `st_size` in bytes.
    pub size: u64,
}

/// One relocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// Offset in the section that is relocated, in bytes.
    pub offset: u64,
    /// Number of its type, as the machine's psABI has it.
    pub kind: u32,
    /// Symbol; 0 is none.
    pub symbol: SymbolId,
    /// Addend.
    pub addend: i64,
}

/// Kind of a relocation section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelocationForm {
    /// `SHT_RELA`: addends in the entries.
    WithAddends,
    /// `SHT_REL`: addends in the fields; the entries are not read.
    WithoutAddends,
}

/// A relocation section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relocations {
    /// The relocation section itself.
    pub section: SectionId,
    /// Section that is relocated (`sh_info`), which may not exist.
    pub target: SectionId,
    /// Symbol table that the entries refer to (`sh_link`).
    pub symbol_table: SectionId,
    /// Where the addends are.
    pub form: RelocationForm,
    /// Entries in file order.
    pub entries: Vec<Relocation>,
}

/// A payload's parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View<'data> {
    /// The ELF header.
    pub header: Header,
    /// All sections, index 0 included.
    pub sections: Vec<Section<'data>>,
    /// Symbols of the first symbol table, index 0 included.
    pub symbols: Vec<Symbol<'data>>,
    /// Relocation sections in file order.
    pub relocations: Vec<Relocations>,
}

/// `sh_type` of a symbol table.
pub const SHT_SYMTAB: u32 = 2;
/// `sh_type` of a string table.
pub const SHT_STRTAB: u32 = 3;
/// `sh_type` of relocations with addends.
pub const SHT_RELA: u32 = 4;
/// `sh_type` of a section without contents in the file.
pub const SHT_NOBITS: u32 = 8;
/// `sh_type` of relocations without addends.
pub const SHT_REL: u32 = 9;
/// `sh_flags`: written at run time.
pub const SHF_WRITE: u64 = 1;
/// `sh_flags`: occupies memory.
pub const SHF_ALLOC: u64 = 2;
/// `sh_flags`: holds instructions.
pub const SHF_EXECINSTR: u64 = 4;
/// `sh_flags`: equal entries may be merged.
pub const SHF_MERGE: u64 = 0x10;
/// `st_info`: no type.
pub const STT_NOTYPE: u8 = 0;
/// `st_info`: a function.
pub const STT_FUNC: u8 = 2;
/// `st_info`: stands for its section.
pub const STT_SECTION: u8 = 3;
/// `st_info`: name of the source file of the locals that follow.
pub const STT_FILE: u8 = 4;
/// `st_info` binding: local.
pub const STB_LOCAL: u8 = 0;

impl<'data> View<'data> {
    /// The section of this index.
    #[must_use]
    pub fn section(&self, id: SectionId) -> Option<&Section<'data>> {
        self.sections.get(id.index())
    }

    /// The symbol of this index.
    #[must_use]
    pub fn symbol(&self, id: SymbolId) -> Option<&Symbol<'data>> {
        self.symbols.get(id.index())
    }

    /// Sections with their indices.
    pub fn numbered(&self) -> impl Iterator<Item = (SectionId, &Section<'data>)> {
        (0..).map(SectionId).zip(&self.sections)
    }

    /// The first section called `prefix` followed by `suffix`.
    #[must_use]
    pub fn named(&self, prefix: &str, suffix: &str) -> Option<(SectionId, &Section<'data>)> {
        self.numbered()
            .find(|(_, section)| section.name.strip_prefix(prefix) == Some(suffix))
    }
}

impl Section<'_> {
    /// Whether the section occupies memory.
    #[must_use]
    pub const fn is_allocated(&self) -> bool {
        self.flags & SHF_ALLOC != 0
    }

    /// Whether it is written at run time.
    #[must_use]
    pub const fn is_writable(&self) -> bool {
        self.flags & SHF_WRITE != 0
    }

    /// Whether it holds instructions.
    #[must_use]
    pub const fn is_executable(&self) -> bool {
        self.flags & SHF_EXECINSTR != 0
    }
}
