//! PC-relative jumps and addresses without a relocation. The loader does not change them, so they
//! must stay inside their section: one that leads out of it would reach whatever the loader placed
//! there.

use iced_x86::{Decoder, DecoderOptions, Instruction, OpKind};
use object::elf;
use xsplice_abi::section::ALTINSTR_REPLACEMENT;
use xsplice_runtime::read::view::{Place, Section, SectionId};

use super::{Check, CheckKind, Lines, Subject};

pub(super) fn check(subject: &Subject<'_, '_, '_>, checks: &mut Vec<Check>) {
    let mut lines = Lines::new(checks, CheckKind::Branches);
    let mut count = 0;
    for (id, section) in subject.facts.view.numbered() {
        if !section.is_executable() {
            continue;
        }
        for (start, end) in code_ranges(subject, id, section) {
            let code = usize::try_from(start)
                .ok()
                .zip(usize::try_from(end).ok())
                .and_then(|(start, end)| section.data.get(start..end));
            let Some(code) = code else { continue };
            let mut decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE);
            let mut instruction = Instruction::default();
            while decoder.can_decode() {
                decoder.decode_out(&mut instruction);
                let Some((at, target)) = reference(&decoder, &instruction) else {
                    continue;
                };
                if subject.facts.fields.at(id, at).is_some() {
                    continue;
                }
                count += 1;
                if !stays(section, target) {
                    lines.fail_unseen(format!(
                        "{}+{:#x}: leads to {} without a relocation, and the section has {} bytes",
                        section.name,
                        instruction.ip(),
                        shown(target.cast_signed()),
                        section.size
                    ));
                }
            }
        }
    }
    lines.pass(format!(
        "each jump and address without a relocation stays in its section ({count})"
    ));
}

/// Whether a place is inside the section. A replacement is copied, and may jump to its own end: it
/// then continues behind the place that it was copied to.
fn stays(section: &Section<'_>, target: u64) -> bool {
    target < section.size || (target == section.size && section.name == ALTINSTR_REPLACEMENT)
}

/// A distance from the start of a section, in bytes.
fn shown(distance: i64) -> String {
    let sign = if distance < 0 { '-' } else { '+' };
    format!("{sign}{:#x}", distance.unsigned_abs())
}

/// The field of an instruction that holds a distance, and where that leads.
fn reference(decoder: &Decoder<'_>, instruction: &Instruction) -> Option<(u64, u64)> {
    let is_branch = instruction.op_count() > 0
        && matches!(
            instruction.op0_kind(),
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
        );
    let constants = decoder.get_constant_offsets(instruction);
    let (at, target) = if is_branch {
        (
            constants.immediate_offset(),
            instruction.near_branch_target(),
        )
    } else if instruction.is_ip_rel_memory_operand() {
        (
            constants.displacement_offset(),
            instruction.ip_rel_memory_address(),
        )
    } else {
        return None;
    };
    Some((instruction.ip().wrapping_add(at as u64), target))
}

/// The ranges of a section that are code, each from one symbol to the next. Ranges that a symbol
/// marks as data are left out, and decoding starts anew at each symbol.
fn code_ranges(
    subject: &Subject<'_, '_, '_>,
    id: SectionId,
    section: &Section<'_>,
) -> Vec<(u64, u64)> {
    let symbols = &subject.facts.view.symbols;
    let mut starts: Vec<(u64, bool)> = symbols
        .iter()
        .filter(|symbol| symbol.place == Place::Section(id) && symbol.value < section.size)
        .map(|symbol| (symbol.value, symbol.kind == elf::STT_OBJECT.0))
        .collect();
    if starts.iter().all(|start| start.0 != 0) {
        starts.push((0, false));
    }
    // Of several symbols at one place, a single one that is not data makes it code.
    starts.sort_unstable();
    starts.dedup_by_key(|start| start.0);
    let ends = starts
        .iter()
        .skip(1)
        .map(|start| start.0)
        .chain([section.size]);
    starts
        .iter()
        .zip(ends)
        .filter(|((_, is_data), _)| !is_data)
        .map(|((start, _), end)| (*start, end))
        .collect()
}
