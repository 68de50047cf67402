//! Changes single fields of a payload file, as a transmission fault, a broken tool or an attacker
//! would. What the payload does not have cannot be changed: then there is nothing to say.

use std::ops::Range;

use goblin::elf::Elf;
use goblin::elf::section_header::{SHF_ALLOC, SHF_EXECINSTR, SHT_RELA};
use sha1::{Digest as _, Sha1};
use xsplice_abi::{Profile, section};

use crate::listing;

/// Offsets in `Elf64_Ehdr` (gABI).
pub mod file {
    /// `e_ident[EI_CLASS]`.
    pub const CLASS: usize = 4;
    /// `e_ident[EI_DATA]`.
    pub const BYTE_ORDER: usize = 5;
    /// `e_ident[EI_OSABI]`.
    pub const OS_ABI: usize = 7;
    /// `e_ident[EI_ABIVERSION]`.
    pub const ABI_VERSION: usize = 8;
    /// `e_type`.
    pub const KIND: usize = 16;
    /// `e_machine`.
    pub const MACHINE: usize = 18;
    /// `e_version`.
    pub const VERSION: usize = 20;
    /// `e_shoff`.
    pub const SECTION_OFFSET: usize = 40;
    /// `e_phnum`.
    pub const SEGMENTS: usize = 56;
    /// `e_shentsize`.
    pub const SECTION_BYTES: usize = 58;
    /// `e_shnum`.
    pub const SECTIONS: usize = 60;
    /// `e_shstrndx`.
    pub const NAME_SECTION: usize = 62;
}

/// Offsets in `Elf64_Shdr` (gABI).
pub mod header {
    /// `sh_name`.
    pub const NAME: usize = 0;
    /// `sh_type`.
    pub const KIND: usize = 4;
    /// `sh_flags`.
    pub const FLAGS: usize = 8;
    /// `sh_addr`.
    pub const ADDRESS: usize = 16;
    /// `sh_offset`.
    pub const OFFSET: usize = 24;
    /// `sh_size`.
    pub const SIZE: usize = 32;
    /// `sh_link`.
    pub const LINK: usize = 40;
    /// `sh_info`.
    pub const INFO: usize = 44;
    /// `sh_addralign`.
    pub const ALIGNMENT: usize = 48;
    /// `sh_entsize`.
    pub const ENTRY_BYTES: usize = 56;
}

/// Offsets in `Elf64_Sym` (gABI).
pub mod symbol {
    /// `st_name`.
    pub const NAME: usize = 0;
    /// `st_shndx`.
    pub const SECTION: usize = 6;
    /// `st_value`.
    pub const VALUE: usize = 8;
}

/// Offsets in `Elf64_Rela` (gABI).
pub mod rela {
    /// `r_offset`.
    pub const OFFSET: usize = 0;
    /// The lower half of `r_info`.
    pub const KIND: usize = 8;
    /// The upper half of `r_info`.
    pub const SYMBOL: usize = 12;
    /// `r_addend`.
    pub const ADDEND: usize = 16;
}

/// `st_info` of a function that other files may refer to.
const GLOBAL_FUNCTION: u8 = 0x12;
const HEADER_BYTES: usize = 64;
/// Bytes of `Elf64_Sym` and of `Elf64_Rela`.
const ENTRY_BYTES: usize = 24;
/// Where the id stands in a note of the name `GNU`.
pub const ID_AT: usize = 16;
/// Bytes of the id that our linker writes.
const ID_BYTES: usize = 20;

/// A payload that is being changed.
#[derive(Clone, Debug)]
pub struct Edit {
    /// The file as it is now.
    pub bytes: Vec<u8>,
    /// The profile that it is of.
    pub profile: &'static Profile,
    /// Whether the build-id itself was changed, and is to stay so.
    own_id: OwnId,
    headers: usize,
    sections: Vec<Section>,
    symbols: Vec<Symbol>,
}

/// What becomes of the payload's own build-id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OwnId {
    OfContent,
    Kept,
}

/// What a section header said.
#[derive(Clone, Debug)]
struct Section {
    name: String,
    name_at: u32,
    kind: u32,
    flags: u64,
    offset: usize,
    size: usize,
    alignment: u64,
    info: u32,
}

/// What a symbol said.
#[derive(Clone, Debug)]
pub struct Symbol {
    /// Its name.
    pub name: String,
    /// Offset of the name in the string table.
    pub name_at: u32,
    /// `st_shndx`.
    pub section: usize,
    /// `st_value`.
    pub value: u64,
}

/// What symbols that are appended are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewNames {
    /// Each has a name of its own.
    Own,
    /// All have the same, which is half of what is appended.
    OneLong,
}

/// A relocation and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Index of the relocation section.
    pub table: usize,
    /// Index in it.
    pub index: usize,
}

impl Edit {
    /// Takes an unbroken payload.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn new(bytes: &[u8], profile: &'static Profile) -> Edit {
        let elf = Elf::parse(bytes).expect("an unbroken payload");
        let number = |value: u64| usize::try_from(value).expect("the file is in memory");
        let small = |value: usize| u32::try_from(value).expect("a name's offset has 32 bits");
        Edit {
            bytes: bytes.to_vec(),
            profile,
            own_id: OwnId::OfContent,
            headers: number(elf.header.e_shoff),
            sections: elf
                .section_headers
                .iter()
                .map(|one| Section {
                    name: elf
                        .shdr_strtab
                        .get_at(one.sh_name)
                        .unwrap_or_default()
                        .to_owned(),
                    name_at: small(one.sh_name),
                    kind: one.sh_type,
                    flags: one.sh_flags,
                    offset: number(one.sh_offset),
                    size: number(one.sh_size),
                    alignment: one.sh_addralign,
                    info: one.sh_info,
                })
                .collect(),
            symbols: elf
                .syms
                .iter()
                .map(|one| Symbol {
                    name: elf
                        .strtab
                        .get_at(one.st_name)
                        .unwrap_or_default()
                        .to_owned(),
                    name_at: small(one.st_name),
                    section: one.st_shndx,
                    value: one.st_value,
                })
                .collect(),
        }
    }

    /// Full name of a section of the payload's own profile.
    #[must_use]
    pub fn own(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.profile.prefix)
    }

    /// Index of the section called `name`.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<usize> {
        self.sections.iter().position(|one| one.name == name)
    }

    /// Name, index and number of bytes of every hook section.
    #[must_use]
    pub fn hooks(&self) -> Vec<(String, usize)> {
        let prefix = self.own(section::HOOKS);
        let named = self.sections.iter().enumerate();
        named
            .filter_map(|(index, one)| Some((one.name.strip_prefix(&prefix)?.to_owned(), index)))
            .collect()
    }

    /// The first loaded section whose alignment is larger than a byte.
    #[must_use]
    pub fn aligned(&self) -> Option<usize> {
        self.sections
            .iter()
            .position(|one| one.flags & u64::from(SHF_ALLOC) != 0 && one.alignment > 1)
    }

    /// The first section of code.
    #[must_use]
    pub fn code(&self) -> Option<usize> {
        (0..self.sections.len()).find(|section| self.is_code(*section))
    }

    /// Whether a section is code.
    #[must_use]
    pub fn is_code(&self, section: usize) -> bool {
        let one = self.sections.get(section);
        one.is_some_and(|one| one.flags & u64::from(SHF_EXECINSTR) != 0)
    }

    /// The first section of this `sh_type`.
    #[must_use]
    pub fn of_kind(&self, kind: u32) -> Option<usize> {
        self.sections.iter().position(|one| one.kind == kind)
    }

    /// Index of the relocations of section `target`.
    #[must_use]
    pub fn relocations_of(&self, target: usize) -> Option<usize> {
        self.sections
            .iter()
            .position(|one| one.kind == SHT_RELA && usize::try_from(one.info) == Ok(target))
    }

    /// The first relocations of any loaded section.
    #[must_use]
    pub fn any_relocations(&self) -> Option<usize> {
        self.of_kind(SHT_RELA)
    }

    /// Where the relocation of the field at `offset` of section `target` stands.
    #[must_use]
    pub fn relocation_at(&self, target: usize, offset: u64) -> Option<Place> {
        let table = self.relocations_of(target)?;
        let count = self.sections[table].size / ENTRY_BYTES;
        (0..count)
            .map(|index| Place { table, index })
            .find(|place| {
                let at = self.entry(*place) + rela::OFFSET;
                self.bytes.get(at..at + 8) == Some(&offset.to_le_bytes()[..])
            })
    }

    /// Where the first relocation of this type stands.
    #[must_use]
    pub fn relocation_of_kind(&self, kind: u32) -> Option<Place> {
        let tables = self.sections.iter().enumerate();
        tables
            .filter(|(_, one)| one.kind == SHT_RELA)
            .flat_map(|(table, one)| {
                (0..one.size / ENTRY_BYTES).map(move |index| Place { table, index })
            })
            .find(|place| {
                let at = self.entry(*place) + rela::KIND;
                self.bytes.get(at..at + 4) == Some(&kind.to_le_bytes()[..])
            })
    }

    /// The addend of a relocation.
    #[must_use]
    pub fn addend(&self, place: Place) -> Option<i64> {
        let at = self.entry(place) + rela::ADDEND;
        let bytes = self.bytes.get(at..at + 8)?.try_into().ok()?;
        Some(i64::from_le_bytes(bytes))
    }

    /// The section and the offset that a relocation leads to, if the payload has it.
    #[must_use]
    pub fn leads_to(&self, place: Place) -> Option<(usize, usize)> {
        let at = self.entry(place) + rela::SYMBOL;
        let symbol = u32::from_le_bytes(self.bytes.get(at..at + 4)?.try_into().ok()?);
        let symbol = self.symbols.get(usize::try_from(symbol).ok()?)?;
        let value = symbol.value.checked_add_signed(self.addend(place)?)?;
        Some((symbol.section, usize::try_from(value).ok()?))
    }

    fn entry(&self, place: Place) -> usize {
        self.sections[place.table].offset + place.index * ENTRY_BYTES
    }

    /// Every symbol with its index.
    pub fn symbols(&self) -> impl Iterator<Item = (usize, &Symbol)> {
        self.symbols.iter().enumerate().skip(1)
    }

    /// The first undefined symbol.
    #[must_use]
    pub fn undefined(&self) -> Option<usize> {
        let (index, _) = self.symbols().find(|(_, one)| one.section == 0)?;
        Some(index)
    }

    /// The first named symbol that the payload defines.
    #[must_use]
    pub fn defined(&self) -> Option<usize> {
        let is_own = |one: &Symbol| {
            !one.name.is_empty() && one.section != 0 && one.section < self.sections.len()
        };
        let (index, _) = self.symbols().find(|(_, one)| is_own(one))?;
        Some(index)
    }

    /// Overwrites bytes of the file.
    pub fn put(&mut self, at: usize, bytes: &[u8]) -> Option<()> {
        let place = self.bytes.get_mut(at..at.checked_add(bytes.len())?)?;
        place.copy_from_slice(bytes);
        Some(())
    }

    /// Overwrites bytes of a section header.
    pub fn put_header(&mut self, section: usize, field: usize, bytes: &[u8]) -> Option<()> {
        self.put(self.headers + section * HEADER_BYTES + field, bytes)
    }

    /// Gives a section the name of another.
    pub fn put_name_of(&mut self, section: usize, other: usize) -> Option<()> {
        let name = self.sections.get(other)?.name_at.to_le_bytes();
        self.put_header(section, header::NAME, &name)
    }

    /// Overwrites bytes of a section's contents.
    pub fn put_content(&mut self, section: usize, at: usize, bytes: &[u8]) -> Option<()> {
        let one = self.sections.get(section)?;
        (at.checked_add(bytes.len())? <= one.size).then_some(())?;
        self.put(one.offset + at, bytes)
    }

    /// Bytes of a section's contents, as they are now.
    #[must_use]
    pub fn content(&self, section: usize) -> Option<&[u8]> {
        self.bytes.get(self.range(section)?)
    }

    fn range(&self, section: usize) -> Option<Range<usize>> {
        let one = self.sections.get(section)?;
        Some(one.offset..one.offset + one.size)
    }

    /// Gives the payload another build-id, which stays whatever else is changed.
    pub fn put_own_id(&mut self, id: &[u8]) -> Option<()> {
        self.own_id = OwnId::Kept;
        self.put_content(self.section(section::BUILD_ID)?, ID_AT, id)
    }

    /// Size of a section in bytes.
    #[must_use]
    pub fn size(&self, section: usize) -> usize {
        self.sections.get(section).map_or(0, |one| one.size)
    }

    /// Overwrites bytes of a symbol.
    pub fn put_symbol(&mut self, symbol: usize, field: usize, bytes: &[u8]) -> Option<()> {
        let table = self.section(".symtab")?;
        self.put_content(table, symbol * ENTRY_BYTES + field, bytes)
    }

    /// Gives a symbol the name of another.
    pub fn put_symbol_name_of(&mut self, symbol: usize, other: usize) -> Option<()> {
        let name = self.symbols.get(other)?.name_at.to_le_bytes();
        self.put_symbol(symbol, symbol::NAME, &name)
    }

    /// Gives a symbol a name that the file does not have yet.
    pub fn put_symbol_name(&mut self, symbol: usize, name: &str) -> Option<()> {
        let table = self.section(".strtab")?;
        let mut strings = self.content(table)?.to_vec();
        let at = u32::try_from(strings.len()).ok()?;
        strings.extend_from_slice(name.as_bytes());
        strings.push(0);
        self.put_at_end(table, &strings)?;
        self.put_symbol(symbol, symbol::NAME, &at.to_le_bytes())
    }

    /// Appends words to the payload's metadata, each with its NUL.
    pub fn append_metadata(&mut self, words: &[u8]) -> Option<()> {
        let table = self.section(section::MODINFO)?;
        let mut metadata = self.content(table)?.to_vec();
        metadata.extend_from_slice(words);
        self.put_at_end(table, &metadata)
    }

    /// Appends new symbols, each a function at the start of the first code: with their names about
    /// `bytes` bytes.
    pub fn append_symbols(&mut self, bytes: usize, names: NewNames) -> Option<()> {
        let code = u16::try_from(self.code()?).ok()?;
        let (symbols, strings) = (self.section(".symtab")?, self.section(".strtab")?);
        let mut table = self.content(symbols)?.to_vec();
        let mut text = self.content(strings)?.to_vec();
        // Both tables are copied to the end of the file.
        let room = bytes.checked_sub(table.len() + text.len())?;
        let own = |number: usize| format!("s{number:07}\0");
        let (count, long) = match names {
            NewNames::Own => (room / (ENTRY_BYTES + own(0).len()), 0),
            NewNames::OneLong => (room / 2 / ENTRY_BYTES, room / 2),
        };
        let first = text.len();
        if long > 0 {
            text.resize(first + long - 1, b'a');
            text.push(0);
        }
        for number in 0..count {
            let at = if long > 0 { first } else { text.len() };
            table.extend_from_slice(&u32::try_from(at).ok()?.to_le_bytes());
            table.extend_from_slice(&[GLOBAL_FUNCTION, 0]);
            table.extend_from_slice(&code.to_le_bytes());
            table.extend_from_slice(&[0; 16]);
            if long == 0 {
                text.extend_from_slice(own(number).as_bytes());
            }
        }
        self.put_at_end(symbols, &table)?;
        self.put_at_end(strings, &text)
    }

    /// Repeats the last relocation of the first code until there are `bytes` bytes more.
    pub fn append_relocations(&mut self, bytes: usize) -> Option<()> {
        let table = self.any_relocations()?;
        let mut content = self.content(table)?.to_vec();
        let last = content.last_chunk::<ENTRY_BYTES>().copied()?;
        let count = bytes.checked_sub(content.len())? / ENTRY_BYTES;
        for _ in 0..count {
            content.extend_from_slice(&last);
        }
        self.put_at_end(table, &content)
    }

    /// Gives a section other contents, which stand at the end of the file.
    fn put_at_end(&mut self, section: usize, content: &[u8]) -> Option<()> {
        let at = self.bytes.len().next_multiple_of(8);
        self.bytes.resize(at, 0);
        self.bytes.extend_from_slice(content);
        self.put_header(
            section,
            header::OFFSET,
            &u64::try_from(at).ok()?.to_le_bytes(),
        )?;
        let size = u64::try_from(content.len()).ok()?;
        self.put_header(section, header::SIZE, &size.to_le_bytes())
    }

    /// Overwrites bytes of a relocation.
    pub fn put_relocation(&mut self, place: Place, field: usize, bytes: &[u8]) -> Option<()> {
        self.put(self.entry(place) + field, bytes)
    }

    /// Renames a section by overwriting its name with one of equal length.
    pub fn rename(&mut self, old: &str, new: &str) -> Option<()> {
        assert_eq!(old.len(), new.len(), "{old} {new}");
        let at = usize::try_from(self.sections[self.section(old)?].name_at).ok()?;
        let names = self.section(".shstrtab")?;
        self.put_content(names, at, new.as_bytes())
    }

    /// The payload with the build-id of the changed content, so that only the change itself can
    /// be noticed.
    #[must_use]
    pub fn stamp(mut self) -> Vec<u8> {
        let id = self
            .section(section::BUILD_ID)
            .and_then(|note| self.range(note))
            .map(|note| note.start + ID_AT..note.start + ID_AT + ID_BYTES);
        let fits =
            |id: &Range<usize>| self.own_id == OwnId::OfContent && id.end <= self.bytes.len();
        if let Some(id) = id.filter(fits) {
            self.bytes[id.clone()].fill(0);
            let hash = Sha1::digest(&self.bytes);
            self.bytes[id].copy_from_slice(&hash);
        }
        self.bytes
    }
}

/// The profile that an unbroken payload is of, as its metadata say.
///
/// # Panics
/// When they do not.
#[must_use]
pub fn profile_of(payload: &[u8]) -> &'static Profile {
    let elf = Elf::parse(payload).expect("an unbroken payload");
    let metadata = listing::section_bytes(&elf, payload, section::MODINFO).unwrap_or_default();
    metadata
        .split(|byte| *byte == 0)
        .filter_map(|line| std::str::from_utf8(line).ok()?.strip_prefix("abi="))
        .find_map(Profile::by_name)
        .expect("a payload of our linker names its ABI")
}
