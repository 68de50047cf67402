//! Where each section of a build begins in the image.
//!
//! An item may be found at several places: another object may hold an equal one of that name. A
//! section has one place, and all its items are there.

use foldhash::HashSet;
use xsplice_diff::read::object::SectionId;

use crate::follow::{Follower, Place};
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
#[derive(Debug)]
pub(crate) struct Candidates(Vec<Candidate>);

impl Candidates {
    /// Those of one section after those of the other.
    pub(crate) fn by_section(&self) -> impl Iterator<Item = &[Candidate]> {
        self.0.chunk_by(|one, next| one.place() == next.place())
    }
}

/// All starts at which something of a section holds.
pub(crate) fn candidates(follower: &Follower<'_, '_>) -> Candidates {
    let tree = follower.tree;
    let holding = follower.holding().filter_map(|found| {
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
    });
    let mut all: Vec<Candidate> = holding.collect();
    all.sort_unstable();
    all.dedup_by(|next, sum| {
        let is_same = next.place() == sum.place() && next.start == sum.start;
        if is_same {
            sum.bytes += next.bytes;
        }
        is_same
    });
    Candidates(all)
}

/// Of each section the start at which most of it holds. Of several that are equal, the first that
/// no section has for itself.
pub(crate) fn starts(follower: &Follower<'_, '_>) -> Starts {
    let candidates = candidates(follower);
    let mut starts = Starts::none(follower.tree);
    let mut taken = HashSet::default();
    let mut open = Vec::new();
    for found in candidates.by_section() {
        let most = found.iter().map(|one| one.bytes).max().unwrap_or_default();
        let mut best = found.iter().filter(|one| one.bytes == most);
        match (best.next(), best.next()) {
            (Some(only), None) => {
                starts.set(only.place(), only.start);
                taken.insert(only.start);
            }
            _ => open.push((found, most)),
        }
    }
    for (found, most) in open {
        let mut best = found.iter().filter(|one| one.bytes == most);
        let free = best.clone().find(|one| !taken.contains(&one.start));
        if let Some(chosen) = free.or_else(|| best.next()) {
            starts.set(chosen.place(), chosen.start);
            taken.insert(chosen.start);
        }
    }
    starts
}
