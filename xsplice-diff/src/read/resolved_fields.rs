//! Finds references between functions of one section that the assembler resolved itself.
//!
//! Where several functions share a section, the assembler knows the distance to a neighbour and
//! emits no relocation for a call of it. But neighbours move between two builds and need not be
//! included, so such a field is treated as if it had a relocation. Otherwise every function behind
//! an inserted byte would differ, and a copied function would call a wrong address.
//!
//! The same holds for special code (`.fixup`): a piece that jumps to a tail that others share has
//! no relocation for it either.

use std::ops::Range;

use crate::machine::{self, Instruction, Lead};
use crate::read::items::{Item, ItemId, ItemKind, Items};
use crate::read::object::{ElfObject, Relocation, SectionId, SymbolId};
use crate::read::relocation::Target;
use crate::read::section_class::SectionClass;
use crate::read::special_sections::runs_in_place;

/// A field that the assembler filled, in terms of the relocation that it stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResolvedField {
    /// Its section.
    pub section: SectionId,
    /// Bytes of the field.
    pub bytes: u64,
    /// Whether it is the operand of a call or jump.
    pub is_branch: bool,
    /// The relocation.
    pub relocation: Relocation,
    /// What it points at.
    pub target: Target,
}

/// Fields that lead out of their function or piece, by section and offset.
#[must_use]
pub(crate) fn find(object: &ElfObject<'_>, items: &Items) -> Vec<ResolvedField> {
    let mut fields = Vec::new();
    for (id, section) in object.sections() {
        let class = items.class_of(id);
        let is_special = class == SectionClass::SpecialCode;
        let is_code = section.is_executable()
            && (is_special
                || matches!(
                    class,
                    SectionClass::Code | SectionClass::Init | SectionClass::LinkerSet
                ));
        if !is_code || items.of_section(id).nth(1).is_none() {
            continue;
        }
        for item in items.of_section(id) {
            let place = items.item(item);
            let is_named = matches!(place.kind, ItemKind::Function | ItemKind::Label);
            if is_named || is_special {
                fields_of(object, items, place, &mut fields);
            }
        }
    }
    fields
}

fn fields_of(object: &ElfObject<'_>, items: &Items, item: &Item, fields: &mut Vec<ResolvedField>) {
    let size = object.section(item.section).size;
    let own = item.offset..item.end();
    // A replacement that jumps to its own end continues behind the place that it is copied to.
    let is_copied = items.class_of(item.section) == SectionClass::SpecialCode
        && !runs_in_place(object.section(item.section).name);
    let own_end = item.end();
    // Nearly all are jumps within the function.
    let within = own.clone();
    let leaves = |target: u64| {
        !within.contains(&target) && target <= size && !(is_copied && target == own_end)
    };
    walk(object, item.section, own, leaves, |instruction, lead| {
        let found = lead.and_then(|lead| {
            let behind = instruction.behind(lead.field.offset)?;
            resolve(items, item.section, behind, &lead)
        });
        fields.extend(found);
    });
}

/// Decodes a range of a section, and shows every instruction with its field that leads to a place
/// that is `wanted`, if it has one and the assembler filled it.
pub(crate) fn walk(
    object: &ElfObject<'_>,
    section: SectionId,
    range: Range<u64>,
    wanted: impl Fn(u64) -> bool,
    mut each: impl FnMut(&Instruction<'_>, Option<Lead>),
) {
    let data = object.section(section).data;
    let code = usize::try_from(range.start)
        .ok()
        .zip(usize::try_from(range.end).ok())
        .and_then(|(from, to)| data.get(from..to));
    let Some(code) = code else {
        return;
    };
    let relocated = object.relocation_range(section, range.clone());
    let mut relocated = object.relocations[relocated].iter().peekable();
    for instruction in machine::walk(object.machine, code, range.start) {
        let lead = instruction.lead.filter(|lead| wanted(lead.to));
        let lead = lead.filter(|lead| {
            let offset = lead.field.offset;
            while relocated.next_if(|one| one.offset < offset).is_some() {}
            relocated.peek().is_none_or(|one| one.offset != offset)
        });
        each(&instruction, lead);
    }
}

fn resolve(items: &Items, section: SectionId, behind: u64, lead: &Lead) -> Option<ResolvedField> {
    let kind = lead.relocation?.number;
    let item: ItemId = items.at(section, lead.to)?;
    let place = items.item(item);
    let bias = i32::try_from(behind).ok()?;
    let distance = i64::try_from(lead.to).ok()? - i64::from(bias);
    let start = i64::try_from(place.offset).ok()?;
    // Offsets count from the symbol; without one, from the start of the section.
    let counted_from = place.symbol.map_or(0, |_| start);
    Some(ResolvedField {
        section,
        bytes: lead.field.bytes,
        is_branch: lead.is_branch,
        relocation: Relocation {
            offset: lead.field.offset,
            addend: distance - counted_from,
            symbol: place.symbol.unwrap_or(SymbolId(0)),
            kind,
        },
        target: Target::Item {
            item,
            offset: distance - start,
            bias,
        },
    })
}
