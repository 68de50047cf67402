//! Places that the boot code rewrites: each needs its table entry. Without it the payload's copy of
//! the code stays as compiled, while the base's copy is rewritten.
//!
//! A lost entry shows in one of three ways: as replacement code that no entry names; as NOPs for an
//! alternative that has no entry (`lost_sites.rs`); or as an ordinary call through a pointer that
//! the base only uses in alternative calls. The boot code rewrites those calls and may clear the
//! pointer afterwards, so the call must be rewritten too.

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

use xsplice_abi::section::ALTINSTR_REPLACEMENT;
use xsplice_abi::tables::{Alternative, REWRITING};
use xsplice_diff::machine::cursor::Cursor;
use xsplice_diff::machine::{Instruction, Machine, walk};
use xsplice_runtime::read::view::{Place, Relocation, SectionId, Symbol};

use super::branches::code_ranges;
use super::lost_sites;
use super::tables::points_at;
use super::{Check, CheckKind, Lines, Subject};
use crate::base::{Base, Lookup, QualifiedName};
use crate::facts::TableFacts;

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
    // What the linker puts between functions.
    let padding = facts.machine.trap;
    let mut named = BTreeSet::new();
    // An empty replacement has its label between the code of other replacements, and carving keeps
    // the neighbouring code although no entry uses it.
    let mut empty = BTreeSet::new();
    let mut count = 0;
    for (table, start) in entries(subject, Alternative::SECTION) {
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
    let is_orphan = |offset: u64, byte: u8| byte != padding && !named.contains(&offset);
    let mut begins: Option<u64> = None;
    let mut orphan = None;
    for (offset, byte) in (0..).zip(replacement.data.iter().copied().chain([padding])) {
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
            "{ALTINSTR_REPLACEMENT}+{offset:#x}: no entry of {} names this replacement code",
            Alternative::SECTION
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
    let form = subject.facts.machine.entry_form;
    Alternative::read(form, section.data.get(usize::try_from(start).ok()?..)?)
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
    let owned: HashSet<(SectionId, u64)> = REWRITING
        .iter()
        .flat_map(|rewriting| entries(subject, rewriting.name))
        .filter_map(|(table, start)| points_at(subject, table.section, start))
        .collect();
    let pointers = alternative_pointers(subject.base);
    let view = subject.facts.view;
    let machine = subject.facts.machine;
    let Some(call) = &machine.pointer_call else {
        return 0;
    };
    let mut plain: Option<HashSet<u64>> = None;
    let mut count = 0;
    for table in &view.relocations {
        let Some(code) = view.section(table.target).filter(|one| one.is_executable()) else {
            continue;
        };
        let ranges = code_ranges(subject, table.target, code);
        let is_distance = |entry: &&Relocation| entry.kind == machine.distance.number;
        let mut entries: Vec<_> = table.entries.iter().filter(is_distance).collect();
        entries.sort_by_key(|entry| entry.offset);
        let mut cursor = Cursor::default();
        for entry in entries {
            let holding = holding(machine, &mut cursor, code.data, &ranges, entry.offset);
            let is_call = |instruction: &Instruction<'_>| {
                let field = instruction.displacement.map(|place| place.offset);
                field == Some(entry.offset) && instruction.bytes.starts_with(call.opcode)
            };
            let Some(instruction) = holding.filter(is_call) else {
                continue;
            };
            let start = instruction.start;
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
            let is_lost = pointers.contains(&pointer)
                && !plain
                    .get_or_insert_with(|| plainly_called(subject.base))
                    .contains(&pointer);
            if is_lost {
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

/// The instruction that holds the byte at an offset of a section whose code lies in `ranges`.
fn holding<'data>(
    machine: &Machine,
    cursor: &mut Cursor<'data>,
    code: &'data [u8],
    ranges: &[(u64, u64)],
    offset: u64,
) -> Option<Instruction<'data>> {
    let behind = ranges.partition_point(|range| range.0 <= offset);
    let (start, end) = *ranges.get(behind.checked_sub(1)?)?;
    let code = code.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)?;
    cursor.holding(machine, code, start, offset)
}

/// The address of the base that the field of a call through a pointer refers to.
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
    let pointer = address
        .wrapping_add_signed(addend)
        .wrapping_add(base.machine().pointer_call?.field.bytes() as u64);
    Some((symbol.name, pointer))
}

/// Pointers that the base calls through at places that its boot code rewrites.
fn alternative_pointers(base: &Base<'_>) -> HashSet<u64> {
    let Some(call) = &base.machine().pointer_call else {
        return HashSet::new();
    };
    base.boot_patched()
        .iter()
        .filter_map(|site| call.pointer(base.bytes_from(site.range.start)?, site.range.start))
        .collect()
}

/// Pointers that the base calls through at places that its boot code leaves alone.
fn plainly_called(base: &Base<'_>) -> HashSet<u64> {
    let machine = base.machine();
    let mut pointers = HashSet::new();
    for section in base.sections().iter().filter(|one| one.is_executable()) {
        for code in ranges_of_base(base, &section.range) {
            let bytes = base.bytes_at(code.start, code.end - code.start);
            for one in walk(machine, bytes.unwrap_or_default(), code.start) {
                let call = machine.pointer_call.as_ref();
                let pointer = call.and_then(|call| call.pointer(one.bytes, one.start));
                let is_plain = || base.first_patched_in(&(one.start..one.end)).is_none();
                pointers.extend(pointer.filter(|_| is_plain()));
            }
        }
    }
    pointers
}

/// A section of the base from one symbol to the next: whatever stands before a symbol does not
/// shift how it is read.
fn ranges_of_base(base: &Base<'_>, section: &Range<u64>) -> Vec<Range<u64>> {
    let symbols = base.symbols().iter().map(|symbol| symbol.address);
    let mut starts: Vec<u64> = symbols
        .filter(|address| section.contains(address))
        .chain([section.start])
        .collect();
    starts.sort_unstable();
    starts.dedup();
    let ends = starts.iter().skip(1).copied().chain([section.end]);
    starts
        .iter()
        .copied()
        .zip(ends)
        .map(|(start, end)| start..end)
        .collect()
}
