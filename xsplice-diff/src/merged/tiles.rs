//! Covers the sections of an object with sections of other objects.
//!
//! `ld -r` puts sections of one name behind each other, each on a multiple of its own alignment, and
//! leaves their bytes and relocations as they are but for the offsets. So a merged section is a row
//! of tiles: sections of its name, equal in bytes and relocations, with padding between them.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use crate::merged::ObjectIndex;
use crate::read::object::{ElfObject, Relocation, Section, SectionId, Symbol, SymbolPlace};
use crate::read::padding::is_code_padding;

/// Sections that begin with equal bytes are tried one after the other, and each may leave a rest
/// that nothing covers. So many attempts are made for one merged section before it counts as
/// compiled.
const ATTEMPTS_MAX: usize = 1 << 16;

/// First bytes of a section, by which tiles are found.
const KEY_BYTES: usize = 8;

/// Sections that linkers make anew instead of taking them as they are, and that no payload holds.
const MADE_ANEW: [&str; 2] = [".note.gnu.property", ".eh_frame"];

/// Objects that others may have been merged from, by what they hold.
#[derive(Debug, Default)]
pub(super) struct Parts<'p, 'data> {
    objects: Vec<(ObjectIndex, &'p ElfObject<'data>)>,
    tiles: HashMap<Key<'data>, Vec<Tile>>,
    alignments: HashMap<&'data str, BTreeSet<u64>>,
}

/// Name of a section, its alignment and its first bytes.
type Key<'data> = (&'data str, u64, &'data [u8]);

/// A section of a part.
#[derive(Clone, Copy, Debug)]
struct Tile {
    /// Index into [`Parts::objects`].
    part: usize,
    section: SectionId,
}

/// Where a section of a part stands in a section of the merged object, found by a reference.
type Landing = (usize, SectionId, SectionId, i128);

impl<'p, 'data> Parts<'p, 'data> {
    /// Adds all sections of `object`.
    pub(super) fn add(&mut self, index: ObjectIndex, object: &'p ElfObject<'data>) {
        let part = self.objects.len();
        self.objects.push((index, object));
        for (id, section) in object.sections() {
            if !is_covered_by_bytes(section) {
                continue;
            }
            let key = &section.data[..section.data.len().min(KEY_BYTES)];
            self.tiles
                .entry((section.name, section.alignment, key))
                .or_default()
                .push(Tile { part, section: id });
            self.alignments
                .entry(section.name)
                .or_default()
                .insert(section.alignment);
        }
    }

    /// The objects that `merged` was merged from; `None` when it holds anything else.
    pub(super) fn of(&self, merged: &ElfObject<'data>) -> Option<BTreeSet<ObjectIndex>> {
        let cover = Cover {
            parts: self,
            merged,
            landings: RefCell::default(),
        };
        let mut found = BTreeSet::new();
        for (id, section) in merged.sections() {
            if is_covered_by_bytes(section) {
                found.extend(cover.section(id)?);
            }
        }
        let has_room = merged
            .sections()
            .filter(|(_, section)| section.is_allocated() && section.is_nobits())
            .all(|(_, section)| section.size <= self.reserved_bytes(&found, section.name));
        let parts = found.iter().map(|&part| self.objects[part].0);
        (has_room && !found.is_empty()).then(|| parts.collect())
    }

    /// How much the parts reserve in sections without bytes of that name, alignment included.
    fn reserved_bytes(&self, parts: &BTreeSet<usize>, name: &str) -> u64 {
        parts
            .iter()
            .flat_map(|&part| self.objects[part].1.sections())
            .filter(|(_, section)| section.name == name && section.is_nobits())
            .fold(0, |sum, (_, section)| {
                sum.saturating_add(section.size)
                    .saturating_add(section.alignment - 1)
            })
    }
}

/// One merged object being covered.
struct Cover<'c, 'p, 'data> {
    parts: &'c Parts<'p, 'data>,
    merged: &'c ElfObject<'data>,
    /// Landings that were looked at, and whether the bytes there are equal.
    landings: RefCell<HashMap<Landing, bool>>,
}

impl Cover<'_, '_, '_> {
    /// The parts whose sections the section consists of, longest first where several fit.
    fn section(&self, id: SectionId) -> Option<BTreeSet<usize>> {
        let size = self.merged.section(id).size;
        // Each step: where the tile before it ends, and what may stand there, the best one last.
        let mut steps = vec![(0, self.choices(id, 0))];
        let mut chosen: Vec<usize> = Vec::new();
        for _ in 0..ATTEMPTS_MAX {
            let (_, choices) = steps.last_mut()?;
            let Some((end, part)) = choices.pop() else {
                steps.pop();
                chosen.pop();
                continue;
            };
            chosen.push(part);
            if end == size {
                return Some(chosen.into_iter().collect());
            }
            let next = self.choices(id, end);
            steps.push((end, next));
        }
        None
    }

    /// Tiles that may follow what ends at `end`: where each ends, and whose it is; longest last.
    fn choices(&self, id: SectionId, end: u64) -> Vec<(u64, usize)> {
        let section = self.merged.section(id);
        let mut found = Vec::new();
        for &alignment in self
            .parts
            .alignments
            .get(section.name)
            .into_iter()
            .flatten()
        {
            let Some(start) = end.checked_next_multiple_of(alignment) else {
                continue;
            };
            let Some(rest) = usize::try_from(start)
                .ok()
                .and_then(|start| section.data.get(start..))
            else {
                continue;
            };
            if rest.is_empty() || !self.is_gap(id, end, start) {
                continue;
            }
            for length in 1..=rest.len().min(KEY_BYTES) {
                let key = (section.name, alignment, &rest[..length]);
                for tile in self.parts.tiles.get(&key).into_iter().flatten() {
                    if let Some(end) = self.fits(id, start, rest, *tile) {
                        found.push((end, tile.part));
                    }
                }
            }
        }
        found.sort_unstable();
        found
    }

    /// Whether a linker leaves these bytes between two sections.
    fn is_gap(&self, id: SectionId, from: u64, to: u64) -> bool {
        let section = self.merged.section(id);
        let (Ok(start), Ok(end)) = (usize::try_from(from), usize::try_from(to)) else {
            return false;
        };
        let bytes = &section.data[start..end];
        let is_filled = bytes.iter().all(|byte| *byte == 0)
            || (section.is_executable() && is_code_padding(bytes));
        is_filled && self.merged.relocation_range(id, from..to).is_empty()
    }

    /// Where the tile ends when it stands at `start`, of which `rest` is what follows.
    fn fits(&self, id: SectionId, start: u64, rest: &[u8], tile: Tile) -> Option<u64> {
        let (_, part) = self.parts.objects[tile.part];
        let section = part.section(tile.section);
        // A linker may set no flag that a part has not.
        if !rest.starts_with(section.data) || section.flags != self.merged.section(id).flags {
            return None;
        }
        let end = start.checked_add(section.size)?;
        let range = self.merged.relocation_range(id, start..end);
        let ours = &self.merged.relocations[range];
        let theirs = part.relocations_of(tile.section);
        let is_equal = ours.len() == theirs.len()
            && ours.iter().zip(theirs).all(|(ours, theirs)| {
                ours.offset - start == theirs.offset
                    && ours.kind == theirs.kind
                    && self.is_same_target(tile.part, ours, theirs)
            });
        is_equal.then_some(end)
    }

    /// Whether a relocation of the merged object points at what one of a part points at.
    fn is_same_target(&self, part: usize, ours: &Relocation, theirs: &Relocation) -> bool {
        let object = self.parts.objects[part].1;
        let (our, their) = (
            self.merged.symbol(ours.symbol),
            object.symbol(theirs.symbol),
        );
        if our.is_section() != their.is_section() || our.is_local() != their.is_local() {
            return false;
        }
        match (our.place, their.place) {
            (SymbolPlace::Section(ours_in), SymbolPlace::Section(theirs_in)) => {
                let distance =
                    i128::from(position(our, ours)) - i128::from(position(their, theirs));
                let is_equal =
                    our.is_section() || (our.name == their.name && ours.addend == theirs.addend);
                is_equal && self.lands(part, theirs_in, ours_in, distance)
            }
            // What a part leaves to others, another part may define.
            (_, SymbolPlace::Undefined) | (SymbolPlace::Common, SymbolPlace::Common) => {
                our.name == their.name && ours.addend == theirs.addend
            }
            (SymbolPlace::Absolute, SymbolPlace::Absolute) => {
                our.name == their.name && our.value == their.value && ours.addend == theirs.addend
            }
            _ => false,
        }
    }

    /// Whether a section of the part stands `distance` bytes into a section of the merged object.
    fn lands(&self, part: usize, theirs: SectionId, ours: SectionId, distance: i128) -> bool {
        let landing = (part, theirs, ours, distance);
        if let Some(&is_equal) = self.landings.borrow().get(&landing) {
            return is_equal;
        }
        let is_equal = self.is_landing(landing);
        self.landings.borrow_mut().insert(landing, is_equal);
        is_equal
    }

    fn is_landing(&self, (part, theirs, ours, distance): Landing) -> bool {
        let theirs = self.parts.objects[part].1.section(theirs);
        let ours = self.merged.section(ours);
        let Ok(start) = u64::try_from(distance) else {
            return false;
        };
        let is_within = start
            .checked_add(theirs.size)
            .is_some_and(|end| end <= ours.size);
        let has_bytes = ours.is_nobits()
            || usize::try_from(start).is_ok_and(|start| {
                ours.data
                    .get(start..)
                    .is_some_and(|rest| rest.starts_with(theirs.data))
            });
        theirs.name == ours.name
            && theirs.is_nobits() == ours.is_nobits()
            && start.is_multiple_of(theirs.alignment)
            && is_within
            && has_bytes
    }
}

/// Where the symbol stands in its section; for a section symbol, where the addend leads. The
/// difference of two such places is how far one section stands in the other.
fn position(symbol: &Symbol<'_>, relocation: &Relocation) -> i64 {
    if symbol.is_section() {
        relocation.addend
    } else {
        symbol.value.cast_signed()
    }
}

/// Whether the section's bytes must be those of parts.
fn is_covered_by_bytes(section: &Section<'_>) -> bool {
    section.is_allocated()
        && !section.is_nobits()
        && section.size > 0
        && !MADE_ANEW.contains(&section.name)
}
