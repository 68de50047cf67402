//! Constants without a name: numbers and texts that a compiler put among the constants of an
//! object, not in a section of their own.
//!
//! The object does not say where one of them ends, nor how it must be aligned. Code that the base
//! has as it is reads what it read before. For code of the payload, what its instructions need
//! counts.

use std::cmp::Ordering;

use xsplice_diff::machine::{self, Use};

use super::alignment::promised;
use super::{Follower, Place};
use crate::read::fields::Field;
use crate::read::items::{Item, Object};
use crate::read::tree::{ItemId, Tree};

/// Whether an item is a table of places in code that counts from its own start.
pub(super) fn is_label_table(object: &Object<'_>, item: &Item) -> bool {
    let last = object.fields_of(item).last();
    last.is_some_and(|last| last.ahead != 0 && last.ahead == last.offset - item.range.start)
}

/// From the start of an item, the end of its last field.
fn end_of_fields(object: &Object<'_>, item: &Item) -> Option<u64> {
    let last = object.fields_of(item).last()?;
    last.end().checked_sub(item.range.start)
}

/// Whether a constant is nothing but text, its end, and what fills up behind it.
fn is_text(bytes: &[u8]) -> bool {
    let end = bytes.iter().position(|byte| *byte == 0);
    let (text, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
    let is_plain = |character: char| !character.is_control() || character.is_ascii_whitespace();
    !text.is_empty()
        && !rest.is_empty()
        && rest.iter().all(|byte| *byte == 0)
        && str::from_utf8(text).is_ok_and(|text| text.chars().all(is_plain))
}

/// Whether another item without a name follows one right behind it.
fn is_in_front(tree: &Tree<'_>, id: ItemId) -> bool {
    let object = &tree.objects[id.object];
    let item = tree.item(id);
    let mut others = object.items_of(item.section).map(|one| &object.items[one]);
    others.any(|other| other.range.start == item.range.end && other.names.is_empty())
}

impl<'data> Follower<'_, 'data> {
    /// The bytes of an item that is a constant without a name, with what fills up to the next.
    pub(super) fn nameless(&self, id: ItemId) -> Option<&'data [u8]> {
        let section = self.tree.section(id);
        let object = &self.tree.objects[id.object];
        let item = self.tree.item(id);
        let is_constant = !section.is_writable() && !section.is_executable();
        if !is_constant || !item.names.is_empty() || !object.fields_of(item).is_empty() {
            return None;
        }
        let start = usize::try_from(item.range.start).ok()?;
        let end = usize::try_from(item.range.end).ok()?;
        section.data.get(start..end)
    }

    /// How many bytes of an item are compared with those at a place.
    ///
    /// Shortcut S35: what the alignment of the next explains is none of a constant without a name.
    /// A table of places in code ends with its last place. Of another one no more is compared than
    /// the base's original one has there: [`Follower::may_keep_using`] sees to code that the base
    /// has as it is, [`Follower::may_use`] to code of the payload.
    pub(super) fn compared(&self, id: ItemId, place: Place) -> u64 {
        let item = self.tree.item(id);
        let object = &self.tree.objects[id.object];
        let known = match place {
            _ if is_label_table(object, item) => end_of_fields(object, item),
            Place::Base(address) => self.original_size(id, address),
            Place::Payload(..) => None,
        };
        let section = object.elf.section(item.section);
        let is_filled = |length: u64| {
            let from = usize::try_from(item.range.start + length).ok();
            let to = usize::try_from(item.range.end).ok();
            let bounds = from.zip(to);
            let rest = bounds.and_then(|(from, to)| section.data.get(from..to));
            let gap = promised(section.alignment, item.range.end);
            rest.is_some_and(|rest| (rest.len() as u64) < gap && rest.iter().all(|&byte| byte == 0))
        };
        let is_nameless = item.names.is_empty() && !section.is_writable();
        let length = known.filter(|&length| is_nameless && is_filled(length));
        length.unwrap_or_else(|| item.size())
    }

    /// The size of the original build's constant without a name at an address, for one of the same
    /// object.
    fn original_size(&self, id: ItemId, address: u64) -> Option<u64> {
        let original = self.original(id, address)?;
        Some(self.claims?.tree.item(original).size())
    }

    /// That constant.
    fn original(&self, id: ItemId, address: u64) -> Option<ItemId> {
        let (_, claims) = self.nameless(id).zip(self.claims)?;
        let object = &self.tree.objects[id.object].elf.name;
        let mut there = claims.at(address).filter(|&(start, other)| {
            let cut = &claims.tree.objects[other.object];
            let content = claims.tree.item(other);
            start == address
                && cut.elf.name == *object
                && content.names.is_empty()
                && cut.fields_of(content).is_empty()
        });
        there.next().map(|(_, original)| original)
    }

    /// Whether a field of the payload may lead to an item at `place`, `meant` bytes from its
    /// start: a constant without a name has all of its bytes there, and the alignment that code
    /// needs.
    pub(super) fn may_use(
        &self,
        source: ItemId,
        field: &Field,
        (item, place, meant): (ItemId, Place, i64),
    ) -> bool {
        let Some(ours) = self.nameless(item) else {
            return match place {
                Place::Base(address) => self.reads_in_place(source, field, (item, address, meant)),
                Place::Payload(..) => true,
            };
        };
        let needed = self.alignment_needed(source, field);
        match place {
            Place::Base(address) => {
                self.has_bytes(address, ours)
                    && address.wrapping_add_signed(meant).is_multiple_of(needed)
            }
            Place::Payload(id, start) => self.payload.is_some_and(|payload| {
                let alignment = payload.elf.section(id).alignment;
                promised(alignment, start.wrapping_add_signed(meant)) >= needed
            }),
        }
    }

    /// Whether a field that the base has may go on leading to a constant without a name at `place`,
    /// `meant` bytes from its start: what is read there is in the base. The instruction around the
    /// field tells how much that is. Where the address is kept it may be more, where another
    /// constant without a name follows; but text ends where it says.
    pub(super) fn may_keep_using(
        &self,
        source: ItemId,
        field: &Field,
        (item, place, meant): (ItemId, Place, i64),
    ) -> bool {
        let (Some(ours), Place::Base(address)) = (self.nameless(item), place) else {
            return true;
        };
        let mut all = self.instructions(source);
        let around = all.find(|one| field.offset < one.end);
        match around.and_then(|one| one.extent(field.offset)) {
            Some(bytes) => {
                let end = u64::try_from(meant)
                    .ok()
                    .and_then(|at| at.checked_add(bytes));
                end.is_some_and(|end| end <= self.compared(item, place))
                    || self.reads_alike(item, (address, meant), bytes)
            }
            None => {
                let length = ours.len() as u64;
                let Some(original) = self.original(item, address) else {
                    return true;
                };
                let claims = self.claims.map(|claims| claims.tree);
                let before = claims.map_or(length, |tree| tree.item(original).size());
                let reads_on = match before.cmp(&length) {
                    Ordering::Equal => false,
                    Ordering::Less => {
                        let is_followed = claims.is_some_and(|tree| is_in_front(tree, original));
                        is_followed && !self.has_bytes(address, ours)
                    }
                    Ordering::Greater => is_in_front(self.tree, item),
                };
                !reads_on || is_text(ours)
            }
        }
    }

    /// Whether so many bytes from `meant` behind the start of an item are in its section, with what
    /// follows it, as they are in the base.
    fn reads_alike(&self, id: ItemId, (address, meant): (u64, i64), bytes: u64) -> bool {
        let section = self.tree.section(id);
        let object = &self.tree.objects[id.object];
        let item = self.tree.item(id);
        let start = item.range.start.checked_add_signed(meant);
        let Some((start, end)) = start.and_then(|start| Some((start, start.checked_add(bytes)?)))
        else {
            return false;
        };
        let mut fields = object
            .items_of(item.section)
            .flat_map(|other| object.fields_of(&object.items[other]));
        let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        let there = range.and_then(|(start, end)| section.data.get(start..end));
        there.is_some_and(|there| self.has_bytes(address.wrapping_add_signed(meant), there))
            && fields.all(|field| field.end() <= start || field.offset >= end)
    }

    /// Whether a field belongs to an instruction that takes the address for a number.
    pub(super) fn takes_address(&self, source: ItemId, field: &Field) -> bool {
        let mut all = self.instructions(source);
        let around = all.find(|one| field.offset < one.end);
        around.is_some_and(|one| one.use_of(field.offset) == Some(Use::Address))
    }

    /// The instructions of an item; none of data.
    fn instructions(&self, source: ItemId) -> machine::Walk<'data> {
        let object = &self.tree.objects[source.object];
        let item = &object.items[source.item];
        let section = object.elf.section(item.section);
        let range = usize::try_from(item.range.start).ok()..usize::try_from(item.range.end).ok();
        let bytes = range
            .start
            .zip(range.end)
            .filter(|_| section.is_executable());
        let code = bytes.and_then(|(start, end)| section.data.get(start..end));
        let code = code.unwrap_or_default();
        machine::walk(object.elf.machine, code, item.range.start)
    }

    fn has_bytes(&self, address: u64, ours: &[u8]) -> bool {
        use crate::read::image::Bytes;
        match self.image.bytes(address, ours.len() as u64) {
            Some(Bytes::Present(theirs)) => theirs == ours,
            Some(Bytes::Zero) => ours.iter().all(|&byte| byte == 0),
            None => false,
        }
    }

    /// The multiple, in bytes, that the address in a field of code must be of for no instruction
    /// to fault: the one around it, or, where the address is kept, any of the item's that reads or
    /// writes by an address in a register.
    pub(super) fn alignment_needed(&self, source: ItemId, field: &Field) -> u64 {
        let all = || self.instructions(source);
        let around = all().find(|one| field.offset < one.end);
        match around {
            Some(one) if one.use_of(field.offset) == Some(Use::Access) => one.alignment_needed(),
            _ => {
                let by_register = all().filter(|one| one.goes_by_register());
                let needs = by_register.map(|one| one.alignment_needed());
                needs.max().unwrap_or(1)
            }
        }
    }
}
