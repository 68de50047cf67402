//! Covers a whole object with sections of other objects, so that every reference leads where it
//! leads in them.
//!
//! Where a part's sections stand in the merged object is known in the main: its global symbols
//! tell, and from there each reference to a local symbol tells where the next section stands
//! ([`Pins`]). The rows of tiles are laid with that in mind, and in the end every reference is
//! followed again, now that each section has its one place.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeSet;

use foldhash::{HashMap, HashSet};
use object::elf;

use crate::merged::definitions::is_label;
use crate::merged::elements::{Elements, element_at};
use crate::merged::order::Order;
use crate::merged::places::{Places, is_alike};
use crate::merged::ranks::ranks;
use crate::merged::tiles::{Parts, Placement, Rank, Tile, is_tiled};
use crate::merged::{Members, ObjectIndex, made_anew};
use crate::read::object::{ElfObject, Relocation, SectionId, Symbol, SymbolPlace};

/// The objects that `merged` was merged from, of those of `parts` that `is_eligible`; `None` when
/// it holds anything else.
///
/// Shortcut S18: every byte, field and symbol of the merged object is one of the parts', so
/// comparing the parts compares it.
pub(super) fn cover<'p, 'data>(
    merged: &ElfObject<'data>,
    parts: &Parts<'p, 'data>,
    is_eligible: impl Fn(ObjectIndex) -> bool,
) -> Option<Members> {
    let places = Places::of(merged);
    let strong: HashSet<(&str, &str)> = names(merged, &places).collect();
    let eligible: Vec<bool> = parts
        .objects
        .iter()
        .map(|part| {
            is_eligible(part.index)
                && names(part.object, &part.places).all(|name| strong.contains(&name))
        })
        .collect();
    let mut cover = Cover {
        parts,
        merged,
        places,
        ranks: ranks(merged, parts, &eligible),
        is_eligible: eligible,
        pins: Pins::default(),
        landings: RefCell::default(),
        elements: OnceCell::new(),
    };
    cover.pin()?;
    let mut rows: HashMap<SectionId, Vec<Placement>> = HashMap::default();
    let mut used: HashSet<Tile> = HashSet::default();
    let mut tiled: Vec<_> = merged.sections().collect();
    tiled.retain(|(_, section)| is_tiled(section));
    // References tell equal tiles apart, and where sections with fewer of them stand.
    tiled.sort_by_key(|(_, section)| {
        let references = section.relocations.len() as u64;
        section.size.checked_div(references).unwrap_or(u64::MAX)
    });
    for (id, section) in tiled {
        match cover.row(id, &mut used) {
            Some(row) => {
                cover.pin_row(id, &row)?;
                rows.insert(id, row);
            }
            None if section.is_mergeable() && cover.elements().hold(merged, id) => {}
            None => return None,
        }
    }
    let is_merged = cover.follow(&rows).is_some()
        && cover.has_room()
        && merged
            .symbols
            .iter()
            .all(|symbol| cover.explains(symbol, &rows));
    let index = |tile: &Tile| parts.objects[tile.part].index;
    let found: BTreeSet<ObjectIndex> = cover.pins.of.keys().map(index).collect();
    (is_merged && !found.is_empty()).then(|| Members {
        parts: found,
        order: Order::of(merged, parts, &rows),
    })
}

/// Each strong global symbol, with the name of the section that it stands in.
fn names<'o, 'data>(
    object: &'o ElfObject<'data>,
    places: &'o Places<'o, 'data>,
) -> impl Iterator<Item = (&'data str, &'data str)> {
    places
        .strong()
        .map(|(section, symbol)| (object.section(section).name, symbol.name))
}

/// One merged object being covered.
pub(super) struct Cover<'c, 'p, 'data> {
    pub(super) parts: &'c Parts<'p, 'data>,
    pub(super) merged: &'c ElfObject<'data>,
    pub(super) places: Places<'c, 'data>,
    /// By index into the parts.
    pub(super) is_eligible: Vec<bool>,
    pub(super) pins: Pins,
    /// By index into the parts; `None` for those without code whose place is known.
    pub(super) ranks: Vec<Option<Rank>>,
    /// Where references lead, and whether the bytes there are equal.
    landings: RefCell<HashMap<(Tile, SectionId, i128), bool>>,
    elements: OnceCell<Elements<'data>>,
}

/// Sections of parts whose place in the merged object is known.
#[derive(Debug, Default)]
pub(super) struct Pins {
    of: HashMap<Tile, (SectionId, u64)>,
    at: HashMap<(SectionId, u64), Tile>,
}

impl Pins {
    /// The tile that is known to begin there.
    pub(super) fn at(&self, section: SectionId, start: u64) -> Option<Tile> {
        self.at.get(&(section, start)).copied()
    }

    /// Whether a tile may stand there.
    pub(super) fn allow(&self, tile: Tile, section: SectionId, start: u64) -> bool {
        let place = (section, start);
        self.of.get(&tile).is_none_or(|known| *known == place)
            && self.at.get(&place).is_none_or(|known| *known == tile)
    }
}

/// Where a reference leads that is not by name.
#[derive(Clone, Copy, Debug)]
struct Landing {
    theirs: Tile,
    their_offset: i128,
    ours: SectionId,
    our_offset: i128,
}

/// How a reference of the merged object and one of a part compare.
enum Pair {
    Same,
    Differs,
    Lands(Landing),
}

impl<'data> Cover<'_, '_, 'data> {
    fn eligible(&self) -> impl Iterator<Item = usize> {
        (0..self.is_eligible.len()).filter(|&part| self.is_eligible[part])
    }

    fn elements(&self) -> &Elements<'data> {
        self.elements.get_or_init(|| {
            Elements::of(self.eligible().map(|part| self.parts.objects[part].object))
        })
    }

    /// Of several parts that define a strong name, those are no members whose section does not fit
    /// where the name stands: builds keep an object beside one that was made from it by `objcopy`.
    fn leave_out_others(&mut self) {
        let mut definers: HashMap<&str, Vec<(Tile, u64)>> = HashMap::default();
        for part in self.eligible() {
            for (section, symbol) in self.parts.objects[part].places.strong() {
                let definer = (Tile { part, section }, symbol.value);
                definers.entry(symbol.name).or_default().push(definer);
            }
        }
        let mut others: Vec<usize> = Vec::new();
        for (id, symbol) in self.places.strong() {
            let all = definers.get(symbol.name).map_or(&[][..], Vec::as_slice);
            for &(tile, offset) in all.iter().filter(|_| all.len() > 1) {
                let start = symbol.value.checked_sub(offset);
                let fits = start.is_some_and(|start| self.stands(id, start, tile));
                if !fits {
                    others.push(tile.part);
                }
            }
        }
        for part in others {
            self.is_eligible[part] = false;
        }
        // Of those that fit alike, the one with the most names: a part of it says no more.
        let names = |part: usize| {
            let strong = self.parts.objects[part].places.strong();
            strong.map(|(_, symbol)| symbol.name).collect()
        };
        let mut within: Vec<usize> = Vec::new();
        let shared = definers.values().filter(|all| all.len() > 1);
        for all in shared {
            let eligible = all.iter().filter(|(tile, _)| self.is_eligible[tile.part]);
            let named: Vec<(usize, HashSet<&str>)> = eligible
                .map(|(tile, _)| (tile.part, names(tile.part)))
                .collect();
            for (part, own) in &named {
                let is_within = named.iter().any(|(other, wider)| {
                    let is_first = (wider.len(), *part) > (own.len(), *other);
                    other != part && is_first && own.is_subset(wider)
                });
                if is_within {
                    within.push(*part);
                }
            }
        }
        for part in within {
            self.is_eligible[part] = false;
        }
        self.ranks = ranks(self.merged, self.parts, &self.is_eligible);
    }

    /// Whether a tile may stand there; what has no bytes may.
    fn stands(&self, id: SectionId, start: u64, tile: Tile) -> bool {
        let section = self.merged.section(id);
        if section.is_nobits() || section.is_mergeable() {
            return true;
        }
        let placement = self.placement(start, tile);
        placement.is_some_and(|placement| self.fits(id, placement))
    }

    /// Pins what global symbols tell, and what references of that tell. `None` where they tell two
    /// things.
    fn pin(&mut self) -> Option<()> {
        self.leave_out_others();
        let mut definers: HashMap<&str, Option<(Tile, u64)>> = HashMap::default();
        for part in self.eligible() {
            for (section, symbol) in self.parts.objects[part].places.strong() {
                let definer = Some((Tile { part, section }, symbol.value));
                definers
                    .entry(symbol.name)
                    .and_modify(|known| *known = None)
                    .or_insert(definer);
            }
        }
        let mut open = Vec::new();
        let named: Vec<_> = self.places.strong().collect();
        for (section, symbol) in named {
            if let Some(Some((tile, offset))) = definers.get(symbol.name) {
                let start = symbol.value.checked_sub(*offset)?;
                self.set(*tile, (section, start), &mut open)?;
            }
        }
        self.pin_referred(open)
    }

    /// Pins the tiles of a row, and what their references tell. `None` where they tell two things.
    fn pin_row(&mut self, id: SectionId, row: &[Placement]) -> Option<()> {
        let mut open = Vec::new();
        let placed: Vec<_> = row.iter().filter(|one| self.is_placed(one.tile)).collect();
        for one in placed {
            self.set(one.tile, (id, one.start), &mut open)?;
        }
        self.pin_referred(open)
    }

    /// Pins what references of these pinned tiles tell. `None` where they tell two things.
    fn pin_referred(&mut self, mut open: Vec<Tile>) -> Option<()> {
        while let Some(tile) = open.pop() {
            let (section, start) = self.pins.of[&tile];
            if self.parts.section(tile).is_nobits() {
                continue;
            }
            let mut landings = Vec::new();
            for (ours, theirs) in self.pairs(section, start, tile)? {
                match self.pair(tile.part, ours, theirs) {
                    Pair::Same => {}
                    Pair::Differs => return None,
                    Pair::Lands(landing) => landings.push(landing),
                }
            }
            for landing in landings {
                if self.is_placed(landing.theirs) {
                    self.set(landing.theirs, landing.place()?, &mut open)?;
                }
            }
        }
        Some(())
    }

    /// Whether a section has one place in the merged object: elements of mergeable ones may have
    /// many, and others are not loaded.
    fn is_placed(&self, tile: Tile) -> bool {
        let section = self.parts.section(tile);
        section.is_allocated() && !section.is_mergeable() && !made_anew(section.name.as_bytes())
    }

    fn set(&mut self, tile: Tile, place: (SectionId, u64), open: &mut Vec<Tile>) -> Option<()> {
        if let Some(known) = self.pins.of.get(&tile) {
            return (*known == place).then_some(());
        }
        self.pins.of.insert(tile, place);
        open.push(tile);
        if self.parts.section(tile).size > 0 {
            let other = self.pins.at.insert(place, tile);
            return other.is_none().then_some(());
        }
        Some(())
    }

    /// The relocations of a merged section from `start` on, each with that of the tile. `None`
    /// where they do not stand at the same offsets or are of other types.
    pub(super) fn pairs(
        &self,
        id: SectionId,
        start: u64,
        tile: Tile,
    ) -> Option<impl Iterator<Item = (&Relocation, &Relocation)>> {
        let size = self.parts.section(tile).size;
        let range = self
            .merged
            .relocation_range(id, start..start.checked_add(size)?);
        let ours = &self.merged.relocations[range];
        let theirs = self.parts.objects[tile.part]
            .object
            .relocations_of(tile.section);
        let are_alike = ours.len() == theirs.len()
            && ours.iter().zip(theirs).all(|(ours, theirs)| {
                ours.offset - start == theirs.offset && ours.kind == theirs.kind
            });
        are_alike.then(|| ours.iter().zip(theirs))
    }

    fn pair(&self, part: usize, ours: &Relocation, theirs: &Relocation) -> Pair {
        let our = self.merged.symbol(ours.symbol);
        let their = self.parts.objects[part].object.symbol(theirs.symbol);
        let is_by_name = our.name == their.name && ours.addend == theirs.addend;
        let same_if = |is_same: bool| if is_same { Pair::Same } else { Pair::Differs };
        // A linked object has one global symbol of a name, whoever defines it.
        if !our.is_local() || !their.is_local() {
            return same_if(is_by_name && our.is_local() == their.is_local());
        }
        match (our.place, their.place) {
            (SymbolPlace::Section(our_section), SymbolPlace::Section(section)) => {
                let addends = (i128::from(ours.addend), i128::from(theirs.addend));
                let values = (i128::from(our.value), i128::from(their.value));
                let (our_offset, their_offset) = match (our.is_section(), their.is_section()) {
                    (true, true) => addends,
                    (true, false) => (addends.0 - addends.1, values.1),
                    (false, false) if is_by_name => values,
                    (false, _) => return Pair::Differs,
                };
                Pair::Lands(Landing {
                    theirs: Tile { part, section },
                    their_offset,
                    ours: our_section,
                    our_offset,
                })
            }
            (SymbolPlace::Absolute, SymbolPlace::Absolute) => {
                same_if(is_by_name && our.value == their.value)
            }
            (SymbolPlace::Undefined, SymbolPlace::Undefined) => same_if(is_by_name),
            _ => Pair::Differs,
        }
    }

    /// Whether both may lead to one place, as long as not all places are known.
    pub(super) fn may_be_same(&self, part: usize, ours: &Relocation, theirs: &Relocation) -> bool {
        match self.pair(part, ours, theirs) {
            Pair::Same => true,
            Pair::Differs => false,
            Pair::Lands(landing) => match self.pins.of.get(&landing.theirs) {
                Some(place) => landing.place() == Some(*place),
                None => self.is_equal_there(&landing),
            },
        }
    }

    /// Whether the section that a reference leads into stands where that reference tells, by its
    /// bytes alone; of a mergeable one, whether the element is the same.
    fn is_equal_there(&self, landing: &Landing) -> bool {
        let key = (landing.theirs, landing.ours, landing.distance());
        if let Some(&is_equal) = self.landings.borrow().get(&key) {
            return is_equal || self.is_same_element(landing);
        }
        let is_equal = self.has_bytes_of(landing);
        self.landings.borrow_mut().insert(key, is_equal);
        is_equal || self.is_same_element(landing)
    }

    fn has_bytes_of(&self, landing: &Landing) -> bool {
        let theirs = self.parts.section(landing.theirs);
        let ours = self.merged.section(landing.ours);
        let Some((_, start)) = landing.place() else {
            return false;
        };
        let is_within = start
            .checked_add(theirs.size)
            .is_some_and(|end| end <= ours.size);
        let has_bytes = ours.is_nobits()
            || usize::try_from(start).is_ok_and(|start| {
                let rest = ours.data.get(start..);
                rest.is_some_and(|rest| rest.starts_with(theirs.data))
            });
        theirs.name == ours.name
            && theirs.is_nobits() == ours.is_nobits()
            && start.is_multiple_of(theirs.alignment)
            && is_within
            && has_bytes
    }

    fn is_same_element(&self, landing: &Landing) -> bool {
        let theirs = self.parts.section(landing.theirs);
        let ours = self.merged.section(landing.ours);
        let at = |section, offset: i128| element_at(section, u64::try_from(offset).ok()?);
        let our_element = at(ours, landing.our_offset);
        theirs.name == ours.name
            && our_element.is_some()
            && our_element == at(theirs, landing.their_offset)
    }

    /// Follows every reference now that each section has its place. What has no bytes has the place
    /// that the first reference tells.
    fn follow(&mut self, rows: &HashMap<SectionId, Vec<Placement>>) -> Option<()> {
        let mut placed: HashMap<Tile, (SectionId, u64)> = HashMap::default();
        for (&id, row) in rows {
            placed.extend(row.iter().map(|one| (one.tile, (id, one.start))));
        }
        for (&tile, &place) in &self.pins.of {
            let section = self.parts.section(tile);
            if !is_tiled(section) {
                placed.insert(tile, place);
            } else if self.is_placed(tile) && placed.get(&tile) != Some(&place) {
                return None;
            }
        }
        for (&id, row) in rows {
            for one in row {
                for (ours, theirs) in self.pairs(id, one.start, one.tile)? {
                    let landing = match self.pair(one.tile.part, ours, theirs) {
                        Pair::Same => continue,
                        Pair::Differs => return None,
                        Pair::Lands(landing) => landing,
                    };
                    let is_there = if !self.is_placed(landing.theirs) {
                        self.is_equal_there(&landing)
                    } else if is_tiled(self.parts.section(landing.theirs)) {
                        placed.get(&landing.theirs).copied() == landing.place()
                    } else {
                        let place = landing.place()?;
                        *placed.entry(landing.theirs).or_insert(place) == place
                            && self.is_equal_there(&landing)
                    };
                    is_there.then_some(())?;
                }
            }
        }
        self.pins.of = placed;
        Some(())
    }

    /// Whether sections without bytes stand apart, and are no larger than what the parts reserve.
    fn has_room(&self) -> bool {
        let mut taken: Vec<(SectionId, u64, u64)> = Vec::new();
        for (&tile, &(id, start)) in &self.pins.of {
            let section = self.parts.section(tile);
            if section.is_nobits() && section.size > 0 {
                taken.push((id, start, start.saturating_add(section.size)));
            }
        }
        taken.sort_unstable();
        let are_apart = taken
            .windows(2)
            .all(|pair| pair[0].0 != pair[1].0 || pair[0].2 <= pair[1].1);
        let reserved = self.reserved();
        are_apart
            && self
                .merged
                .sections()
                .filter(|(_, section)| section.is_allocated() && section.is_nobits())
                .all(|(_, section)| section.size <= reserved.bytes(section.name))
    }

    /// How much the parts reserve.
    fn reserved(&self) -> Reserved<'data> {
        let mut reserved = Reserved::default();
        for part in self.eligible() {
            let object = self.parts.objects[part].object;
            for (_, section) in object.sections().filter(|(_, section)| section.is_nobits()) {
                let sum = reserved.sections.entry(section.name).or_default();
                let bytes = section.size.saturating_add(section.alignment - 1);
                *sum = sum.saturating_add(bytes);
            }
            let symbols = object.symbols.iter();
            for symbol in symbols.filter(|symbol| symbol.place == SymbolPlace::Common) {
                let bytes = symbol.size.saturating_add(symbol.value);
                reserved.common = reserved.common.saturating_add(bytes);
            }
        }
        reserved
    }

    /// Whether a symbol of the merged object is one of a part, at the place of that part's section.
    fn explains(&self, symbol: &Symbol<'_>, rows: &HashMap<SectionId, Vec<Placement>>) -> bool {
        let is_said_elsewhere = symbol.place == SymbolPlace::Undefined
            || symbol.is_section()
            || symbol.kind == elf::STT_FILE.0
            || is_label(symbol.name.as_bytes());
        if is_said_elsewhere {
            return true;
        }
        let SymbolPlace::Section(id) = symbol.place else {
            // A number, or a COMMON symbol with its size and alignment.
            return self.any_symbol(symbol.name, |_, theirs| {
                is_alike(theirs, symbol)
                    && theirs.place == symbol.place
                    && theirs.value == symbol.value
            });
        };
        let section = self.merged.section(id);
        if !section.is_allocated() {
            return true;
        }
        if let Some(row) = rows.get(&id) {
            let behind = row.partition_point(|one| one.start <= symbol.value);
            return row[behind.saturating_sub(2)..behind]
                .iter()
                .filter(|one| symbol.value <= one.end)
                .any(|one| {
                    let places = &self.parts.objects[one.tile.part].places;
                    places.has(one.tile.section, symbol.value - one.start, symbol)
                });
        }
        self.any_symbol(symbol.name, |part, theirs| {
            is_alike(theirs, symbol)
                && match theirs.place {
                    SymbolPlace::Section(section) => {
                        self.stands_at(Tile { part, section }, theirs.value, id, symbol.value)
                    }
                    SymbolPlace::Common => self.merged.section(id).is_nobits(),
                    SymbolPlace::Undefined | SymbolPlace::Absolute => false,
                }
        })
    }

    /// Whether an offset of a section that is no row of tiles is that of a part's section.
    fn stands_at(&self, theirs: Tile, their_offset: u64, ours: SectionId, our_offset: u64) -> bool {
        let landing = Landing {
            theirs,
            their_offset: their_offset.into(),
            ours,
            our_offset: our_offset.into(),
        };
        match self.pins.of.get(&theirs) {
            Some(known) => landing.place() == Some(*known),
            None => {
                made_anew(self.merged.section(ours).name.as_bytes())
                    || self.is_equal_there(&landing)
            }
        }
    }

    /// Whether a symbol of that name of one of the parts is it.
    fn any_symbol(&self, name: &str, is_it: impl Fn(usize, &Symbol<'_>) -> bool) -> bool {
        let named = self.parts.named.get(name).into_iter().flatten();
        named
            .filter(|(part, _)| self.is_eligible[*part])
            .any(|(part, symbol)| is_it(*part, symbol))
    }
}

/// Bytes that parts reserve without having any, alignment included.
#[derive(Default)]
struct Reserved<'data> {
    /// By name of the section.
    sections: HashMap<&'data str, u64>,
    /// For COMMON symbols, which a linker may put into any section.
    common: u64,
}

impl Reserved<'_> {
    /// How large a section of that name can be at most.
    fn bytes(&self, name: &str) -> u64 {
        let own = self.sections.get(name).copied().unwrap_or(0);
        own.saturating_add(self.common)
    }
}

impl Landing {
    /// How far one section stands in the other.
    fn distance(&self) -> i128 {
        self.our_offset - self.their_offset
    }

    /// Where the section must stand for both to lead to one place.
    fn place(&self) -> Option<(SectionId, u64)> {
        Some((self.ours, u64::try_from(self.distance()).ok()?))
    }
}
