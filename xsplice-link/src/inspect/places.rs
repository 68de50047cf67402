//! Names places of a payload for people: by the symbol that covers them, else by their section.

use object::elf;
use xsplice_diff::tell::disassembly::content;
use xsplice_runtime::read::view::{Place, Relocation, SectionId};

use crate::facts::Facts;

/// A named range of the payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'data> {
    /// The section that holds it.
    pub section: SectionId,
    /// Where it begins in the section, in bytes.
    pub start: u64,
    /// In bytes.
    pub size: u64,
    /// Its name.
    pub name: &'data str,
    /// `STT_*`.
    pub kind: u8,
}

/// Every named range, by section and start.
#[derive(Debug)]
pub(super) struct Places<'facts, 'view, 'data> {
    facts: &'facts Facts<'view, 'data>,
    named: Vec<Named<'data>>,
}

impl<'facts, 'view, 'data> Places<'facts, 'view, 'data> {
    pub(super) fn new(facts: &'facts Facts<'view, 'data>) -> Places<'facts, 'view, 'data> {
        let mut named: Vec<_> = facts
            .defined()
            .filter_map(|symbol| match symbol.place {
                Place::Section(section) => Some(Named {
                    section,
                    start: symbol.value,
                    size: symbol.size,
                    name: symbol.name,
                    kind: symbol.kind,
                }),
                _ => None,
            })
            .collect();
        // Of several symbols at one place a function is preferred, then the longest.
        named.sort_by_key(|one| {
            let is_function = one.kind == elf::STT_FUNC.0;
            (one.section, one.start, !is_function, u64::MAX - one.size)
        });
        Places { facts, named }
    }

    /// The named ranges of one section, by start, one a place.
    pub(super) fn of(&self, section: SectionId) -> Vec<Named<'data>> {
        let first = self.named.partition_point(|one| one.section < section);
        let mut all: Vec<_> = self.named[first..]
            .iter()
            .take_while(|one| one.section == section)
            .copied()
            .collect();
        all.dedup_by_key(|one| one.start);
        all
    }

    /// `name`, `name+0x…` inside what is named so, or `section+0x…`.
    pub(super) fn name(&self, section: SectionId, offset: u64) -> String {
        let end = self
            .named
            .partition_point(|one| (one.section, one.start) <= (section, offset));
        let covering = self.named[..end]
            .iter()
            .rev()
            .take_while(|one| one.section == section)
            .find(|one| offset - one.start < one.size.max(1));
        let Some(covering) = covering else {
            let section = self.facts.view.section(section);
            return format!("{}+{offset:#x}", section.map_or("?", |one| one.name));
        };
        // The first at that place is the preferred name.
        let best = self
            .named
            .partition_point(|one| (one.section, one.start) < (section, covering.start));
        let name = self.named[best].name;
        match offset - covering.start {
            0 => name.to_owned(),
            distance => format!("{name}+{distance:#x}"),
        }
    }

    /// The same, but a string without a name by its text.
    pub(super) fn name_or_text(&self, section: SectionId, offset: u64) -> String {
        let is_named = self
            .named
            .binary_search_by_key(&(section, offset), |one| (one.section, one.start))
            .is_ok();
        let text = self
            .facts
            .view
            .section(section)
            .filter(|one| !one.is_executable() && !is_named)
            .and_then(|one| one.data.get(usize::try_from(offset).ok()?..))
            .map(content);
        match text {
            Some(text) if text.starts_with('"') => text,
            _ => self.name(section, offset),
        }
    }

    /// The place that a relocated field refers to, with `bias` added to the addend.
    pub(super) fn target(&self, relocation: &Relocation, bias: i64) -> String {
        let addend = relocation.addend.wrapping_add(bias);
        let Some(symbol) = self.facts.view.symbol(relocation.symbol) else {
            return format!("symbol {}, which does not exist", relocation.symbol.0);
        };
        let distance = match addend {
            0 => String::new(),
            below if below < 0 => format!("-{:#x}", below.unsigned_abs()),
            above => format!("+{above:#x}"),
        };
        match symbol.place {
            Place::Section(section) => {
                self.name_or_text(section, symbol.value.wrapping_add_signed(addend))
            }
            Place::Absolute => format!("{:#x}", symbol.value.wrapping_add_signed(addend)),
            Place::Undefined | Place::Common | Place::Reserved(_) => {
                format!("{}{distance}", symbol.name)
            }
        }
    }

    /// The place in the payload that a relocated field refers to, if it is one.
    pub(super) fn in_payload(
        &self,
        relocation: &Relocation,
        bias: i64,
    ) -> Option<(SectionId, u64)> {
        let symbol = self.facts.view.symbol(relocation.symbol)?;
        let Place::Section(section) = symbol.place else {
            return None;
        };
        let addend = relocation.addend.wrapping_add(bias);
        Some((section, symbol.value.wrapping_add_signed(addend)))
    }
}
