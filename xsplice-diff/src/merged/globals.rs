//! Reads the strong names that an object defines, and how much of it is loaded.
//!
//! This is asked of every object of a tree, so nothing but section headers and symbols is read.

use object::elf;
use object::read::elf::{FileHeader as _, SectionHeader as _, Sym as _};

use crate::read::object::{ENDIAN, check_header};

/// What [`globals`] reads.
#[derive(Debug, Default)]
pub(super) struct Globals<'data> {
    /// Names of strong global definitions.
    pub(super) names: Vec<&'data [u8]>,
    /// Size of all sections that are loaded, in bytes.
    pub(super) loaded_bytes: u64,
}

/// `None` for what is not a well-formed object.
pub(super) fn globals(bytes: &[u8]) -> Option<Globals<'_>> {
    let table = check_header(bytes).ok()?.sections(ENDIAN, bytes).ok()?;
    let symbols = table.symbols(ENDIAN, bytes, elf::SHT_SYMTAB).ok()?;
    let loaded_bytes = table
        .iter()
        .filter(|section| section.sh_flags(ENDIAN).0 & elf::SHF_ALLOC.0 != 0)
        .fold(0_u64, |sum, section| {
            sum.saturating_add(section.sh_size(ENDIAN))
        });
    let names = symbols
        .iter()
        .filter(|symbol| symbol.st_bind() == elf::STB_GLOBAL && is_defined(symbol.st_shndx(ENDIAN)))
        .map(|symbol| symbols.symbol_name(ENDIAN, symbol).ok())
        .collect::<Option<Vec<_>>>()?;
    Some(Globals {
        names,
        loaded_bytes,
    })
}

/// COMMON symbols are no definitions: several objects may have one of a name.
fn is_defined(section: elf::SymbolSection) -> bool {
    section != elf::SHN_UNDEF && section != elf::SHN_COMMON
}
