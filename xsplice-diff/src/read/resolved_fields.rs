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

use iced_x86::{Decoder, DecoderOptions, Instruction, OpKind};
use object::elf;

use crate::read::items::{Item, ItemId, ItemKind, Items};
use crate::read::object::{ElfObject, Relocation, SectionId, SymbolId};
use crate::read::relocation::Target;
use crate::read::section_class::SectionClass;
use crate::read::special_sections::runs_in_place;

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

/// Fields that lead out of their function or piece, by section and offset.
#[must_use]
pub fn find(object: &ElfObject<'_>, items: &Items) -> Vec<ResolvedField> {
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
    // Nearly all of these fields are jumps within the function.
    let leaves =
        |target: u64| !own.contains(&target) && target <= size && !(is_copied && target == own_end);
    walk(object, item.section, own.clone(), leaves, |_, field| {
        fields.extend(field.and_then(|field| resolve(items, item.section, &field)));
    });
}

/// A field without a relocation that holds the distance to another place.
pub(crate) struct Field {
    /// Offset in the section, in bytes.
    offset: u64,
    /// Of the field.
    bytes: u64,
    /// Where the distance counts from: the end of the instruction.
    next: u64,
    /// Where it leads, as an offset in the section.
    pub target: u64,
    /// Whether the instruction jumps there, as opposed to taking the address.
    is_branch: bool,
}

/// Decodes a range of a section, and shows every instruction with its field that leads to a place
/// that is `wanted`, if it has one and the assembler filled it.
pub(crate) fn walk(
    object: &ElfObject<'_>,
    section: SectionId,
    range: Range<u64>,
    wanted: impl Fn(u64) -> bool,
    mut each: impl FnMut(&Instruction, Option<Field>),
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
    let mut decoder = Decoder::with_ip(64, code, range.start, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        let is_branch = instruction.op_count() > 0
            && matches!(
                instruction.op0_kind(),
                OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
            );
        let target = if is_branch {
            Some(instruction.near_branch_target())
        } else {
            instruction
                .is_ip_rel_memory_operand()
                .then(|| instruction.ip_rel_memory_address())
        };
        let Some(target) = target.filter(|target| wanted(*target)) else {
            each(&instruction, None);
            continue;
        };
        let constants = decoder.get_constant_offsets(&instruction);
        let (at, bytes) = if is_branch {
            (constants.immediate_offset(), constants.immediate_size())
        } else {
            (
                constants.displacement_offset(),
                constants.displacement_size(),
            )
        };
        let offset = instruction.ip() + at as u64;
        while relocated.next_if(|one| one.offset < offset).is_some() {}
        let has_relocation = relocated.peek().is_some_and(|one| one.offset == offset);
        let field = (!has_relocation).then(|| Field {
            offset,
            bytes: bytes as u64,
            next: instruction.next_ip(),
            target,
            is_branch,
        });
        each(&instruction, field);
    }
}

fn resolve(items: &Items, section: SectionId, field: &Field) -> Option<ResolvedField> {
    let kind = match (field.bytes, field.is_branch) {
        (4, true) => elf::R_X86_64_PLT32,
        (4, false) => elf::R_X86_64_PC32,
        (2, _) => elf::R_X86_64_PC16,
        (1, _) => elf::R_X86_64_PC8,
        _ => return None,
    };
    let item: ItemId = items.at(section, field.target)?;
    let place = items.item(item);
    let bias = i32::try_from(field.next.checked_sub(field.offset)?).ok()?;
    let distance = i64::try_from(field.target).ok()? - i64::from(bias);
    let start = i64::try_from(place.offset).ok()?;
    // Offsets count from the symbol; without one, from the start of the section.
    let counted_from = place.symbol.map_or(0, |_| start);
    Some(ResolvedField {
        section,
        bytes: field.bytes,
        relocation: Relocation {
            offset: field.offset,
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
