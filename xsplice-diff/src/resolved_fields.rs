//! Finds references between functions of one section that the assembler resolved itself.
//!
//! Where several functions share a section, a call of a neighbour needs no relocation: its
//! distance is known. But neighbours move between two builds, and do not travel, so such a field
//! is treated as if it had a relocation. Without this, every function behind an inserted byte
//! would differ, and a copied one would call into nowhere.

use iced_x86::{Decoder, DecoderOptions, Instruction, OpKind};
use object::elf;

use crate::items::{Item, ItemId, ItemKind, Items};
use crate::object::{ElfObject, Relocation, SectionId, SymbolId};
use crate::relocation::Target;
use crate::section_class::SectionClass;

/// A field that the assembler filled, in terms of the relocation that it stands for.
#[derive(Clone, Copy, Debug)]
pub struct ResolvedField {
    /// Its section.
    pub section: SectionId,
    /// Bytes of the field.
    pub bytes: u64,
    /// The relocation.
    pub relocation: Relocation,
    /// What it points at.
    pub target: Target,
}

/// Fields that lead out of their function, by section and offset.
#[must_use]
pub fn find(object: &ElfObject<'_>, items: &Items) -> Vec<ResolvedField> {
    let mut fields = Vec::new();
    for (id, section) in object.sections() {
        let is_code = section.is_executable()
            && matches!(
                items.class_of(id),
                SectionClass::Code | SectionClass::Init | SectionClass::LinkerSet
            );
        if !is_code || items.of_section(id).nth(1).is_none() {
            continue;
        }
        for item in items.of_section(id) {
            let place = items.item(item);
            if matches!(place.kind, ItemKind::Function | ItemKind::Label) {
                fields_of(object, items, place, &mut fields);
            }
        }
    }
    fields
}

fn fields_of(object: &ElfObject<'_>, items: &Items, item: &Item, fields: &mut Vec<ResolvedField>) {
    let data = object.section(item.section).data;
    let range = usize::try_from(item.offset)
        .ok()
        .zip(usize::try_from(item.end()).ok());
    let Some(code) = range.and_then(|(from, to)| data.get(from..to)) else {
        return;
    };
    let relocated = object.relocation_range(item.section, item.offset..item.end());
    let mut relocated = object.relocations[relocated].iter().peekable();
    let mut decoder = Decoder::with_ip(64, code, item.offset, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        let is_branch = instruction.op_count() > 0
            && matches!(
                instruction.op0_kind(),
                OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
            );
        let target = if is_branch {
            instruction.near_branch_target()
        } else if instruction.is_ip_rel_memory_operand() {
            instruction.ip_rel_memory_address()
        } else {
            continue;
        };
        // Nearly all that is left are jumps within the function.
        let inside = (item.offset..item.end()).contains(&target);
        if inside || target > object.section(item.section).size {
            continue;
        }
        let constants = decoder.get_constant_offsets(&instruction);
        let (at, bytes) = if is_branch {
            (constants.immediate_offset(), constants.immediate_size())
        } else {
            (
                constants.displacement_offset(),
                constants.displacement_size(),
            )
        };
        let field = instruction.ip() + at as u64;
        while relocated.next_if(|one| one.offset < field).is_some() {}
        let has_relocation = relocated.peek().is_some_and(|one| one.offset == field);
        if has_relocation {
            continue;
        }
        fields.extend(resolve(
            items,
            item.section,
            (field, bytes as u64),
            instruction.next_ip(),
            target,
            is_branch,
        ));
    }
}

fn resolve(
    items: &Items,
    section: SectionId,
    (field, bytes): (u64, u64),
    next: u64,
    target: u64,
    is_branch: bool,
) -> Option<ResolvedField> {
    let kind = match (bytes, is_branch) {
        (4, true) => elf::R_X86_64_PLT32,
        (4, false) => elf::R_X86_64_PC32,
        (2, _) => elf::R_X86_64_PC16,
        (1, _) => elf::R_X86_64_PC8,
        _ => return None,
    };
    let item: ItemId = items.at(section, target)?;
    let place = items.item(item);
    let bias = i32::try_from(next.checked_sub(field)?).ok()?;
    let distance = i64::try_from(target).ok()? - i64::from(bias);
    let start = i64::try_from(place.offset).ok()?;
    // A symbol counts from where it stands; without one, the section's start does.
    let counted_from = place.symbol.map_or(0, |_| start);
    Some(ResolvedField {
        section,
        bytes,
        relocation: Relocation {
            offset: field,
            addend: distance - counted_from,
            symbol: place.symbol.unwrap_or(SymbolId(0)),
            kind: kind.0,
        },
        target: Target::Item {
            item,
            offset: distance - start,
            bias,
        },
    })
}
