//! Where the symbols of an object stand, by section and offset.

use std::ops::RangeInclusive;

use object::elf;

use crate::merged::definitions::is_label;
use crate::read::object::{ElfObject, SectionId, Symbol, SymbolPlace};

/// The named symbols of an object that stand in sections.
#[derive(Debug)]
pub(super) struct Places<'o, 'data> {
    /// Sorted by section and offset.
    symbols: Vec<(SectionId, u64, &'o Symbol<'data>)>,
}

impl<'o, 'data> Places<'o, 'data> {
    pub(super) fn of(object: &'o ElfObject<'data>) -> Places<'o, 'data> {
        let mut symbols: Vec<_> = object
            .symbols
            .iter()
            .filter(|symbol| !symbol.is_section() && !is_label(symbol.name.as_bytes()))
            .filter_map(|symbol| match symbol.place {
                SymbolPlace::Section(id) => Some((id, symbol.value, symbol)),
                _ => None,
            })
            .collect();
        symbols.sort_by_key(|(section, value, _)| (*section, *value));
        Places { symbols }
    }

    /// The symbols of a section within these offsets, in order.
    pub(super) fn within(
        &self,
        section: SectionId,
        offsets: RangeInclusive<u64>,
    ) -> impl Iterator<Item = &'o Symbol<'data>> {
        let from = (section, *offsets.start());
        let to = (section, *offsets.end());
        let start = self
            .symbols
            .partition_point(|(id, at, _)| (*id, *at) < from);
        let end = self.symbols.partition_point(|(id, at, _)| (*id, *at) <= to);
        self.symbols[start..end.max(start)]
            .iter()
            .map(|(_, _, symbol)| *symbol)
    }

    /// All symbols of a section, in order.
    pub(super) fn in_section(&self, section: SectionId) -> impl Iterator<Item = &'o Symbol<'data>> {
        self.within(section, 0..=u64::MAX)
    }

    /// Whether a symbol like `other` stands at this place.
    pub(super) fn has(&self, section: SectionId, at: u64, other: &Symbol<'_>) -> bool {
        self.within(section, at..=at)
            .any(|symbol| is_alike(symbol, other))
    }

    /// The strong global symbols, each with its section.
    pub(super) fn strong(&self) -> impl Iterator<Item = (SectionId, &'o Symbol<'data>)> {
        self.symbols
            .iter()
            .filter(|(_, _, symbol)| symbol.binding == elf::STB_GLOBAL.0)
            .map(|(section, _, symbol)| (*section, *symbol))
    }
}

/// Whether two symbols are one but for where they stand.
pub(super) fn is_alike(one: &Symbol<'_>, other: &Symbol<'_>) -> bool {
    one.name == other.name
        && one.kind == other.kind
        && one.size == other.size
        && one.binding == other.binding
}
