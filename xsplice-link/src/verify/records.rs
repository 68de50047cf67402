//! Checks the records against the base: whether each name, address and size means one function,
//! whether the jump fits and reaches, and whether the base starts with the expected bytes.

use std::ops::Range;

use object::elf;
use xsplice_abi::errno::Errno;
use xsplice_abi::limits::EXPECT_BYTES_MAX;
use xsplice_abi::profile::{ZeroName, ZeroNewAddr, ZeroOldAddr};
use xsplice_diff::machine::{Machine, walk};
use xsplice_runtime::read::deny::Named;
use xsplice_runtime::read::view::Section;

use super::{Check, CheckKind, Lines, Subject, traps};
use crate::base::{Base, BaseSymbol, Lookup, QualifiedName, SymbolKind};
use crate::facts::{Facts, RecordFacts, Value};

/// A record whose old function was found.
struct Placed<'a, 'data> {
    record: &'a RecordFacts<'data>,
    name: &'a str,
    address: u64,
}

pub(super) fn check(subject: &Subject<'_, '_, '_>, checks: &mut Vec<Check>) {
    if subject.facts.records.is_empty() {
        return;
    }
    let placed = targets(subject, checks);
    room(subject, &placed, checks);
    code(subject, checks);
    reach(subject, &placed, checks);
    overlap(subject, &placed, checks);
    denied(subject, checks);
    expectations(subject, &placed, checks);
}

fn targets<'a, 'data>(
    subject: &Subject<'a, '_, 'data>,
    checks: &mut Vec<Check>,
) -> Vec<Placed<'a, 'data>> {
    let mut lines = Lines::new(checks, CheckKind::RecordTarget);
    let mut placed = Vec::new();
    for record in &subject.facts.records {
        let found = match record.name {
            Some(name) => Some((name, function(subject.base, name))),
            None => nameless(subject, record).map(|symbol| (symbol.name, Ok(symbol))),
        };
        let Some((name, found)) = found else {
            lines.fail(
                Errno::EINVAL,
                format!("the record at +{:#x} has no name", record.offset),
            );
            continue;
        };
        // Its own check says what comes of it.
        if traps::has(subject) && traps::is_of_a_payload(subject, name, record) {
            continue;
        }
        match target(subject, found, record) {
            Ok((address, complaint)) => {
                if let Some(message) = complaint {
                    lines.fail_unseen(format!("{name}: {message}"));
                }
                placed.push(Placed {
                    record,
                    name,
                    address,
                });
            }
            Err((Some(errno), message)) => lines.fail(errno, format!("{name}: {message}")),
            Err((None, message)) => lines.fail_unseen(format!("{name}: {message}")),
        }
    }
    lines.pass(format!(
        "each name and address is one function ({})",
        subject.facts.records.len()
    ));
    placed
}

/// What is wrong with a record, and the loader's error number where the loader sees it.
/// The function at the address of a record that has no name and needs none.
fn nameless<'a>(
    subject: &Subject<'a, '_, '_>,
    record: &RecordFacts<'_>,
) -> Option<&'a BaseSymbol<'a>> {
    let needs_none =
        subject.facts.abi.zero_name == ZeroName::WithAddress && record.old != Value::Absolute(0);
    let address = subject.facts.old_address(record, subject.base)?;
    let (symbol, distance) = subject.base.describe(address)?;
    (needs_none && distance == 0).then_some(symbol)
}

type Wrong = (Option<Errno>, String);

/// The address of the function that a record names, with what is wrong about it.
fn target(
    subject: &Subject<'_, '_, '_>,
    named: Result<&BaseSymbol<'_>, (Errno, String)>,
    record: &RecordFacts<'_>,
) -> Result<(u64, Option<String>), Wrong> {
    let base = subject.base;
    // The loader uses a written address as it is, and looks up the name only where there is none.
    let is_looked_up =
        record.old == Value::Absolute(0) && subject.facts.abi.zero_old_addr == ZeroOldAddr::LookUp;
    let symbol = named.map_err(|(errno, message)| (is_looked_up.then_some(errno), message))?;
    let refused = |errno, message: &str| (Some(errno), message.to_owned());
    let address = match record.old {
        Value::Absolute(0) => match subject.facts.abi.zero_old_addr {
            ZeroOldAddr::LookUp => symbol.address,
            ZeroOldAddr::Refused => return Err(refused(Errno::EINVAL, "old_addr is zero")),
        },
        Value::Absolute(address) => address,
        Value::Named(old, addend) => match base.lookup(QualifiedName::parse(old)) {
            Lookup::Found(found) => found.address.wrapping_add_signed(addend),
            Lookup::Absent => {
                let message = format!("{old} has no address in the base");
                return Err((Some(Errno::ENOENT), message));
            }
            Lookup::Ambiguous(_) => {
                let message = format!("{old} has several addresses in the base");
                return Err((Some(Errno::EINVAL), message));
            }
        },
        Value::Payload { .. } | Value::Unreadable => {
            return Err(refused(Errno::EINVAL, "old_addr is no address of the base"));
        }
    };
    let is_code = base
        .section_at(address)
        .is_some_and(|section| section.is_executable());
    if !is_code {
        let message = format!("old_addr {address:#x} is not in the base's code");
        return Err((Some(Errno::EINVAL), message));
    }
    if address != symbol.address {
        let what = match base.describe(address) {
            Some((found, 0)) => found.qualified().to_string(),
            Some((found, distance)) => format!("{}+{distance:#x}", found.qualified()),
            None => "nothing".to_owned(),
        };
        let message = format!(
            "old_addr {address:#x} is {what} in the base; the function is at {:#x}",
            symbol.address
        );
        return Err((None, message));
    }
    if record.old_size == 0 {
        return Err(refused(Errno::EINVAL, "old_size is zero"));
    }
    let has_other_size = symbol.size_bytes != 0 && u64::from(record.old_size) != symbol.size_bytes;
    let complaint = has_other_size.then(|| {
        format!(
            "old_size is {}, and the base's function has {} bytes",
            record.old_size, symbol.size_bytes
        )
    });
    Ok((address, complaint))
}

fn function<'base, 'data>(
    base: &'base Base<'data>,
    name: &str,
) -> Result<&'base BaseSymbol<'data>, (Errno, String)> {
    match base.lookup(QualifiedName::parse(name)) {
        Lookup::Found(symbol) if symbol.kind == SymbolKind::Data => {
            Err((Errno::EINVAL, "is data in the base".to_owned()))
        }
        Lookup::Found(symbol) => Ok(symbol),
        Lookup::Ambiguous(all) => Err((
            Errno::EINVAL,
            format!("is the name of {} functions of the base", all.len()),
        )),
        Lookup::Absent => Err((Errno::ENOENT, "is no function of the base".to_owned())),
    }
}

/// Bytes of the old function that the patcher overwrites.
fn written(subject: &Subject<'_, '_, '_>, one: &Placed<'_, '_>) -> Range<u64> {
    written_at(subject.base, one.address, one.record)
}

fn written_at(base: &Base<'_>, address: u64, record: &RecordFacts<'_>) -> Range<u64> {
    let bytes = base.bytes_from(address).unwrap_or(&[]);
    if is_nops(record) {
        return address..address.saturating_add(u64::from(record.new_size));
    }
    let machine = base.machine();
    let start = address.saturating_add(machine.jump_offset(bytes) as u64);
    start..start.saturating_add(machine.jump.code.len() as u64)
}

fn room(subject: &Subject<'_, '_, '_>, placed: &[Placed<'_, '_>], checks: &mut Vec<Check>) {
    let mut lines = Lines::new(checks, CheckKind::RecordRoom);
    for one in placed {
        let end = one.address.saturating_add(u64::from(one.record.old_size));
        let written = written(subject, one);
        if written.end > end {
            lines.fail(
                Errno::EINVAL,
                format!(
                    "{}: {} bytes are too few, {} are written",
                    one.name,
                    one.record.old_size,
                    written.end - one.address
                ),
            );
        }
    }
    for one in placed.iter().filter(|one| is_nops(one.record)) {
        let bytes = subject.base.bytes_from(one.address).unwrap_or(&[]);
        if let Some(cut) = cut_instruction(subject.base.machine(), bytes, one.record.new_size) {
            lines.fail(
                Errno::EINVAL,
                format!(
                    "{}: {} bytes of NOPs end inside the instruction at +{cut:#x}, and what is \
                     left of it would be run",
                    one.name, one.record.new_size
                ),
            );
        }
    }
    lines.pass("each old function has room for the jump");
}

/// Whether a record overwrites the function's first bytes with NOPs.
fn is_nops(record: &RecordFacts<'_>) -> bool {
    record.new == Value::Absolute(0)
}

/// Offset of the instruction of `code` that `end` cuts in two.
fn cut_instruction(machine: &Machine, code: &[u8], end: u32) -> Option<u64> {
    let end = u64::from(end);
    walk(machine, code, 0)
        .take_while(|instruction| instruction.start < end && instruction.is_valid)
        .find(|instruction| instruction.end > end)
        .map(|instruction| instruction.start)
}

fn code(subject: &Subject<'_, '_, '_>, checks: &mut Vec<Check>) {
    let mut lines = Lines::new(checks, CheckKind::RecordCode);
    let facts = subject.facts;
    for record in &facts.records {
        let name = record.name.unwrap_or("?");
        if let Err((errno, message)) = new_code(facts, record) {
            let message = format!("{name}: {message}");
            match errno {
                Some(errno) => lines.fail(errno, message),
                None => lines.fail_unseen(message),
            }
        }
    }
    lines.pass("each new function lies in the payload's code");
}

fn new_code(facts: &Facts<'_, '_>, record: &RecordFacts<'_>) -> Result<(), Wrong> {
    let refused = |message: String| Err((Some(Errno::EINVAL), message));
    let (section, offset) = match record.new {
        Value::Absolute(0) if facts.abi.zero_new_addr == ZeroNewAddr::Nop => {
            let message = format!("cannot become {} bytes of NOPs", record.new_size);
            return if record.new_size == 0 || record.new_size > record.old_size {
                refused(message)
            } else if u64::from(record.new_size) > EXPECT_BYTES_MAX as u64 {
                Err((Some(Errno::EOPNOTSUPP), message))
            } else {
                Ok(())
            };
        }
        Value::Payload { section, offset } => (section, offset),
        Value::Absolute(_) | Value::Named(..) | Value::Unreadable => {
            return refused("new_addr is no place in the payload".to_owned());
        }
    };
    let code = facts.view.section(section);
    let Some(code) = code.filter(|code| code.is_executable() && code.is_allocated()) else {
        return refused("new_addr is not in the payload's code".to_owned());
    };
    let end = offset.checked_add(u64::from(record.new_size));
    if record.new_size == 0 || end.is_none_or(|end| end > code.size) {
        return refused(format!(
            "{} bytes at {}+{offset:#x} are not all in the section",
            record.new_size, code.name
        ));
    }
    match facts.symbol_at(section, offset) {
        Some(symbol) if symbol.size != u64::from(record.new_size) => Err((
            None,
            format!(
                "new_size is {}, and {} has {} bytes",
                record.new_size, symbol.name, symbol.size
            ),
        )),
        Some(_) => Ok(()),
        // The function's name is missing; this linker does not make such a payload.
        None if facts.defined().all(|one| one.kind != elf::STT_FUNC.0) => Ok(()),
        None => Err((
            None,
            format!("no function begins at {}+{offset:#x}", code.name),
        )),
    }
}

/// The loader may place the payload up to the window's size away from the base's text, so the
/// functions themselves must lie inside that text.
fn reach(subject: &Subject<'_, '_, '_>, placed: &[Placed<'_, '_>], checks: &mut Vec<Check>) {
    let mut lines = Lines::new(checks, CheckKind::RecordReach);
    let window = subject.facts.machine.window_bytes;
    let text = text_span(subject.base);
    if text.end.saturating_sub(text.start) >= window {
        lines.fail(
            Errno::EOVERFLOW,
            format!("the base's code spans {window:#x} bytes or more"),
        );
    }
    for one in placed {
        if !text.contains(&one.address) {
            lines.fail(
                Errno::EOVERFLOW,
                format!(
                    "{}: {:#x} is outside the base's code",
                    one.name, one.address
                ),
            );
        }
    }
    lines.pass(format!(
        "each jump reaches within the window of {window:#x} bytes"
    ));
}

/// From the first to the last executable byte of the base.
pub(super) fn text_span(base: &Base<'_>) -> Range<u64> {
    let mut code = base
        .sections()
        .iter()
        .filter(|section| section.is_executable());
    let start = code.next().map_or(0..0, |section| section.range.clone());
    code.fold(start, |span, section| {
        span.start..span.end.max(section.range.end)
    })
}

fn overlap(subject: &Subject<'_, '_, '_>, placed: &[Placed<'_, '_>], checks: &mut Vec<Check>) {
    let mut lines = Lines::new(checks, CheckKind::RecordOverlap);
    let mut ranges: Vec<_> = placed
        .iter()
        .map(|one| (written(subject, one), one.name))
        .collect();
    ranges.sort_by_key(|(range, _)| (range.start, range.end));
    for pair in ranges.windows(2) {
        if pair[1].0.start < pair[0].0.end {
            lines.fail(
                Errno::EINVAL,
                format!(
                    "{} and {} are written at the same bytes",
                    pair[0].1, pair[1].1
                ),
            );
        }
    }
    for (range, below) in replaced_below(subject) {
        // Replacing the same function again is legal: payloads are stacked for that.
        let clash = ranges
            .iter()
            .find(|(own, _)| *own != range && own.start < range.end && range.start < own.end);
        if let Some((_, name)) = clash {
            lines.fail(
                Errno::EINVAL,
                format!("{name} and {below} of a payload below are written at the same bytes"),
            );
        }
    }
    lines.pass("no two jumps overlap");
}

/// What the payloads below overwrite, with the record's name.
fn replaced_below<'a>(subject: &Subject<'a, '_, '_>) -> Vec<(Range<u64>, &'a str)> {
    let mut all = Vec::new();
    for below in subject.stack {
        for record in &below.records {
            let name = record.name.unwrap_or("?");
            if let Some(address) = below.old_address(record, subject.base) {
                all.push((written_at(subject.base, address, record), name));
            }
        }
    }
    all
}

/// Checks the address at which each record writes, whatever name it gives.
fn denied(subject: &Subject<'_, '_, '_>, checks: &mut Vec<Check>) {
    /// Of lines that name nothing, so many are shown, and the others counted.
    const SHOWN_MAX: usize = 3;

    let mut lines = Lines::new(checks, CheckKind::RecordDenied);
    let mut denied = Vec::new();
    let mut unknown: usize = 0;
    let path = subject.base.path();
    for line in subject.deny {
        match line.addresses(|name| subject.base.named(name)) {
            Ok(addresses) => denied.push(addresses),
            Err(error) => {
                unknown += 1;
                if unknown <= SHOWN_MAX {
                    lines.fail_unseen(format!("{path}: {error}"));
                }
            }
        }
    }
    if unknown > SHOWN_MAX {
        lines.fail_unseen(format!(
            "{path}: {} more of the {} lines of the deny list name nothing in it; give the list of \
             this build",
            unknown - SHOWN_MAX,
            subject.deny.len()
        ));
    }
    for record in &subject.facts.records {
        let Some(start) = subject.facts.old_address(record, subject.base) else {
            continue;
        };
        let end = start.saturating_add(record.old_size.into());
        let overlaps = |range: &Range<u64>| start < range.end && range.start < end;
        if denied.iter().any(overlaps) {
            let name = record.name.unwrap_or("?");
            // The address is shown too where the name is that of another function.
            let place = match subject.base.named(name) {
                Named::Once { address, .. } if address == start => String::new(),
                _ => format!(" (at {start:#x})"),
            };
            lines.fail(
                Errno::EINVAL,
                format!(
                    "{name}{place} is on the deny list: a CPU may be inside it while text is \
                     written"
                ),
            );
        }
    }
    if subject.deny.is_empty() {
        return lines.not_asked("no deny list was given (--deny)");
    }
    lines.pass(match subject.deny.len() {
        1 => "nothing that the line of the deny list names".to_owned(),
        count => format!("nothing that the {count} lines of the deny list name"),
    });
}

fn expectations(subject: &Subject<'_, '_, '_>, placed: &[Placed<'_, '_>], checks: &mut Vec<Check>) {
    let mut lines = Lines::new(checks, CheckKind::Expectations);
    let below = replaced_below(subject);
    let mut count = 0;
    for one in placed {
        let expect = &one.record.expect;
        if expect.is_empty() {
            continue;
        }
        count += 1;
        let length = expect.len() as u64;
        let range = one.address..one.address.saturating_add(length);
        if length > u64::from(one.record.old_size) {
            lines.fail(
                Errno::ERANGE,
                format!("{}: expects more bytes than the function has", one.name),
            );
        } else if subject.base.bytes_at(one.address, length) != Some(expect) {
            lines.fail(
                Errno::EINVAL,
                format!(
                    "{}: the base does not start with the expected bytes",
                    one.name
                ),
            );
        } else if let Some(site) = subject.base.first_patched_in(&range) {
            lines.fail(
                Errno::EINVAL,
                format!(
                    "{}: expects bytes at {:#x} that the boot code rewrites ({})",
                    one.name, site.range.start, site.table
                ),
            );
        } else if below
            .iter()
            .any(|(written, _)| written.start < range.end && range.start < written.end)
        {
            lines.fail(
                Errno::EINVAL,
                format!(
                    "{}: expects bytes that a payload below overwrites",
                    one.name
                ),
            );
        }
    }
    lines.pass(format!(
        "the base starts with what each record expects ({count})"
    ));
}

/// Whether a section is code of the payload.
pub(super) fn is_code(section: Option<&Section<'_>>) -> bool {
    section.is_some_and(|section| section.is_executable() && section.is_allocated())
}

#[cfg(test)]
mod tests {
    use xsplice_abi::machine::OF_RUNTIME;

    use super::cut_instruction;

    /// `mov $17,%eax; jmp +0`
    const MINOR_VERSION: [u8; 10] = [0xb8, 17, 0, 0, 0, 0xe9, 0, 0, 0, 0];

    #[test]
    fn nops_may_end_where_an_instruction_ends_and_nowhere_else() {
        for (end, cut) in [(5, None), (9, Some(5)), (3, Some(0)), (10, None)] {
            assert_eq!(
                cut_instruction(OF_RUNTIME, &MINOR_VERSION, end),
                cut,
                "{end}"
            );
        }
    }
}
