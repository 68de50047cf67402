//! Reads a payload with goblin into the runtime's view. This is a second reader besides the
//! loader's own, so that an error of one shows as a difference.

use std::collections::HashMap;

use goblin::container::{Container, Ctx, Endian};
use goblin::elf::header::Header as ElfHeader;
use goblin::elf::reloc::RelocSection;
use goblin::elf::section_header::{
    SHT_NOBITS, SHT_NULL, SHT_REL, SHT_RELA, SHT_SYMTAB, SectionHeader,
};
use goblin::elf::sym::Sym;
use xsplice_abi::machine::{Machine, MachineName};
use xsplice_abi::profile;
use xsplice_runtime::read::elf::is_numbered_label;
use xsplice_runtime::read::view::{
    Header, Place, Relocation, RelocationForm, Relocations, Section, SectionId, Symbol, SymbolId,
    View,
};

/// Why a payload could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// goblin did not take a header or table.
    #[error("its {what} cannot be read: {source}")]
    Goblin {
        /// The part.
        what: &'static str,
        /// goblin's error.
        source: goblin::error::Error,
    },
    /// Not a 64-bit little-endian ELF file.
    #[error("it is not a 64-bit little-endian ELF file")]
    NotElf64,
    /// A section's contents or name lie outside the file.
    #[error("section {section}: its {what} lies outside the file; is the file complete?")]
    Outside {
        /// Index of the section.
        section: usize,
        /// Contents or name.
        what: &'static str,
    },
    /// A table's entries have another size than the format's.
    #[error("section {section}: its entries have no legal size")]
    Entries {
        /// Index of the section.
        section: usize,
    },
    /// A symbol's name cannot be read.
    #[error("symbol {symbol}: its name cannot be read")]
    SymbolName {
        /// Index of the symbol.
        symbol: usize,
    },
    /// An ELF file that is no payload.
    #[error("it has no section of a payload (.xsplice.* or .livepatch.*)")]
    NotAPayload,
    /// For a machine that nothing is known of.
    #[error("it is for {0}, and payloads of this machine are not known")]
    Machine(MachineName),
    /// An index that is too large for the format.
    #[error("section {section}: an index does not fit 32 bits")]
    Index {
        /// Index of the section.
        section: usize,
    },
}

const CONTEXT: Ctx = Ctx {
    container: Container::Big,
    le: Endian::Little,
};
const SHN_ABS: usize = 0xfff1;
const SHN_COMMON: usize = 0xfff2;
const SHN_LORESERVE: usize = 0xff00;
/// Bytes of `Elf64_Sym` and of `Elf64_Rela`.
const ENTRY_BYTES: u64 = 24;
/// Longest run of section headers that is read; a loader takes fewer than 1024.
const HEADERS_MAX: usize = 1 << 16;

/// Reads a payload as [`read`] does.
///
/// # Errors
/// As [`read`]; [`ReadError::NotAPayload`] for an ELF file without any section of a payload,
/// [`ReadError::Machine`] for one of an unknown machine.
pub(crate) fn payload(file: &[u8]) -> Result<View<'_>, ReadError> {
    let view = read(file)?;
    if Machine::of(view.header.machine).is_none() {
        return Err(ReadError::Machine(MachineName(view.header.machine)));
    }
    let is_ours = |name: &str| profile::ALL.iter().any(|abi| name.starts_with(abi.prefix));
    if view.sections.iter().any(|section| is_ours(section.name)) {
        Ok(view)
    } else {
        Err(ReadError::NotAPayload)
    }
}

/// Reads all headers, symbols and relocations.
///
/// # Errors
/// [`ReadError`] when a part lies outside the file or is of another shape. What is well-formed
/// but against the loader's rules is read, for the checks to judge.
pub(crate) fn read(file: &[u8]) -> Result<View<'_>, ReadError> {
    let goblin = |what| move |source| ReadError::Goblin { what, source };
    let header = goblin::elf::Elf::parse_header(file).map_err(goblin("ELF header"))?;
    let ident = header.e_ident;
    if ident[4] != goblin::elf::header::ELFCLASS64 || ident[5] != goblin::elf::header::ELFDATA2LSB {
        return Err(ReadError::NotElf64);
    }
    let headers = section_headers(file, &header)?;
    let names_index = match usize::from(header.e_shstrndx) {
        0xffff => headers.first().map_or(0, |first| first.sh_link as usize),
        index => index,
    };
    let names = headers
        .get(names_index)
        .map_or(Ok(&[][..]), |names| contents(file, names_index, names))?;
    let mut sections = Vec::with_capacity(headers.len());
    for (index, raw) in headers.iter().enumerate() {
        sections.push(Section {
            name: string(names, raw.sh_name).ok_or(ReadError::Outside {
                section: index,
                what: "name",
            })?,
            kind: raw.sh_type,
            flags: raw.sh_flags,
            address: raw.sh_addr,
            offset: raw.sh_offset,
            size: raw.sh_size,
            link: raw.sh_link,
            info: raw.sh_info,
            alignment: raw.sh_addralign,
            entry_size: raw.sh_entsize,
            data: contents(file, index, raw)?,
        });
    }
    let symbols = symbols(&sections)?;
    let relocations = relocations(&sections)?;
    Ok(View {
        header: Header {
            ident,
            kind: header.e_type,
            machine: header.e_machine,
            version: header.e_version,
            program_headers: header.e_phnum,
            section_headers: header.e_shnum,
            name_section: header.e_shstrndx,
        },
        sections,
        symbols,
        relocations,
    })
}

fn section_headers(file: &[u8], header: &ElfHeader) -> Result<Vec<SectionHeader>, ReadError> {
    let outside = ReadError::Outside {
        section: 0,
        what: "header",
    };
    let offset = usize::try_from(header.e_shoff)
        .ok()
        .filter(|&offset| offset < file.len());
    let Some(offset) = offset else {
        return Err(outside);
    };
    let count = usize::from(header.e_shnum);
    if count == 0 {
        // The count would be in the first header, for files of 65,280 sections and more.
        return Ok(Vec::new());
    }
    if count > HEADERS_MAX {
        return Err(outside);
    }
    SectionHeader::parse(file, offset, count, CONTEXT).map_err(|source| ReadError::Goblin {
        what: "section headers",
        source,
    })
}

fn contents<'data>(
    file: &'data [u8],
    section: usize,
    header: &SectionHeader,
) -> Result<&'data [u8], ReadError> {
    if matches!(header.sh_type, SHT_NOBITS | SHT_NULL) {
        return Ok(&[]);
    }
    let range = || {
        let start = usize::try_from(header.sh_offset).ok()?;
        let end = start.checked_add(usize::try_from(header.sh_size).ok()?)?;
        file.get(start..end)
    };
    range().ok_or(ReadError::Outside {
        section,
        what: "contents",
    })
}

fn string(table: &[u8], offset: usize) -> Option<&str> {
    let tail = table.get(offset..)?;
    let end = tail.iter().position(|&byte| byte == 0)?;
    std::str::from_utf8(tail.get(..end)?).ok()
}

fn symbols<'data>(sections: &[Section<'data>]) -> Result<Vec<Symbol<'data>>, ReadError> {
    let table = sections
        .iter()
        .enumerate()
        .find(|(_, section)| section.kind == SHT_SYMTAB);
    let Some((index, table)) = table else {
        return Ok(Vec::new());
    };
    if table.entry_size != ENTRY_BYTES || !table.size.is_multiple_of(ENTRY_BYTES) {
        return Err(ReadError::Entries { section: index });
    }
    let count = table.data.len() / size_of::<goblin::elf64::sym::Sym>();
    let raw = Sym::parse(table.data, 0, count, CONTEXT).map_err(|source| ReadError::Goblin {
        what: "symbol table",
        source,
    })?;
    let strings = usize::try_from(table.link)
        .ok()
        .and_then(|link| sections.get(link))
        .map_or(&[][..], |strings| strings.data);
    let mut symbols = Vec::with_capacity(raw.len());
    for (id, raw) in raw.iter().enumerate() {
        let place = match raw.st_shndx {
            0 => Place::Undefined,
            SHN_ABS => Place::Absolute,
            SHN_COMMON => Place::Common,
            other => {
                let number =
                    u16::try_from(other).map_err(|_| ReadError::Index { section: index })?;
                if other >= SHN_LORESERVE {
                    Place::Reserved(number)
                } else {
                    Place::Section(SectionId(number.into()))
                }
            }
        };
        let name = string(strings, raw.st_name).ok_or(ReadError::SymbolName { symbol: id })?;
        symbols.push(Symbol {
            name: if is_numbered_label(name) { "" } else { name },
            binding: raw.st_info >> 4,
            kind: raw.st_info & 0xf,
            place,
            value: raw.st_value,
            size: raw.st_size,
        });
    }
    Ok(symbols)
}

fn relocations(sections: &[Section<'_>]) -> Result<Vec<Relocations>, ReadError> {
    let mut all = Vec::new();
    for (index, section) in sections.iter().enumerate() {
        let form = match section.kind {
            SHT_RELA => RelocationForm::WithAddends,
            SHT_REL => RelocationForm::WithoutAddends,
            _ => continue,
        };
        let too_large = || ReadError::Index { section: index };
        let mut entries = Vec::new();
        if form == RelocationForm::WithAddends {
            if section.entry_size != ENTRY_BYTES || !section.size.is_multiple_of(ENTRY_BYTES) {
                return Err(ReadError::Entries { section: index });
            }
            let raw = RelocSection::parse(section.data, 0, section.data.len(), true, CONTEXT)
                .map_err(|source| ReadError::Goblin {
                    what: "relocations",
                    source,
                })?;
            entries.reserve_exact(raw.len());
            for entry in raw.iter() {
                entries.push(Relocation {
                    offset: entry.r_offset,
                    kind: entry.r_type,
                    symbol: SymbolId(u32::try_from(entry.r_sym).map_err(|_| too_large())?),
                    addend: entry.r_addend.unwrap_or_default(),
                });
            }
        }
        all.push(Relocations {
            section: SectionId(u32::try_from(index).map_err(|_| too_large())?),
            target: SectionId(section.info),
            symbol_table: SectionId(section.link),
            form,
            entries,
        });
    }
    Ok(all)
}

/// The relocations of every section by offset, for looking up what a field will hold.
#[derive(Debug)]
pub(crate) struct FieldIndex(HashMap<(SectionId, u64), Relocation>);

impl FieldIndex {
    /// Indexes the relocations of `view`; of two on one field the last counts, as for a loader.
    #[must_use]
    pub(crate) fn new(view: &View<'_>) -> FieldIndex {
        let mut fields = HashMap::new();
        for relocations in &view.relocations {
            for entry in &relocations.entries {
                fields.insert((relocations.target, entry.offset), *entry);
            }
        }
        FieldIndex(fields)
    }

    /// The relocation of the field at `offset` of `section`.
    #[must_use]
    pub(crate) fn at(&self, section: SectionId, offset: u64) -> Option<&Relocation> {
        self.0.get(&(section, offset))
    }
}
