//! Reads the names that an object defines, and how much of it is loaded.
//!
//! This is asked of every object of a tree, so nothing but section headers and symbols is read.

use object::elf;
use object::read::elf::{FileHeader as _, SectionHeader as _, Sym as _};

use crate::merged::made_anew;
use crate::read::object::{ENDIAN, check_header};

/// What [`definitions`] reads.
#[derive(Debug, Default)]
pub(super) struct Definitions<'data> {
    /// Names of strong global definitions.
    pub(super) strong: Vec<&'data [u8]>,
    /// Names of definitions that other objects can refer to, weak and COMMON ones too.
    pub(super) global: Vec<&'data [u8]>,
    /// All names of definitions, COMMON ones and local ones too; no made-up labels of compilers.
    pub(super) names: Vec<&'data [u8]>,
    /// Names of FILE symbols.
    pub(super) files: Vec<&'data [u8]>,
    /// Size of all sections that are loaded, in bytes, but those that linkers make anew.
    pub(super) loaded_bytes: u64,
}

impl Definitions<'_> {
    /// Whether an object has nothing that is loaded and nothing that has a name.
    pub(super) fn holds_nothing(&self) -> bool {
        self.loaded_bytes == 0 && self.names.is_empty()
    }
}

/// `None` for what is not a well-formed object.
pub(super) fn definitions(bytes: &[u8]) -> Option<Definitions<'_>> {
    let (header, _) = check_header(bytes).ok()?;
    let table = header.sections(ENDIAN, bytes).ok()?;
    let symbols = table.symbols(ENDIAN, bytes, elf::SHT_SYMTAB).ok()?;
    let mut found = Definitions::default();
    for section in table.iter() {
        let name = table.section_name(ENDIAN, section).ok()?;
        if section.sh_flags(ENDIAN).0 & elf::SHF_ALLOC.0 != 0 && !made_anew(name) {
            let size = section.sh_size(ENDIAN);
            found.loaded_bytes = found.loaded_bytes.saturating_add(size);
        }
    }
    for symbol in symbols.iter() {
        let name = symbols.symbol_name(ENDIAN, symbol).ok()?;
        let place = symbol.st_shndx(ENDIAN);
        if symbol.st_type() == elf::STT_FILE {
            found.files.push(name);
            continue;
        }
        let is_section = symbol.st_type() == elf::STT_SECTION;
        if place == elf::SHN_UNDEF || is_section || is_label(name) {
            continue;
        }
        found.names.push(name);
        if symbol.st_bind() != elf::STB_LOCAL {
            found.global.push(name);
        }
        // Several objects may have a COMMON symbol of a name.
        if symbol.st_bind() == elf::STB_GLOBAL && place != elf::SHN_COMMON {
            found.strong.push(name);
        }
    }
    Some(found)
}

/// Whether a name is one that compilers make for their own use, of which each object has its own.
pub(super) fn is_label(name: &[u8]) -> bool {
    name.is_empty() || name.starts_with(b".L")
}
