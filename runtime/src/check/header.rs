//! The ELF header: what kind of file a payload is.

use xsplice_abi::limits::SECTIONS_MAX;
use xsplice_abi::machine::Machine;

use super::{CheckError, Fault};
use crate::read::elf::ET_REL;
use crate::read::view::{SHT_SYMTAB, View};

const IDENT_VERSION: u8 = 6;
const IDENT_OS_ABI: u8 = 7;
const IDENT_ABI_VERSION: u8 = 8;
const VERSION_CURRENT: u8 = 1;
const OS_ABI_NONE: u8 = 0;
const OS_ABI_FREEBSD: u8 = 9;

/// A relocatable file for a machine, of at most [`SECTIONS_MAX`] - 1 sections with one
/// symbol table.
///
/// # Errors
/// The first of its rules that is broken.
pub(crate) fn check<'data>(
    view: &View<'data>,
    expected: &'static Machine,
) -> Result<(), CheckError<'data>> {
    let header = &view.header;
    let ident = |position: u8| {
        header
            .ident
            .get(usize::from(position))
            .copied()
            .unwrap_or(0)
    };
    for (position, allowed) in [
        (IDENT_VERSION, [VERSION_CURRENT, VERSION_CURRENT]),
        (IDENT_OS_ABI, [OS_ABI_NONE, OS_ABI_FREEBSD]),
        (IDENT_ABI_VERSION, [0, 0]),
    ] {
        let value = ident(position);
        if !allowed.contains(&value) {
            return Err(Fault::ForeignIdent { position, value }.of_file());
        }
    }
    if header.version != u32::from(VERSION_CURRENT) {
        let value = u8::try_from(header.version).unwrap_or(u8::MAX);
        let position = IDENT_VERSION;
        return Err(Fault::ForeignIdent { position, value }.of_file());
    }
    if header.kind != ET_REL {
        return Err(Fault::NotRelocatable { kind: header.kind }.of_file());
    }
    if header.machine != expected.e_machine {
        let machine = header.machine;
        return Err(Fault::ForeignMachine { machine, expected }.of_file());
    }
    if header.program_headers != 0 {
        let count = header.program_headers;
        return Err(Fault::ProgramHeaders { count }.of_file());
    }
    let count = header.section_headers;
    if count == 0 || usize::from(count) >= SECTIONS_MAX {
        return Err(Fault::SectionCount { count }.of_file());
    }
    let tables = view
        .sections
        .iter()
        .filter(|s| s.kind == SHT_SYMTAB)
        .count();
    if tables != 1 {
        return Err(Fault::SymbolTables { count: tables }.of_file());
    }
    Ok(())
}
