//! Disassembles functions for people, and lays two builds of one function side by side.
//!
//! Listings are for reading only; the comparison decides. Two listings should differ exactly where
//! the meaning differs. So a relocated field is printed as its target, and two jumps inside a
//! function are equal when they lead to corresponding instructions.

use std::collections::HashMap;
use std::fmt::Write;

use similar::{Algorithm, DiffOp, capture_diff_slices};

use crate::machine::cursor::Cursor;
use crate::machine::{FieldNames, FieldPlace, Instruction, Machine, Use, walk};

/// Longest listing, old and new together, that is shown side by side; in instructions. Aligning
/// takes quadratic time in the differences, and longer listings are not readable.
pub(crate) const SIDE_BY_SIDE_MAX: usize = 20_000;

/// How much of a constant or string a listing shows, in bytes.
const CONTENT_SHOWN_MAX: usize = 40;

/// The bytes of a function and what its relocated fields refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code<'data> {
    /// What it runs on.
    pub machine: &'static Machine,
    /// Relocations not applied.
    pub bytes: &'data [u8],
    /// By offset.
    pub fields: Vec<Field>,
}

/// A field that a relocation fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Offset in the function, in bytes.
    pub offset: u64,
    /// One of the machine's types.
    pub kind: u32,
    /// What it refers to, in words.
    pub target: String,
    /// As in the ELF.
    pub addend: i64,
}

impl Code<'_> {
    /// No code.
    #[must_use]
    pub fn none(machine: &'static Machine) -> Self {
        Code {
            machine,
            bytes: &[],
            fields: Vec::new(),
        }
    }

    /// The fields that are operands of calls and jumps.
    pub fn calls(&self) -> impl Iterator<Item = &Field> {
        let mut cursor = Cursor::default();
        self.fields.iter().filter(move |field| {
            let holding = cursor.holding(self.machine, self.bytes, 0, field.offset);
            holding.and_then(|one| one.use_of(field.offset)) == Some(Use::Branch)
        })
    }
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Offset in the function, in bytes.
    pub offset: u64,
    /// In bytes.
    pub length: usize,
    /// The instruction in AT&T syntax; a jump inside the function names its target as `+0x…`.
    pub text: String,
    /// Where it jumps or calls to inside the function: offset in bytes.
    pub jump: Option<u64>,
    /// `text` without that target.
    alike: String,
}

/// Two corresponding lines, as indices into the two listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// The same instruction.
    Same(usize, usize),
    /// One instruction in place of another.
    Changed(usize, usize),
    /// Only in the original.
    Removed(usize),
    /// Only in the patched function.
    Added(usize),
}

/// Disassembles a function.
#[must_use]
pub fn listing(code: &Code<'_>) -> Vec<Line> {
    walk(code.machine, code.bytes, 0)
        .map(|instruction| line(code, &instruction))
        .collect()
}

fn line(code: &Code<'_>, instruction: &Instruction<'_>) -> Line {
    let (start, end) = (instruction.start, instruction.end);
    let first = code.fields.partition_point(|field| field.offset < start);
    let fields: Vec<&Field> = code.fields[first..]
        .iter()
        .take_while(|field| field.offset < end)
        .collect();
    let of = |place: Option<FieldPlace>| -> Option<String> {
        let offset = place?.offset;
        let field = fields.iter().find(|field| field.offset == offset)?;
        Some(describe(code.machine, field, end))
    };
    let names = FieldNames {
        displacement: of(instruction.displacement),
        immediate: of(instruction.immediate),
    };
    let is_relocated = names.displacement.is_some() || names.immediate.is_some();
    let jump = instruction
        .lead
        .filter(|lead| !is_relocated && lead.is_branch)
        .map(|lead| lead.to)
        .filter(|target| usize::try_from(*target).is_ok_and(|target| target < code.bytes.len()));
    let (text, alike) = match jump {
        Some(target) => {
            let mnemonic = instruction.mnemonic();
            (format!("{mnemonic} +{target:#x}"), mnemonic)
        }
        None => {
            let text = instruction.text(names);
            (text.clone(), text)
        }
    };
    Line {
        offset: start,
        length: instruction.bytes.len(),
        text,
        jump,
        alike,
    }
}

/// The target with its displacement: PC-relative fields count from the end of the instruction.
fn describe(machine: &Machine, field: &Field, end: u64) -> String {
    let bias = if machine.is_relative(field.kind) {
        let behind = end.wrapping_sub(field.offset);
        machine.distance_bias(behind).cast_signed()
    } else {
        0
    };
    let through_got = if machine.goes_through_slot(field.kind) {
        "@GOT"
    } else {
        ""
    };
    let target = &field.target;
    match field.addend.wrapping_add(bias) {
        0 => format!("{target}{through_got}"),
        distance if distance < 0 => format!("{target}{through_got}-{:#x}", distance.unsigned_abs()),
        distance => format!("{target}{through_got}+{distance:#x}"),
    }
}

/// Lays two listings side by side; `None` when they are longer than [`SIDE_BY_SIDE_MAX`].
#[must_use]
pub(crate) fn side_by_side(old: &[Line], new: &[Line]) -> Option<Vec<Row>> {
    if old.len() + new.len() > SIDE_BY_SIDE_MAX {
        return None;
    }
    let key =
        |lines: &[Line]| -> Vec<String> { lines.iter().map(|line| line.alike.clone()).collect() };
    let mut rows = Vec::with_capacity(old.len().max(new.len()));
    for operation in capture_diff_slices(Algorithm::Patience, &key(old), &key(new)) {
        match operation {
            DiffOp::Equal {
                old_index,
                new_index,
                len,
            } => rows.extend((0..len).map(|i| Row::Same(old_index + i, new_index + i))),
            DiffOp::Delete {
                old_index, old_len, ..
            } => rows.extend((old_index..old_index + old_len).map(Row::Removed)),
            DiffOp::Insert {
                new_index, new_len, ..
            } => rows.extend((new_index..new_index + new_len).map(Row::Added)),
            DiffOp::Replace {
                old_index,
                old_len,
                new_index,
                new_len,
            } => {
                let both = old_len.min(new_len);
                rows.extend((0..both).map(|i| Row::Changed(old_index + i, new_index + i)));
                rows.extend((old_index + both..old_index + old_len).map(Row::Removed));
                rows.extend((new_index + both..new_index + new_len).map(Row::Added));
            }
        }
    }
    mark_diverted_jumps(old, new, &mut rows);
    Some(rows)
}

/// Jumps were aligned without their targets. Those whose targets do not correspond differ.
fn mark_diverted_jumps(old: &[Line], new: &[Line], rows: &mut [Row]) {
    let facing: HashMap<u64, u64> = rows
        .iter()
        .filter_map(|row| match *row {
            Row::Same(i, j) | Row::Changed(i, j) => Some((old[i].offset, new[j].offset)),
            Row::Removed(_) | Row::Added(_) => None,
        })
        .collect();
    for row in rows {
        let Row::Same(i, j) = *row else { continue };
        if let (Some(from), Some(to)) = (old[i].jump, new[j].jump)
            && facing.get(&from) != Some(&to)
        {
            *row = Row::Changed(i, j);
        }
    }
}

/// A string with its quotes, or the first bytes of a constant.
#[must_use]
pub fn content(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    let is_text = |text: &[u8]| {
        !text.is_empty()
            && text
                .iter()
                .all(|byte| byte.is_ascii_graphic() || b" \t\n\r".contains(byte))
    };
    if let Some(text) = end.map(|end| &bytes[..end]).filter(|text| is_text(text)) {
        let shown = String::from_utf8_lossy(&text[..text.len().min(CONTENT_SHOWN_MAX)]);
        let more = if text.len() > CONTENT_SHOWN_MAX {
            "…"
        } else {
            ""
        };
        return format!("{shown:?}{more}");
    }
    let mut words = String::from("{");
    for (index, byte) in bytes.iter().take(CONTENT_SHOWN_MAX / 4).enumerate() {
        let gap = if index == 0 { "" } else { " " };
        let _ = write!(words, "{gap}{byte:02x}");
    }
    words.push_str(if bytes.len() > CONTENT_SHOWN_MAX / 4 {
        " …}"
    } else {
        "}"
    });
    words
}

#[cfg(test)]
mod tests {
    use object::elf;
    use xsplice_abi::machine::OF_RUNTIME;

    use super::{Code, Field, Row, content, listing, side_by_side};

    fn code<'data>(bytes: &'data [u8], fields: &[(u64, u32, &str, i64)]) -> Code<'data> {
        let fields = fields.iter().map(|&(offset, kind, target, addend)| Field {
            offset,
            kind,
            target: target.to_owned(),
            addend,
        });
        Code {
            machine: OF_RUNTIME,
            bytes,
            fields: fields.collect(),
        }
    }

    fn texts(code: &Code<'_>) -> Vec<String> {
        listing(code).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn a_relocated_call_and_load_name_their_targets() {
        // call 0; mov 0(%rip), %eax; ret
        let bytes = [0xe8, 0, 0, 0, 0, 0x8b, 0x05, 0, 0, 0, 0, 0xc3];
        let code = code(
            &bytes,
            &[
                (1, elf::R_X86_64_PLT32.0, "copy", -4),
                (7, elf::R_X86_64_PC32.0, "limits", 4),
            ],
        );
        let texts = texts(&code);
        assert!(texts[0].ends_with(" copy"), "{texts:?}");
        assert!(texts[1].contains("limits+0x8"), "{texts:?}");
    }

    #[test]
    fn the_addend_of_a_store_with_an_immediate_counts_from_the_end_of_the_instruction() {
        // movl $1, 0(%rip): the immediate lies between the field and the end.
        let bytes = [0xc7, 0x05, 0, 0, 0, 0, 1, 0, 0, 0];
        let code = code(&bytes, &[(2, elf::R_X86_64_PC32.0, "flag", -8)]);
        let texts = texts(&code);
        assert!(
            texts[0].contains("flag") && !texts[0].contains("flag+"),
            "{texts:?}"
        );
        assert!(!texts[0].contains("flag-"), "{texts:?}");
    }

    #[test]
    fn an_inserted_instruction_leaves_the_jump_across_it_equal() {
        let old = [0x74, 0x01, 0x90, 0xc3]; // je +3; nop; ret
        let new = [0x74, 0x03, 0x31, 0xc0, 0x90, 0xc3]; // je +5; xor; nop; ret
        let (old, new) = (listing(&code(&old, &[])), listing(&code(&new, &[])));
        let rows = side_by_side(&old, &new).expect("short");
        assert_eq!(
            rows,
            [
                Row::Same(0, 0),
                Row::Added(1),
                Row::Same(1, 2),
                Row::Same(2, 3)
            ]
        );
    }

    #[test]
    fn a_jump_that_goes_elsewhere_differs() {
        let old = [0x74, 0x01, 0x90, 0xc3]; // je +3
        let new = [0x74, 0x00, 0x90, 0xc3]; // je +2
        let (old, new) = (listing(&code(&old, &[])), listing(&code(&new, &[])));
        let rows = side_by_side(&old, &new).expect("short");
        assert_eq!(rows[0], Row::Changed(0, 0));
        assert_eq!(rows[1..], [Row::Same(1, 1), Row::Same(2, 2)]);
    }

    #[test]
    fn another_target_of_the_same_call_differs() {
        let bytes = [0xe8, 0, 0, 0, 0];
        let at = |target| listing(&code(&bytes, &[(1, elf::R_X86_64_PLT32.0, target, -4)]));
        assert_eq!(
            side_by_side(&at("a"), &at("b")).expect("short"),
            [Row::Changed(0, 0)]
        );
        assert_eq!(
            side_by_side(&at("a"), &at("a")).expect("short"),
            [Row::Same(0, 0)]
        );
    }

    #[test]
    fn strings_are_quoted_and_constants_are_not() {
        assert_eq!(content(b"no\tway\n\0"), "\"no\\tway\\n\"");
        assert_eq!(content(&[1, 0, 2]), "{01 00 02}");
        assert_eq!(content(&[]), "{}");
    }

    #[test]
    fn calls_and_jumps_are_told_by_their_opcode_and_loads_and_numbers_are_not_taken_for_them() {
        // call; jmp; jne; mov 0(%rip), %eax; sub $0, %eax
        let bytes = [
            0xe8, 0, 0, 0, 0, 0xe9, 0, 0, 0, 0, 0x0f, 0x85, 0, 0, 0, 0, 0x8b, 0x05, 0, 0, 0, 0,
            0x81, 0xe8, 0, 0, 0, 0,
        ];
        let code = code(
            &bytes,
            &[
                (1, elf::R_X86_64_PC32.0, "called", -4),
                (6, elf::R_X86_64_PLT32.0, "jumped", -4),
                (12, elf::R_X86_64_PC32.0, "branched", -4),
                (18, elf::R_X86_64_PC32.0, "loaded", -4),
                (24, elf::R_X86_64_32S.0, "taken", 0),
            ],
        );
        let calls: Vec<&str> = code.calls().map(|field| field.target.as_str()).collect();
        assert_eq!(calls, ["called", "jumped", "branched"]);
    }

    #[test]
    fn an_address_stored_behind_a_byte_like_a_call_is_no_call() {
        // movq $f, -0x18(%rbp)
        let bytes = [0x48, 0xc7, 0x45, 0xe8, 0, 0, 0, 0];
        let code = code(&bytes, &[(4, elf::R_X86_64_32S.0, "f", 0)]);
        assert_eq!(code.calls().count(), 0);
    }

    #[test]
    fn any_bytes_can_be_listed() {
        let bytes: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        let lines = listing(&code(
            &bytes,
            &[(3, 99, "x", i64::MIN), (5, 2, "y", i64::MAX)],
        ));
        let total: usize = lines.iter().map(|line| line.length).sum();
        assert_eq!(total, bytes.len());
    }
}
