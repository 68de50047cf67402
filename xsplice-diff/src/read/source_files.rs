//! Which source files an object was compiled from, by its `STT_FILE` symbols.
//!
//! This is read of every object of a tree, to tell merged objects from compiled ones; so only the
//! symbols are read.

use std::collections::HashSet;

use object::elf;
use object::read::elf::FileHeader as _;

use crate::read::error::{DiffError, ObjectProblem, Part, Side};
use crate::read::object::{ENDIAN, check_header, malformed, text};

/// Names of the source files of the object in `bytes`, in order, each once. Reads only its symbols,
/// because it is called for every object of a tree.
///
/// # Errors
///
/// When its header or its symbols are not those of an x86-64 relocatable object.
pub fn source_files<'data>(name: &str, bytes: &'data [u8]) -> Result<Vec<&'data str>, DiffError> {
    read_source_files(bytes).map_err(|problem| DiffError {
        object: name.to_owned(),
        problem,
        side: Side::Patched,
    })
}

fn read_source_files(bytes: &[u8]) -> Result<Vec<&str>, ObjectProblem> {
    let fail = || malformed(Part::SymbolTable);
    let table = check_header(bytes)?
        .sections(ENDIAN, bytes)
        .map_err(malformed(Part::SectionHeaders))?;
    let symbols = table
        .symbols(ENDIAN, bytes, elf::SHT_SYMTAB)
        .map_err(fail())?;
    let mut seen = HashSet::new();
    let mut files = Vec::new();
    for symbol in symbols.iter().filter(|one| one.st_type() == elf::STT_FILE) {
        let name = symbols.symbol_name(ENDIAN, symbol);
        let name = text(
            name.map_err(malformed(Part::SymbolNames))?,
            Part::SymbolNames,
        )?;
        if seen.insert(name) {
            files.push(name);
        }
    }
    Ok(files)
}
