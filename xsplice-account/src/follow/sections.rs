//! Where each section of a build begins in the image.
//!
//! An item may be found at several places: another object may hold an equal one of that name. A
//! section has one place, and all its items are there.

use std::collections::BTreeMap;

use xsplice_diff::read::object::SectionId;

use crate::follow::{Follower, Place};

/// Object and section → address of the section's first byte.
pub(crate) type Starts = BTreeMap<(usize, SectionId), u64>;

/// Object and section → where it may begin, and how many of its bytes hold with that.
pub(crate) type Candidates = BTreeMap<(usize, SectionId), BTreeMap<u64, u64>>;

/// All starts at which something of a section holds.
pub(crate) fn candidates(follower: &Follower<'_, '_>) -> Candidates {
    let tree = follower.tree;
    let mut candidates = Candidates::new();
    for found in follower.holding() {
        let (item, object) = (tree.item(found.pair.item), found.pair.item.object);
        if let Place::Base(address) = found.pair.place {
            let start = address.wrapping_sub(item.range.start);
            let of_section = candidates.entry((object, item.section)).or_default();
            *of_section.entry(start).or_default() += item.size();
        }
    }
    candidates
}

/// Of each section the start at which most of it holds. Of several that are equal, the first at
/// which no other section stands for sure.
pub(crate) fn starts(follower: &Follower<'_, '_>) -> Starts {
    let tree = follower.tree;
    let candidates = candidates(follower);
    let mut starts = Starts::new();
    let mut taken = Taken::default();
    let mut open = Vec::new();
    for (&(object, id), found) in &candidates {
        let size = tree.objects[object].elf.section(id).size;
        let most = found.values().max().copied().unwrap_or_default();
        let best = found.iter().filter(|&(_, &bytes)| bytes == most);
        let best: Vec<u64> = best.map(|(&start, _)| start).collect();
        if let [only] = best[..] {
            starts.insert((object, id), only);
            taken.take(only, size);
        } else {
            open.push(((object, id), size, best));
        }
    }
    for (section, size, best) in open {
        let free = best.iter().find(|&&start| !taken.has(start, size));
        if let Some(&start) = free.or(best.first()) {
            starts.insert(section, start);
            taken.take(start, size);
        }
    }
    starts
}

/// Where sections stand: start → end, in bytes. Of equal ones that the linker made one, the longest.
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
