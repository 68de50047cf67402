//! What a machine's loader takes although the hypervisor would stop at it, or run something else.
//!
//! Xen's loader on AArch64 knows six such traps (`xen/arch/arm/arm64/livepatch.c`,
//! `xen/arch/arm/alternative.c` and `xen/arch/arm/traps.c`, 4.17 to 4.20). The bundled loader
//! refuses most of them, so that its answer is not that loader's: see [`super::trial`].

use xsplice_abi::machine::{FileNames, RelocationType};
use xsplice_abi::profile::LIVEPATCH;
use xsplice_abi::section::ALTINSTR_REPLACEMENT;
use xsplice_abi::tables::{Alternative, BugFrame, BugKind, SpecialTable};
use xsplice_diff::machine::walk;
use xsplice_runtime::read::view::{Place, Section, SectionId, Symbol};

use super::sites::{alternative, entries};
use super::symbols::Misfit;
use super::tables::points_at;
use super::{Check, CheckKind, Lines, Subject};
use crate::base::{Lookup, QualifiedName};
use crate::facts::{Facts, RecordFacts, Value};

/// Whether the machine's loader has traps.
pub(super) fn has(subject: &Subject<'_, '_, '_>) -> bool {
    subject.facts.abi.name == LIVEPATCH.name && !subject.facts.machine.taken_beyond.is_empty()
}

/// Looks for all of them but those in relocations, which [`super::symbols`] found.
pub(super) fn check(subject: &Subject<'_, '_, '_>, fields: Vec<String>, checks: &mut Vec<Check>) {
    if !has(subject) {
        return;
    }
    let mut lines = Lines::new(checks, CheckKind::Traps);
    let found = fields
        .into_iter()
        .chain(replacements(subject))
        .chain(file_names(subject))
        .chain(payloads_patched(subject));
    for message in found {
        lines.fail_unseen(message);
    }
    let machine = subject.facts.machine.name;
    lines.pass(format!(
        "nothing that Xen's loader on {machine} takes and then stops at"
    ));
}

/// What becomes of a value that does not fit its field and that the loader writes all the same;
/// `None`: it notices.
pub(super) fn taken(
    subject: &Subject<'_, '_, '_>,
    known: &RelocationType,
    misfit: &Misfit,
) -> Option<&'static str> {
    if !has(subject) {
        return None;
    }
    if misfit.is_misaligned {
        return Some("the loader drops the low bits of its address, and other bytes are read");
    }
    let machine = subject.facts.machine;
    let (_, reach) = machine
        .taken_beyond
        .iter()
        .find(|(number, _)| *number == known.number)?;
    let is_taken = misfit
        .distance
        .is_some_and(|distance| (-reach..*reach).contains(&distance));
    is_taken.then_some("the loader cuts the distance off, and the branch leads somewhere else")
}

/// Alternatives that stop the hypervisor when they are put in place.
fn replacements(subject: &Subject<'_, '_, '_>) -> Vec<String> {
    let facts = subject.facts;
    let mut found = Vec::new();
    for (table, start) in entries(subject, Alternative::SECTION) {
        let Some(entry) = alternative(subject, table, start) else {
            continue;
        };
        let at = format!("{}+{start:#x}", table.name);
        if entry.replacement_bytes != entry.original_bytes {
            found.push(format!(
                "{at}: {} bytes stand in for {}; Xen on {} stops (BUG) when it is uploaded: fill \
                 the shorter with NOPs",
                entry.replacement_bytes, entry.original_bytes, facts.machine.name
            ));
        }
        let field = start + Alternative::REPLACEMENT_AT;
        let Some((section, offset)) = points_at(subject, table.section, field) else {
            continue;
        };
        let range = (
            offset,
            offset.saturating_add(entry.replacement_bytes.into()),
        );
        let code = facts.view.section(section);
        let Some(code) = code.filter(|code| code.name == ALTINSTR_REPLACEMENT) else {
            continue;
        };
        if let Some(target) = leaves(subject, (section, code), range) {
            found.push(format!(
                "{at}: a branch of the replacement leads to {target} of the payload; Xen on {} \
                 knows branches into its own image alone, and stops (BUG) when it is uploaded",
                facts.machine.name
            ));
        }
    }
    found
}

/// Where the first branch leads that leaves a replacement for another place of the payload.
fn leaves(
    subject: &Subject<'_, '_, '_>,
    (id, section): (SectionId, &Section<'_>),
    (start, end): (u64, u64),
) -> Option<String> {
    let view = subject.facts.view;
    let machine = subject.facts.machine;
    let slice = usize::try_from(start).ok()?..usize::try_from(end).ok()?;
    let code = section.data.get(slice)?;
    walk(machine, code, start).find_map(|instruction| {
        let Some(entry) = subject.facts.fields.at(id, instruction.start) else {
            let to = instruction.lead?.to;
            let is_inside = (start..=end).contains(&to);
            return (!is_inside).then(|| format!("{}+{to:#x}", section.name));
        };
        let known = machine.relocation(entry.kind)?;
        let is_branch = machine
            .moved_branches
            .iter()
            .any(|branch| branch.field == known.field);
        let symbol = view.symbol(entry.symbol).filter(|_| is_branch)?;
        match symbol.place {
            Place::Section(target) => {
                let to = symbol.value.wrapping_add_signed(entry.addend);
                let is_inside = target == id && (start..=end).contains(&to);
                let name = view.section(target).map_or("?", |one| one.name);
                (!is_inside).then(|| format!("{name}+{to:#x}"))
            }
            Place::Undefined => {
                let name = QualifiedName::parse(symbol.name);
                let is_below = matches!(subject.base.lookup(name), Lookup::Absent);
                is_below.then(|| symbol.name.to_owned())
            }
            Place::Absolute | Place::Common | Place::Reserved(_) => None,
        }
    })
}

/// Bug frames whose file name is not in the base.
fn file_names(subject: &Subject<'_, '_, '_>) -> Vec<String> {
    let facts = subject.facts;
    let mut found = Vec::new();
    if facts.machine.file_names == FileNames::Anywhere {
        return found;
    }
    for table in &facts.tables {
        let SpecialTable::BugFrames(kind) = table.kind else {
            continue;
        };
        let section = facts.view.section(table.section);
        let held = section.map_or(0, |one| one.data.len() as u64);
        for index in (0..held / table.entry_bytes).filter(|_| kind != BugKind::RunFunction) {
            let start = index * table.entry_bytes;
            let place = if points_at(subject, table.section, start + BugFrame::POINTER_AT).is_some()
            {
                "in the payload"
            } else if is_outside(subject, table.section, start) {
                "outside of the image"
            } else {
                continue;
            };
            found.push(format!(
                "{}+{start:#x}: the file name of this frame is {place}; Xen on {} takes only names \
                 in its own image, so it would load the payload and stop when the trap is reached: \
                 leave WARN, BUG and ASSERT out of the fix, or use a file name that the image has, \
                 as that of every source file with a WARN or BUG that was linked",
                table.name, facts.machine.name
            ));
        }
    }
    found
}

/// Whether the file name of the frame at `start` is known to be somewhere else than in the base.
fn is_outside(subject: &Subject<'_, '_, '_>, frames: SectionId, start: u64) -> bool {
    let at = start + BugFrame::POINTER_AT;
    let Some(entry) = subject.facts.fields.at(frames, at) else {
        return true;
    };
    let Some(symbol) = subject.facts.view.symbol(entry.symbol) else {
        return true;
    };
    let value = match symbol.place {
        Place::Absolute => symbol.value,
        Place::Undefined => match subject.base.lookup(QualifiedName::parse(symbol.name)) {
            Lookup::Found(found) => found.address,
            // Another check says that it is not there, or not alone.
            Lookup::Ambiguous(_) => return false,
            Lookup::Absent => return true,
        },
        Place::Section(_) | Place::Common | Place::Reserved(_) => return true,
    };
    // Fields count from the start of the frame.
    let address = value
        .wrapping_add_signed(entry.addend)
        .wrapping_sub(BugFrame::POINTER_AT);
    subject.base.section_at(address).is_none()
}

/// Whether a record's function is one of a payload below, which the loader finds by its name.
pub(super) fn is_of_a_payload(
    subject: &Subject<'_, '_, '_>,
    name: &str,
    record: &RecordFacts<'_>,
) -> bool {
    let is_absent = matches!(
        subject.base.lookup(QualifiedName::parse(name)),
        Lookup::Absent
    );
    // Xen does not find those that replace a function themselves.
    let mut below = subject.stack.iter().flat_map(|facts| {
        let new = facts.defined();
        new.filter(|symbol| !is_replacement(facts, symbol))
    });
    record.old == Value::Absolute(0) && is_absent && below.any(|symbol| symbol.name == name)
}

/// Whether a record of the payload leads to a symbol.
fn is_replacement(facts: &Facts<'_, '_>, symbol: &Symbol<'_>) -> bool {
    facts.records.iter().any(|record| match record.new {
        Value::Payload { section, offset } => {
            symbol.place == Place::Section(section) && symbol.value == offset
        }
        Value::Named(..) | Value::Absolute(_) | Value::Unreadable => false,
    })
}

/// Records that patch the code of a payload.
fn payloads_patched(subject: &Subject<'_, '_, '_>) -> Vec<String> {
    let records = subject.facts.records.iter();
    records
        .filter_map(|record| {
            let name = record.name?;
            is_of_a_payload(subject, name, record).then(|| {
                format!(
                    "{name}: is in a payload below; Xen on {} writes jumps into its own image \
                     alone, and stops (data abort) when this is applied: replace the function of \
                     the image, or the whole payload",
                    subject.facts.machine.name
                )
            })
        })
        .collect()
}
