//! A listing of all of the payload's code, with targets by name.

use serde::Serialize;
use xsplice_diff::machine::{Machine, walk};
use xsplice_diff::tell::disassembly::{Code, Field, listing};
use xsplice_runtime::read::view::{Relocation, Section, SectionId};

use super::places::Places;
use crate::facts::Facts;

/// Code from one name to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CodeBlock {
    /// The function, or the place where none begins.
    pub name: String,
    /// The section that holds it.
    pub section: String,
    /// Where it begins in the section, in bytes.
    pub offset: u64,
    /// Its bytes, in hexadecimal, as they are before relocation.
    pub bytes: String,
    /// Its instructions.
    pub instructions: Vec<InstructionLine>,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InstructionLine {
    /// From the block's start, in bytes.
    pub offset: u64,
    /// In AT&T syntax; what a relocation fills is printed as its target.
    pub text: String,
}

/// Every executable section, cut at the names in it.
pub(super) fn blocks(facts: &Facts<'_, '_>, places: &Places<'_, '_, '_>) -> Vec<CodeBlock> {
    let mut blocks = Vec::new();
    for (id, section) in facts.view.numbered() {
        if section.is_allocated() && section.is_executable() {
            let relocations = relocations_of(facts, id);
            for (start, end) in pieces(places, id, section) {
                blocks.push(block(
                    facts.machine,
                    places,
                    (id, section),
                    start..end,
                    &relocations,
                ));
            }
        }
    }
    blocks
}

/// Relocations of one section, by offset.
pub(super) fn relocations_of(facts: &Facts<'_, '_>, section: SectionId) -> Vec<Relocation> {
    let tables = facts.view.relocations.iter();
    let mut all: Vec<_> = tables
        .filter(|table| table.target == section)
        .flat_map(|table| table.entries.iter().copied())
        .collect();
    all.sort_by_key(|entry| entry.offset);
    all
}

/// Cuts a section's bytes where names begin.
pub(super) fn pieces(
    places: &Places<'_, '_, '_>,
    id: SectionId,
    section: &Section<'_>,
) -> Vec<(u64, u64)> {
    let mut cuts: Vec<u64> = places.of(id).iter().map(|one| one.start).collect();
    cuts.push(0);
    cuts.push(section.size);
    cuts.retain(|cut| *cut <= section.size);
    cuts.sort_unstable();
    cuts.dedup();
    cuts.windows(2).map(|pair| (pair[0], pair[1])).collect()
}

fn block(
    machine: &'static Machine,
    places: &Places<'_, '_, '_>,
    (id, section): (SectionId, &Section<'_>),
    range: std::ops::Range<u64>,
    relocations: &[Relocation],
) -> CodeBlock {
    let slice = || {
        let start = usize::try_from(range.start).ok()?;
        section.data.get(start..usize::try_from(range.end).ok()?)
    };
    let bytes = slice().unwrap_or_default();
    let first = relocations.partition_point(|entry| entry.offset < range.start);
    let inside = relocations[first..]
        .iter()
        .take_while(|entry| entry.offset < range.end);
    let code = Code {
        machine,
        bytes,
        fields: fields(machine, places, bytes, range.start, inside),
    };
    CodeBlock {
        name: places.name(id, range.start),
        section: section.name.to_owned(),
        offset: range.start,
        bytes: super::hex(bytes),
        instructions: listing(&code)
            .into_iter()
            .map(|line| InstructionLine {
                offset: line.offset,
                text: line.text,
            })
            .collect(),
    }
}

/// Fields by what they refer to once they count from the end of their instruction.
fn fields<'a>(
    machine: &Machine,
    places: &Places<'_, '_, '_>,
    bytes: &[u8],
    start: u64,
    relocations: impl Iterator<Item = &'a Relocation>,
) -> Vec<Field> {
    let ends: Vec<u64> = walk(machine, bytes, 0)
        .map(|instruction| instruction.end)
        .collect();
    relocations
        .map(|entry| {
            let offset = entry.offset - start;
            let end = ends[ends.partition_point(|end| *end <= offset)..].first();
            let is_relative = machine.is_relative(entry.kind);
            let bias = match end {
                Some(end) if is_relative => {
                    let behind = end.wrapping_sub(offset);
                    machine.distance_bias(behind).cast_signed()
                }
                _ => 0,
            };
            Field {
                offset,
                kind: entry.kind,
                target: places.target(entry, bias),
                addend: bias.wrapping_neg(),
            }
        })
        .collect()
}
