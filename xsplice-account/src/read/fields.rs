//! The fields of a section that lead somewhere: relocations, and what the assembler resolved.
//!
//! A relative field counts from the end of its instruction, so that code is decoded to know which
//! byte a relocation really means. A branch that the assembler resolved leads out of an item
//! without any relocation; it is as much a reference as another.

use std::ops::Range;

use xsplice_abi::machine::{self, EntryForm, Kind, RelocationType};
use xsplice_abi::tables::{Alternative, BugFrame, EntrySizes, SpecialTable};
use xsplice_diff::machine::{Machine, steps};
use xsplice_diff::read::object::{ElfObject, SectionId, SymbolId};

/// How a field says where it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// The address itself, zero-extended.
    Absolute,
    /// The address itself, sign-extended.
    AbsoluteSigned,
    /// Counted from the field's own place.
    Relative,
    /// Counted from the field's own place to a slot that holds the address; a linker may make the
    /// instruction direct.
    Slot,
    /// Relative in the low 24 bits; the rest is part of a line number.
    RelativeWithLine,
    /// Some bits of an instruction, which alone or with others tell the address.
    Bits,
    /// Nobody reads it.
    Unread,
    /// Not known: nothing can be equal to it.
    Unknown,
}

/// What a field leads to, as the object says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leads {
    /// By a relocation.
    Symbol {
        /// Its symbol.
        symbol: SymbolId,
        /// Its addend.
        addend: i64,
    },
    /// Nowhere: nothing is read at the address.
    Nowhere,
    /// Within the section, resolved by the assembler; counts like an addend.
    Within {
        /// Offset in the section.
        offset: i64,
    },
}

/// A field of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// Offset in the section, in bytes.
    pub offset: u64,
    /// Bytes of the field.
    pub width: u8,
    /// The type of its relocation, where it has one.
    pub kind: Option<u32>,
    /// Of bits of an instruction: the type that says which, of a relocation or of what the
    /// assembler filled.
    pub known: Option<&'static RelocationType>,
    /// How it says where it leads.
    pub form: Form,
    /// How far behind the field the distance counts from: bytes to the end of the instruction, 0
    /// where it counts from the instruction or is none.
    pub trailing: u8,
    /// How far in front of the field the distance counts from, in a table of places in code that
    /// counts from its own start.
    pub ahead: u64,
    /// Where it leads.
    pub leads: Leads,
}

impl Field {
    /// Offset behind the field.
    #[must_use]
    pub(crate) fn end(&self) -> u64 {
        self.offset + u64::from(self.width)
    }

    /// Added to where a distance from the field itself leads, to get the place that is meant.
    #[must_use]
    pub(crate) fn counts_from(&self) -> i64 {
        i64::from(self.trailing) - self.ahead.cast_signed()
    }
}

/// Top bits of a bug frame's displacement that belong to the line, for sections of that name.
pub(crate) const LINE_SHIFT: u32 = 24;

/// All fields of a section, by offset. `starts` are the offsets at which code begins anew.
#[must_use]
pub(crate) fn fields(object: &ElfObject<'_>, id: SectionId, starts: &[u64]) -> Vec<Field> {
    let section = object.section(id);
    let machine = object.machine;
    let is_packed = machine.entry_form == EntryForm::Packed;
    let is_bug_table = section.name.starts_with(BugFrame::SECTIONS);
    let message = unread_message(machine, section.name);
    let mut fields: Vec<Field> = object
        .relocations_of(id)
        .iter()
        .map(|relocation| {
            let (form, width) = form(object.machine, relocation.kind);
            let form = match form {
                Form::Relative if is_bug_table && is_packed => Form::RelativeWithLine,
                _ if message.is_some_and(|(at, size)| relocation.offset % size == at) => {
                    Form::Unread
                }
                other => other,
            };
            Field {
                offset: relocation.offset,
                width,
                kind: Some(relocation.kind),
                known: bits(machine, relocation.kind),
                form,
                trailing: 0,
                ahead: 0,
                leads: Leads::Symbol {
                    symbol: relocation.symbol,
                    addend: relocation.addend,
                },
            }
        })
        .collect();
    if SpecialTable::of(section.name) == Some(SpecialTable::Alternatives) {
        forget_empty(machine, section.data, &mut fields);
    }
    if !section.is_executable() || section.data.is_empty() {
        return fields;
    }
    let mut resolved = Vec::new();
    for (index, &start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(section.size);
        decode(
            object.machine,
            section.data,
            start..end,
            &mut fields,
            &mut resolved,
        );
    }
    fields.extend(resolved);
    fields.sort_by_key(|field| field.offset);
    fields
}

/// Lets the fields lead nowhere that name a replacement of no bytes: the place is filled with NOPs,
/// and the address is that of whatever stands there.
fn forget_empty(machine: &Machine, table: &[u8], fields: &mut [Field]) {
    let bytes = SpecialTable::Alternatives.entry_bytes(&EntrySizes::of(machine));
    let Ok(bytes) = usize::try_from(bytes) else {
        return;
    };
    for (start, entry) in (0..).step_by(bytes).zip(table.chunks_exact(bytes)) {
        if Alternative::read_padded(entry).is_some_and(|one| one.replaces_by_nothing()) {
            let offset = start + Alternative::REPLACEMENT_AT;
            let found = fields.iter_mut().filter(|field| field.offset == offset);
            found.for_each(|field| field.leads = Leads::Nowhere);
        }
    }
}

/// Decodes one range of code: completes the fields in it and finds those without a relocation.
fn decode(
    machine: &Machine,
    code: &[u8],
    range: Range<u64>,
    fields: &mut [Field],
    resolved: &mut Vec<Field>,
) {
    let bounds = usize::try_from(range.start)
        .ok()
        .zip(usize::try_from(range.end).ok());
    let Some(code_range) = bounds.and_then(|(start, end)| code.get(start..end)) else {
        return;
    };
    let mut next = fields.partition_point(|field| field.offset < range.start);
    for instruction in steps(machine, code_range, range.start) {
        if !instruction.is_valid {
            continue;
        }
        let end = instruction.end;
        let first = next;
        while fields.get(next).is_some_and(|field| field.offset < end) {
            let field = &mut fields[next];
            if matches!(field.form, Form::Relative | Form::Slot) {
                let behind = machine.distance_bias(end - field.offset);
                field.trailing = u8::try_from(behind).unwrap_or_default();
            }
            next += 1;
        }
        let Some(lead) = instruction.lead else {
            continue;
        };
        let (offset, width) = (lead.field.offset, u8::try_from(lead.field.bytes));
        let is_relocated = fields[first..next]
            .iter()
            .any(|field| field.offset == offset);
        let Some(width) = width.ok().filter(|_| !is_relocated) else {
            continue;
        };
        let behind = machine.distance_bias(end - offset);
        let trailing = u8::try_from(behind).unwrap_or_default();
        let known = lead.relocation.and_then(|one| bits(machine, one.number));
        resolved.push(Field {
            offset,
            width,
            kind: None,
            known,
            form: match known {
                Some(_) => Form::Bits,
                None => Form::Relative,
            },
            trailing,
            ahead: 0,
            leads: Leads::Within {
                offset: lead.to.cast_signed() - i64::from(trailing),
            },
        });
    }
}

/// Where a bug frame has the field for a message, and how many bytes a frame has, when frames of
/// this table have the field and no message.
fn unread_message(machine: &Machine, name: &str) -> Option<(u64, u64)> {
    let SpecialTable::BugFrames(kind) = SpecialTable::of(name)? else {
        return None;
    };
    let form = machine.entry_form;
    let bytes = BugFrame::bytes(form, kind);
    let at = BugFrame::message_at(form);
    (!BugFrame::has_message(kind) && at < bytes).then_some((at, bytes))
}

/// The type, when its field is some bits of an instruction.
fn bits(machine: &Machine, kind: u32) -> Option<&'static RelocationType> {
    let known = machine.relocation(kind)?;
    let bytes = known.field.bytes();
    let is_whole = known.field.mask().count_ones() as usize == 8 * bytes;
    (machine.instruction_bytes == Some(bytes) && !is_whole).then_some(known)
}

/// Form and bytes of the field of a relocation type.
#[must_use]
pub(crate) fn form(machine: &Machine, kind: u32) -> (Form, u8) {
    let Some(known) = machine.relocation(kind) else {
        return (Form::Unknown, 1);
    };
    let form = match (known.field.kind, known.field.range) {
        (Kind::Nothing | Kind::Slot | Kind::Other, _) if machine.instruction_bytes.is_some() => {
            return (Form::Unknown, 1);
        }
        _ if bits(machine, kind).is_some() => Form::Bits,
        (Kind::Absolute, machine::Range::SignedAddress(_)) => Form::AbsoluteSigned,
        (Kind::Absolute, _) => Form::Absolute,
        (Kind::Relative, _) => Form::Relative,
        (Kind::Slot, _) => Form::Slot,
        _ => return (Form::Unknown, 1),
    };
    match u8::try_from(known.field.bytes()) {
        Ok(width) => (form, width),
        Err(_) => (Form::Unknown, 1),
    }
}

/// Reads a field of at most 8 bytes; `None` when it is wider.
#[must_use]
pub(crate) fn value(bytes: &[u8], form: Form) -> Option<u64> {
    let mut wide = [0; 8];
    wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
    let raw = u64::from_le_bytes(wide);
    let bits = match form {
        Form::Absolute => return Some(raw),
        Form::RelativeWithLine => LINE_SHIFT,
        Form::Unknown | Form::Bits | Form::Unread => return None,
        Form::AbsoluteSigned | Form::Relative | Form::Slot => {
            8 * u32::try_from(bytes.len()).ok()?
        }
    };
    let unused = u64::BITS.checked_sub(bits)?;
    if unused == u64::BITS {
        return None;
    }
    Some(((raw << unused).cast_signed() >> unused).cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_extended_as_their_form_says() {
        assert_eq!(value(&[0xff; 4], Form::Relative), Some(u64::MAX));
        assert_eq!(value(&[0xff; 4], Form::Absolute), Some(0xffff_ffff));
        assert_eq!(
            value(&[0xfe, 0xff, 0xff, 0x12], Form::RelativeWithLine),
            Some(u64::MAX - 1)
        );
        assert_eq!(value(&[1], Form::Unknown), None);
    }
}
