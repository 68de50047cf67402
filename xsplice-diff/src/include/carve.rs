//! Cuts the included items out of the patched object, and names what they refer to outside of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

use object::elf;

use crate::compare::changes::Changes;
use crate::compare::comparer::Comparer;
use crate::compare::inclusion::Inclusion;
use crate::compare::pieces::{Spans, is_piece};
use crate::compare::special_entries::SpecialEntries;
use crate::debug_info::toolchain::Toolchain;
use crate::extract::Part;
use crate::extract::{
    Constant, Extract, Otherwise, Place, Record, Relocation, Section, SectionIndex, Symbol,
    SymbolIndex,
};
use crate::include::originals::{Describer, file_of, is_by_name};
use crate::include::reach::{Destination, destination};
use crate::options::Options;
use crate::read::indices::{bytes_at, indices};
use crate::read::items::{ItemId, ItemKind};
use crate::read::object::{self as model, SectionId, SymbolId, SymbolPlace};
use crate::read::side::Build;
use crate::verdict::refusals::Verdicts;

/// The result of carving.
#[derive(Debug)]
pub(crate) struct Carved<'data> {
    /// What the linker needs.
    pub extract: Extract<'data>,
    /// Out-of-line parts of the replaced functions, by function and name.
    pub parts: Vec<Part<'data>>,
}

/// Cuts out what is included. Must be called only when nothing was refused.
#[must_use]
pub(crate) fn carve<'data>(
    object: &str,
    comparer: &Comparer<'_, 'data>,
    changes: &Changes,
    inclusion: &Inclusion,
    original_entries: &SpecialEntries,
    verdicts: &Verdicts,
    options: &Options,
) -> Carved<'data> {
    let mut carver = Carver {
        comparer,
        changes,
        parts: Vec::new(),
        extract: Extract {
            object: object.to_owned(),
            machine: comparer.patched.object.machine,
            abi: options.abi,
            sections: Vec::new(),
            symbols: Vec::new(),
            records: Vec::new(),
            constants: Vec::new(),
            accepted: verdicts
                .accepted
                .iter()
                .map(|accepted| accepted.what.clone())
                .collect(),
            compiled_by: Toolchain::default(),
        },
        included: BTreeMap::new(),
        base: BTreeMap::new(),
        outside: BTreeMap::new(),
    };
    let spans = Spans::new(&inclusion.bound);
    let mut begun: BTreeMap<ItemId, Piece> = BTreeMap::new();
    for item in inclusion.items.keys() {
        let span = spans
            .of(*item)
            .filter(|_| is_piece(comparer.patched, *item));
        let piece = match span {
            None => carver.piece(*item),
            Some(span) => *begun
                .entry(*span.start())
                .or_insert_with(|| carver.span(&span, inclusion)),
        };
        carver.included.insert(*item, piece);
    }
    for item in inclusion.items.keys() {
        carver.relocate(*item, inclusion);
    }
    carver.entries(inclusion);
    carver.records(original_entries, inclusion);
    Carved {
        extract: carver.extract,
        parts: carver.parts,
    }
}

/// Where an included item is in the extract.
#[derive(Clone, Copy)]
struct Piece {
    section: SectionIndex,
    /// Offset in the object's section at which the extract's section begins, in bytes.
    start: u64,
    symbol: SymbolIndex,
    /// Offset in the object's section that the symbol names, in bytes.
    origin: u64,
}

/// An out-of-line part in the original and in the patched object.
type PartPair = (Option<ItemId>, Option<ItemId>);

struct Carver<'c, 'a, 'data> {
    comparer: &'c Comparer<'a, 'data>,
    changes: &'c Changes,
    extract: Extract<'data>,
    parts: Vec<Part<'data>>,
    included: BTreeMap<ItemId, Piece>,
    base: BTreeMap<ItemId, SymbolIndex>,
    outside: BTreeMap<SymbolId, SymbolIndex>,
}

impl<'data> Carver<'_, '_, 'data> {
    fn symbol(&mut self, symbol: Symbol) -> SymbolIndex {
        self.extract.symbols.push(symbol);
        SymbolIndex(self.extract.symbols.len() - 1)
    }

    /// Adds `range` of a section of the object as a section of the extract.
    fn section(
        &mut self,
        header: &model::Section<'data>,
        range: Range<u64>,
        data: Cow<'data, [u8]>,
    ) -> SectionIndex {
        self.extract.sections.push(Section {
            name: header.name.to_owned(),
            kind: header.kind,
            flags: flags(header),
            alignment: alignment(header, range.start),
            entry_size: header.entry_size,
            size: range.end - range.start,
            data,
            relocations: Vec::new(),
        });
        SectionIndex(self.extract.sections.len() - 1)
    }

    /// Cuts out one item, with the bytes before it that are read relative to it.
    fn piece(&mut self, item: ItemId) -> Piece {
        let patched = self.comparer.patched;
        let place = patched.items.item(item);
        let header = patched.object.section(place.section);
        let lead = lead(patched, item);
        // Code may count on where it stands: its own alignment counts from a multiple of the
        // section's. What stood before it is not included, and nothing runs there.
        let phase = match header.is_executable() {
            true => lead % header.alignment.max(1),
            false => 0,
        };
        let start = lead - phase;
        let data = if header.is_nobits() {
            &[]
        } else {
            bytes_at(header.data, start..place.end())
        };
        let data = match indices(0..phase) {
            Some(before) if phase != 0 => {
                let mut data = data.to_vec();
                if let Some(before) = data.get_mut(before) {
                    before.fill(patched.object.machine.trap);
                }
                Cow::Owned(data)
            }
            _ => Cow::Borrowed(data),
        };
        let section = self.section(header, start..place.end(), data);
        let at = Place::Section {
            section,
            value: place.offset - start,
        };
        let symbol = match patched.symbol(item) {
            Some(symbol) => Symbol {
                name: symbol.name.to_owned(),
                file: file_of(patched, symbol),
                binding: symbol.binding,
                kind: symbol.kind,
                size: place.named_size(),
                place: at,
                otherwise: None,
            },
            None => section_symbol(at),
        };
        Piece {
            section,
            start,
            symbol: self.symbol(symbol),
            origin: place.offset,
        }
    }

    /// Cuts out pieces of special code that keep their distance. Code between them that is not
    /// included is overwritten with breakpoints, for nothing runs there.
    fn span(&mut self, span: &RangeInclusive<ItemId>, inclusion: &Inclusion) -> Piece {
        let patched = self.comparer.patched;
        let (first, last) = (
            patched.items.item(*span.start()),
            patched.items.item(*span.end()),
        );
        let header = patched.object.section(first.section);
        let start = first.offset;
        let mut data = bytes_at(header.data, start..last.end()).to_vec();
        for item in (span.start().0..=span.end().0).map(ItemId) {
            let place = patched.items.item(item);
            let hole = indices(place.offset - start..place.end() - start)
                .filter(|_| !inclusion.holds(item) || !is_piece(patched, item))
                .and_then(|range| data.get_mut(range));
            if let Some(hole) = hole {
                hole.fill(patched.object.machine.trap);
            }
        }
        let section = self.section(header, start..last.end(), Cow::Owned(data));
        let symbol = self.symbol(section_symbol(Place::Section { section, value: 0 }));
        Piece {
            section,
            start,
            symbol,
            origin: start,
        }
    }

    fn relocate(&mut self, item: ItemId, inclusion: &Inclusion) {
        let patched = self.comparer.patched;
        let Some(piece) = self.included.get(&item).copied() else {
            return;
        };
        let source = Some(inclusion.source(self.comparer, item));
        let place = patched.items.item(item);
        let range = patched
            .object
            .relocation_range(place.section, lead(patched, item)..place.end());
        for index in range {
            let relocation = &patched.object.relocations[index];
            // Both ends of a short jump keep their distance, so it needs no relocation.
            if patched.is_filled(place.section, relocation.offset)
                && !patched.object.machine.is_carried(relocation.kind)
            {
                continue;
            }
            let offset = relocation.offset - piece.start;
            let relocation = self.relocation(index, Some(item), source, offset);
            let section = &mut self.extract.sections[piece.section.0];
            section.relocations.extend(relocation);
        }
    }

    /// The relocation `index` of the patched object, for a field at `offset` of a piece; `item` is
    /// what has it, unless a table does.
    fn relocation(
        &mut self,
        index: usize,
        item: Option<ItemId>,
        source: Option<ItemId>,
        offset: u64,
    ) -> Option<Relocation> {
        let patched = self.comparer.patched;
        let relocation = &patched.object.relocations[index];
        let target = patched.targets[index];
        let symbol = patched.object.symbol(relocation.symbol);
        let is_call = || item.is_some_and(|item| patched.is_call(item, index));
        let counted_from = |start: u64| {
            // Line numbers stay in the addend; only what it counts from changes.
            let value = i64::try_from(symbol.value).unwrap_or(0);
            let start = i64::try_from(start).unwrap_or(0);
            relocation.addend.wrapping_add(value).wrapping_sub(start)
        };
        let (symbol, addend) =
            match destination(self.comparer, self.changes, source, is_call, target) {
                Destination::Included(item) => {
                    let piece = *self.included.get(&item)?;
                    let own = (piece.symbol, counted_from(piece.origin));
                    self.by_name(relocation, own).unwrap_or(own)
                }
                Destination::Base(counterpart) => {
                    let start = patched.items.item(target.item()?).offset;
                    let own = (self.base(counterpart), counted_from(start));
                    self.by_name(relocation, own).unwrap_or(own)
                }
                Destination::Symbol => (self.outside(relocation.symbol), relocation.addend),
                Destination::Unnamed => return None,
            };
        Some(Relocation {
            offset,
            kind: relocation.kind,
            symbol,
            addend,
        })
    }

    /// The symbol of an item of the original, by the name that the base knows it by.
    fn base(&mut self, counterpart: ItemId) -> SymbolIndex {
        if let Some(known) = self.base.get(&counterpart) {
            return *known;
        }
        let original = self.comparer.original;
        let symbol = original.place_symbol(counterpart);
        let index = self.symbol(Symbol {
            name: symbol.map_or("", |symbol| symbol.name).to_owned(),
            file: symbol.and_then(|symbol| file_of(original, symbol)),
            binding: symbol.map_or(elf::STB_LOCAL.0, |symbol| symbol.binding),
            kind: symbol.map_or(elf::STT_NOTYPE.0, |symbol| symbol.kind),
            size: original.items.item(counterpart).named_size(),
            place: Place::Base,
            otherwise: None,
        });
        self.base.insert(counterpart, index);
        index
    }

    /// The symbol and the addend of a relocation whose symbol may mean something else than `own`,
    /// the place in this object; `None` where `own` has that name.
    fn by_name(
        &mut self,
        relocation: &model::Relocation,
        own: (SymbolIndex, i64),
    ) -> Option<(SymbolIndex, i64)> {
        let symbol = self.comparer.patched.object.symbol(relocation.symbol);
        let known = &self.extract.symbols[own.0.0];
        if !is_by_name(symbol) || (known.name == symbol.name && known.kind == symbol.kind) {
            return None;
        }
        let addend = relocation.addend;
        if let Some(known) = self.outside.get(&relocation.symbol) {
            return Some((*known, addend));
        }
        let index = self.symbol(Symbol {
            name: symbol.name.to_owned(),
            file: file_of(self.comparer.patched, symbol),
            binding: symbol.binding,
            kind: symbol.kind,
            size: symbol.size,
            place: Place::Undefined,
            otherwise: Some(Otherwise {
                symbol: own.0,
                offset: own.1.wrapping_sub(addend),
            }),
        });
        self.outside.insert(relocation.symbol, index);
        Some((index, addend))
    }

    /// A symbol that this object does not define.
    fn outside(&mut self, id: SymbolId) -> SymbolIndex {
        if let Some(known) = self.outside.get(&id) {
            return *known;
        }
        let symbol = self.comparer.patched.object.symbol(id);
        let place = match symbol.place {
            SymbolPlace::Absolute => Place::Absolute(symbol.value),
            SymbolPlace::Common => Place::Base,
            _ => Place::Undefined,
        };
        let index = self.symbol(Symbol {
            name: symbol.name.to_owned(),
            file: None,
            binding: symbol.binding,
            kind: symbol.kind,
            size: symbol.size,
            place,
            otherwise: None,
        });
        self.outside.insert(id, index);
        index
    }

    /// Puts the included entries together, one section for each table.
    fn entries(&mut self, inclusion: &Inclusion) {
        let patched = self.comparer.patched;
        let mut by_section: BTreeMap<SectionId, Vec<_>> = BTreeMap::new();
        for entry in &inclusion.entries {
            by_section.entry(entry.section).or_default().push(*entry);
        }
        for (section, mut entries) in by_section {
            entries.sort_by_key(|entry| entry.offset);
            let header = patched.object.section(section);
            let mut data = Vec::new();
            let mut relocations = Vec::new();
            for entry in &entries {
                let at = data.len() as u64;
                data.extend_from_slice(entry.bytes(patched));
                let items = entry
                    .relocation_range(patched)
                    .filter_map(|index| patched.targets[index].item());
                let owner = items
                    .filter(|item| patched.items.item(*item).kind == ItemKind::Function)
                    .map(|item| self.comparer.correlation.patched_root(item))
                    .next();
                for index in entry.relocation_range(patched) {
                    let offset = patched.object.relocations[index].offset - entry.offset + at;
                    let source = owner.or_else(|| {
                        let item = patched.targets[index].item()?;
                        Some(self.comparer.correlation.patched_root(item))
                    });
                    relocations.extend(self.entry_relocation(index, source, offset));
                }
            }
            self.extract.sections.push(Section {
                name: header.name.to_owned(),
                kind: header.kind,
                flags: flags(header),
                alignment: header.alignment,
                entry_size: header.entry_size,
                size: data.len() as u64,
                data: Cow::Owned(data),
                relocations,
            });
        }
    }

    /// Like [`Self::relocation`], but the function's own address is that of the new code.
    fn entry_relocation(
        &mut self,
        index: usize,
        source: Option<ItemId>,
        offset: u64,
    ) -> Option<Relocation> {
        let patched = self.comparer.patched;
        let own = patched.targets[index].item().filter(|item| {
            source == Some(self.comparer.correlation.patched_root(*item))
                && self.included.contains_key(item)
        });
        let mut relocation = self.relocation(index, None, source, offset)?;
        if let Some(item) = own {
            let raw = &patched.object.relocations[index];
            let value = i64::try_from(patched.object.symbol(raw.symbol).value).unwrap_or(0);
            let piece = self.included.get(&item)?;
            let start = i64::try_from(piece.origin).unwrap_or(0);
            relocation.symbol = piece.symbol;
            relocation.addend = raw.addend.wrapping_add(value).wrapping_sub(start);
        }
        Some(relocation)
    }

    fn records(&mut self, original_entries: &SpecialEntries, inclusion: &Inclusion) {
        let original = self.comparer.original;
        let correlation = self.comparer.correlation;
        let mut describer = Describer::new(original, original_entries);
        let parts = self.out_of_line_parts(inclusion);
        for root in self.changes.functions.keys() {
            let (Some(counterpart), Some(piece)) =
                (correlation.original(*root), self.included.get(root))
            else {
                continue;
            };
            let old = original.place_symbol(counterpart);
            self.extract.records.push(Record {
                name: old.map_or("", |symbol| symbol.name).to_owned(),
                file: old.and_then(|old| file_of(original, old)),
                binding: old.map_or(elf::STB_LOCAL.0, |symbol| symbol.binding),
                symbol: piece.symbol,
                old_size: original.items.item(counterpart).named_size(),
                new_size: self.comparer.patched.items.item(*root).named_size(),
                address_taken: self.comparer.original_users.is_address_taken(counterpart),
                aliases: aliases(original, counterpart),
                original: describer.describe(counterpart, correlation.original_root(counterpart)),
            });
            for &(old, new) in parts.get(root).into_iter().flatten() {
                let named = new
                    .map(|item| self.comparer.patched.shown(item))
                    .or_else(|| old.map(|item| original.shown(item)));
                self.parts.push(Part {
                    record: self.extract.records[self.extract.records.len() - 1].symbol,
                    name: named.unwrap_or_default(),
                    original: old.map(|item| describer.describe(item, counterpart)),
                    patched: new.and_then(|item| Some(self.included.get(&item)?.symbol)),
                });
            }
        }
        for (new, old) in &self.changes.unchanged {
            if let Some(piece) = self.included.get(new) {
                self.extract.constants.push(Constant {
                    symbol: piece.symbol,
                    original: describer.describe(*old, *old),
                });
            }
        }
        self.extract
            .records
            .sort_by(|a, b| (&a.file, &a.name).cmp(&(&b.file, &b.name)));
    }

    /// The out-of-line parts of every replaced function: in the original, in the patched object. A
    /// part that was added or removed is in only one of the two.
    fn out_of_line_parts(&self, inclusion: &Inclusion) -> BTreeMap<ItemId, Vec<PartPair>> {
        let correlation = self.comparer.correlation;
        let mut parts: BTreeMap<ItemId, Vec<PartPair>> = BTreeMap::new();
        for item in inclusion.items.keys() {
            let root = correlation.patched_root(*item);
            if root != *item && self.changes.functions.contains_key(&root) {
                let pair = (correlation.original(*item), Some(*item));
                parts.entry(root).or_default().push(pair);
            }
        }
        for item in self.comparer.original.items.ids() {
            let root = correlation.original_root(item);
            if root != item
                && correlation.patched(item).is_none()
                && let Some(root) = correlation.patched(root)
                && self.changes.functions.contains_key(&root)
            {
                parts.entry(root).or_default().push((Some(item), None));
            }
        }
        parts
    }
}

/// All names of an item's start, locals with their file.
fn aliases(build: &Build<'_>, item: ItemId) -> Vec<(String, Option<String>)> {
    let names = build.symbols_of(item);
    names
        .filter(|symbol| !symbol.name.is_empty() && !symbol.is_section())
        .map(|symbol| (symbol.name.to_owned(), file_of(build, symbol)))
        .collect()
}

/// Makes a symbol for an item that has none.
fn section_symbol(place: Place) -> Symbol {
    Symbol {
        name: String::new(),
        file: None,
        binding: elf::STB_LOCAL.0,
        kind: elf::STT_SECTION.0,
        size: 0,
        place,
        otherwise: None,
    }
}

/// Where the range of an item begins: a type hash and padding before a function are read relative
/// to it and are included with it.
fn lead(build: &Build<'_>, item: ItemId) -> u64 {
    let place = build.items.item(item);
    let mut start = place.offset;
    if place.kind != ItemKind::Function {
        return start;
    }
    for before in (0..item.0).rev().map(ItemId) {
        let other = build.items.item(before);
        let leads = other.section == place.section && other.end() == start && build.is_lead(before);
        if !leads {
            break;
        }
        start = other.offset;
    }
    start
}

fn flags(section: &model::Section<'_>) -> u64 {
    let kept =
        elf::SHF_ALLOC | elf::SHF_WRITE | elf::SHF_EXECINSTR | elf::SHF_MERGE | elf::SHF_STRINGS;
    section.flags & kept.0
}

/// The alignment that a range at `offset` of a section can rely on.
fn alignment(section: &model::Section<'_>, offset: u64) -> u64 {
    match offset {
        0 => section.alignment,
        _ => section.alignment.min(1 << offset.trailing_zeros()),
    }
}
