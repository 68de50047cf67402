//! The linked image: where its bytes are and what its symbols say.
//!
//! Only what is loaded counts. An image that is relocated when it boots holds its pointers in
//! dynamic relocations, not in its bytes; they are read from there.

use std::ops::Range;

use foldhash::HashMap;
use object::LittleEndian as LE;
use object::elf;
use object::read::elf::{FileHeader as _, SectionHeader as _, Sym as _};

use xsplice_diff::machine::{Machine, MachineName};
use xsplice_diff::read::object::Symbol;

use crate::error::AccountError;

/// A loaded section of the image.
#[derive(Debug)]
pub(crate) struct ImageSection<'data> {
    /// Its name.
    pub name: &'data str,
    /// Addresses that it covers.
    pub range: Range<u64>,
    /// Its bytes; empty where it has none in the file.
    pub data: &'data [u8],
    /// `SHF_*`.
    pub flags: u64,
}

/// A symbol of the image.
#[derive(Debug)]
pub(crate) struct ImageSymbol<'data> {
    /// Its name.
    pub name: &'data str,
    /// For a local: the FILE symbol before it.
    pub file: Option<&'data str>,
    /// Its address; of an absolute one its value.
    pub address: u64,
    /// In bytes; 0 where it has none.
    pub size: u64,
    /// `STT_*`.
    pub kind: u8,
    /// Whether only its own object sees it.
    pub is_local: bool,
    /// Whether it stands in a section.
    pub is_placed: bool,
}

/// The image.
#[derive(Debug)]
pub(crate) struct Image<'data> {
    /// What it runs on.
    pub machine: &'static Machine,
    /// Loaded sections by address.
    pub sections: Vec<ImageSection<'data>>,
    /// Symbols in table order.
    pub symbols: Vec<ImageSymbol<'data>>,
    by_name: HashMap<&'data str, Vec<usize>>,
    /// The same by the file too: hundreds of files may have a local of one name.
    by_file: HashMap<(&'data str, Option<&'data str>), Vec<usize>>,
    /// Addresses of symbols with their indices, in order.
    by_address: Vec<(u64, usize)>,
    relocated: HashMap<u64, u64>,
}

/// Bytes of the image, or the promise that they are zero.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bytes<'data> {
    /// As in the file.
    Present(&'data [u8]),
    /// Zero when the image starts.
    Zero,
}

impl<'data> Image<'data> {
    /// Reads a linked image.
    ///
    /// # Errors
    ///
    /// When it is no linked 64-bit little-endian ELF file with a symbol table.
    pub(crate) fn parse(bytes: &'data [u8]) -> Result<Image<'data>, AccountError> {
        let header = elf::FileHeader64::<LE>::parse(bytes)?;
        let e_machine = header.e_machine(LE).0;
        let machine = Machine::of(e_machine).ok_or(AccountError::Machine {
            machine: MachineName(e_machine),
        })?;
        let table = header.sections(LE, bytes)?;
        let mut sections = Vec::new();
        let mut relocated = HashMap::default();
        for section in table.iter() {
            let flags = section.sh_flags(LE).0;
            if flags & elf::SHF_ALLOC.0 == 0 {
                continue;
            }
            if let Some((entries, _)) = section.rela(LE, bytes)? {
                for entry in entries {
                    if entry.r_type(LE, false).0 == machine.image_word {
                        let value = entry.r_addend.get(LE).cast_unsigned();
                        relocated.insert(entry.r_offset.get(LE), value);
                    }
                }
            }
            let size = section.sh_size(LE);
            if size == 0 || flags & elf::SHF_TLS.0 != 0 {
                continue;
            }
            let start = section.sh_addr(LE);
            sections.push(ImageSection {
                name: std::str::from_utf8(table.section_name(LE, section)?).unwrap_or("?"),
                range: start..start.saturating_add(size),
                data: section.data(LE, bytes)?,
                flags,
            });
        }
        sections.sort_by_key(|section| section.range.start);
        let symbols = read_symbols(&table, bytes)?;
        let mut by_name: HashMap<&str, Vec<usize>> = HashMap::default();
        let mut by_file: HashMap<_, Vec<usize>> = HashMap::default();
        for (index, symbol) in symbols.iter().enumerate() {
            by_name.entry(symbol.name).or_default().push(index);
            let key = (symbol.name, symbol.file);
            by_file.entry(key).or_default().push(index);
        }
        let addresses = symbols.iter().map(|symbol| symbol.address);
        let mut by_address: Vec<(u64, usize)> = addresses.zip(0..).collect();
        by_address.sort_unstable();
        Ok(Image {
            machine,
            sections,
            symbols,
            by_name,
            by_file,
            by_address,
            relocated,
        })
    }

    /// The loaded section that holds `address`.
    #[must_use]
    pub(crate) fn section_at(&self, address: u64) -> Option<&ImageSection<'data>> {
        let end = self
            .sections
            .partition_point(|section| section.range.start <= address);
        let section = self.sections.get(end.checked_sub(1)?)?;
        section.range.contains(&address).then_some(section)
    }

    /// Whether an address lies between the first loaded byte and the last, or at their edges.
    #[must_use]
    pub(crate) fn spans(&self, address: u64) -> bool {
        let first = self.sections.first().map(|section| section.range.start);
        let end = self.sections.last().map(|section| section.range.end);
        first.is_some_and(|first| first <= address) && end.is_some_and(|end| address <= end)
    }

    /// `length` bytes at `address`, if one section holds them all.
    #[must_use]
    pub(crate) fn bytes(&self, address: u64, length: u64) -> Option<Bytes<'data>> {
        let section = self.section_at(address)?;
        if address.checked_add(length)? > section.range.end {
            return None;
        }
        if section.data.is_empty() {
            return Some(Bytes::Zero);
        }
        let start = usize::try_from(address - section.range.start).ok()?;
        let length = usize::try_from(length).ok()?;
        let bytes = section.data.get(start..start.checked_add(length)?)?;
        Some(Bytes::Present(bytes))
    }

    /// What the boot code of a relocatable image writes at `address`.
    #[must_use]
    pub(crate) fn relocated(&self, address: u64) -> Option<u64> {
        self.relocated.get(&address).copied()
    }

    /// The 8-byte word at `address` as it runs.
    #[must_use]
    pub(crate) fn word(&self, address: u64) -> Option<u64> {
        if let Some(word) = self.relocated(address) {
            return Some(word);
        }
        match self.bytes(address, 8)? {
            Bytes::Present(bytes) => Some(u64::from_le_bytes(bytes.try_into().ok()?)),
            Bytes::Zero => Some(0),
        }
    }

    /// Symbols that stand at `address`.
    pub(crate) fn symbols_at(&self, address: u64) -> impl Iterator<Item = &ImageSymbol<'data>> {
        let start = self.by_address.partition_point(|&(at, _)| at < address);
        let rest = self.by_address[start..].iter();
        let here = rest.take_while(move |&&(at, _)| at == address);
        here.map(|&(_, index)| &self.symbols[index])
    }

    /// An address as people read it.
    #[must_use]
    pub(crate) fn describe(&self, address: u64) -> String {
        let end = self.by_address.partition_point(|&(at, _)| at <= address);
        let before = end
            .checked_sub(1)
            .map(|last| &self.symbols[self.by_address[last].1]);
        match before {
            Some(symbol) => {
                let distance = address - symbol.address;
                format!("{}+{distance:#x} ({address:#x})", symbol.name)
            }
            None => format!("{address:#x}"),
        }
    }

    /// The address of what a payload calls by this name: a local one has its file in front.
    #[must_use]
    pub(crate) fn address_of(&self, name: &str) -> Option<u64> {
        // Some images bear such names themselves.
        let whole = self.named(name).next();
        let found = whole.or_else(|| {
            let (file, bare) = name.rsplit_once('#')?;
            let is_of = |own: &str| own == file || own.ends_with(&format!("/{file}"));
            self.named(bare)
                .find(|symbol| symbol.file.is_some_and(is_of))
        });
        found.map(|symbol| symbol.address)
    }

    /// Symbols of this name, in table order.
    pub(crate) fn named(&self, name: &str) -> impl Iterator<Item = &ImageSymbol<'data>> {
        let found = self.by_name.get(name).map_or(&[][..], Vec::as_slice);
        found.iter().map(|&index| &self.symbols[index])
    }

    /// Symbols that a symbol of an object may have become: those of its name, and of a local one
    /// those of its file or of none, as far as files are known.
    pub(crate) fn named_as<'run>(
        &'run self,
        symbol: &Symbol<'run>,
    ) -> impl Iterator<Item = &'run ImageSymbol<'run>> {
        let list = |file| self.by_file.get(&(symbol.name, file)).map(Vec::as_slice);
        let (first, second) = match symbol.file.filter(|_| symbol.is_local()) {
            Some(file) => (list(Some(file)), list(None)),
            None => (self.by_name.get(symbol.name).map(Vec::as_slice), None),
        };
        let all = first.into_iter().chain(second).flatten();
        all.map(|&index| &self.symbols[index])
    }

    /// Whether a symbol of an object may have become one at `address`.
    pub(crate) fn is_named_at(&self, symbol: &Symbol<'_>, address: u64) -> bool {
        self.symbols_at(address).any(|other| {
            let is_same_file = match (symbol.is_local(), symbol.file, other.file) {
                (true, Some(ours), Some(theirs)) => ours == theirs,
                _ => true,
            };
            other.name == symbol.name && is_same_file
        })
    }
}

type Sections<'data> = object::read::elf::SectionTable<'data, elf::FileHeader64<LE>>;

fn read_symbols<'data>(
    table: &Sections<'data>,
    bytes: &'data [u8],
) -> Result<Vec<ImageSymbol<'data>>, AccountError> {
    let raw = table.symbols(LE, bytes, elf::SHT_SYMTAB)?;
    let mut symbols = Vec::with_capacity(raw.len());
    let mut file = None;
    for symbol in raw.iter() {
        let name = std::str::from_utf8(raw.symbol_name(LE, symbol)?).unwrap_or_default();
        if symbol.st_type() == elf::STT_FILE {
            file = Some(name).filter(|name| !name.is_empty());
            continue;
        }
        if name.is_empty() || symbol.is_undefined(LE) || symbol.st_type() == elf::STT_SECTION {
            continue;
        }
        let is_local = symbol.st_bind() == elf::STB_LOCAL;
        symbols.push(ImageSymbol {
            name,
            file: file.filter(|_| is_local),
            address: symbol.st_value(LE),
            size: symbol.st_size(LE),
            kind: symbol.st_type().0,
            is_local,
            is_placed: symbol.st_shndx(LE) != elf::SHN_ABS,
        });
    }
    Ok(symbols)
}
