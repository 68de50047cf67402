//! Spoils ELF files where it hurts: structure-aware mutations of objects, extracts, bases and
//! payloads, repeatable from a seed.
//!
//! Random bytes mostly hit code, which no reader interprets. These mutations find the tables by a
//! reading of their own ([`elf`]), so crude that it works on files that are spoiled already. They
//! put boundary values or a neighbour's value into one field of a header, section header, symbol,
//! relocation, string, group, note, DWARF unit, special-section entry or signature trailer; they
//! lengthen tables, and they move symbols' sections into a table of extended indices.

use std::ops::Range;

use self::elf::{Header, number, section_headers};

mod dwarf;
mod elf;

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
    /// A section moved to the end of the file, with entries of it repeated.
    Lengthened {
        /// Which table.
        table: Table,
        /// Offset of its section header in the file.
        header: usize,
        /// Bytes that came in.
        bytes: usize,
    },
    /// Sections of symbols moved into a table of extended indices, as in an object with more than
    /// 65,279 sections.
    Extended {
        /// Symbols that have an extended index now.
        symbols: usize,
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
    /// Debug information: a unit's header, an abbreviation, a line program.
    Dwarf,
    /// A special section: bug frames, exception tables, alternatives, hooks, records.
    Special,
    /// The signature behind a payload.
    Trailer,
    /// A note or another small section.
    Contents,
}

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
    match choices.below(25) {
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
        3 => field(file, choices, Table::Header, 0..64, &HEADER_FIELDS, None),
        4..=7 => {
            let header = pick(choices, &headers)?;
            let other = pick(choices, &headers)?;
            field(
                file,
                choices,
                Table::Sections,
                header.at..header.at + elf::SECTION_HEADER_BYTES,
                &SECTION_FIELDS,
                Some(other.at),
            )
        }
        8 | 9 => entry(file, choices, &headers, &SYMBOLS),
        10..=12 => entry(file, choices, &headers, &RELOCATIONS),
        13 => entry(file, choices, &headers, &STRINGS),
        14 => entry(file, choices, &headers, &GROUPS),
        15..=17 => dwarf::mutate(file, choices, &headers),
        18 | 19 => special(file, choices, &headers),
        20 => trailer(file, choices),
        21 | 22 => elf::lengthen(file, choices, &headers),
        23 => elf::extend_indices(file, choices, &headers),
        _ => entry(file, choices, &headers, &CONTENTS),
    }
}

/// A kind of table: the section types that hold one, the size of an entry and its fields.
struct Layout {
    table: Table,
    kinds: &'static [u64],
    entry_bytes: usize,
    fields: &'static [(usize, usize)],
}

const SYMBOLS: Layout = Layout {
    table: Table::Symbols,
    kinds: &[elf::SHT_SYMTAB, elf::SHT_DYNSYM],
    entry_bytes: elf::SYMBOL_BYTES,
    fields: &SYMBOL_FIELDS,
};
const RELOCATIONS: Layout = Layout {
    table: Table::Relocations,
    kinds: &[elf::SHT_RELA],
    entry_bytes: 24,
    fields: &RELOCATION_FIELDS,
};
const STRINGS: Layout = Layout {
    table: Table::Strings,
    kinds: &[elf::SHT_STRTAB],
    entry_bytes: 1,
    fields: &[(0, 1)],
};
/// Groups, notes (their three lengths) and extended indices are words.
const GROUPS: Layout = Layout {
    table: Table::Group,
    kinds: &[elf::SHT_GROUP, elf::SHT_NOTE, elf::SHT_SYMTAB_SHNDX],
    entry_bytes: 4,
    fields: &[(0, 4)],
};
/// Ordinary sections, notes, arrays of constructors.
const CONTENTS: Layout = Layout {
    table: Table::Contents,
    kinds: &[elf::SHT_PROGBITS, elf::SHT_NOTE, 14, 15],
    entry_bytes: 8,
    fields: &[(0, 1), (0, 4), (0, 8), (4, 4)],
};

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

/// Names of special sections begin like this; so do those of hooks, records and extracts.
const SPECIAL_NAMES: [&[u8]; 16] = [
    b".bug_frames",
    b".ex_table",
    b".fixup",
    b".alt",
    b"__bug_table",
    b"__ex_table",
    b"__jump_table",
    b".static_call",
    b".parainstructions",
    b".smp_locks",
    b".orc",
    b"__mcount",
    b"__patchable",
    b".retpoline",
    b".xsplice.",
    b".livepatch.",
];

/// A word of a special section: entries are made of words and of fields of one or two bytes.
fn special(file: &mut [u8], choices: &mut Choices, headers: &[Header]) -> Option<Mutation> {
    let sections: Vec<Header> = headers
        .iter()
        .filter(|header| {
            let name = header.name(file, headers);
            SPECIAL_NAMES.iter().any(|one| name.starts_with(one)) && header.contents.len() >= 4
        })
        .cloned()
        .collect();
    let contents = pick(choices, &sections)?.contents;
    let at = contents.start + choices.below(contents.len() / 4) * 4;
    field(
        file,
        choices,
        Table::Special,
        at..at + 4,
        &[(0, 4), (0, 2), (2, 2), (0, 1), (3, 1)],
        None,
    )
}

/// The 28 bytes of the magic and the twelve before them, or a byte of what stands in front.
fn trailer(file: &mut [u8], choices: &mut Choices) -> Option<Mutation> {
    const MAGIC_BYTES: usize = 28;
    const TRAILER_BYTES: usize = 12;
    const SIGNATURE_BYTES: usize = 600;
    if !file.ends_with(b"~Module signature appended~\n") {
        return None;
    }
    let start = file.len().checked_sub(MAGIC_BYTES + TRAILER_BYTES)?;
    if choices.below(4) == 0 {
        let from = start.saturating_sub(SIGNATURE_BYTES);
        let at = from + choices.below(file.len() - from);
        return field(file, choices, Table::Trailer, at..at + 1, &[(0, 1)], None);
    }
    field(
        file,
        choices,
        Table::Trailer,
        start..start + TRAILER_BYTES,
        &[(0, 1), (1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (8, 4)],
        None,
    )
}

fn entry(
    file: &mut [u8],
    choices: &mut Choices,
    headers: &[Header],
    layout: &Layout,
) -> Option<Mutation> {
    let (table, entry_bytes) = (layout.table, layout.entry_bytes);
    let tables: Vec<Header> = headers
        .iter()
        .filter(|header| {
            layout.kinds.contains(&header.kind) && header.contents.len() >= entry_bytes
        })
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
    let (start, other) = (at(choices.below(entries)), at(choices.below(entries)));
    field(
        file,
        choices,
        table,
        start..start + entry_bytes,
        layout.fields,
        Some(other),
    )
}

/// Puts another value into one of the `fields` of the entry at `within`: a boundary value, one
/// near the old, or that of the entry at `other`.
fn field(
    file: &mut [u8],
    choices: &mut Choices,
    table: Table,
    within: Range<usize>,
    fields: &[(usize, usize)],
    other: Option<usize>,
) -> Option<Mutation> {
    let (from_start, bytes) = pick(choices, fields)?;
    let offset = within.start + from_start;
    let old = number(file, offset, bytes)?;
    let length = u64::try_from(file.len()).ok()?;
    let value = match choices.below(17) {
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
        13 => choices.bits() % length.max(1),
        _ => other
            .and_then(|other| number(file, other + from_start, bytes))
            .unwrap_or_else(|| choices.bits()),
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

fn pick<T: Clone>(choices: &mut Choices, from: &[T]) -> Option<T> {
    (!from.is_empty()).then(|| from[choices.below(from.len())].clone())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Choices, Mutation, Table, mutate};

    #[test]
    fn a_seed_repeats_its_mutations_and_every_table_is_hit() {
        let mut hit = Vec::new();
        let (mut lengthened, mut extended) = (0, 0);
        for file in [
            "comdat-changed/original/f.o",
            "line-numbers-proven/original/f.o",
            "bug-frame-travels/original/f.o",
        ] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../../fixtures/cases")
                .join(file);
            let mut object = std::fs::read(path).unwrap();
            object.extend([b'k'; 40]);
            object.extend([1, 4, 1, 2, 20, 0, 0, 0, 0, 0, 0, 16]);
            object.extend(b"~Module signature appended~\n");
            for seed in 0..2000 {
                let (mut first, mut second) = (object.clone(), object.clone());
                let done = mutate(&mut first, &mut Choices::new(seed));
                assert_eq!(done, mutate(&mut second, &mut Choices::new(seed)));
                assert_eq!(first, second);
                for mutation in done {
                    match mutation {
                        Mutation::Field { table, .. } if !hit.contains(&table) => hit.push(table),
                        Mutation::Lengthened { .. } => lengthened += 1,
                        Mutation::Extended { .. } => extended += 1,
                        _ => {}
                    }
                }
            }
        }
        assert!(lengthened > 0 && extended > 0);
        for table in [
            Table::Header,
            Table::Sections,
            Table::Symbols,
            Table::Relocations,
            Table::Strings,
            Table::Group,
            Table::Dwarf,
            Table::Special,
            Table::Trailer,
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
