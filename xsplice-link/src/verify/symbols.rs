//! Checks names and relocations: each undefined symbol must have one address, no name may clash,
//! and each field must fit wherever the loader may place the payload.

use std::collections::HashSet;

use xsplice_abi::errno::Errno;
use xsplice_abi::machine::{Field, Kind, Range};
use xsplice_runtime::load::place;
use xsplice_runtime::read::view::{Place, Section, SectionId, Symbol};

use super::{Check, CheckKind, Lines, Subject, traps};
use crate::base::{Lookup, QualifiedName};
use crate::facts::{Facts, Value};

/// Addresses that 32 sign-extended bits hold: below this, or from its complement up.
const SIGNED_32_LIMIT: u64 = 1 << 31;

/// Returns the fields whose values the loader takes although they do not fit.
pub(super) fn check(subject: &Subject<'_, '_, '_>, checks: &mut Vec<Check>) -> Vec<String> {
    undefined(subject, checks);
    clashes(subject, checks);
    relocations(subject, checks)
}

/// A value that does not fit its field.
pub(super) struct Misfit {
    /// What does not fit.
    pub(super) message: String,
    /// From the field to the symbol, where that is known, in bytes.
    pub(super) distance: Option<i128>,
    /// Whether it is low bits of an address that are not zero.
    pub(super) is_misaligned: bool,
}

impl From<String> for Misfit {
    fn from(message: String) -> Misfit {
        Misfit {
            message,
            distance: None,
            is_misaligned: false,
        }
    }
}

/// Result of a symbol lookup.
enum Resolved {
    /// At this address of the base.
    Base(u64),
    /// In a payload below.
    Below,
    /// Nowhere.
    Absent,
    /// In several places.
    Ambiguous(usize),
}

fn resolve(subject: &Subject<'_, '_, '_>, name: &str) -> Resolved {
    match subject.base.lookup(QualifiedName::parse(name)) {
        Lookup::Found(symbol) => Resolved::Base(symbol.address),
        Lookup::Ambiguous(all) => Resolved::Ambiguous(all.len()),
        Lookup::Absent => {
            let below = |facts: &Facts<'_, '_>| facts.defined().any(|symbol| symbol.name == name);
            if subject.stack.iter().any(below) {
                Resolved::Below
            } else {
                Resolved::Absent
            }
        }
    }
}

fn undefined(subject: &Subject<'_, '_, '_>, checks: &mut Vec<Check>) {
    let mut lines = Lines::new(checks, CheckKind::UndefinedSymbols);
    let mut count = 0;
    for symbol in subject.facts.undefined() {
        count += 1;
        match resolve(subject, symbol.name) {
            Resolved::Base(_) | Resolved::Below => {}
            Resolved::Absent => lines.fail(
                Errno::ENOENT,
                format!(
                    "{}: neither {} nor a payload below has it",
                    symbol.name,
                    subject.base.path()
                ),
            ),
            Resolved::Ambiguous(count) => lines.fail(
                Errno::EINVAL,
                format!("{}: the base has {count} symbols of this name", symbol.name),
            ),
        }
    }
    lines.pass(format!("each has one address ({count})"));
}

/// Symbols that the loader registers: all but those at a record's new function.
fn new_symbols<'a, 'data>(facts: &'a Facts<'_, 'data>) -> impl Iterator<Item = &'a Symbol<'data>> {
    let replacing: HashSet<(SectionId, u64)> = facts
        .records
        .iter()
        .filter_map(|record| match record.new {
            Value::Payload { section, offset } => Some((section, offset)),
            _ => None,
        })
        .collect();
    facts.defined().filter(move |symbol| match symbol.place {
        Place::Section(section) => !replacing.contains(&(section, symbol.value)),
        _ => false,
    })
}

fn clashes(subject: &Subject<'_, '_, '_>, checks: &mut Vec<Check>) {
    let mut lines = Lines::new(checks, CheckKind::NameClashes);
    let mut own = HashSet::new();
    let below: HashSet<&str> = subject
        .stack
        .iter()
        .flat_map(|facts| new_symbols(facts))
        .map(|symbol| symbol.name)
        .collect();
    for symbol in new_symbols(subject.facts) {
        let name = symbol.name;
        if !own.insert(name) {
            lines.fail(Errno::EEXIST, format!("{name} is defined twice"));
        }
        if !matches!(
            subject.base.lookup(QualifiedName::parse(name)),
            Lookup::Absent
        ) {
            lines.fail(Errno::EEXIST, format!("{name} is a symbol of the base"));
        }
        if below.contains(name) {
            lines.fail(
                Errno::EEXIST,
                format!("{name} is a symbol of a payload below"),
            );
        }
    }
    lines.pass(format!("no new name clashes ({})", own.len()));
}

fn relocations(subject: &Subject<'_, '_, '_>, checks: &mut Vec<Check>) -> Vec<String> {
    let mut lines = Lines::new(checks, CheckKind::Relocations);
    let mut trapped = Vec::new();
    let view = subject.facts.view;
    let mut count = 0;
    for table in &view.relocations {
        let Some(target) = view.section(table.target).filter(|one| one.is_allocated()) else {
            continue;
        };
        for entry in &table.entries {
            count += 1;
            let at = format!("{}+{:#x}", target.name, entry.offset);
            let Some(known) = subject
                .facts
                .abi
                .relocation(subject.facts.machine, entry.kind)
            else {
                lines.fail(
                    Errno::EOPNOTSUPP,
                    format!(
                        "{at}: the loader of `{}` does not take {}",
                        subject.facts.abi.name,
                        subject.facts.machine.type_name(entry.kind)
                    ),
                );
                continue;
            };
            let end = entry.offset.checked_add(known.field.bytes() as u64);
            if end.is_none_or(|end| end > target.size) {
                lines.fail(
                    Errno::EINVAL,
                    format!("{at}: the field is outside the section"),
                );
                continue;
            }
            let Some(symbol) = view.symbol(entry.symbol).filter(|_| entry.symbol.0 != 0) else {
                lines.fail(
                    Errno::EOPNOTSUPP,
                    format!("{at}: the relocation has no symbol"),
                );
                continue;
            };
            let place = (table.target, entry.offset);
            if let Err(misfit) = fits(subject, known.field, place, (symbol, entry.addend)) {
                let message = &misfit.message;
                match traps::taken(subject, known, &misfit) {
                    Some(what) => trapped.push(format!("{at}: {message}; {what}")),
                    None => lines.fail(Errno::EOVERFLOW, format!("{at}: {message}")),
                }
            }
        }
    }
    lines.pass(format!(
        "each fits wherever the payload is placed ({count})"
    ));
    trapped
}

/// Whether the field holds the value for every place in the loader's window.
fn fits(
    subject: &Subject<'_, '_, '_>,
    field: Field,
    place: (SectionId, u64),
    (symbol, addend): (&Symbol<'_>, i64),
) -> Result<(), Misfit> {
    let name = symbol.name;
    // `None`: in a payload, which is placed near the base's text.
    let address = match symbol.place {
        Place::Undefined => match resolve(subject, name) {
            Resolved::Base(address) => Some(address),
            // Reported as such by the check of undefined symbols.
            Resolved::Below | Resolved::Absent | Resolved::Ambiguous(_) => None,
        },
        Place::Absolute => Some(symbol.value),
        Place::Section(id) => {
            let is_loaded = subject
                .facts
                .view
                .section(id)
                .is_some_and(Section::is_allocated);
            if !is_loaded {
                return Err(format!("{name} is in a section that is not loaded").into());
            }
            None
        }
        Place::Common | Place::Reserved(_) => return Err(format!("{name} has no place").into()),
    };
    match (field.kind, field.range) {
        (Kind::Nothing, _) | (_, Range::Unsigned(64) | Range::Signed(64)) => Ok(()),
        (Kind::Relative, Range::Signed(32)) => match address {
            Some(address) if !subject.base.is_near_code(address) => Err(format!(
                "{name} at {address:#x} is outside the image, so 32 bits may not reach it"
            )
            .into()),
            _ => Ok(()),
        },
        (Kind::Absolute, Range::SignedAddress(32)) => {
            // The payload is placed near the base, so its symbols have similar addresses.
            let address = address.unwrap_or_else(|| super::records::text_span(subject.base).start);
            let value = address.wrapping_add_signed(addend);
            if value < SIGNED_32_LIMIT || value >= SIGNED_32_LIMIT.wrapping_neg() {
                Ok(())
            } else {
                Err(format!("{name} at {address:#x} does not fit 32 sign-extended bits").into())
            }
        }
        _ => bits_fit(subject, &field, place, (symbol, addend), address),
    }
}

/// The same of a field that holds fewer bits than data does. `address` is that of a symbol which is
/// not the payload's own.
fn bits_fit(
    subject: &Subject<'_, '_, '_>,
    field: &Field,
    place: (SectionId, u64),
    (symbol, addend): (&Symbol<'_>, i64),
    address: Option<u64>,
) -> Result<(), Misfit> {
    let name = symbol.name;
    let holds = |value: i128| field.write(&mut [0; 8], value).is_some();
    let base = super::records::text_span(subject.base);
    match (field.kind, address) {
        // From the payload the image is as far as the window is wide.
        (Kind::Relative | Kind::Page { .. }, Some(address)) => {
            let reach = i128::from(subject.facts.machine.window_bytes);
            let is_near = subject.base.is_near_code(address);
            let reaches = reach_of(field).is_some_and(|bytes| bytes >= reach);
            if is_near && reaches {
                Ok(())
            } else {
                Err(format!(
                    "{name} at {address:#x} is too far for the field from some places that the \
                     loader may choose"
                )
                .into())
            }
        }
        (Kind::Relative | Kind::Page { .. }, None) => match distance(subject, place, symbol) {
            Some(distance) if field.kind == Kind::Relative => {
                let distance = distance + i128::from(addend);
                if holds(distance) {
                    Ok(())
                } else {
                    Err(Misfit {
                        message: format!(
                            "{name} is {distance:#x} bytes away, which the field cannot hold"
                        ),
                        distance: Some(distance),
                        is_misaligned: false,
                    })
                }
            }
            // Regions lie next to each other, at most a few megabytes in all.
            _ if reach_of(field).is_some_and(|bytes| bytes >= REGIONS_BYTES_MAX) => Ok(()),
            _ => Err(format!("{name} is in another region, which the field may not reach").into()),
        },
        (Kind::LowBits { .. }, _) => {
            let start = match (address, symbol.place) {
                (Some(address), _) => address,
                (None, Place::Section(id)) => {
                    let alignment = subject
                        .facts
                        .view
                        .section(id)
                        .map_or(1, |one| one.alignment);
                    if alignment < field.unit() {
                        return Err(misaligned(format!(
                            "{name} is not aligned as the access needs it"
                        )));
                    }
                    symbol.value
                }
                (None, _) => return Ok(()),
            };
            if start
                .wrapping_add_signed(addend)
                .is_multiple_of(field.unit())
            {
                return Ok(());
            }
            let name = if name.is_empty() { "the place" } else { name };
            Err(misaligned(format!(
                "{name} is not aligned to {} bytes",
                field.unit()
            )))
        }
        (Kind::Absolute, _) => {
            let start = address.unwrap_or(base.start);
            let value = i128::from(start) + i128::from(addend);
            if holds(value) {
                Ok(())
            } else {
                Err(format!("{name} at {start:#x} does not fit the field").into())
            }
        }
        _ => Err(format!("{name} is in a field that no loader fills").into()),
    }
}

fn misaligned(message: String) -> Misfit {
    Misfit {
        message,
        distance: None,
        is_misaligned: true,
    }
}

/// More than the regions of one payload take together, in bytes.
const REGIONS_BYTES_MAX: i128 = 1 << 27;

/// How far a field of a distance reaches in either direction, in bytes.
fn reach_of(field: &Field) -> Option<i128> {
    match field.range {
        Range::Signed(width) => Some(1 << (width - 1)),
        // Its parts are not checked by anybody: other fields hold the rest.
        Range::Unchecked => Some(i128::MAX),
        Range::Unsigned(_) | Range::SignedAddress(_) => None,
    }
}

/// The distance from a place in the payload to a symbol of it, when both are in one region.
fn distance(
    subject: &Subject<'_, '_, '_>,
    (section, offset): (SectionId, u64),
    symbol: &Symbol<'_>,
) -> Option<i128> {
    let Place::Section(target) = symbol.place else {
        return None;
    };
    let layout = place::lay_out(subject.facts.view).ok()?;
    let (from, start) = layout.place(section)?;
    let (to, target) = layout.place(target)?;
    let symbol = i128::from(target) + i128::from(symbol.value);
    (from == to).then(|| symbol - i128::from(start) - i128::from(offset))
}
