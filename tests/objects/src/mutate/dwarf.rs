//! Mutations of debug information: unit headers, abbreviations, line programs, strings.
//!
//! Layouts: DWARF 5, sections 6.2.4 (line number program header), 7.5.1 (unit headers) and 7.6
//! (LEB128).

use super::elf::{Header, number};
use super::{Choices, Mutation, Table, field, pick};

/// Fields of the head of a line program, versions 2 to 5: `unit_length`, `version`,
/// `address_size`, `segment_selector_size`, `header_length`, `minimum_instruction_length`,
/// `maximum_operations_per_instruction`, `default_is_stmt`, `line_base`, `line_range`,
/// `opcode_base`, the first of `standard_opcode_lengths`, and the entry formats behind them.
const LINE_FIELDS: [(usize, usize); 22] = [
    (0, 4),
    (4, 2),
    (6, 1),
    (7, 1),
    (8, 4),
    (6, 4),
    (10, 1),
    (11, 1),
    (12, 1),
    (13, 1),
    (14, 1),
    (15, 1),
    (16, 1),
    (17, 1),
    (18, 1),
    (20, 1),
    (24, 1),
    (28, 1),
    (29, 1),
    (30, 1),
    (31, 1),
    (32, 1),
];

/// Fields of the head of a unit: `unit_length`, `version`, `unit_type` and `address_size`,
/// `debug_abbrev_offset` of versions 5 and 4, and the first abbreviation code.
const UNIT_FIELDS: [(usize, usize); 8] = [
    (0, 4),
    (4, 2),
    (6, 1),
    (7, 1),
    (8, 4),
    (6, 4),
    (10, 1),
    (12, 1),
];

/// What makes readers of LEB128 numbers and of opcodes go wrong: the longest numbers, numbers
/// that are too long, extended opcodes of no and of too great length, and the ends of sequences.
const RUNS: [&[u8]; 12] = [
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
    ],
    &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
    &[0x80, 0x80, 0x80, 0x80, 0x08],
    &[0x00, 0x00],
    &[0x00, 0xff, 0x7f, 0x02],
    &[0x00, 0x01, 0x01],
    &[0x00, 0x09, 0x02],
    &[0x02, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    &[0x03, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7f],
    &[0x09, 0xff, 0xff],
    &[0x08, 0x08, 0x08, 0x08, 0xff, 0xff, 0xff],
];

/// A field of a unit's head, or a run of bytes somewhere in a debug section.
pub(super) fn mutate(
    file: &mut [u8],
    choices: &mut Choices,
    headers: &[Header],
) -> Option<Mutation> {
    let sections: Vec<Header> = headers
        .iter()
        .filter(|header| {
            header.name(file, headers).starts_with(b".debug_") && header.contents.len() > 4
        })
        // Their relocations are a table like any other.
        .filter(|header| header.kind == super::elf::SHT_PROGBITS)
        .cloned()
        .collect();
    // Line programs are what is read for every function that differs.
    let lines: Vec<Header> = sections
        .iter()
        .filter(|header| header.name(file, headers).starts_with(b".debug_line"))
        .cloned()
        .collect();
    let among = if choices.below(2) == 0 && !lines.is_empty() {
        &lines
    } else {
        &sections
    };
    let section = pick(choices, among)?;
    let is_lines = section.name(file, headers) == b".debug_line";
    let has_units = is_lines || section.name(file, headers) == b".debug_info";
    let contents = section.contents;
    if has_units && choices.below(2) == 0 {
        let fields = if is_lines {
            &LINE_FIELDS[..]
        } else {
            &UNIT_FIELDS[..]
        };
        let unit = unit(file, contents.start, contents.end, choices);
        return field(
            file,
            choices,
            Table::Dwarf,
            unit..contents.end,
            fields,
            None,
        );
    }
    let at = contents.start + choices.below(contents.len());
    if choices.below(2) == 0 {
        return field(file, choices, Table::Dwarf, at..at + 1, &[(0, 1)], None);
    }
    let run = RUNS[choices.below(RUNS.len())];
    let bytes = run.len().min(contents.end - at);
    file[at..at + bytes].copy_from_slice(&run[..bytes]);
    Some(Mutation::Field {
        table: Table::Dwarf,
        offset: at,
        bytes,
        value: 0,
    })
}

/// Where one of the units of a section begins.
fn unit(file: &[u8], start: usize, end: usize, choices: &mut Choices) -> usize {
    const UNITS: usize = 4;
    let mut at = start;
    for _ in 0..choices.below(UNITS) {
        let next = number(file, at, 4)
            .and_then(|length| usize::try_from(length).ok())
            .and_then(|length| at.checked_add(4)?.checked_add(length));
        match next {
            Some(next) if next < end => at = next,
            _ => break,
        }
    }
    at
}
