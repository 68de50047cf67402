//! Fields that are some bits of an instruction, and what several of them say together: a page is
//! named by one instruction, the place in it by others.

use foldhash::HashMap;
use xsplice_abi::machine::Told;
use xsplice_diff::machine::linked::{self, Linked};
use xsplice_diff::read::object::{SymbolId, SymbolPlace};

use super::compare::Found;
use super::{Follower, Place};
use crate::read::fields::{Field, Form, Leads};
use crate::read::image::Bytes;
use crate::read::payload::Payload;

/// What fields of equal symbol and addend tell of one address.
pub(super) type Parts = HashMap<(SymbolId, i64), Told>;

/// An item's bytes and those of the place.
#[derive(Clone, Copy)]
pub(super) struct Both<'a> {
    /// The item's.
    pub ours: &'a [u8],
    /// The place's.
    pub theirs: &'a [u8],
}

impl<'data> Follower<'_, 'data> {
    /// What the fields of an item tell together where it stands in the base. Fields that contradict
    /// each other tell nothing.
    pub(super) fn parts(&self, place: Place, both: Both<'_>, start: u64, all: &[Field]) -> Parts {
        let mut parts = Parts::default();
        let Place::Base(address) = place else {
            return parts;
        };
        for field in all.iter().filter(|field| field.form == Form::Bits) {
            let Leads::Symbol { symbol, addend } = field.leads else {
                continue;
            };
            let offset = field.offset - start;
            let told = self.linked(address, both, offset, field);
            let Some(told) = told.map(|linked| linked.told) else {
                continue;
            };
            let known = parts.entry((symbol, addend)).or_insert(told);
            *known = known.and(told).unwrap_or(Told { value: 0, mask: 0 });
        }
        parts
    }

    fn linked(&self, address: u64, both: Both<'_>, offset: u64, field: &Field) -> Option<Linked> {
        let at = usize::try_from(offset).ok()?;
        let place = linked::Place {
            ours: both.ours.get(at..)?,
            linked: both.theirs.get(at..)?,
            address: address.wrapping_add(offset),
        };
        let fetch = |address, length| self.present(address, length);
        linked::told(self.image.machine, field.known?, &place, &fetch)
    }

    /// Where a field that is some bits leads.
    pub(super) fn follow_bits(
        &self,
        place: Place,
        both: Both<'_>,
        offset: usize,
        field: &Field,
        parts: &Parts,
    ) -> Option<Found<'data>> {
        let known = field.known?;
        match place {
            Place::Base(address) => {
                let told = self.linked(address, both, offset as u64, field)?.told;
                let together = match field.leads {
                    Leads::Symbol { symbol, addend } => parts.get(&(symbol, addend)).copied(),
                    Leads::Within { .. } => None,
                };
                let whole = told.address().or_else(|| told.and(together?)?.address());
                Some(Found::Place(Place::Base(whole?)))
            }
            Place::Payload(id, start) => {
                let at = start.wrapping_add(offset as u64);
                let word = |bytes: &[u8]| {
                    let bytes = bytes.get(offset..)?.first_chunk()?;
                    Some(u64::from(u32::from_le_bytes(*bytes)))
                };
                let beside = !known.field.mask() & u64::from(u32::MAX);
                if (word(both.ours)? ^ word(both.theirs)?) & beside != 0 {
                    return None;
                }
                let payload = self.payload?;
                let Some(relocation) = payload.relocation_at(id, at) else {
                    let told = known.field.told(both.theirs.get(offset..)?, at)?;
                    return Some(Found::Place(Place::Payload(id, told.address()?)));
                };
                let is_same = relocation.kind == known.number;
                is_same.then(|| self.named_by(payload, relocation.symbol, relocation.addend))
            }
        }
    }

    /// Where a branch to an address of the base goes on, if only a veneer stands there.
    pub(super) fn behind_veneer(
        &self,
        found: &Found<'data>,
        field: &Field,
    ) -> Option<Found<'data>> {
        let Found::Place(Place::Base(address)) = found else {
            return None;
        };
        let machine = self.image.machine;
        let is_branch = field
            .known
            .is_some_and(|known| machine.is_branch(known.number));
        let fetch = |address, length| self.present(address, length);
        let behind = linked::veneer(machine, *address, &fetch).filter(|_| is_branch)?;
        Some(Found::Place(Place::Base(behind)))
    }

    /// The length of the instruction at `offset` if the linker moved it away.
    pub(super) fn moved_away(&self, address: u64, both: Both<'_>, offset: usize) -> Option<usize> {
        let place = linked::Place {
            ours: both.ours.get(offset..)?,
            linked: both.theirs.get(offset..)?,
            address: address.wrapping_add(offset as u64),
        };
        let fetch = |address, length| self.present(address, length);
        linked::moved_away(self.image.machine, &place, &fetch)
    }

    /// What a relocation of the payload leads to.
    pub(super) fn named_by(
        &self,
        payload: &Payload<'data>,
        symbol: SymbolId,
        addend: i64,
    ) -> Found<'data> {
        let symbol = payload.elf.symbol(symbol);
        match symbol.place {
            SymbolPlace::Section(section) => {
                let offset = symbol.value.wrapping_add_signed(addend);
                Found::Place(Place::Payload(section, offset))
            }
            SymbolPlace::Absolute => {
                Found::Place(Place::Base(symbol.value.wrapping_add_signed(addend)))
            }
            SymbolPlace::Undefined | SymbolPlace::Common => Found::Name(symbol.name, addend),
        }
    }

    fn present(&self, address: u64, length: u64) -> Option<&'data [u8]> {
        match self.image.bytes(address, length)? {
            Bytes::Present(bytes) => Some(bytes),
            Bytes::Zero => None,
        }
    }
}
