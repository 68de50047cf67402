//! Where each section of a build begins in the image.
//!
//! An item may be found at several places: another object may hold an equal one of that name. A
//! section has one place, and all its items are there.

use std::collections::BTreeMap;

use xsplice_diff::read::object::SectionId;

use crate::follow::{Holding, Place};
use crate::read::tree::Tree;

/// Where sections begin: the address of the first byte of each.
#[derive(Debug)]
pub(crate) struct Starts {
    /// By object and section.
    of: Vec<Vec<Option<u64>>>,
}

impl Starts {
    fn none(tree: &Tree<'_>) -> Starts {
        let objects = tree.objects.iter();
        let of = objects.map(|object| vec![None; object.elf.sections.len()]);
        Starts { of: of.collect() }
    }

    /// Where a section begins.
    pub(crate) fn get(&self, object: usize, section: SectionId) -> Option<u64> {
        *self.of.get(object)?.get(section.0 as usize)?
    }

    /// All that are known, by object and section.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, SectionId, u64)> {
        self.of.iter().enumerate().flat_map(|(object, sections)| {
            let numbered = (0..).zip(sections);
            numbered.filter_map(move |(id, start)| Some((object, SectionId(id), (*start)?)))
        })
    }

    fn set(&mut self, (object, section): (usize, SectionId), start: u64) {
        self.of[object][section.0 as usize] = Some(start);
    }
}

/// A start at which something of a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Candidate {
    pub object: usize,
    pub section: SectionId,
    pub start: u64,
    /// How many of its bytes hold with that.
    pub bytes: u64,
}

impl Candidate {
    fn place(&self) -> (usize, SectionId) {
        (self.object, self.section)
    }
}

/// All starts at which something of a section holds, by object, section and start.
#[derive(Debug, Default)]
pub(crate) struct Candidates(Vec<Candidate>);

impl Candidates {
    /// Adds what holds.
    pub(crate) fn add<'held>(
        &mut self,
        tree: &Tree<'_>,
        holding: impl Iterator<Item = Holding<'held>>,
    ) {
        self.0.extend(holding.filter_map(|found| {
            let (item, object) = (tree.item(found.pair.item), found.pair.item.object);
            let Place::Base(address) = found.pair.place else {
                return None;
            };
            Some(Candidate {
                object,
                section: item.section,
                start: address.wrapping_sub(item.range.start),
                bytes: item.size(),
            })
        }));
        // The first of them are in order: this sort takes such rows as they are.
        self.0.sort();
        self.0.dedup_by(|next, sum| {
            let is_same = next.place() == sum.place() && next.start == sum.start;
            if is_same {
                sum.bytes += next.bytes;
            }
            is_same
        });
    }

    /// Those of one section after those of the other.
    pub(crate) fn by_section(&self) -> impl Iterator<Item = &[Candidate]> {
        self.0.chunk_by(|one, next| one.place() == next.place())
    }
}

/// Of each section the start at which most of it holds. Of several that are equal, the first at
/// which no other section stands for sure.
pub(crate) fn starts(tree: &Tree<'_>, candidates: &Candidates) -> Starts {
    let mut starts = Starts::none(tree);
    let size = |one: &Candidate| tree.objects[one.object].elf.section(one.section).size;
    let mut sure = Vec::new();
    let mut open = Vec::new();
    for found in candidates.by_section() {
        let most = found.iter().map(|one| one.bytes).max().unwrap_or_default();
        let mut best = found.iter().filter(|one| one.bytes == most);
        match (best.next(), best.next()) {
            (Some(only), None) => {
                starts.set(only.place(), only.start);
                sure.push((only.start, size(only)));
            }
            _ => open.push((found, most)),
        }
    }
    if open.is_empty() {
        return starts;
    }
    let mut taken = Taken::default();
    for (start, size) in sure {
        taken.take(start, size);
    }
    for (found, most) in open {
        let mut best = found.iter().filter(|one| one.bytes == most);
        let free = best.clone().find(|one| !taken.has(one.start, size(one)));
        if let Some(chosen) = free.or_else(|| best.next()) {
            starts.set(chosen.place(), chosen.start);
            taken.take(chosen.start, size(chosen));
        }
    }
    starts
}

/// Where sections stand: start → end, in bytes. Of equal ones that the linker made one, the
/// longest.
#[derive(Debug, Default)]
struct Taken(BTreeMap<u64, u64>);

impl Taken {
    fn take(&mut self, start: u64, size: u64) {
        let end = start.saturating_add(size);
        let known = self.0.entry(start).or_insert(end);
        *known = end.max(*known);
    }

    /// Whether something stands at one of these bytes, or at the start of no bytes.
    fn has(&self, start: u64, size: u64) -> bool {
        let end = start.saturating_add(size.max(1));
        let mut below = self.0.range(..end).rev();
        below
            .next()
            .is_some_and(|(&other, &until)| other == start || until > start)
    }
}
