//! Compares correlated items: by their bytes, and by what their relocations point at.
//!
//! Two targets are equal when they are at the same offset in counterparts, when they are the same
//! undefined symbol, or when they are equal content without identity. A difference inside a
//! counterpart does not count for those who refer to it, except for a constant that only one
//! function uses: it is part of that function.

use std::cell::OnceCell;

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};

use crate::compare::gaps;
use crate::compare::special_entries::SpecialEntries;
use crate::compare::users::Users;
use crate::correlate::Correlation;
use crate::read::items::{ItemId, ItemKind};
use crate::read::names;
use crate::read::object::{ElfObject, Relocation, SymbolId, SymbolPlace};
use crate::read::relocation::Target;
use crate::read::side::Build;
use crate::read::side::{LOCATION, is_content, tells_location};
use crate::read::strings::shown;
use crate::verdict::kinds::Reason;

/// At most this many reasons are listed for one item; more do not help.
const REASONS_MAX: usize = 16;

/// Deepest chain of content that refers to content; what lies deeper counts as different.
const DEPTH_MAX: usize = 16;

/// Compares the items of two builds.
#[derive(Debug)]
pub struct Comparer<'a, 'data> {
    /// The original.
    pub original: &'a Build<'data>,
    /// The patched one.
    pub patched: &'a Build<'data>,
    /// Which item is which.
    pub correlation: &'a Correlation,
    /// Who uses what in the original.
    pub original_users: &'a Users,
    /// Who uses what in the patched object.
    pub patched_users: &'a Users,
    /// Special-section entries of the original and of the patched object.
    pub(crate) entries: (&'a SpecialEntries, &'a SpecialEntries),
    /// Constants of the original that one of the patched object is.
    taken: HashSet<ItemId>,
    contents: HashMap<(ItemId, ItemId), Option<u64>>,
    open: Vec<(ItemId, ItemId)>,
    /// Pairs found equal while enclosing pairs were still being compared, and which may depend on
    /// those being equal.
    provisional: HashSet<(ItemId, ItemId)>,
    /// Of each build the constants without a symbol that may be read further than is told.
    read_on: OnceCell<[HashSet<ItemId>; 2]>,
}

impl<'a, 'data> Comparer<'a, 'data> {
    /// Nothing is compared yet.
    #[must_use]
    pub fn new(
        original: &'a Build<'data>,
        patched: &'a Build<'data>,
        correlation: &'a Correlation,
        original_users: &'a Users,
        patched_users: &'a Users,
        entries: (&'a SpecialEntries, &'a SpecialEntries),
    ) -> Self {
        Comparer {
            original,
            patched,
            correlation,
            original_users,
            patched_users,
            entries,
            taken: correlation.same_constant.values().copied().collect(),
            contents: HashMap::new(),
            open: Vec::new(),
            provisional: HashSet::new(),
            read_on: OnceCell::new(),
        }
    }

    /// What differs between two items; empty when they are the same.
    pub fn differences(&mut self, o: ItemId, p: ItemId) -> Vec<Reason> {
        let mut reasons = Vec::new();
        let old_bytes = self.original.bytes(o);
        let new_bytes = self.patched.bytes(p);
        let (old_size, new_size) = (
            self.original.items.item(o).size,
            self.patched.items.item(p).size,
        );
        let first = self.first_byte_difference(o, p);
        let same_form = self
            .original
            .object
            .section(self.original.items.item(o).section)
            .is_nobits()
            == self
                .patched
                .object
                .section(self.patched.items.item(p).section)
                .is_nobits();
        let mut limit = u64::MAX;
        if !same_form {
            // One of the two has no bytes in the file: they are zeros.
            let bytes = if old_bytes.is_empty() {
                new_bytes
            } else {
                old_bytes
            };
            if let Some(at) = bytes.iter().position(|byte| *byte != 0) {
                reasons.push(Reason::BytesDiffer { offset: at as u64 });
            }
        } else if let Some(offset) = first {
            reasons.push(Reason::BytesDiffer { offset });
            limit = offset;
        }
        if old_size != new_size {
            reasons.push(Reason::SizeDiffers {
                old: old_size,
                new: new_size,
            });
            limit = limit.min(old_size).min(new_size);
        }
        self.relocation_differences(o, p, limit, &mut reasons);
        reasons
    }

    /// Where the bytes of two items differ first. Fields that the assembler resolved are left out:
    /// their targets are compared instead.
    ///
    /// Shortcut S17: what the assembler filled is compared by where it leads.
    pub(crate) fn first_byte_difference(&self, o: ItemId, p: ItemId) -> Option<u64> {
        let (old, new) = (self.original.bytes(o), self.patched.bytes(p));
        let mut at = first_difference(old, new)?;
        let old_start = self.original.items.item(o).offset;
        let new_start = self.patched.items.item(p).offset;
        let mut before = self.original.filled(o).peekable();
        let mut after = self.patched.filled(p).peekable();
        loop {
            let reaches = |start: u64, (offset, bytes): (u64, u64)| offset - start + bytes > at;
            while before
                .next_if(|field| !reaches(old_start, *field))
                .is_some()
            {}
            while after.next_if(|field| !reaches(new_start, *field)).is_some() {}
            let (Some(old_field), Some(new_field)) = (before.peek(), after.peek()) else {
                return Some(at);
            };
            let same_field = old_field.0 - old_start == new_field.0 - new_start
                && old_field.1 == new_field.1
                && old_field.0 - old_start <= at;
            if !same_field {
                return Some(at);
            }
            let behind = old_field.0 - old_start + old_field.1;
            let from = usize::try_from(behind).ok()?;
            let (old, new) = (old.get(from..)?, new.get(from..)?);
            at = behind + first_difference(old, new)?;
        }
    }

    /// Whether any relocations of two items of the same size differ.
    pub(crate) fn relocations_differ(&mut self, o: ItemId, p: ItemId) -> bool {
        let mut reasons = Vec::new();
        self.relocation_differences(o, p, u64::MAX, &mut reasons);
        !reasons.is_empty()
    }

    /// Compares relocations whose fields lie below `limit`; behind it the two items no longer run
    /// in parallel.
    fn relocation_differences(
        &mut self,
        o: ItemId,
        p: ItemId,
        limit: u64,
        reasons: &mut Vec<Reason>,
    ) {
        let (original, patched) = (self.original, self.patched);
        let old_start = original.items.item(o).offset;
        let new_start = patched.items.item(p).offset;
        let mut old = original.relocation_range(o).peekable();
        let mut new = patched.relocation_range(p).peekable();
        while reasons.len() < REASONS_MAX {
            let old_at = old
                .peek()
                .map(|index| original.object.relocations[*index].offset - old_start);
            let new_at = new
                .peek()
                .map(|index| patched.object.relocations[*index].offset - new_start);
            let Some(at) = old_at
                .into_iter()
                .chain(new_at)
                .min()
                .filter(|at| *at < limit)
            else {
                break;
            };
            let before = (old_at == Some(at)).then(|| old.next()).flatten();
            let after = (new_at == Some(at)).then(|| new.next()).flatten();
            match (before, after) {
                (Some(before), Some(after)) => {
                    reasons.extend(self.relocation_difference(before, after, at));
                }
                _ => reasons.push(Reason::RelocationDiffers {
                    offset: at,
                    old: before.map_or_else(none, |index| shown_relocation(original, index)),
                    new: after.map_or_else(none, |index| shown_relocation(patched, index)),
                }),
            }
        }
    }

    /// What differs between two relocations (by their indices) of fields at `offset`.
    pub(crate) fn relocation_difference(
        &mut self,
        before: usize,
        after: usize,
        offset: u64,
    ) -> Option<Reason> {
        let (original, patched) = (self.original, self.patched);
        let old = &original.object.relocations[before];
        let new = &patched.object.relocations[after];
        let machine = patched.object.machine;
        if machine.alike(old.kind) != machine.alike(new.kind) {
            return Some(Reason::RelocationDiffers {
                offset,
                old: shown_relocation(original, before),
                new: shown_relocation(patched, after),
            });
        }
        let differs = |_: &Relocation| Reason::TargetDiffers {
            offset,
            old: shown_target(original, original.targets[before]),
            new: shown_target(patched, patched.targets[after]),
        };
        if let Some(reason) = self.name_difference(before, after, offset) {
            return Some(reason);
        }
        match (original.targets[before], patched.targets[after]) {
            (
                Target::Item {
                    item: o,
                    offset: old_offset,
                    ..
                },
                Target::Item {
                    item: p,
                    offset: new_offset,
                    ..
                },
            ) => {
                let pair = ((o, old_offset), (p, new_offset));
                self.item_difference(pair, || differs(old), offset)
            }
            (
                Target::Symbol {
                    symbol: o,
                    addend: old_addend,
                },
                Target::Symbol {
                    symbol: p,
                    addend: new_addend,
                },
            ) => {
                let equal = old_addend == new_addend && same_symbol(original, o, patched, p);
                (!equal).then(|| differs(old))
            }
            (
                Target::Symbol { symbol, addend },
                Target::Item {
                    item, offset: at, ..
                },
            ) => {
                let equal = addend == at
                    && names_global(patched, item, original.object.symbol(symbol).name);
                (!equal).then(|| differs(old))
            }
            (
                Target::Item {
                    item, offset: at, ..
                },
                Target::Symbol { symbol, addend },
            ) => {
                let equal = addend == at
                    && names_global(original, item, patched.object.symbol(symbol).name);
                (!equal).then(|| differs(old))
            }
            (
                Target::Section {
                    section: o,
                    offset: old_offset,
                },
                Target::Section {
                    section: p,
                    offset: new_offset,
                },
            ) => {
                let equal = old_offset == new_offset
                    && original.object.section(o).name == patched.object.section(p).name;
                (!equal).then(|| differs(old))
            }
            _ => Some(differs(old)),
        }
    }

    /// What differs between two places in items that relocations of fields at `offset` lead to.
    fn item_difference(
        &mut self,
        ((o, old_offset), (p, new_offset)): ((ItemId, i64), (ItemId, i64)),
        differs: impl FnOnce() -> Reason,
        offset: u64,
    ) -> Option<Reason> {
        if self.correlation.original(p) == Some(o) && !is_content(self.patched, p) {
            if old_offset != new_offset {
                return Some(differs());
            }
            return self.private_constant_difference(o, p, offset);
        }
        if !is_content(self.original, o) || !is_content(self.patched, p) {
            return Some(differs());
        }
        let at = self.content_difference(o, p);
        if at.is_none() && old_offset == new_offset {
            return self.is_another_constant(o, p).then(differs);
        }
        Some(self.content_reason(o, p, offset, at.unwrap_or(0)))
    }

    /// What differs between two relocations of which one goes by a weak name that its object
    /// defines. Another object may define it too, so it stands for no place of this object.
    fn name_difference(&self, before: usize, after: usize, offset: u64) -> Option<Reason> {
        let (original, patched) = (self.original, self.patched);
        original.weak_name(before).or(patched.weak_name(after))?;
        let named = |object: &ElfObject<'data>, index: usize| {
            object.symbol(object.relocations[index].symbol).name
        };
        let (old, new) = (
            named(&original.object, before),
            named(&patched.object, after),
        );
        (old != new).then(|| Reason::TargetDiffers {
            offset,
            old: old.to_owned(),
            new: new.to_owned(),
        })
    }

    /// Whether a named constant is not the one that it was, although both hold the same: code that
    /// stores or compares its address tells them apart. What compilers made of their own has no
    /// address that anybody knows.
    fn is_another_constant(&self, o: ItemId, p: ItemId) -> bool {
        let is_one = |build: &Build<'_>, item: ItemId| {
            let is_datum = build.items.item(item).kind == ItemKind::Datum;
            is_datum && !names::is_of_compilers(build.name(item))
        };
        let known = self.correlation.same_constant.get(&p);
        is_one(self.original, o)
            && is_one(self.patched, p)
            && match known {
                Some(known) => *known != o,
                None => self.correlation.crossed.contains(&p) || self.taken.contains(&o),
            }
    }

    /// A named constant that one function alone uses is part of it.
    fn private_constant_difference(&mut self, o: ItemId, p: ItemId, offset: u64) -> Option<Reason> {
        if !self.is_private_constant(o, p) {
            return None;
        }
        let at = self.content_difference(o, p)?;
        Some(Reason::ConstantDiffers {
            offset,
            name: self.patched.shown(p),
            at,
        })
    }

    /// Whether two counterparts are a constant that only one function uses, in both builds.
    #[must_use]
    pub(crate) fn is_private_constant(&self, o: ItemId, p: ItemId) -> bool {
        let constant = |build: &Build<'_>, item: ItemId| {
            build.items.class(item).is_constant()
                && !build.is_in_unusual_section(item)
                && build.items.item(item).kind == ItemKind::Datum
                && build.symbol(item).is_some_and(|symbol| symbol.is_local())
        };
        constant(self.original, o)
            && constant(self.patched, p)
            && self
                .original_users
                .only_function(o)
                .zip(self.patched_users.only_function(p))
                .is_some_and(|(old, new)| self.correlation.original(new) == Some(old))
    }

    fn content_reason(&self, o: ItemId, p: ItemId, offset: u64, at: u64) -> Reason {
        let is_string = |build: &Build<'_>, item: ItemId| {
            let place = build.items.item(item);
            if place.kind == ItemKind::Content {
                return build.object.section(place.section).holds_strings();
            }
            // Without optimisation, compilers put strings among other constants.
            let bytes = build.bytes(item);
            let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            text.len() < bytes.len()
                && !text.is_empty()
                && str::from_utf8(text).is_ok_and(|text| !text.contains(is_binary))
        };
        if is_string(self.original, o) && is_string(self.patched, p) {
            Reason::StringDiffers {
                offset,
                old: string(self.original, o),
                new: string(self.patched, p),
            }
        } else {
            Reason::ConstantDiffers {
                offset,
                name: self.patched.shown(p),
                at,
            }
        }
    }

    /// Where two contents differ first, in bytes from their start; `None` when they are equal.
    ///
    /// Shortcut S16: a pair that is being compared counts as equal until the outermost pair is
    /// decided, and if that differs the assumption is dropped with it.
    pub(crate) fn content_difference(&mut self, o: ItemId, p: ItemId) -> Option<u64> {
        if let Some(known) = self.contents.get(&(o, p)) {
            return *known;
        }
        if self.open.contains(&(o, p)) || self.provisional.contains(&(o, p)) {
            return None;
        }
        if self.open.len() >= DEPTH_MAX {
            return Some(0);
        }
        self.open.push((o, p));
        let difference = self.compute_content_difference(o, p);
        self.open.pop();
        if difference.is_some() {
            self.contents.insert((o, p), difference);
        } else {
            self.provisional.insert((o, p));
        }
        // While a pair is being compared it is assumed to be equal. When the outermost pair is
        // equal, that was right; when it is not, results that depend on the assumption are dropped.
        // Looking at each pair once keeps the time linear for contents that refer to each other.
        if self.open.is_empty() {
            if difference.is_none() {
                let equal = self.provisional.drain().map(|pair| (pair, None));
                self.contents.extend(equal);
            } else {
                self.provisional.clear();
            }
        }
        difference
    }

    fn compute_content_difference(&mut self, o: ItemId, p: ItemId) -> Option<u64> {
        let (original, patched) = (self.original, self.patched);
        let (old, new) = (original.bytes(o), patched.bytes(p));
        let (old_item, new_item) = (original.items.item(o), patched.items.item(p));
        if old_item.size != new_item.size {
            // What lies between two constants is padding, unless something reads on there.
            let shorter = old.len().min(new.len());
            let longer = if old.len() > new.len() { old } else { new };
            let is_gap = old_item.kind == ItemKind::Gap && new_item.kind == ItemKind::Gap;
            if !is_gap || longer[shorter..].iter().any(|byte| *byte != 0) {
                return Some(first_difference(old, new).unwrap_or(shorter as u64));
            }
            let read_on = || [original, patched].map(gaps::read_on);
            let [before, after] = self.read_on.get_or_init(read_on);
            let is_followed = match old.len() < new.len() {
                true => gaps::is_followed(original, o),
                false => gaps::is_followed(patched, p),
            };
            if is_followed && (before.contains(&o) || after.contains(&p)) {
                return Some(first_difference(old, new).unwrap_or(shorter as u64));
            }
        }
        let at = if tells_location(original, o) && tells_location(patched, p) {
            described_difference(old, new)
        } else {
            self.first_byte_difference(o, p)
        };
        if at.is_some() {
            return at;
        }
        let before = original.relocation_range(o);
        let after = patched.relocation_range(p);
        if before.len() != after.len() {
            return Some(0);
        }
        for (before, after) in before.zip(after) {
            let at = original.object.relocations[before].offset - old_item.offset;
            let other = patched.object.relocations[after].offset - new_item.offset;
            if at != other || self.relocation_difference(before, after, at).is_some() {
                return Some(at);
            }
        }
        self.differs_behind(o, p).then_some(new_item.size)
    }
}

/// Characters that do not occur in messages.
fn is_binary(character: char) -> bool {
    character.is_control() && !character.is_ascii_whitespace()
}

fn none() -> String {
    "none".to_owned()
}

fn first_difference(old: &[u8], new: &[u8]) -> Option<u64> {
    let shorter = old.len().min(new.len());
    if old[..shorter] == new[..shorter] {
        return None;
    }
    old.iter()
        .zip(new)
        .position(|(old, new)| old != new)
        .map(|at| at as u64)
}

/// Where two descriptors of a sanitizer differ first, but for the line and column that they tell.
fn described_difference(old: &[u8], new: &[u8]) -> Option<u64> {
    let pairs = old.iter().zip(new).enumerate();
    pairs
        .filter(|(at, _)| !LOCATION.contains(at))
        .find(|(_, (old, new))| old != new)
        .map(|(at, _)| at as u64)
}

fn same_symbol(original: &Build<'_>, o: SymbolId, patched: &Build<'_>, p: SymbolId) -> bool {
    let (old, new) = (original.object.symbol(o), patched.object.symbol(p));
    old.name == new.name
        && (old.place != SymbolPlace::Absolute || old.value == new.value)
        && (old.place == SymbolPlace::Absolute) == (new.place == SymbolPlace::Absolute)
}

/// Whether other objects can refer to the start of an item by this name.
fn names_global(build: &Build<'_>, item: ItemId, name: &str) -> bool {
    build
        .symbol(item)
        .is_some_and(|symbol| !symbol.is_local() && symbol.name == name)
}

/// What a person calls a target.
#[must_use]
pub(crate) fn shown_target(build: &Build<'_>, target: Target) -> String {
    let with_offset = |name: &str, offset: i64| match offset {
        0 => name.to_owned(),
        1.. => format!("{name}+{offset:#x}"),
        _ => format!("{name}-{:#x}", offset.unsigned_abs()),
    };
    match target {
        Target::Item { item, .. } => {
            let place = build.items.item(item);
            if place.kind == ItemKind::Content
                && build.object.section(place.section).holds_strings()
            {
                return format!("{:?}", string(build, item));
            }
            with_offset(&build.shown(item), target.meant())
        }
        Target::Symbol { symbol, addend } => with_offset(build.object.symbol(symbol).name, addend),
        Target::Section { section, offset } => {
            with_offset(build.object.section(section).name, offset)
        }
    }
}

fn shown_relocation(build: &Build<'_>, index: usize) -> String {
    format!(
        "{} {}",
        build
            .object
            .machine
            .type_name(build.object.relocations[index].kind),
        shown_target(build, build.targets[index])
    )
}

/// What a string says, for a person.
fn string(build: &Build<'_>, item: ItemId) -> String {
    let section = build.object.section(build.items.item(item).section);
    let unit_bytes = if section.holds_strings() {
        section.entry_size
    } else {
        1
    };
    shown(build.bytes(item), unit_bytes)
}
