//! Which item of the patched object is which of the original.
//!
//! Items are correlated by name where the author gave it, by structure where the compiler made it
//! up. A wrong pair of functions costs a needless replacement at most: a caller whose callee has
//! another counterpart differs too. A wrong pair of variables would give the patched code the state
//! of another variable, so a doubtful pair is left open and reported.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::{HashMap, HashMapExt as _};

use crate::read::items::{ItemId, ItemKind};
use crate::read::names;
use crate::read::object::{Symbol, SymbolId, SymbolPlace};
use crate::read::section_class::SectionClass;
use crate::read::side::Build;

mod contexts;
mod groups;
mod numbered;
mod state;
mod static_locals;
mod users;

/// The evidence for a pair, where it is no name of the author's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Code that is the same otherwise refers to both in the same places.
    Users,
    /// Nothing else of its name has the same users, size and contents.
    Alone,
    /// Changed code uses it as the other one, and no other one so.
    Contexts,
    /// Nothing but its number tells it from others of its name.
    Number,
    /// Nothing but its position tells it from others of its name.
    Order,
}

impl Why {
    /// The evidence as the end of a sentence; the name of the counterpart stands before it.
    pub(crate) fn said(self) -> &'static str {
        match self {
            Why::Users => "code that is the same otherwise refers to both in the same places",
            Why::Alone => "nothing else of that name has the same users, size and contents",
            Why::Contexts => "the code that changed uses both in the same way, and no other one so",
            Why::Number => "nothing but its number tells it from others of its name",
            Why::Order => "nothing but its position tells it from others of its name",
        }
    }
}

/// The pairs of items, and the items that could not be correlated.
#[derive(Debug)]
pub struct Correlation {
    /// For every item of the original its counterpart.
    pub to_patched: Vec<Option<ItemId>>,
    /// For every item of the patched object its counterpart.
    pub to_original: Vec<Option<ItemId>>,
    /// Variables of the patched object that may or may not be one of the original's, with the
    /// candidates.
    pub ambiguous: Vec<(ItemId, Vec<ItemId>)>,
    /// For items of the patched object that were not correlated by a name of their author's: by
    /// what else.
    pub(crate) because: BTreeMap<ItemId, Why>,
    /// Constants of the patched object without identity, with those of the original that may be the
    /// same: their contents are not compared yet.
    pub(crate) same_constant: BTreeMap<ItemId, ItemId>,
    /// Constants of the patched object without identity that code which is the same otherwise takes
    /// for several of the original, or several for one.
    pub(crate) crossed: BTreeSet<ItemId>,
    /// Variables of the original without a counterpart.
    pub(crate) lost_state: Vec<ItemId>,
    /// For every item of the original: the function whose out-of-line part it is.
    pub original_parent: Vec<Option<ItemId>>,
    /// The same for the patched object.
    pub patched_parent: Vec<Option<ItemId>>,
    original_parts: BTreeMap<ItemId, Vec<ItemId>>,
    patched_parts: BTreeMap<ItemId, Vec<ItemId>>,
}

impl Correlation {
    /// Counterpart of an item of the original.
    #[must_use]
    pub fn patched(&self, original: ItemId) -> Option<ItemId> {
        self.to_patched[original.index()]
    }

    /// Counterpart of an item of the patched object.
    #[must_use]
    pub fn original(&self, patched: ItemId) -> Option<ItemId> {
        self.to_original[patched.index()]
    }

    fn pair(&mut self, original: ItemId, patched: ItemId) -> bool {
        let free = self.to_patched[original.index()].is_none()
            && self.to_original[patched.index()].is_none();
        if free {
            self.to_patched[original.index()] = Some(patched);
            self.to_original[patched.index()] = Some(original);
        }
        free
    }

    /// Parts an item of the original from its counterpart, and returns that.
    pub(crate) fn part(&mut self, original: ItemId) -> Option<ItemId> {
        let patched = self.to_patched[original.index()].take()?;
        self.to_original[patched.index()] = None;
        self.because.remove(&patched);
        Some(patched)
    }

    /// Pairs items whose names are no evidence. Returns whether both were free.
    fn pair_because(&mut self, original: ItemId, patched: ItemId, why: Why) -> bool {
        let is_new = self.pair(original, patched);
        if is_new {
            self.because.insert(patched, why);
        }
        is_new
    }

    /// The function that an item of the patched object is a part of: itself, or its parent.
    #[must_use]
    pub(crate) fn patched_root(&self, item: ItemId) -> ItemId {
        root(&self.patched_parent, item)
    }

    /// The function that an item of the original is a part of: itself, or its parent.
    #[must_use]
    pub(crate) fn original_root(&self, item: ItemId) -> ItemId {
        root(&self.original_parent, item)
    }

    /// The out-of-line parts of a function of the original.
    pub(crate) fn original_parts(&self, function: ItemId) -> &[ItemId] {
        self.original_parts
            .get(&function)
            .map_or(&[], Vec::as_slice)
    }

    /// The out-of-line parts of a function of the patched object.
    pub(crate) fn patched_parts(&self, function: ItemId) -> &[ItemId] {
        self.patched_parts.get(&function).map_or(&[], Vec::as_slice)
    }
}

/// The out-of-line parts of each function.
fn parts(parents: &[Option<ItemId>]) -> BTreeMap<ItemId, Vec<ItemId>> {
    let mut parts: BTreeMap<ItemId, Vec<ItemId>> = BTreeMap::new();
    for (part, parent) in (0..).map(ItemId).zip(parents) {
        if let Some(parent) = parent {
            parts.entry(*parent).or_default().push(part);
        }
    }
    parts
}

/// Out-of-line parts of out-of-line parts exist; a chain is at most this long.
const PARENTS_MAX: usize = 8;

fn root(parents: &[Option<ItemId>], item: ItemId) -> ItemId {
    let mut at = item;
    for _ in 0..PARENTS_MAX {
        match parents[at.index()] {
            Some(parent) => at = parent,
            None => break,
        }
    }
    at
}

/// The key of a lookup by name: for a local, with its file.
type Key<'data> = (Option<&'data str>, &'data str);

/// The symbols of one build by name.
struct Names<'data> {
    by_key: HashMap<Key<'data>, FirstItem>,
    only_file: bool,
}

/// The first of the items that have a name, and whether there are more.
#[derive(Clone, Copy)]
struct FirstItem {
    first: ItemId,
    more: bool,
}

impl<'data> Names<'data> {
    fn new(build: &Build<'data>) -> Names<'data> {
        let mut names = Names {
            by_key: HashMap::with_capacity(build.object.symbols.len()),
            only_file: build.object.only_file.is_some(),
        };
        for (symbol, item) in starts(build) {
            names
                .by_key
                .entry(names.key(symbol))
                .and_modify(|entry| entry.more |= entry.first != item)
                .or_insert(FirstItem {
                    first: item,
                    more: false,
                });
        }
        names
    }

    /// Where an object comes from one file, the file's name is ignored: it may differ in another
    /// directory.
    fn key(&self, symbol: &Symbol<'data>) -> Key<'data> {
        let file = if self.only_file {
            Some("")
        } else {
            symbol.file.or(Some(""))
        };
        (file.filter(|_| symbol.is_local()), symbol.name)
    }

    fn get(&self, key: Key<'_>) -> Option<ItemId> {
        let entry = self.by_key.get(&key)?;
        (!entry.more).then_some(entry.first)
    }
}

/// Named symbols at the start of items that have identity.
fn starts<'b, 'data>(build: &'b Build<'data>) -> impl Iterator<Item = (&'b Symbol<'data>, ItemId)> {
    (0..)
        .map(SymbolId)
        .zip(&build.object.symbols)
        .filter_map(|(id, symbol)| {
            let item = build.items.of_symbol(id)?;
            let place = build.items.item(item);
            let starts = symbol.place == SymbolPlace::Section(place.section)
                && symbol.value == place.offset
                && !symbol.name.is_empty()
                && place.symbol.is_some();
            starts.then_some((symbol, item))
        })
}

/// Whether two items can be counterparts at all.
fn compatible(original: &Build<'_>, o: ItemId, patched: &Build<'_>, p: ItemId) -> bool {
    let is_code = |kind| matches!(kind, ItemKind::Function | ItemKind::Label);
    is_code(original.items.item(o).kind) == is_code(patched.items.item(p).kind)
}

/// An item that the base only has during boot is gone afterwards. A patched item of the same name
/// that is needed later is therefore new, not its counterpart.
fn part_from_boot(original: &Build<'_>, patched: &Build<'_>, correlation: &mut Correlation) {
    for p in patched.items.ids() {
        let Some(o) = correlation.original(p) else {
            continue;
        };
        if original.items.class(o) == SectionClass::Init
            && patched.items.class(p) != SectionClass::Init
        {
            correlation.to_original[p.index()] = None;
            correlation.to_patched[o.index()] = None;
        }
    }
}

/// Whether the compiler made the name up, so that it is no evidence.
fn is_made_up(build: &Build<'_>, item: ItemId, symbol: &Symbol<'_>) -> bool {
    if !symbol.is_local() && !names::is_clone(symbol.name) {
        return names::cold_parent(symbol.name).is_some();
    }
    match build.items.item(item).kind {
        ItemKind::Function => {
            names::is_numbered(symbol.name) || names::cold_parent(symbol.name).is_some()
        }
        ItemKind::Datum => symbol.name.contains('.') || names::is_numbered(symbol.name),
        _ => false,
    }
}

/// Correlates the items of two builds.
#[must_use]
pub fn correlate(original: &Build<'_>, patched: &Build<'_>) -> Correlation {
    let named = |build| {
        let names = Names::new(build);
        let parents = parents(build, &names);
        (names, parents)
    };
    let ((original_names, original_parent), (patched_names, patched_parent)) =
        rayon::join(|| named(original), || named(patched));
    let mut correlation = Correlation {
        to_patched: vec![None; original.items.all.len()],
        to_original: vec![None; patched.items.all.len()],
        ambiguous: Vec::new(),
        because: BTreeMap::new(),
        same_constant: BTreeMap::new(),
        crossed: BTreeSet::new(),
        lost_state: Vec::new(),
        original_parts: parts(&original_parent),
        patched_parts: parts(&patched_parent),
        original_parent,
        patched_parent,
    };
    let mut left = Vec::new();
    for (symbol, item) in starts(patched) {
        if is_made_up(patched, item, symbol) || correlation.to_original[item.index()].is_some() {
            continue;
        }
        let key = patched_names.key(symbol);
        let unique = patched_names.get(key).is_some();
        match original_names.get(key).filter(|_| unique) {
            Some(counterpart) if compatible(original, counterpart, patched, item) => {
                correlation.pair(counterpart, item);
            }
            _ => left.push((symbol, item)),
        }
    }
    pair_across_binding(original, patched, &left, &mut correlation);
    users::pair(original, patched, &mut correlation);
    groups::pair_duplicates(original, patched, &mut correlation);
    groups::pair_clones(original, patched, &mut correlation);
    numbered::pair_functions(original, patched, &mut correlation);
    groups::pair_cold_parts(original, patched, &mut correlation);
    groups::pair_gaps(original, patched, &mut correlation);
    users::pair(original, patched, &mut correlation);
    static_locals::pair(original, patched, &mut correlation);
    numbered::pair_constants(original, patched, &mut correlation);
    state::find_lost(original, patched, &mut correlation);
    part_from_boot(original, patched, &mut correlation);
    correlation
}

/// A function or variable that became static, or stopped being static, is still the same one.
fn pair_across_binding(
    original: &Build<'_>,
    patched: &Build<'_>,
    left: &[(&Symbol<'_>, ItemId)],
    correlation: &mut Correlation,
) {
    if left.is_empty() {
        return;
    }
    let mut by_name: HashMap<&str, FirstItem> = HashMap::new();
    for (symbol, item) in starts(original) {
        if correlation.to_patched[item.index()].is_none() && !is_made_up(original, item, symbol) {
            by_name
                .entry(symbol.name)
                .and_modify(|entry| entry.more |= entry.first != item)
                .or_insert(FirstItem {
                    first: item,
                    more: false,
                });
        }
    }
    for (symbol, item) in left {
        if let Some(entry) = by_name.get(symbol.name)
            && !entry.more
            && compatible(original, entry.first, patched, *item)
            && patched
                .symbol(*item)
                .zip(original.symbol(entry.first))
                .is_some_and(|(new, old)| new.is_local() != old.is_local())
        {
            correlation.pair(entry.first, *item);
        }
    }
}

fn parents(build: &Build<'_>, by_name: &Names<'_>) -> Vec<Option<ItemId>> {
    let mut parents = vec![None; build.items.all.len()];
    for (symbol, item) in starts(build) {
        if build.items.item(item).kind != ItemKind::Function {
            continue;
        }
        let Some(parent) = names::cold_parent(symbol.name) else {
            continue;
        };
        let local = by_name.key(symbol).0.unwrap_or("");
        let found = by_name
            .get((Some(local), parent))
            .or_else(|| by_name.get((Some(""), parent)))
            .or_else(|| by_name.get((None, parent)));
        parents[item.index()] = found.filter(|found| *found != item);
    }
    parents
}
