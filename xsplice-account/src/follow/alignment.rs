//! Whether a place is aligned as an item asks for.
//!
//! Objects say how a section is aligned, and not which of its items needs that. So every item is
//! taken to need what its offset and the section's alignment promise. One exception: where the
//! patched section asks for more than the original one did, a new item of that section may be the
//! reason.

use xsplice_diff::machine;
use xsplice_diff::read::object::Section;

use super::claims::Claims;
use super::{Follower, Pair, Place};
use crate::read::items::{Item, Object};
use crate::read::tree::ItemId;

/// Whether an item is nothing but what assemblers put between functions.
fn is_filler(section: &Section<'_>, object: &Object<'_>, item: &Item) -> bool {
    let range = usize::try_from(item.range.start).ok()..usize::try_from(item.range.end).ok();
    let bytes = range
        .start
        .zip(range.end)
        .and_then(|(start, end)| section.data.get(start..end));
    item.names.is_empty()
        && object.fields_of(item).is_empty()
        && bytes.is_some_and(|bytes| machine::is_padding(object.elf.machine, bytes))
}

/// The alignment that an offset of a section is sure to have.
fn promised(alignment: u64, offset: u64) -> u64 {
    match offset {
        0 => alignment,
        _ => alignment.min(1 << offset.trailing_zeros()),
    }
}

impl Follower<'_, '_> {
    /// The alignment that the item asks for, where the place does not have it.
    pub(super) fn misaligned(&self, pair: Pair) -> Option<u64> {
        let alignment = self.tree.section(pair.item).alignment;
        let offset = self.tree.item(pair.item).range.start;
        if self.tree.is_code(pair.item) {
            // Where branches stand within a line of the cache may be meant: the phase counts.
            let (Place::Base(start) | Place::Payload(_, start)) = pair.place;
            let (alignment, phase) = self.asked_of_code(pair.item);
            return (start % alignment != phase).then_some(alignment);
        }
        if self.text(pair.item).is_some() {
            return None;
        }
        let asked = promised(alignment, offset);
        let is_aligned = match pair.place {
            Place::Base(address) => {
                address.is_multiple_of(asked) || self.is_explained(pair.item, address, asked)
            }
            Place::Payload(section, start) => self.payload.is_some_and(|payload| {
                promised(payload.elf.section(section).alignment, start) >= asked
            }),
        };
        (!is_aligned).then_some(asked)
    }

    /// The alignment that code asks for, and how far behind a multiple of it it stands. Behind
    /// other code of its section, it asks for no more than what moved it from the end of that.
    fn asked_of_code(&self, id: ItemId) -> (u64, u64) {
        let object = &self.tree.objects[id.object];
        let item = &object.items[id.item];
        let section = object.elf.section(item.section);
        let alignment = section.alignment;
        let own = (alignment, item.range.start % alignment);
        let before = object.items_of(item.section).rev().find(|&other| {
            let other = &object.items[other];
            other.range.end <= item.range.start && !is_filler(section, object, other)
        });
        let Some(end) = before.map(|before| object.items[before].range.end) else {
            return own;
        };
        std::iter::successors(Some(1_u64), |asked| asked.checked_mul(2))
            .take_while(|&asked| asked <= alignment)
            .find(|&asked| end.checked_next_multiple_of(asked) == Some(item.range.start))
            .map_or(own, |asked| (asked, 0))
    }

    /// Whether a new item of the section explains why it is aligned to `asked`, while the item that
    /// stands at `address` in the original build needed less.
    fn is_explained(&self, item: ItemId, address: u64, asked: u64) -> bool {
        let Some(claims) = self.claims else {
            return false;
        };
        let object = &self.tree.objects[item.object].elf.name;
        let original = claims
            .at(address)
            .map(|(_, original)| original)
            .find(|original| claims.tree.objects[original.object].elf.name == *object);
        let Some(original) = original else {
            return false;
        };
        let offset = claims.tree.item(original).range.start;
        let needed = promised(claims.tree.section(original).alignment, offset);
        // One that came to such a place only now may have asked for it itself.
        let stood_so = offset.is_multiple_of(asked);
        needed < asked && stood_so && self.has_new_item(item, asked, claims)
    }

    /// Whether the item's section holds one of a name that is new to its object, on a multiple of
    /// `asked`.
    fn has_new_item(&self, item: ItemId, asked: u64, claims: &Claims<'_, '_>) -> bool {
        let object = &self.tree.objects[item.object];
        let Some(original) = claims.object(&object.elf.name) else {
            return false;
        };
        let known: foldhash::HashSet<&str> = claims.tree.objects[original]
            .elf
            .symbols
            .iter()
            .map(|symbol| symbol.name)
            .collect();
        object
            .items_of(self.tree.item(item).section)
            .filter(|&other| object.items[other].range.start.is_multiple_of(asked))
            .any(|other| {
                let mut names = object.items[other].names.iter().peekable();
                names.peek().is_some()
                    && names.all(|&name| !known.contains(object.elf.symbol(name).name))
            })
    }
}
