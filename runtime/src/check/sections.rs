//! Checks sections, symbols and relocations before addresses are assigned.

use xsplice_abi::Profile;
use xsplice_abi::limits::{PAYLOAD_BYTES_MAX, SYMBOL_NAME_BYTES_MAX};
use xsplice_abi::machine::Machine;

use super::{CheckError, Fault};
use crate::read::view::{
    Place, RelocationForm, Relocations, SHF_MERGE, SHT_NOBITS, SHT_SYMTAB, STT_SECTION, Section,
    SectionId, Symbol, View,
};

const HEADER_BYTES: u64 = 64;

/// Alignment, placement in the file, size, and never writable and executable at once.
///
/// # Errors
/// The first rule that is broken.
pub fn sections<'data>(view: &View<'data>) -> Result<(), CheckError<'data>> {
    for section in view.sections.iter().skip(1) {
        let alignment = section.alignment;
        let fault = |fault: Fault| fault.at(section.name, 0);
        if !alignment.is_power_of_two() && (alignment != 0 || section.is_allocated()) {
            return Err(fault(Fault::Alignment { alignment }));
        }
        if !section.address.is_multiple_of(alignment.max(1)) {
            let address = section.address;
            return Err(fault(Fault::AddressUnaligned { address }));
        }
        if section.offset < HEADER_BYTES {
            return Err(fault(Fault::InsideHeader));
        }
        let largest = PAYLOAD_BYTES_MAX.try_into().unwrap_or(u64::MAX);
        if section.kind == SHT_NOBITS && section.size > largest {
            let bytes = section.size;
            return Err(fault(Fault::NobitsTooLarge { bytes }));
        }
        if section.is_allocated() && section.is_writable() && section.is_executable() {
            return Err(fault(Fault::WritableAndExecutable));
        }
    }
    Ok(())
}

/// Names that fit, no COMMON, every place exists.
///
/// # Errors
/// The first rule that is broken.
pub fn symbols<'data>(view: &View<'data>) -> Result<(), CheckError<'data>> {
    for symbol in view.symbols.iter().skip(1) {
        let (section, fault) = match symbol.place {
            _ if symbol.name.len() > SYMBOL_NAME_BYTES_MAX => (
                "",
                Fault::SymbolNameLong {
                    bytes: symbol.name.len(),
                },
            ),
            Place::Common => ("", Fault::SymbolCommon),
            Place::Reserved(_) => ("", Fault::SymbolPlace),
            Place::Section(id) => match view.section(id) {
                None => ("", Fault::SymbolPlace),
                Some(section) if section.is_allocated() && symbol.value > section.size => (
                    section.name,
                    Fault::SymbolOutside {
                        value: symbol.value,
                    },
                ),
                Some(_) => continue,
            },
            Place::Undefined | Place::Absolute => continue,
        };
        return Err(fault.at(section, 0).about(symbol.name));
    }
    Ok(())
}

/// The section that `table` relocates, when it is loaded; tables for other sections are skipped.
///
/// # Errors
/// Its target does not exist or has no contents.
pub fn relocated<'view, 'data>(
    view: &'view View<'data>,
    table: &Relocations,
) -> Result<Option<(SectionId, &'view Section<'data>)>, CheckError<'data>> {
    let name = view.section(table.section).map_or("", |s| s.name);
    let target = view
        .section(table.target)
        .filter(|_| table.target.0 != 0)
        .ok_or(Fault::RelocationTarget.at(name, 0))?;
    Ok(target.is_allocated().then_some((table.target, target)))
}

/// Types the profile takes, fields inside their section, symbols that are loaded.
///
/// # Errors
/// The first rule that is broken.
pub fn relocations<'data>(
    view: &View<'data>,
    profile: &Profile,
    machine: &Machine,
) -> Result<(), CheckError<'data>> {
    for table in &view.relocations {
        let Some((_, target)) = relocated(view, table)? else {
            continue;
        };
        if table.form == RelocationForm::WithoutAddends {
            return Err(Fault::RelocationForm.at(target.name, 0));
        }
        if target.kind == SHT_NOBITS {
            return Err(Fault::RelocationTarget.at(target.name, 0));
        }
        if view.section(table.symbol_table).map(|s| s.kind) != Some(SHT_SYMTAB) {
            return Err(Fault::RelocationSymbolTable.at(target.name, 0));
        }
        for entry in &table.entries {
            let fault = |fault: Fault| fault.at(target.name, entry.offset);
            if entry.symbol.0 == 0 {
                return Err(fault(Fault::RelocationWithoutSymbol));
            }
            let symbol = view
                .symbol(entry.symbol)
                .ok_or(fault(Fault::RelocationSymbol {
                    symbol: entry.symbol.0,
                }))?;
            let fault = |found: Fault| fault(found).about(symbol.name);
            let kind = profile
                .relocation(machine, entry.kind)
                .ok_or(fault(Fault::RelocationType { kind: entry.kind }))?;
            if let Place::Section(id) = symbol.place
                && !view.section(id).is_some_and(Section::is_allocated)
            {
                return Err(fault(Fault::RelocationUnloaded));
            }
            let bytes = u64::try_from(kind.field.bytes()).unwrap_or(u64::MAX);
            let fits = entry
                .offset
                .checked_add(bytes)
                .is_some_and(|end| end <= target.size);
            if !fits {
                return Err(fault(Fault::RelocationOutside));
            }
        }
    }
    Ok(())
}

/// Whether `symbol` is one that a payload adds to the names of the system: named, in loaded
/// memory, no label that the assembler made for strings that are merged, and no mark of where code
/// and data begin.
#[must_use]
pub fn is_registered(view: &View<'_>, symbol: &Symbol<'_>) -> bool {
    let Place::Section(id) = symbol.place else {
        return false;
    };
    let Some(section) = view.section(id).filter(|section| section.is_allocated()) else {
        return false;
    };
    let is_label = symbol.name.starts_with(".L") && section.flags & SHF_MERGE != 0;
    let machine = Machine::of(view.header.machine);
    let is_mark = machine.is_some_and(|machine| machine.is_mapping_symbol(symbol.name));
    symbol.kind != STT_SECTION && !symbol.name.is_empty() && !is_label && !is_mark
}
