//! Alternatives whose replacement is empty refer to nothing.
//!
//! With the feature, the place is filled with NOPs. The entry leads to wherever the assembler stood
//! in `.altinstr_replacement`, which is a neighbour's code or the end of the section. Taken for a
//! reference, it would make the neighbour's replacement this function's too. So the field is read
//! as if it led to the place that the entry is about: any address will do, and that one is included
//! whenever the entry is.

use xsplice_abi::machine::EntryForm;
use xsplice_abi::tables::{Alternative, EntrySizes, SpecialTable};

use crate::read::object::{ElfObject, Relocation, SectionId};
use crate::read::special_sections::{cut, table_for};

/// Turns the references of empty replacements into references to the place itself.
///
/// Shortcut S8: nothing is read at the address of a replacement of no bytes.
pub(crate) fn forget(object: &mut ElfObject<'_>, sizes: &EntrySizes) {
    let tables: Vec<SectionId> = object
        .sections()
        .filter(|(_, section)| {
            SpecialTable::of(section.name) == Some(SpecialTable::Alternatives)
                && section.is_allocated()
        })
        .map(|(id, _)| id)
        .collect();
    let mut found: Vec<(usize, Relocation)> = Vec::new();
    for table in tables {
        find(object, table, sizes, &mut found);
    }
    for (index, relocation) in found {
        object.relocations[index] = relocation;
    }
}

/// The relocations of such fields in one table, each with what it becomes.
fn find(
    object: &ElfObject<'_>,
    id: SectionId,
    sizes: &EntrySizes,
    found: &mut Vec<(usize, Relocation)>,
) {
    let section = object.section(id);
    let Some(cut) = table_for(section.name).and_then(|table| cut(object, id, table, sizes)) else {
        return;
    };
    let Ok(size_of_entry) = usize::try_from(cut.entry_bytes) else {
        return;
    };
    let entries = section.data.chunks_exact(size_of_entry);
    for (start, entry) in (0..).step_by(size_of_entry).zip(entries) {
        let read = match sizes.form {
            EntryForm::Packed => Alternative::read_padded(entry),
            EntryForm::Plain => Alternative::read(sizes.form, entry),
        };
        let is_empty = read.is_some_and(|one| one.replaces_by_nothing());
        if !is_empty {
            continue;
        }
        let at = |field: u64| {
            let offset = start + field;
            let range = object.relocation_range(id, offset..offset + 1);
            (range.len() == 1).then_some(range.start)
        };
        let (Some(owner), Some(replacement)) = (
            at(Alternative::ORIGINAL_AT),
            at(Alternative::REPLACEMENT_AT),
        ) else {
            continue;
        };
        let (about, leads) = (object.relocations[owner], object.relocations[replacement]);
        // Both count from their own field, so that equal addends lead to one place.
        if about.kind == leads.kind {
            let place = Relocation {
                offset: leads.offset,
                ..about
            };
            found.push((replacement, place));
        }
    }
}
