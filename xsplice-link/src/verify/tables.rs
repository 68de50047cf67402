//! Checks hooks and special sections: every pointer and every entry must refer to the payload's own
//! code.

use xsplice_abi::errno::Errno;
use xsplice_abi::section;
use xsplice_abi::tables::{BugFrame, Field, LeadsTo, SpecialTable};
use xsplice_runtime::read::view::{Place, SectionId};

use super::records::is_code;
use super::sites::alternative;
use super::{Check, CheckKind, Lines, Subject};
use crate::facts::{TableFacts, Value};
use crate::inspect;
use crate::merge::classify;

pub(super) fn check(subject: &Subject<'_, '_, '_>, checks: &mut Vec<Check>) {
    hooks(subject, checks);
    tables(subject, checks);
}

fn hooks(subject: &Subject<'_, '_, '_>, checks: &mut Vec<Check>) {
    let facts = subject.facts;
    if facts.hooks.is_empty() {
        return;
    }
    let mut lines = Lines::new(checks, CheckKind::Hooks);
    let mut count = 0;
    for hook in &facts.hooks {
        let name = hook.kind.name();
        if !facts.abi.hooks.contains(&hook.kind) {
            lines.fail(
                Errno::EOPNOTSUPP,
                format!(
                    "{name}: the loader of `{}` does not know it",
                    facts.abi.name
                ),
            );
        }
        if !classify::hook_size_is_legal(hook.kind, hook.size_bytes) {
            lines.fail(
                Errno::EINVAL,
                format!(
                    "{name}: {} bytes are no legal number of pointers",
                    hook.size_bytes
                ),
            );
        }
        for &function in &hook.functions {
            count += 1;
            let in_code = matches!(function, Value::Payload { section, offset }
                if is_code(facts.view.section(section))
                    && facts.view.section(section).is_some_and(|code| offset < code.size));
            if !in_code {
                lines.fail(
                    Errno::EINVAL,
                    format!(
                        "{name}: {} is no function of the payload",
                        inspect::place(facts, function)
                    ),
                );
            }
        }
    }
    lines.pass(format!("each is a function of the payload ({count})"));
}

fn tables(subject: &Subject<'_, '_, '_>, checks: &mut Vec<Check>) {
    let facts = subject.facts;
    if facts.tables.is_empty() && facts.unknown_tables.is_empty() {
        return;
    }
    let mut lines = Lines::new(checks, CheckKind::Tables);
    let mut count = 0;
    for table in &facts.tables {
        if !table.size_bytes.is_multiple_of(table.entry_bytes) {
            lines.fail(
                Errno::EINVAL,
                format!(
                    "{}: {} bytes are no whole number of entries of {} bytes",
                    table.name, table.size_bytes, table.entry_bytes
                ),
            );
        }
        // A section without contents may claim any size; the loader's rules refuse it.
        let held = facts
            .view
            .section(table.section)
            .map_or(0, |one| one.data.len() as u64);
        for index in 0..held / table.entry_bytes {
            count += 1;
            let start = index * table.entry_bytes;
            if let Err(message) = entry(subject, table, start) {
                lines.fail(
                    Errno::EINVAL,
                    format!("{}+{start:#x}: {message}", table.name),
                );
            }
        }
    }
    for table in &facts.unknown_tables {
        lines.fail_unseen(format!(
            "{}: no loader walks this table, so what it says has no effect",
            table.name
        ));
    }
    lines.pass(format!("each entry concerns the payload's code ({count})"));
}

/// The section that a field must lead into, where it is a certain one; `None`: it need not lead
/// to code of the payload at all.
fn must_lead_to(field: LeadsTo) -> Option<Option<&'static str>> {
    match field {
        LeadsTo::Owner | LeadsTo::Code => Some(None),
        LeadsTo::Replacement => Some(Some(section::ALTINSTR_REPLACEMENT)),
        LeadsTo::Data | LeadsTo::Anything => None,
    }
}

fn entry(subject: &Subject<'_, '_, '_>, table: &TableFacts<'_>, start: u64) -> Result<(), String> {
    for &Field {
        at: field,
        leads_to,
    } in table.kind.fields(subject.facts.machine.entry_form)
    {
        let Some(expected) = must_lead_to(leads_to) else {
            continue;
        };
        let is_empty = is_empty_replacement(subject, table, start, expected);
        let (section, offset) = points_at(subject, table.section, start + field)
            .ok_or_else(|| format!("the field at +{field} points at no place in the payload"))?;
        let code = subject.facts.view.section(section);
        let name = code.map_or("?", |code| code.name);
        let is_inside =
            code.is_some_and(|code| offset < code.size || (is_empty && offset == code.size));
        if !is_code(code) || !is_inside {
            return Err(format!("{name}+{offset:#x} is no code of the payload"));
        }
        if expected.is_some_and(|expected| expected != name) {
            return Err(format!("{name}+{offset:#x} is no replacement code"));
        }
    }
    Ok(())
}

/// An alternative that only removes code has an empty replacement, which may also be at the end of
/// the replacements.
fn is_empty_replacement(
    subject: &Subject<'_, '_, '_>,
    table: &TableFacts<'_>,
    start: u64,
    expected: Option<&str>,
) -> bool {
    expected.is_some()
        && alternative(subject, table, start).is_some_and(|entry| entry.replacement_bytes == 0)
}

/// The place that a field of a table, which holds a distance, will refer to.
pub(super) fn points_at(
    subject: &Subject<'_, '_, '_>,
    table: SectionId,
    at: u64,
) -> Option<(SectionId, u64)> {
    let relocation = subject.facts.fields.at(table, at)?;
    if relocation.kind != subject.facts.machine.distance.number {
        return None;
    }
    let symbol = subject.facts.view.symbol(relocation.symbol)?;
    let Place::Section(section) = symbol.place else {
        return None;
    };
    let name = subject.facts.view.section(table)?.name;
    let form = subject.facts.machine.entry_form;
    let addend = match SpecialTable::of(name) {
        Some(SpecialTable::BugFrames(_)) => BugFrame::part_addend(form, relocation.addend).0,
        _ => relocation.addend,
    };
    Some((section, symbol.value.wrapping_add_signed(addend)))
}
