//! Special code (`.fixup` and its like): what each piece falls through into, and which pieces must
//! keep their distance in a payload.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use foldhash::{HashSet, HashSetExt as _};
use iced_x86::{Decoder, DecoderOptions, Instruction};

use crate::read::items::{ItemId, ItemKind};
use crate::read::section_class::SectionClass;
use crate::read::side::Build;
use crate::read::special_pieces::{Step, ending};
use crate::read::special_sections::runs_in_place;

/// Whether an item is a piece of special code without a symbol.
#[must_use]
pub fn is_piece(build: &Build<'_>, item: ItemId) -> bool {
    build.items.item(item).kind == ItemKind::Gap
        && build.items.class(item) == SectionClass::SpecialCode
}

/// What a piece falls through into: the item right behind it. `is_entered` tells whether a table
/// leads to the start of a piece.
#[must_use]
pub fn runs_into(
    build: &Build<'_>,
    item: ItemId,
    is_entered: impl Fn(ItemId) -> bool,
) -> Option<ItemId> {
    if !is_piece(build, item) || !runs_in_place(build.section_name(item)) {
        return None;
    }
    let (section, end) = (build.items.item(item).section, build.items.item(item).end());
    let next = build.items.at(section, end)?;
    if build.items.item(next).offset != end {
        return None;
    }
    let mut decoder = Decoder::new(64, build.bytes(item), DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    let steps = std::iter::from_fn(|| {
        decoder.can_decode().then(|| {
            decoder.decode_out(&mut instruction);
            Step::new(&instruction)
        })
    });
    ending(steps).runs_into(|| is_entered(next)).then_some(next)
}

/// All pieces that are reached from `first`. `each` may name more pieces that a piece leads to.
pub(crate) fn reached(
    build: &Build<'_>,
    first: impl IntoIterator<Item = ItemId>,
    is_entered: impl Fn(ItemId) -> bool,
    mut each: impl FnMut(ItemId, &mut Vec<ItemId>),
) -> HashSet<ItemId> {
    let mut reached = HashSet::new();
    let mut open: Vec<ItemId> = first.into_iter().collect();
    while let Some(item) = open.pop() {
        if !is_piece(build, item) || !reached.insert(item) {
            continue;
        }
        open.extend(build.relocations(item).filter_map(|(_, to)| to.item()));
        open.extend(runs_into(build, item, &is_entered));
        each(item, &mut open);
    }
    reached
}

/// Ranges of special code that are included as a whole, so that pieces keep their distance where
/// one leads to the other without a relocation: by a short jump or by fall-through.
#[derive(Debug, Default)]
pub struct Spans(Vec<RangeInclusive<ItemId>>);

impl Spans {
    /// Joins pairs of items of one section; pairs that overlap form one range.
    #[must_use]
    pub fn new(pairs: &BTreeSet<(ItemId, ItemId)>) -> Spans {
        let mut pairs: Vec<(ItemId, ItemId)> = pairs
            .iter()
            .map(|(one, other)| (*one.min(other), *one.max(other)))
            .collect();
        pairs.sort_unstable();
        let mut spans: Vec<RangeInclusive<ItemId>> = Vec::new();
        for (first, last) in pairs {
            match spans.last_mut() {
                Some(span) if first <= *span.end() => {
                    *span = *span.start()..=last.max(*span.end());
                }
                _ => spans.push(first..=last),
            }
        }
        Spans(spans)
    }

    /// The range that an item lies in.
    #[must_use]
    pub fn of(&self, item: ItemId) -> Option<RangeInclusive<ItemId>> {
        let behind = self.0.partition_point(|span| *span.start() <= item);
        let span = self.0.get(behind.checked_sub(1)?)?;
        span.contains(&item).then(|| span.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::Spans;
    use crate::read::items::ItemId;

    #[test]
    fn pairs_that_overlap_form_one_range() {
        let pair = |one, other| (ItemId(one), ItemId(other));
        let spans = Spans::new(&[pair(9, 4), pair(2, 5), pair(11, 12)].into());
        assert_eq!(spans.of(ItemId(3)), Some(ItemId(2)..=ItemId(9)));
        assert_eq!(spans.of(ItemId(12)), Some(ItemId(11)..=ItemId(12)));
        assert_eq!(spans.of(ItemId(10)), None);
        assert_eq!(spans.of(ItemId(1)), None);
    }
}
