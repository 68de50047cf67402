//! The payload's data: constants, strings, variables and what they point at; the words of the
//! base that it changes in place; and every relocation by what it refers to.

use serde::Serialize;
use xsplice_abi::profile::Words;
use xsplice_abi::record::WordRecord;
use xsplice_abi::section;
use xsplice_runtime::read::view::Section;

use super::code::{pieces, relocations_of};
use super::places::Places;
use crate::facts::Facts;

/// Data from one name to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DataLine {
    /// The variable, or the place where none begins.
    pub name: String,
    /// The section that holds it.
    pub section: String,
    /// In bytes.
    pub size: u64,
    /// Its bytes, in hexadecimal, as they are before relocation; empty for zeroes that the file
    /// does not hold.
    pub bytes: String,
    /// The strings that it consists of, if it consists of strings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub strings: Vec<String>,
    /// What its relocated fields point at, by offset.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pointers: Vec<(u64, String)>,
}

/// A word of the base's data that is changed while the payload is applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WordLine {
    /// The name for messages.
    pub name: String,
    /// Which word.
    pub address: String,
    /// What it must hold before.
    pub expected: String,
    /// What it holds while the payload is applied.
    pub value: String,
}

/// One relocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReferenceLine {
    /// The place of the field.
    pub place: String,
    /// The psABI's name of the type.
    pub kind: String,
    /// Symbol, or the place of the payload.
    pub target: String,
    /// Added to the target's address, as in the ELF.
    pub addend: i64,
}

/// Sections that hold data for the payload's own code, cut at the names in them.
pub(super) fn lines(facts: &Facts<'_, '_>, places: &Places<'_, '_, '_>) -> Vec<DataLine> {
    let mut lines = Vec::new();
    for (id, section) in facts.view.numbered() {
        if !section.is_allocated() || section.is_executable() || is_described(facts, section) {
            continue;
        }
        let relocations = relocations_of(facts, id);
        for (start, end) in pieces(places, id, section) {
            let slice = || {
                let range = usize::try_from(start).ok()?..usize::try_from(end).ok()?;
                section.data.get(range)
            };
            let bytes = slice().unwrap_or_default();
            let inside = relocations
                .iter()
                .filter(|entry| (start..end).contains(&entry.offset));
            lines.push(DataLine {
                name: places.name(id, start),
                section: section.name.to_owned(),
                size: end - start,
                bytes: super::hex(bytes),
                strings: strings(bytes),
                pointers: inside
                    .map(|entry| (entry.offset - start, places.target(entry, 0)))
                    .collect(),
            });
        }
    }
    lines
}

/// Whether the page shows this section in a form of its own.
fn is_described(facts: &Facts<'_, '_>, section: &Section<'_>) -> bool {
    section.name.starts_with(facts.abi.prefix)
        || matches!(section.name, section::BUILD_ID | section::MODINFO)
        || facts.tables.iter().any(|table| table.name == section.name)
}

/// The strings that `bytes` consist of; none when anything else is among them.
fn strings(bytes: &[u8]) -> Vec<String> {
    let is_text = |byte: u8| byte.is_ascii_graphic() || b" \t\r\n\0".contains(&byte);
    let Some(text) = bytes.strip_suffix(&[0]) else {
        return Vec::new();
    };
    // Zeroes alone are a number or a pointer.
    if text.iter().all(|&byte| byte == 0) || !text.iter().all(|&byte| is_text(byte)) {
        return Vec::new();
    }
    text.split(|&byte| byte == 0)
        .map(|one| String::from_utf8_lossy(one).into_owned())
        .collect()
}

/// The words that are changed in place.
pub(super) fn words(facts: &Facts<'_, '_>, places: &Places<'_, '_, '_>) -> Vec<WordLine> {
    let found = facts.view.named(facts.abi.prefix, section::WORDS);
    let Some((id, section)) = found.filter(|_| facts.abi.words == Words::Known) else {
        return Vec::new();
    };
    let entry_bytes = size_of::<WordRecord>() as u64;
    let count = section.data.len() as u64 / entry_bytes;
    let field = |at: u64| match facts.fields.at(id, at) {
        Some(relocation) => places.target(relocation, 0),
        None => super::place(facts, facts.value(id, at)),
    };
    (0..count)
        .map(|index| {
            let start = index * entry_bytes;
            WordLine {
                name: field(start),
                address: field(start + 8),
                expected: field(start + 16),
                value: field(start + 24),
            }
        })
        .collect()
}

/// Every relocation of a loaded section.
pub(super) fn references(facts: &Facts<'_, '_>, places: &Places<'_, '_, '_>) -> Vec<ReferenceLine> {
    let mut lines = Vec::new();
    for table in &facts.view.relocations {
        let is_loaded = facts
            .view
            .section(table.target)
            .is_some_and(Section::is_allocated);
        if !is_loaded {
            continue;
        }
        for entry in &table.entries {
            let symbol = facts.view.symbol(entry.symbol);
            let target = match symbol {
                Some(symbol) if !symbol.name.is_empty() => symbol.name.to_owned(),
                _ => places
                    .in_payload(entry, entry.addend.wrapping_neg())
                    .map_or_else(|| "?".to_owned(), |(id, at)| places.name(id, at)),
            };
            lines.push(ReferenceLine {
                place: places.name(table.target, entry.offset),
                kind: facts.machine.type_name(entry.kind).to_string(),
                target,
                addend: entry.addend,
            });
        }
    }
    lines
}
