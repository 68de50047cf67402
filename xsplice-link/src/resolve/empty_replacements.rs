//! Gives replacements of no bytes a place that loaders take.
//!
//! An alternative that only removes code has an empty replacement: nothing is read at its address.
//! Xen's loader wants that address in `.altinstr_replacement` all the same, and that section to be
//! there (`load_payload` in `xen/common/livepatch.c`, 4.17). So all of them lead to its start.

use std::iter;

use xsplice_abi::machine::{EntryForm, Machine};
use xsplice_abi::section::ALTINSTR_REPLACEMENT;
use xsplice_abi::tables::{Alternative, SpecialTable};

use crate::layout::{
    Content, Kind, Layout, Memory, OutSection, Place, Section, Symbol, Visibility,
};

/// Points the fields of all empty replacements at the section of replacements.
pub(crate) fn place(layout: &mut Layout) {
    let machine = layout.machine;
    let fields: Vec<(usize, usize)> = layout
        .sections
        .iter()
        .enumerate()
        .filter(|(_, section)| SpecialTable::of(&section.name) == Some(SpecialTable::Alternatives))
        .flat_map(|(index, section)| iter::repeat(index).zip(fields_of(section, machine)))
        .collect();
    if fields.is_empty() {
        return;
    }
    let replacements = layout
        .section_named(ALTINSTR_REPLACEMENT)
        .unwrap_or_else(|| add_replacements(layout));
    let symbol = layout.add_symbol(Symbol {
        name: String::new(),
        kind: Kind::Section,
        visibility: Visibility::Private,
        size_bytes: 0,
        place: Place::Section(replacements, 0),
    });
    for (section, relocation) in fields {
        let field = &mut layout.sections[section].relocations[relocation];
        field.symbol = symbol;
        field.addend = 0;
    }
}

/// The relocations of a table that are about empty replacements, by index.
fn fields_of(section: &Section, machine: &Machine) -> Vec<usize> {
    let Ok(bytes) = usize::try_from(section.entry_bytes.max(1)) else {
        return Vec::new();
    };
    let entries = section.content.bytes().chunks_exact(bytes);
    (0_u64..)
        .step_by(bytes)
        .zip(entries)
        .filter(|(_, entry)| {
            let read = match machine.entry_form {
                EntryForm::Packed => Alternative::read_padded(entry),
                EntryForm::Plain => Alternative::read(machine.entry_form, entry),
            };
            read.is_some_and(|one| one.replaces_by_nothing())
        })
        .filter_map(|(start, _)| {
            let at = start + Alternative::REPLACEMENT_AT;
            let mut all = section.relocations.iter();
            all.position(|relocation| relocation.offset == at)
        })
        .collect()
}

/// A section of replacements where no other has any: an instruction that nothing runs, so that it
/// is loaded.
fn add_replacements(layout: &mut Layout) -> OutSection {
    let bytes = layout.machine.instruction_bytes.unwrap_or(1);
    let trap = layout.machine.trap;
    layout.add_section(Section {
        name: ALTINSTR_REPLACEMENT.into(),
        memory: Memory::Text,
        content: Content::Bytes(vec![trap; bytes]),
        alignment: bytes as u64,
        entry_bytes: 0,
        relocations: Vec::new(),
    })
}
