//! Bug frames whose message is none refer to nothing by its field.
//!
//! On machines where every frame has the field, it leads behind the file name in frames that have
//! no message: to whatever string the assembler put there next. Taken for a reference, it would
//! make that string a part of the function. So the field is read as if it led to the file name too:
//! nobody reads it, and that one is included whenever the frame is.

use xsplice_abi::tables::{BugFrame, EntrySizes, SpecialTable};

use crate::read::object::{ElfObject, Relocation, SectionId};
use crate::read::special_sections::{cut, table_for};

/// Turns the references to messages that are none into references to the file name.
///
/// Shortcut S9: a bug frame of a kind without a message has a field that nobody reads.
pub(crate) fn forget(object: &mut ElfObject<'_>, sizes: &EntrySizes) {
    let without_message = |name: &str| match SpecialTable::of(name) {
        Some(SpecialTable::BugFrames(kind)) => !BugFrame::has_message(kind),
        _ => false,
    };
    let tables: Vec<SectionId> = object
        .sections()
        .filter(|(_, section)| section.is_allocated() && without_message(section.name))
        .map(|(id, _)| id)
        .collect();
    for table in tables {
        for (index, relocation) in find(object, table, sizes) {
            object.relocations[index] = relocation;
        }
    }
}

/// The relocations of such fields in one table, each with what it becomes.
fn find(object: &ElfObject<'_>, id: SectionId, sizes: &EntrySizes) -> Vec<(usize, Relocation)> {
    let section = object.section(id);
    let cut = table_for(section.name).and_then(|table| cut(object, id, table, sizes));
    let Some(cut) = cut else {
        return Vec::new();
    };
    let message_at = BugFrame::message_at(sizes.form);
    let at = |offset: u64| {
        let range = object.relocation_range(id, offset..offset + 1);
        (range.len() == 1).then_some(range.start)
    };
    let starts = (0..cut.entries).map(|index| index * cut.entry_bytes);
    let unused = starts.filter_map(|start| {
        let (file, message) = (at(start + BugFrame::POINTER_AT)?, at(start + message_at)?);
        let (file, leads) = (object.relocations[file], object.relocations[message]);
        let further = i64::try_from(leads.offset - file.offset).ok()?;
        // Distances count from the frame, relocations from their field.
        let addend = file.addend.checked_add(further)?;
        let moved = Relocation {
            offset: leads.offset,
            addend,
            ..file
        };
        (file.kind == leads.kind && message_at < cut.entry_bytes).then_some((message, moved))
    });
    unused.collect()
}
