//! The runtime's own ELF reader: 64-bit little-endian, bounds-checked, nothing copied but the
//! headers.
//!
//! It reads; it does not judge beyond what it needs to stay inside the file. Layouts: System V
//! gABI, chapters "Object Files" and "Symbol Table".

use alloc::vec::Vec;
use core::iter;

use thiserror::Error;
use xsplice_abi::errno::Errno;
use xsplice_abi::limits::SYMBOL_NAME_BYTES_MAX;
use zerocopy::byteorder::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::read::view::{
    Header, Place, Relocation, RelocationForm, Relocations, SHT_NOBITS, SHT_REL, SHT_RELA,
    SHT_STRTAB, SHT_SYMTAB, Section, SectionId, Symbol, SymbolId, View,
};

/// `ET_REL`.
pub const ET_REL: u16 = 1;
const MAGIC: &[u8] = b"\x7fELF";
const CLASS_64: u8 = 2;
const ENCODING_LITTLE: u8 = 1;
const SHN_UNDEF: u16 = 0;
const SHN_LORESERVE: u16 = 0xff00;
const SHN_ABS: u16 = 0xfff1;
const SHN_COMMON: u16 = 0xfff2;
const SHT_NULL: u32 = 0;

#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct FileHeader {
    ident: [u8; 16],
    kind: U16,
    machine: U16,
    version: U32,
    entry: U64,
    program_offset: U64,
    section_offset: U64,
    flags: U32,
    header_bytes: U16,
    program_bytes: U16,
    programs: U16,
    section_bytes: U16,
    sections: U16,
    name_section: U16,
}

#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct SectionHeader {
    name: U32,
    kind: U32,
    flags: U64,
    address: U64,
    offset: U64,
    size: U64,
    link: U32,
    info: U32,
    alignment: U64,
    entry_size: U64,
}

#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct SymbolEntry {
    name: U32,
    info: u8,
    other: u8,
    section: U16,
    value: U64,
    size: U64,
}

#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RelaEntry {
    offset: U64,
    info: U64,
    addend: I64,
}

const _: () = assert!(
    size_of::<FileHeader>() == 64
        && size_of::<SectionHeader>() == 64
        && size_of::<SymbolEntry>() == 24
        && size_of::<RelaEntry>() == 24
);

/// Why a file could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ElfError {
    /// Shorter than an ELF header.
    #[error("the file has {bytes} bytes, fewer than an ELF header; upload the whole payload")]
    TooShort {
        /// Size of the file.
        bytes: usize,
    },
    /// No ELF magic, not 64-bit or not little-endian.
    #[error("not a 64-bit little-endian ELF file; upload a payload made by xsplice-link")]
    NotElf64,
    /// The section headers are outside the file or of another size.
    #[error("section headers at +{offset:#x} lie outside the file; it is truncated or damaged")]
    SectionHeaders {
        /// `e_shoff`.
        offset: u64,
    },
    /// A section's contents are outside the file.
    #[error("section {section}: contents lie outside the file; it is truncated or damaged")]
    Contents {
        /// Index of the section.
        section: u32,
    },
    /// A section's name is outside the name table, not UTF-8 or has control characters.
    #[error("section {section}: its name cannot be read, or has control characters")]
    SectionName {
        /// Index of the section.
        section: u32,
    },
    /// The section name table does not exist or is no string table.
    #[error("section {section} is no table of section names")]
    NameTable {
        /// `e_shstrndx`.
        section: u32,
    },
    /// A string table does not start and end with NUL.
    #[error("section {section}: a string table must start and end with NUL")]
    StringTable {
        /// Index of the section.
        section: u32,
    },
    /// A table's size is no multiple of its entries' size, or its entry size is wrong.
    #[error("section {section}: its size is no multiple of its entries' size")]
    Entries {
        /// Index of the section.
        section: u32,
    },
    /// A symbol table's string table does not exist.
    #[error("section {section}: the symbol table has no string table")]
    SymbolStrings {
        /// Index of the symbol table.
        section: u32,
    },
    /// A symbol's name is outside the string table, not UTF-8 or has control characters.
    #[error("symbol {symbol}: its name cannot be read, or has control characters")]
    SymbolName {
        /// Index of the symbol.
        symbol: u32,
    },
    /// Memory for the headers could not be had.
    #[error("out of memory")]
    OutOfMemory,
}

impl ElfError {
    /// What UPLOAD returns.
    #[must_use]
    pub const fn errno(self) -> Errno {
        match self {
            ElfError::NotElf64 => Errno::ENOEXEC,
            ElfError::OutOfMemory => Errno::ENOMEM,
            _ => Errno::EINVAL,
        }
    }
}

/// Reads all headers, symbols and relocations of `file`.
///
/// # Errors
/// The first thing that does not lie inside the file or cannot be read.
pub fn parse(file: &[u8]) -> Result<View<'_>, ElfError> {
    let (header, sections) = sections(file)?;
    let mut relocations = Vec::new();
    for (index, section) in (0_u32..).zip(&sections) {
        let form = match section.kind {
            SHT_RELA => RelocationForm::WithAddends,
            SHT_REL => RelocationForm::WithoutAddends,
            _ => continue,
        };
        relocations
            .try_reserve(1)
            .map_err(|_| ElfError::OutOfMemory)?;
        relocations.push(Relocations {
            section: SectionId(index),
            target: SectionId(section.info),
            symbol_table: SectionId(section.link),
            form,
            entries: match form {
                RelocationForm::WithAddends => rela_entries(index, section)?,
                RelocationForm::WithoutAddends => Vec::new(),
            },
        });
    }
    let symbols = match symbol_table(&sections) {
        None => Vec::new(),
        Some((index, table)) => symbols(index, table, &sections, SYMBOL_NAMES)?,
    };
    Ok(View {
        header,
        sections,
        symbols,
        relocations,
    })
}

/// The first symbol table among `sections`, with its index.
fn symbol_table<'a, 'data>(sections: &'a [Section<'data>]) -> Option<(u32, &'a Section<'data>)> {
    (0..)
        .zip(sections)
        .find(|(_, section)| section.kind == SHT_SYMTAB)
}

/// Reads the header and all sections.
///
/// # Errors
/// As [`parse`].
pub fn sections(file: &[u8]) -> Result<(Header, Vec<Section<'_>>), ElfError> {
    let (raw, _) =
        FileHeader::read_from_prefix(file).map_err(|_| ElfError::TooShort { bytes: file.len() })?;
    let [_, _, _, _, class, encoding, ..] = raw.ident;
    if !raw.ident.starts_with(MAGIC) || class != CLASS_64 || encoding != ENCODING_LITTLE {
        return Err(ElfError::NotElf64);
    }
    let outside = ElfError::SectionHeaders {
        offset: raw.section_offset.get(),
    };
    if usize::from(raw.section_bytes.get()) != size_of::<SectionHeader>() {
        return Err(outside);
    }
    let tail = usize::try_from(raw.section_offset.get())
        .ok()
        .filter(|offset| *offset >= size_of::<FileHeader>())
        .and_then(|offset| file.get(offset..))
        .ok_or(outside)?;
    let (first, _) = SectionHeader::read_from_prefix(tail).map_err(|_| outside)?;
    let count = match raw.sections.get() {
        // gABI: too many for the field; the first header's size has the number.
        0 => usize::try_from(first.size.get()).map_err(|_| outside)?,
        count => usize::from(count),
    };
    let (headers, _) =
        <[SectionHeader]>::ref_from_prefix_with_elems(tail, count).map_err(|_| outside)?;
    let name_section = match raw.name_section.get() {
        u16::MAX => first.link.get(),
        index => u32::from(index),
    };

    let mut sections = Vec::new();
    sections
        .try_reserve_exact(count)
        .map_err(|_| ElfError::OutOfMemory)?;
    let names = table_of_names(file, headers, name_section)?;
    for (index, raw) in (0_u32..).zip(headers) {
        let error = ElfError::SectionName { section: index };
        sections.push(Section {
            name: string(names, raw.name.get(), SECTION_NAMES).ok_or(error)?,
            kind: raw.kind.get(),
            flags: raw.flags.get(),
            address: raw.address.get(),
            offset: raw.offset.get(),
            size: raw.size.get(),
            link: raw.link.get(),
            info: raw.info.get(),
            alignment: raw.alignment.get(),
            entry_size: raw.entry_size.get(),
            data: contents(file, index, raw)?,
        });
    }
    for (index, section) in (0_u32..).zip(&sections) {
        if section.kind == SHT_STRTAB && !is_string_table(section.data) {
            return Err(ElfError::StringTable { section: index });
        }
    }
    Ok((
        Header {
            ident: raw.ident,
            kind: raw.kind.get(),
            machine: raw.machine.get(),
            version: raw.version.get(),
            program_headers: raw.programs.get(),
            section_headers: raw.sections.get(),
            name_section: raw.name_section.get(),
        },
        sections,
    ))
}

fn table_of_names<'data>(
    file: &'data [u8],
    headers: &[SectionHeader],
    index: u32,
) -> Result<&'data [u8], ElfError> {
    let error = ElfError::NameTable { section: index };
    let header = usize::try_from(index)
        .ok()
        .filter(|index| *index != 0)
        .and_then(|index| headers.get(index))
        .filter(|header| header.kind.get() == SHT_STRTAB)
        .ok_or(error)?;
    contents(file, index, header)
}

fn contents<'data>(
    file: &'data [u8],
    index: u32,
    header: &SectionHeader,
) -> Result<&'data [u8], ElfError> {
    if matches!(header.kind.get(), SHT_NOBITS | SHT_NULL) {
        return Ok(&[]);
    }
    let range = || {
        let start = usize::try_from(header.offset.get()).ok()?;
        let end = start.checked_add(usize::try_from(header.size.get()).ok()?)?;
        file.get(start..end)
    };
    range().ok_or(ElfError::Contents { section: index })
}

fn is_string_table(data: &[u8]) -> bool {
    data.first() == Some(&0) && data.last() == Some(&0)
}

/// How much of a name is looked at. Entries may share one name, so that a name without a bound
/// makes reading them quadratic in the size of the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    /// Of a base, which is believed.
    Whole,
    /// So many bytes of a payload's, in which no control characters may be: they go into logs. For
    /// a numbered label, no name: see [`is_numbered_label`].
    Start(usize),
}

/// Most bytes of a character that are lost where a bound lies inside it.
const CUT_BYTES_MAX: usize = 3;
/// Longer than any name that [`crate::check::sections`] takes, which is what it has to see, also
/// when the bound lies inside a character.
const SYMBOL_NAMES: Names = Names::Start(SYMBOL_NAME_BYTES_MAX + 1 + CUT_BYTES_MAX);
/// Sections have no rule for their names' length; what is known by name is shorter.
const SECTION_NAMES: Names = Names::Start(1024);

/// The NUL-terminated UTF-8 string at `offset` of a string table, as much of it as `names` says.
fn string(table: &[u8], offset: u32, names: Names) -> Option<&str> {
    let mut tail = table.get(usize::try_from(offset).ok()?..)?;
    if let Names::Start(bytes) = names {
        tail = tail.get(..bytes).unwrap_or(tail);
    }
    let name = match tail.iter().position(|byte| *byte == 0) {
        Some(end) => core::str::from_utf8(tail.get(..end)?).ok()?,
        None if names == Names::Whole => return None,
        None => match core::str::from_utf8(tail) {
            Ok(name) => name,
            // The bound may lie inside a character.
            Err(error) if error.error_len().is_none() => {
                core::str::from_utf8(tail.get(..error.valid_up_to())?).ok()?
            }
            Err(_) => return None,
        },
    };
    if names == Names::Whole || !name.chars().any(char::is_control) {
        return Some(name);
    }
    is_numbered_label(name).then_some("")
}

/// Whether a name is that of a numbered label in assembler, of which each may be there many times:
/// `.L`, its number, a control character, how often it was there before (manual of GNU as, "Symbol
/// Names"). On some machines such labels stay in the symbol table. They name nothing, and count as
/// symbols without a name.
#[must_use]
pub fn is_numbered_label(name: &str) -> bool {
    /// Of `1:` and of `1$:`.
    const SEPARATORS: [char; 2] = ['\u{2}', '\u{1}'];
    let is_number =
        |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    name.strip_prefix(".L")
        .and_then(|rest| rest.split_once(SEPARATORS))
        .is_some_and(|(number, count)| is_number(number) && is_number(count))
}

fn rela_entries(index: u32, section: &Section<'_>) -> Result<Vec<Relocation>, ElfError> {
    let raw = entries::<RelaEntry>(index, section)?;
    let mut relocations = Vec::new();
    relocations
        .try_reserve_exact(raw.len())
        .map_err(|_| ElfError::OutOfMemory)?;
    for entry in raw {
        let [a, b, c, d, e, f, g, h] = entry.info.to_bytes();
        relocations.push(Relocation {
            offset: entry.offset.get(),
            kind: u32::from_le_bytes([a, b, c, d]),
            symbol: SymbolId(u32::from_le_bytes([e, f, g, h])),
            addend: entry.addend.get(),
        });
    }
    Ok(relocations)
}

fn entries<'data, T: FromBytes + Immutable + KnownLayout + Unaligned>(
    index: u32,
    section: &Section<'data>,
) -> Result<&'data [T], ElfError> {
    let error = ElfError::Entries { section: index };
    if usize::try_from(section.entry_size) != Ok(size_of::<T>()) {
        return Err(error);
    }
    <[T]>::ref_from_bytes(section.data).map_err(|_| error)
}

fn symbols<'data>(
    index: u32,
    table: &Section<'data>,
    sections: &[Section<'data>],
    names: Names,
) -> Result<Vec<Symbol<'data>>, ElfError> {
    let raw = entries::<SymbolEntry>(index, table)?;
    let strings = usize::try_from(table.link)
        .ok()
        .and_then(|link| sections.get(link))
        .filter(|strings| strings.kind == SHT_STRTAB)
        .ok_or(ElfError::SymbolStrings { section: index })?
        .data;
    let mut symbols = Vec::new();
    symbols
        .try_reserve_exact(raw.len())
        .map_err(|_| ElfError::OutOfMemory)?;
    for (id, raw) in iter::zip(0_u32.., raw) {
        symbols.push(Symbol {
            name: string(strings, raw.name.get(), names)
                .ok_or(ElfError::SymbolName { symbol: id })?,
            binding: raw.info >> 4,
            kind: raw.info & 0xf,
            place: match raw.section.get() {
                SHN_UNDEF => Place::Undefined,
                SHN_ABS => Place::Absolute,
                SHN_COMMON => Place::Common,
                reserved @ SHN_LORESERVE.. => Place::Reserved(reserved),
                index => Place::Section(SectionId(index.into())),
            },
            value: raw.value.get(),
            size: raw.size.get(),
        });
    }
    Ok(symbols)
}

/// Reads only the symbols of `file`: for a base image, whose other sections a loader never needs.
///
/// # Errors
/// As [`parse`]; a file without a symbol table gives none.
pub(crate) fn symbols_of(file: &[u8]) -> Result<Vec<Symbol<'_>>, ElfError> {
    let (_, sections) = sections(file)?;
    symbol_table(&sections).map_or_else(
        || Ok(Vec::new()),
        |(index, table)| symbols(index, table, &sections, Names::Whole),
    )
}

#[cfg(test)]
mod tests {
    use super::{Names, is_numbered_label, string};

    #[test]
    fn numbered_labels_name_nothing_and_what_is_nearly_one_is_refused() {
        for label in [".L2\u{2}1", ".L0\u{1}17"] {
            assert!(is_numbered_label(label), "{label:?}");
            let table = [label.as_bytes(), b"\0"].concat();
            assert_eq!(string(&table, 0, Names::Start(64)), Some(""), "{label:?}");
        }
        for name in [
            ".L\u{2}1",
            ".L2\u{2}",
            ".L2\u{2}1\n",
            "L2\u{2}1",
            ".L2\u{3}1",
            ".L-2\u{2}1",
        ] {
            assert!(!is_numbered_label(name), "{name:?}");
            let table = [name.as_bytes(), b"\0"].concat();
            assert_eq!(string(&table, 0, Names::Start(64)), None, "{name:?}");
        }
    }
}
