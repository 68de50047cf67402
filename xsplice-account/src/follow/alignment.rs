//! Whether a place is aligned as an item asks for.
//!
//! Objects say how a section is aligned, and not which of its items needs that. So every item is
//! taken to need what its offset and the section's alignment promise. Two exceptions: where the
//! patched section asks for more than the original one did, a new item of that section may be the
//! reason; and one that moved within its section, because of what stands in front of it now, needs
//! no more than what moved it there, as long as new code does nothing but read and write it.

use xsplice_diff::machine::{self, Use};
use xsplice_diff::read::object::Section;

use super::claims::Claims;
use super::constants::is_label_table;
use super::{Follower, Pair, Place};
use crate::read::fields::{Field, Form};
use crate::read::items::{Item, Object};
use crate::read::tree::ItemId;

/// A table of places in code asks for no more than each of its fields does.
const LABEL_BYTES: u64 = 4;

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
pub(super) fn promised(alignment: u64, offset: u64) -> u64 {
    match offset {
        0 => alignment,
        _ => alignment.min(1 << offset.trailing_zeros()),
    }
}

/// The least alignment up to `most` that takes what would stand at `end` to `start`.
fn least(end: u64, start: u64, most: u64) -> Option<u64> {
    std::iter::successors(Some(1_u64), |asked| asked.checked_mul(2))
        .take_while(|&asked| asked <= most)
        .find(|&asked| end.checked_next_multiple_of(asked) == Some(start))
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
            let is_explained = match pair.place {
                Place::Base(address) => {
                    phase == 0 && self.is_explained(pair.item, address, alignment)
                }
                Place::Payload(..) => false,
            };
            let is_met = start % alignment == phase || is_explained;
            return (!is_met).then_some(alignment);
        }
        // Code says what such a one needs.
        if self.nameless(pair.item).is_some() {
            return None;
        }
        let object = &self.tree.objects[pair.item.object];
        let asked = match is_label_table(object, self.tree.item(pair.item)) {
            true => LABEL_BYTES,
            false => promised(alignment, offset),
        };
        let is_aligned = match pair.place {
            Place::Base(address) => {
                address.is_multiple_of(asked)
                    || self.is_explained(pair.item, address, asked)
                    || self.is_packed(pair.item, address, asked)
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
        least(end, item.range.start, alignment).map_or(own, |asked| (asked, 0))
    }

    /// Whether what stands in front of a variable in its section now explains where it stands, and
    /// what the section is aligned for is another one, which was there before.
    ///
    /// Shortcut S34: objects do not say what one variable of a section asks for. The least that
    /// explains its place is taken for it, and [`Follower::reads_in_place`] sees to new code.
    fn is_packed(&self, id: ItemId, address: u64, asked: u64) -> bool {
        let Some(claims) = self.claims else {
            return false;
        };
        let object = &self.tree.objects[id.object];
        let item = &object.items[id.item];
        let section = object.elf.section(item.section);
        let Some((original, facing)) = claims.facing(&object.elf.name, section.name) else {
            return false;
        };
        let cut = &claims.tree.objects[original];
        let mut here = claims.at(address);
        let stands_there = here.any(|(start, other)| {
            let other_item = claims.tree.item(other);
            start == address
                && (other.object, other_item.section) == (original, facing)
                && other_item.size() == item.size()
        });
        // Code of the payload may get the address from code that stays, and move as many bytes at
        // once as the variable has.
        let largest = 1 << item.size().max(1).ilog2();
        let needed = self.payload.map_or(1, |payload| payload.alignment_needed);
        let may_be_vector = !address.is_multiple_of(needed.min(largest));
        if !stands_there || may_be_vector {
            return false;
        }
        let is_aligned = |offset: u64| offset.is_multiple_of(section.alignment);
        let mut others = object
            .items_of(item.section)
            .filter(|&other| other != id.item);
        let is_as_before = cut.elf.section(facing).alignment >= section.alignment;
        let has_old_reason = is_as_before
            && others.any(|other| {
                let other = &object.items[other];
                is_aligned(other.range.start)
                    && other.names.iter().any(|&name| {
                        let name = object.elf.symbol(name).name;
                        let mut all = cut.items[cut.items_of(facing)].iter();
                        all.any(|old| {
                            let mut names = old.names.iter();
                            is_aligned(old.range.start)
                                && old.size() == other.size()
                                && names.any(|&old| cut.elf.symbol(old).name == name)
                        })
                    })
            });
        let ends = object.items[object.items_of(item.section)].iter();
        let ends = ends.filter(|other| !other.names.is_empty());
        let ends = ends.map(|other| other.range.end);
        let end = ends.filter(|&end| end <= item.range.start).max();
        let least = least(end.unwrap_or(0), item.range.start, asked);
        has_old_reason && least.is_some_and(|least| address.is_multiple_of(least))
    }

    /// Whether a field of new code does no more to a variable at `address` than read or write it
    /// there, `meant` bytes from its start, by an instruction that takes such an address. What
    /// keeps the address may rely on an alignment that the variable does not have in the base.
    pub(super) fn reads_in_place(
        &self,
        source: ItemId,
        field: &Field,
        (variable, address, meant): (ItemId, u64, i64),
    ) -> bool {
        let alignment = self.tree.section(variable).alignment;
        let asked = promised(alignment, self.tree.item(variable).range.start);
        let has_it = self.is_of_payload_alone()
            || self.tree.is_code(variable)
            || self.nameless(variable).is_some()
            || address.is_multiple_of(asked)
            || self.is_explained(variable, address, asked);
        if has_it {
            return true;
        }
        let object = &self.tree.objects[source.object];
        let item = &object.items[source.item];
        let section = object.elf.section(item.section);
        let range = usize::try_from(item.range.start).ok()..usize::try_from(item.range.end).ok();
        let code = range
            .start
            .zip(range.end)
            .and_then(|(start, end)| section.data.get(start..end));
        let Some(code) = code.filter(|_| section.is_executable()) else {
            return false;
        };
        let mut all = machine::walk(object.elf.machine, code, item.range.start);
        let Some(one) = all.find(|one| field.offset < one.end) else {
            return false;
        };
        let place = address.wrapping_add_signed(meant);
        field.form != Form::Slot
            && one.use_of(field.offset) == Some(Use::Access)
            && place.is_multiple_of(one.alignment_needed())
    }

    /// Whether a new item of the section explains why it is aligned to `asked`, while the item
    /// that stands at `address` in the original build needed less.
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
