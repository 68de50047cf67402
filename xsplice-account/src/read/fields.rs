//! The fields of a section that lead somewhere: relocations, and what the assembler resolved.
//!
//! A relative field counts from the end of its instruction, so that code is decoded to know which
//! byte a relocation really means. A branch that the assembler resolved leads out of an item
//! without any relocation; it is as much a reference as another.

use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, OpKind};
use object::elf;
use xsplice_diff::read::object::{ElfObject, SectionId, SymbolId};

/// How a field says where it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
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
    /// Not known: nothing can be equal to it.
    Unknown,
}

/// What a field leads to, as the object says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leads {
    /// By a relocation.
    Symbol {
        /// Its symbol.
        symbol: SymbolId,
        /// Its addend.
        addend: i64,
    },
    /// Within the section, resolved by the assembler; counts like an addend.
    Within {
        /// Offset in the section.
        offset: i64,
    },
}

/// A field of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Offset in the section, in bytes.
    pub offset: u64,
    /// Bytes of the field.
    pub width: u8,
    /// How it says where it leads.
    pub form: Form,
    /// Bytes from the field to the end of its instruction where it is relative, else 0.
    pub trailing: u8,
    /// Where it leads.
    pub leads: Leads,
}

impl Field {
    /// Offset behind the field.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.width)
    }
}

/// Top bits of a bug frame's displacement that belong to the line, for sections of that name.
pub const LINE_SHIFT: u32 = 24;

/// All fields of a section, by offset. `starts` are the offsets at which code begins anew.
#[must_use]
pub fn fields(object: &ElfObject<'_>, id: SectionId, starts: &[u64]) -> Vec<Field> {
    let section = object.section(id);
    let is_bug_table = section.name.starts_with(xsplice_abi::section::BUG_FRAMES);
    let mut fields: Vec<Field> = object
        .relocations_of(id)
        .iter()
        .map(|relocation| {
            let (form, width) = form(relocation.kind);
            let form = match form {
                Form::Relative if is_bug_table => Form::RelativeWithLine,
                other => other,
            };
            Field {
                offset: relocation.offset,
                width,
                form,
                trailing: 0,
                leads: Leads::Symbol {
                    symbol: relocation.symbol,
                    addend: relocation.addend,
                },
            }
        })
        .collect();
    if !section.is_executable() || section.data.is_empty() {
        return fields;
    }
    let mut resolved = Vec::new();
    for (index, &start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(section.size);
        decode(section.data, start..end, &mut fields, &mut resolved);
    }
    fields.extend(resolved);
    fields.sort_by_key(|field| field.offset);
    fields
}

/// Decodes one range of code: completes the fields in it and finds those without a relocation.
fn decode(code: &[u8], range: Range<u64>, fields: &mut [Field], resolved: &mut Vec<Field>) {
    let bounds = usize::try_from(range.start)
        .ok()
        .zip(usize::try_from(range.end).ok());
    let Some(code_range) = bounds.and_then(|(start, end)| code.get(start..end)) else {
        return;
    };
    let mut decoder = Decoder::with_ip(64, code_range, range.start, DecoderOptions::NONE);
    let mut next = fields.partition_point(|field| field.offset < range.start);
    while decoder.can_decode() {
        let instruction = decoder.decode();
        let (start, end) = (instruction.ip(), instruction.next_ip());
        if instruction.is_invalid() {
            continue;
        }
        let first = next;
        while fields.get(next).is_some_and(|field| field.offset < end) {
            let field = &mut fields[next];
            if matches!(field.form, Form::Relative | Form::Slot) {
                field.trailing = u8::try_from(end - field.offset).unwrap_or_default();
            }
            next += 1;
        }
        let offsets = decoder.get_constant_offsets(&instruction);
        let place = |at: usize, width: usize| Some((start + at as u64, u8::try_from(width).ok()?));
        let branch = matches!(instruction.op0_kind(), OpKind::NearBranch64);
        let (at, target) = if branch && offsets.has_immediate() {
            let at = place(offsets.immediate_offset(), offsets.immediate_size());
            (at, instruction.near_branch64())
        } else if instruction.is_ip_rel_memory_operand() {
            let at = place(offsets.displacement_offset(), offsets.displacement_size());
            (at, instruction.ip_rel_memory_address())
        } else {
            continue;
        };
        let Some((offset, width)) = at else { continue };
        if fields[first..next]
            .iter()
            .any(|field| field.offset == offset)
        {
            continue;
        }
        let trailing = u8::try_from(end - offset).unwrap_or_default();
        resolved.push(Field {
            offset,
            width,
            form: Form::Relative,
            trailing,
            leads: Leads::Within {
                offset: target.cast_signed() - i64::from(trailing),
            },
        });
    }
}

/// Form and bytes of a relocation's field, after the System V psABI, x86-64, "Relocation Types".
#[must_use]
pub fn form(kind: u32) -> (Form, u8) {
    match elf::RelocationType(kind) {
        elf::R_X86_64_64 => (Form::Absolute, 8),
        elf::R_X86_64_PC64 => (Form::Relative, 8),
        elf::R_X86_64_PC32 | elf::R_X86_64_PLT32 => (Form::Relative, 4),
        elf::R_X86_64_32 => (Form::Absolute, 4),
        elf::R_X86_64_32S => (Form::AbsoluteSigned, 4),
        elf::R_X86_64_16 => (Form::Absolute, 2),
        elf::R_X86_64_PC16 => (Form::Relative, 2),
        elf::R_X86_64_8 => (Form::Absolute, 1),
        elf::R_X86_64_PC8 => (Form::Relative, 1),
        elf::R_X86_64_GOTPCREL | elf::R_X86_64_GOTPCRELX | elf::R_X86_64_REX_GOTPCRELX => {
            (Form::Slot, 4)
        }
        _ => (Form::Unknown, 1),
    }
}

/// Reads a field of at most 8 bytes; `None` when it is wider.
#[must_use]
pub fn value(bytes: &[u8], form: Form) -> Option<u64> {
    let mut wide = [0; 8];
    wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
    let raw = u64::from_le_bytes(wide);
    let bits = match form {
        Form::Absolute => return Some(raw),
        Form::RelativeWithLine => LINE_SHIFT,
        Form::Unknown => return None,
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
