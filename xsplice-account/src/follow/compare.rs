//! Compares one item with the bytes at one place, by itself.

use xsplice_diff::read::object::{SectionId, SymbolPlace};

use super::failure::{Failure, Mismatch};
use super::parts::Both;
use super::slot::access;
use super::{Follower, Pair, Place};
use crate::follow::claims::Claims;
use crate::read::fields::{Field, Form, Leads, value};
use crate::read::image::{Bytes, ImageSymbol};
use crate::read::items::is_entry_table;
use crate::read::names::{are_made_up_alike, without_number};
use crate::read::tree::{ItemId, Target};

/// What one comparison found.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// What differs in the item itself.
    pub failure: Option<Failure>,
    /// Claims that must hold too.
    pub rests_on: Vec<Pair>,
    /// Functions that it leads to by their names.
    pub called: Vec<ItemId>,
    /// Bytes that differ and are proven to be line numbers.
    pub explained: u64,
    /// Bytes of texts that tell another time of the build.
    pub stamps: u64,
    /// Entries of merged sections, by place and length.
    pub contents: Vec<(Place, u64)>,
    /// Slots that hold the address of something.
    pub slots: Vec<Place>,
}

/// Where a field of a place leads.
#[derive(Clone, Debug)]
pub(super) enum Found<'data> {
    /// To a place.
    Place(Place),
    /// To a name, and this far from it.
    Name(&'data str, i64),
}

impl<'data> Follower<'_, 'data> {
    pub(super) fn compare(&self, pair: Pair) -> Outcome {
        let mut outcome = Outcome::default();
        let failure = self
            .check_placement(pair)
            .and_then(|()| self.check(pair, &mut outcome));
        if let Err(failure) = failure {
            let is_accepted = self.is_accepted(pair.item) && self.is_where_kept(pair);
            outcome.failure = (!is_accepted).then_some(failure);
        }
        outcome
    }

    /// Whether the item may be there: in the same kind of section, and aligned as required.
    fn check_placement(&self, pair: Pair) -> Result<(), Failure> {
        let fail = |what: String| {
            let mismatch = Mismatch::Placement { what };
            Err(Failure {
                offset: 0,
                mismatch,
            })
        };
        if let Some(alignment) = self.misaligned(pair) {
            return fail(format!("it asks for an alignment of {alignment}"));
        }
        let (Some(claims), Place::Base(address)) = (self.claims, pair.place) else {
            return Ok(());
        };
        claims
            .allows(self.tree, pair.item, address)
            .map_or_else(fail, Ok)
    }

    fn check(&self, pair: Pair, outcome: &mut Outcome) -> Result<(), Failure> {
        let object = &self.tree.objects[pair.item.object];
        let item = &object.items[pair.item.item];
        let section = object.elf.section(item.section);
        let fail = |offset: u64, mismatch| Failure { offset, mismatch };
        let size = self.compared(pair.item, pair.place);
        let theirs = match pair.place {
            Place::Base(address) => self.image.bytes(address, size),
            Place::Payload(id, offset) => self.payload_bytes(id, offset, size),
        };
        let theirs = theirs.ok_or_else(|| fail(0, Mismatch::Outside))?;
        let ours = slice(section.data, item.range.start, size);
        let (ours, theirs) = match (ours, theirs) {
            (None, Bytes::Zero) => return Ok(()),
            (None, Bytes::Present(bytes)) | (Some(bytes), Bytes::Zero) => {
                let is_zero = bytes.iter().all(|&byte| byte == 0);
                let has_fields = !object.fields_of(item).is_empty();
                let mismatch = Mismatch::Byte {
                    wanted: 0,
                    found: 1,
                };
                return if is_zero && !has_fields {
                    Ok(())
                } else {
                    Err(fail(0, mismatch))
                };
            }
            (Some(ours), Bytes::Present(theirs)) => (ours, theirs),
        };
        let both = Both { ours, theirs };
        let fields = object.fields_of(item);
        let parts = self.parts(pair.place, both, item.range.start, fields);
        let mut position = 0;
        for field in fields {
            let offset = index(field.offset - item.range.start);
            if self.stays_inside(pair.item, field) {
                continue;
            }
            if field.form == Form::Unknown || offset < position {
                return Err(fail(offset as u64, Mismatch::Unknown));
            }
            if field.form == Form::Unread {
                self.literal(pair, ours, theirs, (position, offset), outcome)?;
                position = offset + usize::from(field.width);
                continue;
            }
            let followed = if field.form == Form::Bits {
                let end = offset + usize::from(field.width);
                let found = self.follow_bits(pair.place, both, offset, field, &parts);
                found.map(|found| (offset, end, found))
            } else {
                self.follow(pair.place, both, offset, field, &mut outcome.slots)
            };
            let (start, end, found) =
                followed.ok_or_else(|| fail(offset as u64, Mismatch::Unknown))?;
            if start < position {
                return Err(fail(offset as u64, Mismatch::Unknown));
            }
            self.literal(pair, ours, theirs, (position, start), outcome)?;
            position = end;
            let target = self.tree.target(pair.item.object, item.section, field);
            let lead = |found: &Found<'data>, outcome: &mut Outcome| {
                self.lead(pair, &target, found, field, outcome)
            };
            let led = lead(&found, outcome).or_else(|mismatch| {
                let behind = self.behind_veneer(&found, field).ok_or(mismatch)?;
                lead(&behind, outcome)
            });
            led.map_err(|mismatch| fail(offset as u64, mismatch))?;
        }
        self.literal(pair, ours, theirs, (position, ours.len()), outcome)
    }

    /// Whether a field that the assembler resolved leads to the item itself: then its bytes say
    /// so.
    ///
    /// Shortcut S30: a branch within an item is its bytes, which are compared.
    fn stays_inside(&self, id: ItemId, field: &Field) -> bool {
        let item = self.tree.item(id);
        let Leads::Within { offset } = field.leads else {
            return false;
        };
        let meant = offset + i64::from(field.trailing);
        let is_end = |meant: u64| {
            // What stands in for other code ends where that code goes on.
            let section = self.tree.section(id).name;
            meant == item.range.end && section == xsplice_abi::section::ALTINSTR_REPLACEMENT
        };
        u64::try_from(meant).is_ok_and(|meant| item.range.contains(&meant) || is_end(meant))
    }

    /// Bytes of the payload.
    pub(super) fn payload_bytes(
        &self,
        id: SectionId,
        offset: u64,
        size: u64,
    ) -> Option<Bytes<'data>> {
        let section = self.payload?.elf.section(id);
        let end = offset.checked_add(size)?;
        if end > section.size {
            return None;
        }
        if section.is_nobits() {
            return Some(Bytes::Zero);
        }
        slice(section.data, offset, size).map(Bytes::Present)
    }

    /// Compares bytes that only the compiler determines.
    fn literal(
        &self,
        pair: Pair,
        ours: &[u8],
        theirs: &[u8],
        (mut start, end): (usize, usize),
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        while start < end {
            let (left, right) = (&ours[start..end], &theirs[start..end]);
            let Some(distance) = left.iter().zip(right).position(|(a, b)| a != b) else {
                break;
            };
            let at = start + distance;
            let explained = match pair.place {
                Place::Base(address) => self
                    .line_number(pair.item, address, ours, theirs, at)
                    .or_else(|| self.line_beside(pair.item, at))
                    .or_else(|| self.described_line(pair.item, at)),
                Place::Payload(..) => None,
            };
            let moved = match pair.place {
                Place::Base(address) if explained.is_none() => {
                    let step = self.image.machine.instruction_bytes.unwrap_or(1);
                    let at = at - at % step;
                    let moved = self.moved_away(address, Both { ours, theirs }, at);
                    moved.map(|bytes| at + bytes)
                }
                _ => None,
            };
            if let Some(end) = moved {
                start = end;
                continue;
            }
            let Some((from, to)) = explained else {
                let mismatch = Mismatch::Byte {
                    wanted: ours[at],
                    found: theirs[at],
                };
                return Err(Failure {
                    offset: at as u64,
                    mismatch,
                });
            };
            outcome.explained += (to - from) as u64;
            start = to.max(at + 1);
        }
        Ok(())
    }

    /// Reads where a field of the place leads, and which bytes that accounts for.
    fn follow(
        &self,
        place: Place,
        Both { ours, theirs }: Both<'_>,
        offset: usize,
        field: &Field,
        slots: &mut Vec<Place>,
    ) -> Option<(usize, usize, Found<'data>)> {
        let width = usize::from(field.width);
        let (start, end, at, form) = if field.form == Form::Slot {
            let found = access(self.image.machine, ours, theirs, offset, field)?;
            (found.start, found.end, found.field, found.form)
        } else {
            (offset, offset + width, offset, field.form)
        };
        let bytes = theirs.get(at..at + width)?;
        let found = match place {
            Place::Base(address) => self.follow_in_base(address + at as u64, bytes, form)?,
            Place::Payload(id, start) => {
                self.follow_in_payload(id, start + at as u64, bytes, form)?
            }
        };
        // The field of a relaxed branch may be at another offset than that of the slot access.
        let shift = if field.form == Form::Slot && form != Form::Slot {
            match form {
                Form::Relative => i64::from(field.width),
                _ => 0,
            }
        } else {
            0
        };
        let found = match (found, field.form) {
            (Found::Place(place), Form::Slot) if form != Form::Slot => {
                Found::Place(shifted(place, shift))
            }
            (Found::Name(name, delta), Form::Slot) if form != Form::Slot => {
                Found::Name(name, delta + shift)
            }
            (found, Form::Slot) => {
                let (slot, found) = self.through_slot(&found, i64::from(field.trailing))?;
                slots.push(slot);
                found
            }
            (found, _) => found,
        };
        Some((start, end, found))
    }

    fn follow_in_base(&self, address: u64, bytes: &[u8], form: Form) -> Option<Found<'data>> {
        let read = value(bytes, form)?;
        let target = match form {
            Form::Absolute if bytes.len() == 8 => self.image.relocated(address).unwrap_or(read),
            Form::Absolute | Form::AbsoluteSigned => read,
            _ => address.wrapping_add(read),
        };
        Some(Found::Place(Place::Base(target)))
    }

    fn follow_in_payload(
        &self,
        id: SectionId,
        offset: u64,
        bytes: &[u8],
        form: Form,
    ) -> Option<Found<'data>> {
        let payload = self.payload?;
        let Some(relocation) = payload.relocation_at(id, offset) else {
            let read = value(bytes, form)?;
            return Some(Found::Place(match form {
                Form::Absolute | Form::AbsoluteSigned => Place::Base(read),
                _ => Place::Payload(id, offset.wrapping_add(read)),
            }));
        };
        let (theirs, _) = crate::read::fields::form(payload.elf.machine, relocation.kind);
        let is_relative = |form| !matches!(form, Form::Absolute | Form::AbsoluteSigned);
        if matches!(theirs, Form::Unknown | Form::Bits) || is_relative(theirs) != is_relative(form)
        {
            return None;
        }
        let mut addend = relocation.addend;
        if form == Form::RelativeWithLine {
            let low = value(&addend.to_le_bytes()[..4], form)?;
            addend = low.cast_signed();
        }
        Some(self.named_by(payload, relocation.symbol, addend))
    }

    /// The slot at a place, and what it holds. The field counts from the end of its instruction,
    /// `trailing` bytes behind the field's start.
    fn through_slot(&self, found: &Found<'data>, trailing: i64) -> Option<(Place, Found<'data>)> {
        let Found::Place(place) = found else {
            return None;
        };
        let slot = shifted(*place, trailing);
        let held = match slot {
            Place::Base(address) => Found::Place(Place::Base(self.image.word(address)?)),
            Place::Payload(id, offset) => {
                let Some(Bytes::Present(bytes)) = self.payload_bytes(id, offset, 8) else {
                    return None;
                };
                self.follow_in_payload(id, offset, bytes, Form::Absolute)?
            }
        };
        Some((slot, held))
    }

    /// Whether a field of `pair` that leads to `target` in the build and to `found` at the place
    /// leads to the same thing.
    fn lead(
        &self,
        pair: Pair,
        target: &Target<'data>,
        found: &Found<'data>,
        field: &Field,
        outcome: &mut Outcome,
    ) -> Result<(), Mismatch> {
        let is_table = is_entry_table(self.tree.section(pair.item).name);
        let trailing = i64::from(field.trailing);
        let differs = || Mismatch::Target {
            wanted: self.wanted(target),
            found: self.describe(found),
        };
        // Through a slot, the addend only says where the field's instruction ends.
        let settled = |delta: i64| {
            if field.form == Form::Slot {
                delta + trailing
            } else {
                delta
            }
        };
        match target {
            Target::Unclear => Err(Mismatch::Unknown),
            // An entry whose replacement is empty names a place, and nothing is read there.
            Target::Empty { .. } | Target::Nothing if is_table => Ok(()),
            Target::Nothing => Err(Mismatch::Unknown),
            Target::Empty {
                object,
                section,
                delta,
            } => {
                let place = self.located(found);
                let start = place.map(|place| shifted(place, -settled(*delta)));
                let is_it = start.is_some_and(|start| self.is_empty_at(*object, *section, start));
                is_it.then_some(()).ok_or_else(differs)
            }
            Target::Number(number) => {
                let number = number.wrapping_add_signed(settled(0));
                match self.located(found) {
                    Some(Place::Base(address)) if address == number => Ok(()),
                    _ => Err(differs()),
                }
            }
            Target::Name {
                name,
                delta,
                is_weak,
            } => {
                let is_it = self.leads_to_name(name, settled(*delta), *is_weak, found);
                is_it.then_some(()).ok_or_else(differs)
            }
            Target::Content { bytes, delta } => {
                let start = self
                    .located(found)
                    .map(|place| shifted(place, settled(*delta).wrapping_neg()));
                let is_held = start.is_some_and(|start| self.holds_content(bytes, start, outcome));
                is_held.then_some(()).ok_or_else(differs)
            }
            Target::Item { item, delta } => {
                let delta = settled(*delta);
                let place = self.located(found).ok_or_else(differs)?;
                let start = shifted(place, delta.wrapping_neg());
                if let Some(length) = self.stamp(*item, start) {
                    outcome.stamps += length;
                    return Ok(());
                }
                let is_entry = match (field.form, delta + trailing) {
                    (Form::Slot, _) => delta == 0,
                    (_, 0) => true,
                    // Counted from somewhere in front of it, as what writes calls itself does:
                    // nothing of it is read.
                    (_, meant) => meant < 0 && self.takes_address(pair.item, field),
                };
                if !self.lead_to_item(*item, start, is_entry && !is_table, outcome) {
                    return Err(differs());
                }
                let meant = delta.wrapping_add(field.counts_from());
                let is_fit = match pair.place {
                    Place::Base(_) => self.may_keep_using(pair.item, field, (*item, start, meant)),
                    Place::Payload(..) => self.may_use(pair.item, field, (*item, start, meant)),
                };
                is_fit.then_some(()).ok_or_else(|| Mismatch::Placement {
                    what: format!(
                        "it relies on {}, of which the base has less or less aligned",
                        self.tree.shown(*item)
                    ),
                })
            }
        }
    }

    /// Whether a reference leads `delta` bytes behind what a name stands for.
    fn leads_to_name(&self, name: &str, delta: i64, is_weak: bool, found: &Found<'data>) -> bool {
        // What the original build defined and the patched one does not is gone.
        let was_defined = |claims: &Claims<'_, '_>| claims.tree.definitions_of(name) > 0;
        if self.claims.is_some_and(was_defined) && self.tree.definitions_of(name) == 0 {
            return false;
        }
        match found {
            Found::Name(other, others) => plain(other) == name && *others == delta,
            Found::Place(Place::Base(address)) => {
                let start = address.wrapping_add_signed(delta.wrapping_neg());
                let is_it = self.image.named(name).any(|symbol| symbol.address == start);
                is_it || is_weak && start == 0
            }
            Found::Place(Place::Payload(..)) => false,
        }
    }

    /// Whether a reference may lead to `item` at `start`; what that rests on goes to `outcome`.
    fn lead_to_item(
        &self,
        item: ItemId,
        start: Place,
        is_entry: bool,
        outcome: &mut Outcome,
    ) -> bool {
        let pair = Pair { item, place: start };
        let Place::Base(address) = start else {
            outcome.rests_on.push(pair);
            // A second copy of a variable that the base keeps would start from its initial value.
            return !self.is_second_copy(item) || self.is_judged_as_state(item);
        };
        // A name whose definition here gave way is another object's in the image.
        let is_named = self
            .tree
            .names(item)
            .any(|name| !self.tree.gave_way(item, name));
        let is_it = self
            .tree
            .names(item)
            .any(|symbol| self.image.is_named_at(symbol, address));
        if is_it {
            if is_entry && self.tree.is_code(item) {
                outcome.called.push(item);
            } else if !self.is_of_payload_alone() {
                outcome.rests_on.push(pair);
            }
            return true;
        }
        outcome.rests_on.push(pair);
        let is_local = self.tree.names(item).all(|symbol| symbol.is_local());
        let has_name = |is_one: &dyn Fn(&str, &ImageSymbol<'_>) -> bool| {
            self.tree.names(item).any(|symbol| {
                let mut here = self.image.symbols_at(address);
                here.any(|other| is_one(symbol.name, other))
            })
        };
        let is_renumbered = || {
            has_name(&|ours, other| {
                other.is_local && without_number(other.name) == without_number(ours)
            })
        };
        // Such a name is given anew, so the build must not have the other one as well.
        let is_made_up_anew = || {
            has_name(&|ours, other| {
                are_made_up_alike(ours, other.name) && self.tree.definitions_of(other.name) == 0
            })
        };
        !is_named
            || is_local && (!self.tree.is_writable(item) || is_renumbered())
            || is_made_up_anew()
    }

    /// Whether a section of no size stands at `start`: a name that it has does, and nothing but
    /// names tells.
    fn is_empty_at(&self, object: usize, section: SectionId, start: Place) -> bool {
        let Place::Base(start) = start else {
            return false;
        };
        let symbols = &self.tree.objects[object].elf.symbols;
        let mut names = symbols.iter().filter(|symbol| {
            let is_there = symbol.place == SymbolPlace::Section(section);
            is_there && !symbol.is_section() && !symbol.name.is_empty()
        });
        names.any(|symbol| {
            self.image
                .is_named_at(symbol, start.wrapping_add(symbol.value))
        })
    }

    /// The place that a field leads to; a name stands for its address in the base.
    fn located(&self, found: &Found<'data>) -> Option<Place> {
        match found {
            Found::Place(place) => Some(*place),
            Found::Name(name, delta) => {
                let (file, name) = match name.split_once('#') {
                    Some((file, name)) => (Some(file), name),
                    None => (None, *name),
                };
                let mut all = self.image.named(name).filter(|symbol| match file {
                    Some(file) => symbol.file == Some(file),
                    None => symbol.file.is_none(),
                });
                let first = all.next()?;
                Some(Place::Base(first.address.wrapping_add_signed(*delta)))
            }
        }
    }
}

/// A base name as objects know it, without its file.
fn plain(name: &str) -> &str {
    name.split_once('#').map_or(name, |(_, name)| name)
}

fn shifted(place: Place, by: i64) -> Place {
    match place {
        Place::Base(address) => Place::Base(address.wrapping_add_signed(by)),
        Place::Payload(id, offset) => Place::Payload(id, offset.wrapping_add_signed(by)),
    }
}

/// An offset in bytes that are in memory.
fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

fn slice(data: &[u8], start: u64, size: u64) -> Option<&[u8]> {
    let start = usize::try_from(start).ok()?;
    data.get(start..start.checked_add(usize::try_from(size).ok()?)?)
}
