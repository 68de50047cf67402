//! Constants without a name: numbers and texts that a compiler put among the constants of an
//! object, not in a section of their own.
//!
//! The object does not say where one of them ends, nor how it must be aligned. Code that the base
//! has as it is reads what it read before. For code of the payload, what its instructions need
//! counts.

use xsplice_diff::machine::{self, Use};

use super::alignment::promised;
use super::{Follower, Place};
use crate::read::fields::Field;
use crate::read::items::{Item, Object};
use crate::read::tree::ItemId;

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
    /// the base's original one has there: code that the base has as it is reads no further, and
    /// [`Follower::may_use`] sees to code of the payload.
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
        let (_, original) = there.next()?;
        Some(claims.tree.item(original).size())
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

    /// Whether a field that the base has may go on leading to a constant without a name at `place`:
    /// either all of its bytes are there, or nothing but code of the base reads it. That is certain
    /// where nothing is replaced, and of what the instruction around the field reads.
    pub(super) fn may_keep_using(
        &self,
        source: ItemId,
        field: &Field,
        (item, place): (ItemId, Place),
    ) -> bool {
        let (Some(ours), Place::Base(address)) = (self.nameless(item), place) else {
            return true;
        };
        self.payload.is_none()
            || self.compared(item, place) == ours.len() as u64
            || self.has_bytes(address, ours)
            || self.reads_there(source, field)
    }

    /// Whether a field belongs to an instruction that reads or writes where it leads.
    fn reads_there(&self, source: ItemId, field: &Field) -> bool {
        self.use_of(source, field) == Some(Use::Access)
    }

    /// Whether a field belongs to an instruction that takes the address for a number.
    pub(super) fn takes_address(&self, source: ItemId, field: &Field) -> bool {
        self.use_of(source, field) == Some(Use::Address)
    }

    fn use_of(&self, source: ItemId, field: &Field) -> Option<Use> {
        let mut all = self.instructions(source);
        let around = all.find(|one| field.offset < one.end)?;
        around.use_of(field.offset)
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
