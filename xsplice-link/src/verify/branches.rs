//! PC-relative jumps and addresses without a relocation. The loader does not change them, so they
//! must stay inside their section: one that leads out of it would reach whatever the loader placed
//! there.

use object::elf;
use xsplice_abi::section::ALTINSTR_REPLACEMENT;
use xsplice_diff::machine::walk;
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
            for instruction in walk(subject.facts.machine, code, start) {
                let Some(lead) = instruction.lead else {
                    continue;
                };
                if subject.facts.fields.at(id, lead.field.offset).is_some() {
                    continue;
                }
                count += 1;
                if !stays(section, lead.to) {
                    lines.fail_unseen(format!(
                        "{}+{:#x}: leads to {} without a relocation, and the section has {} bytes",
                        section.name,
                        instruction.start,
                        shown(lead.to.cast_signed()),
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

/// The ranges of a section that are code, each from one symbol to the next. Ranges that a symbol
/// marks as data are left out, and decoding starts anew at each symbol.
pub(super) fn code_ranges(
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
