//! What the fields of linked code say about their targets, one by one and together.
//!
//! Where instructions have one size, an address is told in parts: a page by one instruction, the
//! place in it by others, wherever these stand. Fields that the object fills with the same sum of
//! target and addend are taken together.

use foldhash::fast::FixedState;
use foldhash::{HashMap, HashMapExt as _};
use std::hash::BuildHasher as _;

use xsplice_abi::machine::{Kind, Told};
use xsplice_diff::extract::{OriginalRelocation, OriginalTarget};
use xsplice_diff::machine::got::{self, Reached};
use xsplice_diff::machine::linked;

use super::FailureKind;
use crate::base::Base;

/// A decoded relocation field of the base.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    /// What it says about the target and its addend.
    pub told: Told,
    /// Offset of the first byte that needs no comparison.
    pub start: usize,
    /// Offset behind the last.
    pub end: usize,
    /// Whether the linker wrote another instruction.
    pub is_rewritten: bool,
}

/// An item of the object and the same bytes in the base.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compared<'a> {
    /// The object's.
    pub bytes: &'a [u8],
    /// The base's.
    pub linked: &'a [u8],
    /// Where the base has them.
    pub address: u64,
}

/// Decodes the field at `offset` of the linked bytes; `None` for a relocation that fills nothing.
pub(super) fn decode(
    base: &Base<'_>,
    item: Compared<'_>,
    offset: usize,
    relocation: &OriginalRelocation<'_>,
) -> Result<Option<Field>, FailureKind> {
    let place = item.address.wrapping_add(offset as u64);
    let machine = base.machine();
    let addend = relocation.addend.cast_unsigned();
    if machine.goes_through_slot(relocation.kind) {
        let field = got::Field {
            bytes: item.bytes,
            linked: item.linked,
            offset,
            kind: relocation.kind,
            addend: relocation.addend,
        };
        let became = got::linked(machine, &field).ok_or(FailureKind::GotAccessDiffers)?;
        let target = match became.reached(&field, item.address) {
            Some(Reached::Slot(slot)) => base.running_word_at(slot),
            Some(Reached::Target(target)) => Some(target),
            None => None,
        };
        let target = target.ok_or(FailureKind::GotAccessDiffers)?;
        return Ok(Some(Field {
            told: Told::whole(target.wrapping_add(addend)),
            start: became.start,
            end: became.end,
            is_rewritten: item.bytes[became.start..offset] != item.linked[became.start..offset],
        }));
    }
    let known = machine.relocation(relocation.kind);
    let known = known.ok_or(FailureKind::UnknownRelocation(relocation.kind))?;
    let end = offset + known.field.bytes();
    let filled = |told, is_rewritten| Field {
        told,
        start: offset,
        end,
        is_rewritten,
    };
    match known.field.kind {
        Kind::Nothing if known.number == 0 => Ok(None),
        Kind::Absolute if known.number == machine.word.number => {
            let word = base.running_word_at(place);
            let word = word.ok_or(FailureKind::MalformedItem)?;
            Ok(Some(filled(Told::whole(word), false)))
        }
        Kind::Absolute | Kind::Relative | Kind::Page { .. } | Kind::LowBits { .. } => {
            let rest = |bytes: &[u8]| bytes.get(offset..end).map(<[u8]>::to_vec);
            let (ours, linked) = (rest(item.bytes), rest(item.linked));
            let (ours, linked) = ours.zip(linked).ok_or(FailureKind::MalformedItem)?;
            let place = linked::Place {
                ours: &ours,
                linked: &linked,
                address: place,
            };
            let fetch = |address, length| base.bytes_at(address, length);
            let found = linked::told(machine, known, &place, &fetch);
            let found = found.ok_or(FailureKind::InstructionDiffers)?;
            Ok(Some(filled(found.told, found.is_rewritten)))
        }
        Kind::Nothing | Kind::Slot | Kind::Other => {
            Err(FailureKind::UnknownRelocation(relocation.kind))
        }
    }
}

/// Fields of one item that were filled with the same sum.
pub(super) struct Partners<'a, 'data> {
    fields: &'a [(&'a OriginalRelocation<'data>, Field)],
    by_sum: HashMap<u64, Vec<usize>>,
}

impl<'a, 'data> Partners<'a, 'data> {
    /// Groups the fields of one item.
    pub(super) fn new(fields: &'a [(&'a OriginalRelocation<'data>, Field)]) -> Self {
        let mut by_sum: HashMap<u64, Vec<usize>> = HashMap::new();
        for (index, (relocation, _)) in fields.iter().enumerate() {
            by_sum.entry(key(relocation)).or_default().push(index);
        }
        Partners { fields, by_sum }
    }

    /// The addresses that one of the fields and another tell together.
    pub(super) fn sums(&self, index: usize) -> Vec<u64> {
        let (own, field) = self.fields[index];
        let group = self.by_sum.get(&key(own));
        let of_same = || {
            let all = group.into_iter().flatten();
            let all = all.map(|other| &self.fields[*other]);
            all.filter(|(other, _)| other.addend == own.addend && other.target == own.target)
                .map(|(_, other)| other.told)
        };
        let pairs = of_same().filter_map(|other| field.told.and(other)?.address());
        let mut sums: Vec<u64> = pairs.collect();
        // An address in four numbers (MOVZ and MOVK): what does not contradict the rest belongs to
        // it.
        let together = of_same().fold(field.told, |sum, other| sum.and(other).unwrap_or(sum));
        sums.extend(together.address());
        sums.sort_unstable();
        sums.dedup();
        sums
    }
}

/// Equal for relocations of the same target and addend.
fn key(relocation: &OriginalRelocation<'_>) -> u64 {
    /// As many bytes of content tell it from other content well enough.
    const BYTES_MAX: usize = 64;
    let addend = relocation.addend;
    let state = FixedState::default();
    match &relocation.target {
        OriginalTarget::Symbol { name, file } => state.hash_one((addend, name, file)),
        OriginalTarget::Content { bytes, .. } => {
            state.hash_one((addend, bytes.len(), &bytes[..bytes.len().min(BYTES_MAX)]))
        }
        OriginalTarget::SectionOffset {
            section, offset, ..
        } => state.hash_one((addend, section, offset)),
        OriginalTarget::Absolute(value) => state.hash_one((addend, value)),
    }
}
