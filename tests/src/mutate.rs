//! Spoils ELF files where it hurts: structure-aware mutations of objects, extracts, bases and
//! payloads, repeatable from a seed.
//!
//! Random bytes mostly hit code, which no reader interprets. These mutations find the tables by a
//! reading of their own, so crude that it works on files that are spoiled already, and put
//! boundary values into one field: headers, section headers, symbols, relocations, strings,
//! groups, notes.

use std::ops::Range;

/// A repeatable source of choices (xorshift64*, Vigna 2016).
#[derive(Clone, Debug)]
pub struct Choices(u64);

impl Choices {
    /// The choices that belong to `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Choices {
        Choices(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`; 0 for a limit of 0.
    pub fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX).max(1);
        usize::try_from((self.bits() >> 11) % limit).unwrap_or(0)
    }
}

/// What one mutation did; printed when it finds something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// The file was cut.
    Truncated {
        /// Bytes that are left.
        bytes: usize,
    },
    /// A field of a table got another value.
    Field {
        /// Which table.
        table: Table,
        /// Offset in the file.
        offset: usize,
        /// Size of the field in bytes.
        bytes: usize,
        /// What was put there.
        value: u64,
    },
    /// Two entries of a table changed places.
    Swapped {
        /// Which table.
        table: Table,
        /// Offset of the first in the file.
        first: usize,
        /// Offset of the second.
        second: usize,
    },
    /// A run of bytes was cleared.
    Cleared {
        /// Offset in the file.
        offset: usize,
        /// Size in bytes.
        bytes: usize,
    },
    /// One bit was flipped.
    Flipped {
        /// Offset in the file.
        offset: usize,
        /// Number of the bit.
        bit: usize,
    },
}

/// A part of an ELF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// The ELF header.
    Header,
    /// The section headers.
    Sections,
    /// A symbol table.
    Symbols,
    /// A relocation section.
    Relocations,
    /// A string table.
    Strings,
    /// A section group.
    Group,
    /// A note or another small section.
    Contents,
}

const SECTION_HEADER_BYTES: usize = 64;

/// Applies one to four mutations to `file`.
pub fn mutate(file: &mut Vec<u8>, choices: &mut Choices) -> Vec<Mutation> {
    let count = 1 + choices.below(4) * choices.below(2);
    (0..count).filter_map(|_| once(file, choices)).collect()
}

fn once(file: &mut Vec<u8>, choices: &mut Choices) -> Option<Mutation> {
    if file.is_empty() {
        return None;
    }
    let headers = section_headers(file);
    match choices.below(16) {
        0 => {
            let bytes = choices.below(file.len());
            file.truncate(bytes);
            Some(Mutation::Truncated { bytes })
        }
        1 => {
            let (offset, bit) = (choices.below(file.len()), choices.below(8));
            file[offset] ^= 1 << bit;
            Some(Mutation::Flipped { offset, bit })
        }
        2 => {
            let offset = choices.below(file.len());
            let bytes = (1 + choices.below(64)).min(file.len() - offset);
            file[offset..offset + bytes].fill(0);
            Some(Mutation::Cleared { offset, bytes })
        }
        3 => field(file, choices, Table::Header, 0..64, &HEADER_FIELDS),
        4..=7 => {
            let header = pick(choices, &headers)?;
            field(
                file,
                choices,
                Table::Sections,
                header.at..header.at + SECTION_HEADER_BYTES,
                &SECTION_FIELDS,
            )
        }
        8 | 9 => entry(
            file,
            choices,
            &headers,
            Table::Symbols,
            &[2, 11],
            24,
            &SYMBOL_FIELDS,
        ),
        10..=12 => entry(
            file,
            choices,
            &headers,
            Table::Relocations,
            &[4],
            24,
            &RELOCATION_FIELDS,
        ),
        13 => entry(file, choices, &headers, Table::Strings, &[3], 1, &[(0, 1)]),
        14 => entry(
            file,
            choices,
            &headers,
            Table::Group,
            &[17, 7],
            4,
            &[(0, 4)],
        ),
        _ => entry(
            file,
            choices,
            &headers,
            Table::Contents,
            &[1, 7, 14, 15],
            8,
            &[(0, 1), (0, 4), (0, 8), (4, 4)],
        ),
    }
}

/// Offsets and sizes of the fields of `Elf64_Ehdr`.
const HEADER_FIELDS: [(usize, usize); 17] = [
    (0, 4),
    (4, 1),
    (5, 1),
    (6, 1),
    (7, 1),
    (16, 2),
    (18, 2),
    (20, 4),
    (24, 8),
    (32, 8),
    (40, 8),
    (48, 4),
    (52, 2),
    (54, 2),
    (58, 2),
    (60, 2),
    (62, 2),
];
/// Of `Elf64_Shdr`.
const SECTION_FIELDS: [(usize, usize); 10] = [
    (0, 4),
    (4, 4),
    (8, 8),
    (16, 8),
    (24, 8),
    (32, 8),
    (40, 4),
    (44, 4),
    (48, 8),
    (56, 8),
];
/// Of `Elf64_Sym`.
const SYMBOL_FIELDS: [(usize, usize); 6] = [(0, 4), (4, 1), (5, 1), (6, 2), (8, 8), (16, 8)];
/// Of `Elf64_Rela`, the type and the symbol apart.
const RELOCATION_FIELDS: [(usize, usize); 4] = [(0, 8), (8, 4), (12, 4), (16, 8)];

/// Where a section's header and contents are.
#[derive(Clone, Debug)]
struct Header {
    at: usize,
    kind: u64,
    contents: Range<usize>,
}

fn section_headers(file: &[u8]) -> Vec<Header> {
    let Some(start) = number(file, 40, 8).and_then(|offset| usize::try_from(offset).ok()) else {
        return Vec::new();
    };
    let mut headers = Vec::new();
    let mut at = start;
    while let Some(end) = at
        .checked_add(SECTION_HEADER_BYTES)
        .filter(|end| *end <= file.len())
    {
        let place = |offset: usize| {
            number(file, at + offset, 8).and_then(|value| usize::try_from(value).ok())
        };
        let contents = match (place(24), place(32)) {
            (Some(offset), Some(bytes))
                if offset
                    .checked_add(bytes)
                    .is_some_and(|end| end <= file.len()) =>
            {
                offset..offset + bytes
            }
            _ => 0..0,
        };
        headers.push(Header {
            at,
            kind: number(file, at + 4, 4).unwrap_or(0),
            contents,
        });
        at = end;
    }
    headers
}

fn entry(
    file: &mut [u8],
    choices: &mut Choices,
    headers: &[Header],
    table: Table,
    kinds: &[u64],
    entry_bytes: usize,
    fields: &[(usize, usize)],
) -> Option<Mutation> {
    let tables: Vec<Header> = headers
        .iter()
        .filter(|header| kinds.contains(&header.kind) && header.contents.len() >= entry_bytes)
        .cloned()
        .collect();
    let contents = pick(choices, &tables)?.contents;
    let entries = contents.len() / entry_bytes;
    let at = |index: usize| contents.start + index * entry_bytes;
    if choices.below(8) == 0 {
        let (first, second) = (at(choices.below(entries)), at(choices.below(entries)));
        for byte in 0..entry_bytes {
            file.swap(first + byte, second + byte);
        }
        return Some(Mutation::Swapped {
            table,
            first,
            second,
        });
    }
    let start = at(choices.below(entries));
    field(file, choices, table, start..start + entry_bytes, fields)
}

fn field(
    file: &mut [u8],
    choices: &mut Choices,
    table: Table,
    within: Range<usize>,
    fields: &[(usize, usize)],
) -> Option<Mutation> {
    let (offset, bytes) = pick(choices, fields)?;
    let offset = within.start + offset;
    let old = number(file, offset, bytes)?;
    let length = u64::try_from(file.len()).ok()?;
    let value = match choices.below(14) {
        0 => 0,
        1 => 1,
        2 => u64::MAX,
        3 => 0x7fff_ffff_ffff_ffff,
        4 => 0x8000_0000,
        5 => 0xffff_ffff,
        6 => 0xff00,
        7 => 0xffff,
        8 => length,
        9 => old.wrapping_add(1),
        10 => old.wrapping_sub(1),
        11 => old.wrapping_mul(2),
        12 => old ^ (1 << choices.below(64)),
        _ => choices.bits() % length.max(1),
    };
    file.get_mut(offset..offset + bytes)?
        .copy_from_slice(&value.to_le_bytes()[..bytes]);
    Some(Mutation::Field {
        table,
        offset,
        bytes,
        value,
    })
}

fn number(file: &[u8], offset: usize, bytes: usize) -> Option<u64> {
    let mut value = [0; 8];
    value[..bytes].copy_from_slice(file.get(offset..offset.checked_add(bytes)?)?);
    Some(u64::from_le_bytes(value))
}

fn pick<T: Clone>(choices: &mut Choices, from: &[T]) -> Option<T> {
    (!from.is_empty()).then(|| from[choices.below(from.len())].clone())
}

#[cfg(test)]
mod tests {
    use super::{Choices, Mutation, Table, mutate};

    #[test]
    fn a_seed_repeats_its_mutations_and_every_table_is_hit() {
        let object =
            std::fs::read(crate::workspace().join("fixtures/cases/comdat-changed/original/f.o"))
                .unwrap();
        let mut hit = Vec::new();
        for seed in 0..2000 {
            let (mut first, mut second) = (object.clone(), object.clone());
            let done = mutate(&mut first, &mut Choices::new(seed));
            assert_eq!(done, mutate(&mut second, &mut Choices::new(seed)));
            assert_eq!(first, second);
            for mutation in done {
                if let Mutation::Field { table, .. } = mutation
                    && !hit.contains(&table)
                {
                    hit.push(table);
                }
            }
        }
        for table in [
            Table::Header,
            Table::Sections,
            Table::Symbols,
            Table::Relocations,
            Table::Strings,
            Table::Group,
            Table::Contents,
        ] {
            assert!(hit.contains(&table), "{table:?} is never hit");
        }
    }

    #[test]
    fn what_is_no_elf_file_is_mutated_without_harm() {
        for seed in 0..500 {
            let mut bytes = vec![0xff; 100];
            mutate(&mut bytes, &mut Choices::new(seed));
            mutate(&mut Vec::new(), &mut Choices::new(seed));
        }
    }
}
