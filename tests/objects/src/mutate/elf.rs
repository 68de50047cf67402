//! A crude reading of ELF tables for mutations, and the mutations that change a file's shape.

use std::ops::Range;

use super::{Choices, Mutation, Table, pick};

pub(super) const SECTION_HEADER_BYTES: usize = 64;
pub(super) const SYMBOL_BYTES: usize = 24;

pub(super) const SHT_PROGBITS: u64 = 1;
pub(super) const SHT_SYMTAB: u64 = 2;
pub(super) const SHT_STRTAB: u64 = 3;
pub(super) const SHT_RELA: u64 = 4;
pub(super) const SHT_NOTE: u64 = 7;
pub(super) const SHT_DYNSYM: u64 = 11;
pub(super) const SHT_GROUP: u64 = 17;
pub(super) const SHT_SYMTAB_SHNDX: u64 = 18;

/// Where `e_shoff` and `e_shnum` stand in the ELF header, and `sh_offset`, `sh_size` in a section
/// header.
const E_SHOFF: usize = 40;
const E_SHNUM: usize = 60;
const E_SHSTRNDX: usize = 62;
const SH_OFFSET: usize = 24;
const SH_SIZE: usize = 32;

/// Where a section's header and contents are.
#[derive(Clone, Debug)]
pub(super) struct Header {
    /// Offset of the header in the file.
    pub at: usize,
    /// `sh_type`.
    pub kind: u64,
    /// Contents in the file; empty when they lie outside.
    pub contents: Range<usize>,
    name: u64,
}

impl Header {
    /// The section's name, as far as there is one.
    pub(super) fn name<'file>(&self, file: &'file [u8], headers: &[Header]) -> &'file [u8] {
        let names = number(file, E_SHSTRNDX, 2)
            .and_then(|index| headers.get(usize::try_from(index).ok()?))
            .and_then(|header| file.get(header.contents.clone()));
        let from = usize::try_from(self.name).unwrap_or(usize::MAX);
        names
            .and_then(|names| names.get(from..))
            .and_then(|name| name.split(|byte| *byte == 0).next())
            .unwrap_or_default()
    }
}

/// Everything behind `e_shoff` that has the size of a section header.
pub(super) fn section_headers(file: &[u8]) -> Vec<Header> {
    let Some(start) = number(file, E_SHOFF, 8).and_then(|offset| usize::try_from(offset).ok())
    else {
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
        let contents = match (place(SH_OFFSET), place(SH_SIZE)) {
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
            name: number(file, at, 4).unwrap_or(0),
        });
        at = end;
    }
    headers
}

/// The little-endian number at a place of the file.
pub(super) fn number(file: &[u8], offset: usize, bytes: usize) -> Option<u64> {
    let mut value = [0; 8];
    value[..bytes].copy_from_slice(file.get(offset..offset.checked_add(bytes)?)?);
    Some(u64::from_le_bytes(value))
}

fn set(file: &mut [u8], offset: usize, bytes: usize, value: usize) -> Option<()> {
    let value = u64::try_from(value).ok()?.to_le_bytes();
    file.get_mut(offset..offset.checked_add(bytes)?)?
        .copy_from_slice(&value[..bytes]);
    Some(())
}

/// Moves a section to the end of the file and repeats a run of its entries there.
pub(super) fn lengthen(
    file: &mut Vec<u8>,
    choices: &mut Choices,
    headers: &[Header],
) -> Option<Mutation> {
    const REPEATS: usize = 200;
    let tables: Vec<Header> = headers
        .iter()
        .filter(|header| header.kind != 0 && !header.contents.is_empty())
        .cloned()
        .collect();
    let header = pick(choices, &tables)?;
    let (table, entry_bytes) = match header.kind {
        SHT_SYMTAB | SHT_DYNSYM => (Table::Symbols, SYMBOL_BYTES),
        SHT_RELA => (Table::Relocations, 24),
        SHT_STRTAB => (Table::Strings, 1),
        SHT_GROUP | SHT_NOTE | SHT_SYMTAB_SHNDX => (Table::Group, 4),
        _ => (Table::Contents, [1, 4, 8, 16][choices.below(4)]),
    };
    let mut contents = file.get(header.contents)?.to_vec();
    let entries = contents.len() / entry_bytes;
    let first = choices.below(entries) * entry_bytes;
    let run = entry_bytes * (1 + choices.below(8));
    let run = contents[first..(first + run).min(contents.len())].to_vec();
    let repeats = 1 + choices.below(REPEATS) * choices.below(2);
    let at = choices.below(entries + 1) * entry_bytes;
    let bytes = run.len() * repeats;
    contents.splice(at..at, run.repeat(repeats));
    let offset = file.len().next_multiple_of(8);
    file.resize(offset, 0);
    file.extend(&contents);
    set(file, header.at + SH_OFFSET, 8, offset)?;
    set(file, header.at + SH_SIZE, 8, contents.len())?;
    Some(Mutation::Lengthened {
        table,
        header: header.at,
        bytes,
    })
}

/// Moves the sections of some symbols into a table of extended indices, which gets a header of
/// its own behind the others; the headers move to the end of the file.
pub(super) fn extend_indices(
    file: &mut Vec<u8>,
    choices: &mut Choices,
    headers: &[Header],
) -> Option<Mutation> {
    const SHN_LORESERVE: u64 = 0xff00;
    const SHN_XINDEX: usize = 0xffff;
    const ST_SHNDX: usize = 6;
    let count = usize::try_from(number(file, E_SHNUM, 2)?).ok()?;
    let headers = headers.get(..count)?;
    let symtab = headers.iter().position(|one| one.kind == SHT_SYMTAB)?;
    if headers.iter().any(|one| one.kind == SHT_SYMTAB_SHNDX) {
        return None;
    }
    let contents = headers[symtab].contents.clone();
    let entries = contents.len() / SYMBOL_BYTES;
    let mut table = vec![0; entries * 4];
    let mut symbols = 0;
    for index in 0..entries {
        let at = contents.start + index * SYMBOL_BYTES + ST_SHNDX;
        let section = number(file, at, 2)?;
        if (1..SHN_LORESERVE).contains(&section) && choices.below(3) == 0 {
            set(&mut table, index * 4, 4, usize::try_from(section).ok()?)?;
            set(file, at, 2, SHN_XINDEX)?;
            symbols += 1;
        }
    }
    let offset = file.len().next_multiple_of(8);
    file.resize(offset, 0);
    file.extend(&table);
    let new_headers = file.len().next_multiple_of(8);
    file.resize(new_headers, 0);
    for header in headers {
        file.extend_from_within(header.at..header.at + SECTION_HEADER_BYTES);
    }
    let header = file.len();
    file.resize(header + SECTION_HEADER_BYTES, 0);
    set(file, header + 4, 4, usize::try_from(SHT_SYMTAB_SHNDX).ok()?)?;
    set(file, header + SH_OFFSET, 8, offset)?;
    set(file, header + SH_SIZE, 8, table.len())?;
    // sh_link: the symbol table; sh_entsize.
    set(file, header + 40, 4, symtab)?;
    set(file, header + 56, 8, 4)?;
    set(file, E_SHOFF, 8, new_headers)?;
    set(file, E_SHNUM, 2, count + 1)?;
    Some(Mutation::Extended { symbols })
}
