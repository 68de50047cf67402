//! Where the items of the original build are in the base.

use foldhash::HashMap;
use xsplice_diff::read::object::SectionId;

use crate::follow::sections::Starts;
use crate::follow::{Follower, Place};
use crate::read::classes::class;
use crate::read::tree::{ItemId, Tree};

/// The found places, by address.
#[derive(Debug)]
pub(crate) struct Claims<'run, 'data> {
    /// The original build.
    pub tree: &'run Tree<'data>,
    /// Start, end and item, by start.
    ranges: Vec<(u64, u64, ItemId)>,
    sections: Starts,
    objects: HashMap<&'run str, usize>,
}

/// Claims that are looked at below an address: at most as many items as may be one in another.
const NESTED_MAX: usize = 64;

impl<'run, 'data> Claims<'run, 'data> {
    /// Everything that was found, each item where its section is.
    #[must_use]
    pub(crate) fn new(
        tree: &'run Tree<'data>,
        follower: &Follower<'run, 'data>,
        starts: Starts,
    ) -> Claims<'run, 'data> {
        let mut ranges = Vec::new();
        for found in follower.holding() {
            let Place::Base(address) = found.pair.place else {
                continue;
            };
            // What looks like something that was not linked does so by chance.
            if tree.is_replaced_by_link(found.pair.item) {
                continue;
            }
            let item = tree.item(found.pair.item);
            let start = starts.get(found.pair.item.object, item.section);
            if start.is_some_and(|start| start.wrapping_add(item.range.start) == address) {
                let end = address.saturating_add(item.size());
                ranges.push((address, end, found.pair.item));
            }
        }
        ranges.sort_unstable();
        let names = tree.objects.iter().enumerate();
        let objects = names
            .map(|(index, object)| (object.elf.name.as_str(), index))
            .collect();
        Claims {
            tree,
            ranges,
            sections: starts,
            objects,
        }
    }

    /// The original object of this name.
    #[must_use]
    pub(crate) fn object(&self, name: &str) -> Option<usize> {
        self.objects.get(name).copied()
    }

    /// The original object of this name, and its section of that name, if it has only one.
    #[must_use]
    pub(crate) fn facing(&self, object: &str, section: &str) -> Option<(usize, SectionId)> {
        let object = self.object(object)?;
        let mut all = self.tree.objects[object].elf.sections();
        let (id, _) = all.find(|(_, other)| other.name == section)?;
        let is_only = all.all(|(_, other)| other.name != section);
        is_only.then_some((object, id))
    }

    /// Where a section of an original object begins in the base.
    #[must_use]
    pub(crate) fn section(&self, object: usize, section: SectionId) -> Option<u64> {
        self.sections.get(object, section)
    }

    /// Where an item begins in the image.
    #[must_use]
    pub(crate) fn address(&self, id: ItemId) -> Option<u64> {
        let item = self.tree.item(id);
        let start = self.section(id.object, item.section)?;
        Some(start.wrapping_add(item.range.start))
    }

    /// The last item that begins before `address`.
    #[must_use]
    pub(crate) fn before(&self, address: u64) -> Option<ItemId> {
        let end = self.ranges.partition_point(|&(start, ..)| start < address);
        let last = end.checked_sub(1).and_then(|last| self.ranges.get(last));
        last.map(|&(.., item)| item)
    }

    /// The first item that begins at `address` or behind it.
    #[must_use]
    pub(crate) fn behind(&self, address: u64) -> Option<ItemId> {
        let from = self.ranges.partition_point(|&(start, ..)| start < address);
        let mut rest = self.ranges[from..].iter();
        rest.find(|&&(start, end, _)| start < end)
            .map(|&(.., item)| item)
    }

    /// Original items that stand over `address`, with their own addresses.
    pub(crate) fn at(&self, address: u64) -> impl Iterator<Item = (u64, ItemId)> + '_ {
        let end = self.ranges.partition_point(|&(start, ..)| start <= address);
        let below = self.ranges[..end].iter().rev().take(NESTED_MAX);
        let over = below.filter(move |&&(start, end, _)| start == address || address < end);
        over.map(|&(start, _, item)| (start, item))
    }

    /// Whether an item of the patched build may stand at `address`: an original one of the same
    /// kind of section stands there, of the same object where only that sees it.
    ///
    /// # Errors
    ///
    /// The end of the sentence that says why not.
    pub(crate) fn allows(
        &self,
        theirs: &Tree<'_>,
        item: ItemId,
        address: u64,
    ) -> Result<(), String> {
        let is_local = theirs.names(item).any(|symbol| symbol.is_local());
        let is_named = theirs.names(item).next().is_some();
        let object = &theirs.objects[item.object].elf.name;
        let class = class(theirs, item);
        let mut other = None;
        for (_, original) in self.at(address) {
            let is_same_object = self.tree.objects[original.object].elf.name == *object;
            let there = self::class(self.tree, original);
            if (is_same_object || !is_local) && there == class {
                return Ok(());
            }
            other.get_or_insert((there, original.object));
        }
        match other {
            Some((there, owner)) => Err(format!(
                "it belongs to {class}, and there stands {there} of {}",
                self.tree.objects[owner].elf.name
            )),
            None if !is_named && !theirs.is_writable(item) => Ok(()),
            None => Err(format!(
                "nothing of the original build was found there ({address:#x})"
            )),
        }
    }
}
