//! Cuts special code (`.fixup` and its like) into pieces: those that one function reaches belong to
//! it, and those that several reach stand alone.
//!
//! Special code has no symbols. Table entries say where some pieces begin. The rest is reached from
//! those, by a jump that the assembler resolved or by fall-through. So the code is cut into blocks
//! at every jump target, and for each block it is computed which functions reach it: none, one, or
//! several.

use crate::machine::ending::{Step, ending};
use crate::read::items::{Extents, GapReference};
use crate::read::object::{ElfObject, SectionId};
use crate::read::resolved_fields::walk;
use crate::read::section_class::SectionClass;
use crate::read::special_sections::runs_in_place;

/// Which functions reach a block; a function is known by the offset at which it begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    Nobody,
    One((SectionId, u64)),
    Several,
}

impl Reach {
    fn join(self, other: Reach) -> Reach {
        match (self, other) {
            (Reach::Nobody, reach) | (reach, Reach::Nobody) => reach,
            (one, same) if one == same => one,
            _ => Reach::Several,
        }
    }
}

/// Code from one jump target to the next.
struct Block {
    start: u64,
    reach: Reach,
    /// Whether it has a symbol. Then it is an item of its own, and belongs to no function.
    is_named: bool,
    /// The blocks that it leads to.
    leads_to: Vec<usize>,
}

/// Replaces the references into special code by the places where its pieces begin; other references
/// are kept. `references` are in order of section and offset, and so is the result.
pub(crate) fn cut(
    object: &ElfObject<'_>,
    classes: &[SectionClass],
    extents: &Extents,
    references: Vec<GapReference>,
) -> Vec<GapReference> {
    if !classes.contains(&SectionClass::SpecialCode) {
        return references;
    }
    let mut cuts = Vec::with_capacity(references.len());
    let mut left = references.as_slice();
    for (id, section) in object.sections() {
        let own = left.partition_point(|one| one.section <= id);
        let (own, behind) = left.split_at(own);
        left = behind;
        let is_special = classes[id.0 as usize] == SectionClass::SpecialCode
            && section.is_executable()
            && !section.is_nobits()
            && !extents.cover(object, id);
        if is_special {
            cut_section(object, extents, id, own, &mut cuts);
        } else {
            cuts.extend_from_slice(own);
        }
    }
    cuts
}

fn cut_section(
    object: &ElfObject<'_>,
    extents: &Extents,
    id: SectionId,
    references: &[GapReference],
    cuts: &mut Vec<GapReference>,
) {
    let mut blocks = blocks(object, extents, id, references);
    let mut open = Vec::new();
    for reference in references {
        let block = at(&blocks, reference.offset);
        let (section, offset) = reference.from;
        if section == id && extents.holding(id, offset).is_none() {
            let from = at(&blocks, offset);
            blocks[from].leads_to.push(block);
        } else if reach(&mut blocks[block], Reach::One(reference.from)) {
            open.push(block);
        }
    }
    // A named block counts as reached from the start.
    open.extend((0..blocks.len()).filter(|index| blocks[*index].is_named));
    // A block passes on who reaches it whenever that set grows. It grows at most twice: from none
    // to one to several.
    while let Some(index) = open.pop() {
        let told = blocks[index].reach;
        for next in blocks[index].leads_to.clone() {
            if reach(&mut blocks[next], told) {
                open.push(next);
            }
        }
    }
    cuts.extend(blocks.iter().filter_map(|block| {
        let from = match block.reach {
            _ if block.is_named => return None,
            Reach::Nobody => return None,
            Reach::One(function) => function,
            Reach::Several => (id, block.start),
        };
        Some(GapReference {
            section: id,
            offset: block.start,
            end: block.start,
            from,
        })
    }));
}

/// Whether more reach the block than before.
fn reach(block: &mut Block, by: Reach) -> bool {
    if block.is_named {
        return false;
    }
    let joined = block.reach.join(by);
    let is_more = joined != block.reach;
    block.reach = joined;
    is_more
}

/// Index of the block that holds an offset.
fn at(blocks: &[Block], offset: u64) -> usize {
    blocks
        .partition_point(|block| block.start <= offset)
        .saturating_sub(1)
}

fn blocks(
    object: &ElfObject<'_>,
    extents: &Extents,
    id: SectionId,
    references: &[GapReference],
) -> Vec<Block> {
    let section = object.section(id);
    let named = extents
        .ranges(id)
        .flat_map(|range| [range.start, range.end]);
    let mut starts: Vec<u64> = references
        .iter()
        .map(|reference| reference.offset)
        .chain(named)
        .filter(|start| *start < section.size)
        .chain([0])
        .collect();
    starts.sort_unstable();
    starts.dedup();
    let ends = starts.iter().skip(1).copied().chain([section.size]);
    let is_inside = |target: u64| target < section.size;
    let mut jumps = Vec::new();
    let mut steps = Vec::new();
    let is_copied = !runs_in_place(section.name);
    for (start, end) in starts.iter().copied().zip(ends) {
        // A replacement is copied as a whole: a jump to its end leads behind the place that it
        // replaces.
        let leads =
            |target: u64| is_inside(target) && !(is_copied && (start..=end).contains(&target));
        walk(object, id, start..end, leads, |instruction, field| {
            jumps.extend(field.map(|field| (instruction.start, field.to)));
            steps.push(Step::new(instruction));
        });
    }
    starts.extend(jumps.iter().map(|(_, target)| *target));
    starts.sort_unstable();
    starts.dedup();
    let mut blocks: Vec<Block> = starts
        .into_iter()
        .map(|start| {
            let named = extents.holding(id, start);
            Block {
                start,
                reach: named
                    .as_ref()
                    .map_or(Reach::Nobody, |named| Reach::One((id, named.start))),
                is_named: named.is_some(),
                leads_to: Vec::new(),
            }
        })
        .collect();
    for (from, target) in jumps {
        let (from, target) = (at(&blocks, from), at(&blocks, target));
        blocks[from].leads_to.push(target);
        if is_copied {
            // A replacement is copied alone, so what it falls into never belongs to the same piece.
            reach(&mut blocks[target], Reach::Several);
        }
    }
    if !is_copied {
        let mut steps = steps.as_slice();
        for index in 1..blocks.len() {
            let start = blocks[index].start;
            let (own, behind) = steps.split_at(steps.partition_point(|step| step.at < start));
            steps = behind;
            let is_entered = || {
                let entered = references.binary_search_by_key(&start, |one| one.offset);
                entered.is_ok()
            };
            if ending(own.iter().copied()).0.runs_into(is_entered) {
                blocks[index - 1].leads_to.push(index);
            }
        }
    }
    blocks
}
