//! Where the items of the original build are in the base.

use foldhash::HashMap;
use xsplice_diff::read::object::SectionId;

use crate::follow::{Follower, Place};
use crate::read::tree::{ItemId, Tree};

/// The found places, by address.
#[derive(Debug)]
pub struct Claims<'run, 'data> {
    /// The original build.
    pub tree: &'run Tree<'data>,
    /// Start, end and item, by start.
    ranges: Vec<(u64, u64, ItemId)>,
    /// Object and section → address of the section's first byte.
    sections: HashMap<(usize, SectionId), u64>,
    objects: HashMap<&'run str, usize>,
}

/// Claims that are looked at below an address: at most as many items as may be one in another.
const NESTED_MAX: usize = 64;

impl<'run, 'data> Claims<'run, 'data> {
    /// Everything that was found.
    #[must_use]
    pub fn new(tree: &'run Tree<'data>, follower: &Follower<'run, 'data>) -> Claims<'run, 'data> {
        let mut ranges = Vec::new();
        let mut sections = HashMap::default();
        for found in follower.holding() {
            let Place::Base(address) = found.pair.place else {
                continue;
            };
            let item = tree.item(found.pair.item);
            ranges.push((
                address,
                address.saturating_add(item.size()),
                found.pair.item,
            ));
            let start = address.wrapping_sub(item.range.start);
            sections
                .entry((found.pair.item.object, item.section))
                .or_insert(start);
        }
        ranges.sort_unstable();
        let names = tree.objects.iter().enumerate();
        let objects = names
            .map(|(index, object)| (object.elf.name.as_str(), index))
            .collect();
        Claims {
            tree,
            ranges,
            sections,
            objects,
        }
    }

    /// The original object of this name.
    #[must_use]
    pub fn object(&self, name: &str) -> Option<usize> {
        self.objects.get(name).copied()
    }

    /// Where a section of an original object begins in the base.
    #[must_use]
    pub fn section(&self, object: usize, section: SectionId) -> Option<u64> {
        self.sections.get(&(object, section)).copied()
    }

    /// Original items that stand over `address`, with their own addresses.
    pub fn at(&self, address: u64) -> impl Iterator<Item = (u64, ItemId)> + '_ {
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
    pub fn allows(&self, theirs: &Tree<'_>, item: ItemId, address: u64) -> Result<(), String> {
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
            None => Err("nothing of the original build was found there".to_owned()),
        }
    }
}

/// The kind of an item's section: its name, less what compilers append to keep items apart.
#[must_use]
pub fn class<'tree>(tree: &'tree Tree<'_>, item: ItemId) -> &'tree str {
    let name = tree.section(item).name;
    let plain = ["unlikely", "hot", "startup", "exit", "split"];
    if let Some(rest) = name.strip_prefix(".text.") {
        let is_plain = |part: &str| {
            plain.contains(&part) || tree.names_of_section(item).any(|name| name == part)
        };
        let (head, tail) = rest.split_once('.').unwrap_or((rest, ""));
        if is_plain(rest) || plain.contains(&head) && (tail.is_empty() || is_plain(tail)) {
            return ".text";
        }
        return name;
    }
    for (prefix, class) in [
        (".rodata", ".rodata"),
        (".data.rel.ro", ".rodata"),
        (".data.rel.local", ".data"),
        (".data.rel", ".data"),
        (".data", ".data"),
        (".bss", ".data"),
    ] {
        let Some(rest) = name.strip_prefix(prefix) else {
            continue;
        };
        let own = rest
            .strip_prefix('.')
            .is_some_and(|rest| tree.names_of_section(item).any(|name| name == rest));
        if rest.is_empty() || own || prefix == ".rodata" || class == ".rodata" {
            return class;
        }
    }
    name
}
