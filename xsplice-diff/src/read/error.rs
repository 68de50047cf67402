//! Errors: inputs that cannot be read, so that there is no diff. A change that can be read but
//! cannot become a payload is a [`Refusal`](crate::verdict::refusal::Refusal) instead.

use thiserror::Error;

/// A file that is not an object of the kind that can be compared.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{object}: {problem}")]
pub struct DiffError {
    /// The file at fault.
    pub object: String,
    /// What is wrong with it.
    pub problem: ObjectProblem,
    /// Which of the two builds it belongs to.
    pub side: Side,
}

/// One of the two builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The build that was shipped.
    Original,
    /// The build with the change.
    Patched,
}

impl DiffError {
    /// Whether the file is a complete object for another machine than x86-64. Trees hold such
    /// objects for boot code.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        matches!(
            self.problem,
            ObjectProblem::WrongClass | ObjectProblem::WrongMachine(_)
        )
    }

    /// The same error, of the original.
    #[must_use]
    pub fn in_original(self) -> DiffError {
        DiffError {
            side: Side::Original,
            ..self
        }
    }
}

/// What is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ObjectProblem {
    /// Not an ELF file at all.
    #[error("is not an ELF file; compare two objects (.o) that the compiler or assembler wrote")]
    NotElf,
    /// ELF, but 32 bits or big-endian.
    #[error("is not a 64-bit little-endian ELF file; only x86-64 objects can be compared")]
    WrongClass,
    /// ELF for another processor.
    #[error("is for machine {0}, not x86-64 (62); build both trees for x86-64")]
    WrongMachine(u16),
    /// An executable or a shared object.
    #[error(
        "has ELF type {0}, not a relocatable object (1); name the object file, not the linked image"
    )]
    NotRelocatable(u16),
    /// Link-time optimisation: there is no code to compare.
    #[error(
        "holds compiler bitcode instead of code ({section}); build without link-time optimisation"
    )]
    Bitcode {
        /// The section that says so.
        section: String,
    },
    /// The headers or tables contradict the file.
    #[error("{part} is damaged ({detail}); rebuild it")]
    Malformed {
        /// Which part of the file.
        part: Part,
        /// What the reader said.
        detail: String,
    },
    /// A relocation points outside of its section.
    #[error(
        "{section}+{offset:#x}: the relocation lies outside of its section of {size:#x} bytes; \
         rebuild the object"
    )]
    RelocationOutside {
        /// The section.
        section: String,
        /// Offset of the field in bytes.
        offset: u64,
        /// Size of the section in bytes.
        size: u64,
    },
    /// A relocation names a symbol that does not exist.
    #[error(
        "{section}+{offset:#x}: the relocation names symbol {symbol}, but there are {count}; \
         rebuild the object"
    )]
    RelocationSymbol {
        /// The section.
        section: String,
        /// Offset of the field in bytes.
        offset: u64,
        /// Index of the symbol.
        symbol: u32,
        /// How many there are.
        count: usize,
    },
    /// A symbol lies outside of its section.
    #[error(
        "{section}+{offset:#x} ({symbol}): the symbol lies outside of its section of {size:#x} \
         bytes; rebuild the object"
    )]
    SymbolOutside {
        /// The section.
        section: String,
        /// The symbol.
        symbol: String,
        /// Value of the symbol in bytes.
        offset: u64,
        /// Size of the section in bytes.
        size: u64,
    },
}

/// A part of an ELF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The ELF header.
    Header,
    /// The section headers.
    SectionHeaders,
    /// The names of sections.
    SectionNames,
    /// The bytes of a section.
    SectionData,
    /// The symbol table.
    SymbolTable,
    /// The names of symbols.
    SymbolNames,
    /// A relocation section.
    Relocations,
    /// A section group.
    Group,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Part::Header => "the ELF header",
            Part::SectionHeaders => "the section header table",
            Part::SectionNames => "the section name table",
            Part::SectionData => "a section's contents",
            Part::SymbolTable => "the symbol table",
            Part::SymbolNames => "the symbol name table",
            Part::Relocations => "a relocation section",
            Part::Group => "a section group",
        })
    }
}

/// Why a file is not an extract.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExtractError {
    /// Not an ELF file, or a damaged one.
    #[error("is not an extract: {part} is damaged ({detail}); write it again with xsplice-diff -o")]
    Malformed {
        /// Which part of the file.
        part: Part,
        /// What the reader said.
        detail: String,
    },
    /// An ELF file, but no extract.
    #[error("is not an extract (it has no {section}); write one with xsplice-diff -o")]
    Missing {
        /// The section that every extract has.
        section: &'static str,
    },
    /// The description of the extract cannot be read.
    #[error("{section}: {detail}; write the extract again with the xsplice-diff of this release")]
    Metadata {
        /// The section.
        section: &'static str,
        /// What the reader said.
        detail: String,
    },
    /// The ABI's name means nothing.
    #[error("was written for ABI {0:?}, which is not known; write it again with --abi")]
    Abi(String),
    /// An index or offset leads nowhere.
    #[error(
        "{section}+{offset:#x}: leads nowhere; write the extract again, this one was changed by \
         hand"
    )]
    Dangling {
        /// The section.
        section: String,
        /// Offset in bytes.
        offset: u64,
    },
}
