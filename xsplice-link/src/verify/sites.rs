//! Places that the boot code rewrites: each needs its table entry. Without it the payload's copy of
//! the code stays as compiled, while the base's copy is rewritten.
//!
//! A lost entry shows in one of three ways: as replacement code that no entry names; as NOPs for an
//! alternative that has no entry (`lost_sites.rs`); or as an ordinary call through a pointer that
//! the base only uses in alternative calls. The boot code rewrites those calls and may clear the
//! pointer afterwards, so the call must be rewritten too.

use std::collections::{BTreeSet, HashSet};

use xsplice_abi::machine::OF_RUNTIME;
use xsplice_abi::section::{ALT_CALL_SITES, ALTINSTR_REPLACEMENT, ALTINSTRUCTIONS};
use xsplice_abi::tables::Alternative;
use xsplice_runtime::read::view::{Place, SectionId, Symbol};

use super::lost_sites;
use super::tables::points_at;
use super::{Check, CheckKind, Lines, Subject};
use crate::base::{Base, Lookup, QualifiedName};
use crate::facts::TableFacts;

/// The byte that the linker puts between functions.
const PADDING: u8 = 0xcc;

pub(super) fn check(subject: &Subject<'_, '_, '_>, checks: &mut Vec<Check>) {
    let mut lines = Lines::new(checks, CheckKind::Sites);
    let replacements = orphans(subject, &mut lines);
    let calls = calls(subject, &mut lines);
    let fewer = lost_sites::check(subject, &mut lines);
    if replacements + calls + fewer.len() != 0 {
        let mut message =
            format!("{replacements} alternatives and {calls} alternative calls have their entries");
        for one in fewer {
            message.push_str("; ");
            message.push_str(&one);
        }
        lines.pass(message);
    }
}

/// Replacement code without an entry. Returns how many entries there are.
fn orphans(subject: &Subject<'_, '_, '_>, lines: &mut Lines<'_>) -> usize {
    let facts = subject.facts;
    let Some((id, replacement)) = facts.view.named("", ALTINSTR_REPLACEMENT) else {
        return 0;
    };
    let mut named = BTreeSet::new();
    // An empty replacement has its label between the code of other replacements, and carving keeps
    // the neighbouring code although no entry uses it.
    let mut empty = BTreeSet::new();
    let mut count = 0;
    for (table, start) in entries(subject, ALTINSTRUCTIONS) {
        count += 1;
        let Some(entry) = alternative(subject, table, start) else {
            continue;
        };
        let length = entry.replacement_bytes;
        let field = start + Alternative::REPLACEMENT_AT;
        if let Some((section, offset)) = points_at(subject, table.section, field)
            && section == id
        {
            named.extend(offset..offset.saturating_add(length.into()));
            if length == 0 {
                empty.insert(offset);
            }
        }
    }
    let is_orphan = |offset: u64, byte: u8| byte != PADDING && !named.contains(&offset);
    let mut begins: Option<u64> = None;
    let mut orphan = None;
    for (offset, byte) in (0..).zip(replacement.data.iter().copied().chain([PADDING])) {
        if let Some(start) = begins
            && (empty.contains(&offset) || !is_orphan(offset, byte))
        {
            let is_kept = empty.contains(&start) || empty.contains(&offset);
            orphan = orphan.or((!is_kept).then_some(start));
            begins = None;
        }
        if begins.is_none() && is_orphan(offset, byte) {
            begins = Some(offset);
        }
    }
    if let Some(offset) = orphan {
        lines.fail_unseen(format!(
            "{ALTINSTR_REPLACEMENT}+{offset:#x}: no entry of {ALTINSTRUCTIONS} names this \
             replacement code"
        ));
    }
    count
}

/// The alternatives entry at `start` of a table.
pub(super) fn alternative(
    subject: &Subject<'_, '_, '_>,
    table: &TableFacts<'_>,
    start: u64,
) -> Option<Alternative> {
    let section = subject.facts.view.section(table.section)?;
    Alternative::read(section.data.get(usize::try_from(start).ok()?..)?)
}

/// Tables of this name and the offset of each whole entry.
pub(super) fn entries<'a>(
    subject: &'a Subject<'_, '_, '_>,
    name: &'static str,
) -> impl Iterator<Item = (&'a TableFacts<'a>, u64)> {
    let tables = subject.facts.tables.iter();
    tables
        .filter(move |table| table.name == name)
        .flat_map(|table| {
            let section = subject.facts.view.section(table.section);
            let held = section.map_or(0, |one| one.data.len() as u64);
            (0..held / table.entry_bytes).map(move |index| (table, index * table.entry_bytes))
        })
}

/// Calls that the base makes by alternative calls alone, without an entry here. Returns how many
/// have one.
fn calls(subject: &Subject<'_, '_, '_>, lines: &mut Lines<'_>) -> usize {
    let owned: HashSet<(SectionId, u64)> = [ALTINSTRUCTIONS, ALT_CALL_SITES]
        .into_iter()
        .flat_map(|name| entries(subject, name))
        .filter_map(|(table, start)| points_at(subject, table.section, start))
        .collect();
    let pointers = alternative_pointers(subject.base);
    let view = subject.facts.view;
    let call = &OF_RUNTIME.pointer_call;
    let mut count = 0;
    for table in &view.relocations {
        let Some(code) = view.section(table.target).filter(|one| one.is_executable()) else {
            continue;
        };
        for entry in &table.entries {
            let Some(start) = entry.offset.checked_sub(call.opcode.len() as u64) else {
                continue;
            };
            let from_start = usize::try_from(start)
                .ok()
                .and_then(|start| code.data.get(start..));
            let is_call = from_start.is_some_and(|code| code.starts_with(call.opcode));
            if entry.kind != OF_RUNTIME.distance.number || !is_call {
                continue;
            }
            if owned.contains(&(table.target, start)) {
                count += 1;
                continue;
            }
            let Some((name, pointer)) = view
                .symbol(entry.symbol)
                .and_then(|symbol| in_base(subject.base, symbol, entry.addend))
            else {
                continue;
            };
            if pointers.contains(&pointer) && !is_called_plainly(subject.base, pointer) {
                lines.fail_unseen(format!(
                    "{}+{start:#x}: the base calls through {name} by alternative calls alone, and \
                     this call has no entry",
                    code.name
                ));
            }
        }
    }
    count
}

/// The address of the base that a PC-relative field at the end of an instruction refers to.
fn in_base<'data>(
    base: &Base<'_>,
    symbol: &Symbol<'data>,
    addend: i64,
) -> Option<(&'data str, u64)> {
    let address = match symbol.place {
        Place::Absolute => symbol.value,
        Place::Undefined => match base.lookup(QualifiedName::parse(symbol.name)) {
            Lookup::Found(found) => found.address,
            Lookup::Ambiguous(_) | Lookup::Absent => return None,
        },
        Place::Section(_) | Place::Common | Place::Reserved(_) => return None,
    };
    const FIELD_BYTES: u64 = 4;
    let pointer = address
        .wrapping_add_signed(addend)
        .wrapping_add(FIELD_BYTES);
    Some((symbol.name, pointer))
}

/// Pointers that the base calls through at places that its boot code rewrites.
fn alternative_pointers(base: &Base<'_>) -> HashSet<u64> {
    let call = &OF_RUNTIME.pointer_call;
    base.boot_patched()
        .iter()
        .filter_map(|site| call.pointer(base.bytes_from(site.range.start)?, site.range.start))
        .collect()
}

/// Whether the base has a call through `pointer` that its boot code does not rewrite. Bytes that
/// merely look like such a call count too.
fn is_called_plainly(base: &Base<'_>, pointer: u64) -> bool {
    let call = &OF_RUNTIME.pointer_call;
    let code = base.sections().iter().filter(|one| one.is_executable());
    code.into_iter().any(|section| {
        (section.range.start..)
            .zip(section.data.windows(call.bytes()))
            .filter(|(address, code)| call.pointer(code, *address) == Some(pointer))
            .any(|(address, _)| {
                let site = address..address.saturating_add(call.bytes() as u64);
                base.first_patched_in(&site).is_none()
            })
    })
}
