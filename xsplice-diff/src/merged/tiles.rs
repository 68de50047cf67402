//! Covers one section of an object with sections of other objects.
//!
//! `ld -r` puts sections of one name behind each other, each on a multiple of its own alignment,
//! and leaves their bytes and relocations as they are but for the offsets. So a merged section is a
//! row of tiles: sections of its name, equal in bytes, relocations and symbols, with padding
//! between them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::iter;

use foldhash::{HashMap, HashSet};
use object::elf;

use crate::machine;
use crate::merged::cover::Cover;
use crate::merged::places::Places;
use crate::merged::{ObjectIndex, made_anew};
use crate::read::object::{ElfObject, Section, SectionId, Symbol, SymbolPlace};

/// Sections that begin with equal bytes are tried one after the other, and each may leave a rest
/// that nothing covers. So many times a choice may be taken back in one merged section before it
/// counts as compiled.
const DEAD_ENDS_MAX: usize = 1 << 10;

/// First bytes of a section, by which tiles are found.
const KEY_BYTES: usize = 8;

/// Flags that a linker may take from a section when it puts it behind others.
const MAY_GO: u64 = elf::SHF_MERGE.0 | elf::SHF_STRINGS.0 | elf::SHF_GROUP.0;

/// Objects that others may have been merged from, by what they hold.
#[derive(Debug, Default)]
pub(super) struct Parts<'p, 'data> {
    pub(super) objects: Vec<Part<'p, 'data>>,
    tiles: HashMap<Key<'data>, Vec<Tile>>,
    /// By name of the section: which alignments there are, of empty ones too, and how long keys of
    /// each are.
    alignments: HashMap<&'data str, BTreeMap<u64, KeyLengths>>,
    /// Definitions by name, each with the index of its object.
    pub(super) named: HashMap<&'data str, Vec<(usize, &'p Symbol<'data>)>>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Part<'p, 'data> {
    pub(super) index: ObjectIndex,
    pub(super) object: &'p ElfObject<'data>,
    pub(super) places: Places<'p, 'data>,
}

/// Name of a section, its alignment and its first bytes.
type Key<'data> = (&'data str, u64, &'data [u8]);

/// Lengths of keys: nearly all are [`KEY_BYTES`] long, so that shorter ones need not be tried.
type KeyLengths = BTreeSet<usize>;

/// A section of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Tile {
    /// Index into [`Parts::objects`].
    pub(super) part: usize,
    pub(super) section: SectionId,
}

/// Where a part stands among the others in the link.
pub(super) type Rank = usize;

/// How well a part's rank fits what stands in front.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Before,
    Unknown,
    Behind,
}

/// A tile and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Placement {
    pub(super) end: u64,
    pub(super) tile: Tile,
    pub(super) start: u64,
}

/// A tile that may stand somewhere; the best is the greatest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Choice {
    fit: Fit,
    rank: Reverse<Option<Rank>>,
    placement: Placement,
}

impl<'p, 'data> Parts<'p, 'data> {
    /// Adds all sections of `object`.
    pub(super) fn add(&mut self, index: ObjectIndex, object: &'p ElfObject<'data>) {
        let part = self.objects.len();
        self.objects.push(Part {
            index,
            object,
            places: Places::of(object),
        });
        let defined = object
            .symbols
            .iter()
            .filter(|symbol| symbol.place != SymbolPlace::Undefined && !symbol.name.is_empty());
        for symbol in defined {
            let known = self.named.entry(symbol.name).or_default();
            known.push((part, symbol));
        }
        for (id, section) in object.sections() {
            if !section.is_allocated() {
                continue;
            }
            let alignments = self.alignments.entry(section.name).or_default();
            let lengths = alignments.entry(section.alignment).or_default();
            if !is_tiled(section) {
                continue;
            }
            let key = &section.data[..section.data.len().min(KEY_BYTES)];
            lengths.insert(key.len());
            let tile = Tile { part, section: id };
            self.tiles
                .entry((section.name, section.alignment, key))
                .or_default()
                .push(tile);
        }
    }

    /// The section that a tile is.
    pub(super) fn section(&self, tile: Tile) -> &'p Section<'data> {
        self.objects[tile.part].object.section(tile.section)
    }
}

/// Whether a section must be a row of tiles.
pub(super) fn is_tiled(section: &Section<'_>) -> bool {
    section.is_allocated()
        && !section.is_nobits()
        && section.size > 0
        && !made_anew(section.name.as_bytes())
}

impl<'data> Cover<'_, '_, 'data> {
    /// The tiles that a section of the merged object consists of, in order; none of `used`, to
    /// which they are added.
    pub(super) fn row(&self, id: SectionId, used: &mut HashSet<Tile>) -> Option<Vec<Placement>> {
        let size = self.merged.section(id).size;
        // What may stand behind each of the chosen.
        let mut steps = vec![self.choices(id, 0, None)];
        let mut chosen: Vec<Placement> = Vec::new();
        let mut dead_ends = 0;
        while dead_ends <= DEAD_ENDS_MAX {
            let Some(step) = steps.last_mut() else {
                break;
            };
            let Some(Choice {
                placement: choice, ..
            }) = step.pop()
            else {
                dead_ends += 1;
                steps.pop();
                if let Some(last) = chosen.pop() {
                    used.remove(&last.tile);
                }
                continue;
            };
            // Hundreds may begin alike, and the best is nearly always the one: only what is tried
            // is looked at closely.
            if used.contains(&choice.tile) || !self.fits(id, choice) {
                continue;
            }
            used.insert(choice.tile);
            chosen.push(choice);
            let mut ends = self.behind_aligned(id, choice.end);
            if ends.any(|end| end == size && self.is_gap(id, choice.end, end)) {
                if self.has_flags_of(id, &chosen) {
                    return Some(chosen);
                }
                break;
            }
            steps.push(self.choices(id, choice.end, self.ranks[choice.tile.part]));
        }
        for one in chosen {
            used.remove(&one.tile);
        }
        None
    }

    /// Tiles that may follow what ends at `end` and is a section of the part with the rank `after`,
    /// if they fit. Parts stand in one order in all sections, so that the next in rank is the best.
    fn choices(&self, id: SectionId, end: u64, after: Option<Rank>) -> BinaryHeap<Choice> {
        let section = self.merged.section(id);
        let mut found = Vec::new();
        let alignments = self.parts.alignments.get(section.name);
        let mut starts: Vec<(u64, u64, &KeyLengths)> = Vec::new();
        for from in self.behind_aligned(id, end) {
            let aligned = alignments
                .into_iter()
                .flatten()
                .filter_map(|(alignment, lengths)| {
                    let start = from.checked_next_multiple_of(*alignment)?;
                    Some((*alignment, start, lengths))
                });
            starts.extend(aligned);
        }
        starts.sort_unstable_by_key(|&(alignment, start, _)| (alignment, start));
        starts.dedup_by_key(|&mut (alignment, start, _)| (alignment, start));
        for (alignment, start, lengths) in starts {
            let Some(rest) = usize::try_from(start)
                .ok()
                .and_then(|start| section.data.get(start..))
            else {
                continue;
            };
            if rest.is_empty() || !self.is_gap(id, end, start) {
                continue;
            }
            // Where it is known what stands there, nothing else need be tried.
            if let Some(tile) = self.pins.at(id, start) {
                let known = self.parts.section(tile);
                if known.name == section.name && known.alignment == alignment {
                    found.extend(self.placement(start, tile));
                }
                continue;
            }
            for &length in lengths.range(..=rest.len()) {
                let key = (section.name, alignment, &rest[..length]);
                let tiles = self.parts.tiles.get(&key).into_iter().flatten();
                let eligible = tiles.filter(|tile| self.is_eligible[tile.part]);
                found.extend(eligible.filter_map(|tile| self.placement(start, *tile)));
            }
        }
        let choices = found.into_iter().map(|placement: Placement| {
            let rank = self.ranks[placement.tile.part];
            let fit = match rank {
                Some(_) if rank >= after => Fit::Behind,
                Some(_) => Fit::Before,
                None => Fit::Unknown,
            };
            Choice {
                fit,
                rank: Reverse(rank),
                placement,
            }
        });
        choices.collect::<Vec<_>>().into()
    }

    /// Where what stands behind `end` may begin: there, or on a multiple of any alignment of that
    /// name. An empty section may stand between, or the parts of a merged object begin, which is
    /// aligned as the strictest of them.
    fn behind_aligned(&self, id: SectionId, end: u64) -> impl Iterator<Item = u64> {
        let name = self.merged.section(id).name;
        let alignments = self.parts.alignments.get(name);
        let behind = alignments
            .into_iter()
            .flatten()
            .filter_map(move |(alignment, _)| end.checked_next_multiple_of(*alignment));
        iter::once(end).chain(behind)
    }

    /// Whether a linker leaves these bytes between two sections.
    fn is_gap(&self, id: SectionId, from: u64, to: u64) -> bool {
        let section = self.merged.section(id);
        let (Ok(start), Ok(end)) = (usize::try_from(from), usize::try_from(to)) else {
            return false;
        };
        let Some(bytes) = section.data.get(start..end) else {
            return false;
        };
        let is_filled = bytes.iter().all(|byte| *byte == 0)
            || (section.is_executable() && machine::is_padding(self.merged.machine, bytes));
        is_filled
            && self.merged.relocation_range(id, from..to).is_empty()
            && self
                .places
                .within(id, from..=to)
                .all(|symbol| symbol.value == to || (symbol.value == from && symbol.size == 0))
    }

    /// Where the tile stands when it begins at `start`.
    pub(super) fn placement(&self, start: u64, tile: Tile) -> Option<Placement> {
        let end = start.checked_add(self.parts.section(tile).size)?;
        Some(Placement { end, tile, start })
    }

    /// Whether a tile may stand there: all that it holds is there.
    pub(super) fn fits(&self, id: SectionId, placement: Placement) -> bool {
        let Placement { tile, start, .. } = placement;
        let section = self.parts.section(tile);
        let merged = self.merged.section(id);
        let rest = usize::try_from(start)
            .ok()
            .and_then(|start| merged.data.get(start..));
        let is_alike = self.is_eligible[tile.part]
            && self.pins.allow(tile, id, start)
            && rest.is_some_and(|rest| rest.starts_with(section.data))
            && section.flags & !MAY_GO & !merged.flags == 0;
        let are_same = || {
            let mut pairs = self.pairs(id, start, tile)?;
            Some(pairs.all(|(ours, theirs)| self.may_be_same(tile.part, ours, theirs)))
        };
        is_alike && self.has_symbols_of(id, placement) && are_same() == Some(true)
    }

    /// Whether the symbols in a part of a merged section are those of the tile. Symbols without a
    /// size at either end may be a neighbour's.
    fn has_symbols_of(&self, id: SectionId, placement: Placement) -> bool {
        let Placement { end, tile, start } = placement;
        let part = &self.parts.objects[tile.part];
        let ours = self.places.within(id, start..=end - 1);
        let are_theirs = ours
            .filter(|symbol| symbol.size > 0 || symbol.value > start)
            .all(|symbol| part.places.has(tile.section, symbol.value - start, symbol));
        are_theirs
            && part
                .places
                .in_section(tile.section)
                .filter(|symbol| symbol.binding == elf::STB_GLOBAL.0)
                .all(|symbol| {
                    let at = start.checked_add(symbol.value);
                    at.is_some_and(|at| self.places.has(id, at, symbol))
                })
    }

    /// Whether each flag of a merged section is one of its tiles'.
    fn has_flags_of(&self, id: SectionId, row: &[Placement]) -> bool {
        let theirs = row.iter().fold(0, |flags, placement| {
            flags | self.parts.section(placement.tile).flags
        });
        self.merged.section(id).flags & !theirs == 0
    }
}
