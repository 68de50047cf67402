//! Correlates functions whose names the compiler made up, and items that share a name.

use std::collections::BTreeMap;

use super::{Correlation, Why, starts};
use crate::read::items::{ItemId, ItemKind};
use crate::read::names;
use crate::read::padding::is_filler;
use crate::read::side::Build;
use crate::read::side::is_content;

/// Items of one family without a counterpart so far.
#[derive(Default)]
pub(super) struct Group {
    pub original: Vec<ItemId>,
    pub patched: Vec<ItemId>,
}

impl Group {
    /// Correlates items whose `key` is equal and occurs once on either side.
    pub(crate) fn pair_unique<K: Ord>(
        &mut self,
        correlation: &mut Correlation,
        key_original: impl Fn(ItemId) -> Option<K>,
        key_patched: impl Fn(ItemId) -> Option<K>,
    ) {
        let mut by_key: BTreeMap<K, (Vec<ItemId>, Vec<ItemId>)> = BTreeMap::new();
        for item in &self.original {
            if let Some(key) = key_original(*item) {
                by_key.entry(key).or_default().0.push(*item);
            }
        }
        for item in &self.patched {
            if let Some(key) = key_patched(*item) {
                by_key.entry(key).or_default().1.push(*item);
            }
        }
        for (original, patched) in by_key.values() {
            if let ([one], [other]) = (original.as_slice(), patched.as_slice()) {
                correlation.pair_because(*one, *other, Why::Alone);
            }
        }
        self.drop_paired(correlation);
    }

    /// Correlates items whose bytes, relocated fields aside, are equal and occur once on either
    /// side.
    pub(super) fn pair_equal_bytes(
        &mut self,
        original: &Build<'_>,
        patched: &Build<'_>,
        correlation: &mut Correlation,
    ) {
        self.pair_unique(
            correlation,
            |item| Some(original.bytes(item)),
            |item| Some(patched.bytes(item)),
        );
    }

    /// Correlates the remaining items in order.
    pub(crate) fn pair_in_order(&mut self, correlation: &mut Correlation) {
        for (one, other) in self.original.iter().zip(&self.patched) {
            correlation.pair(*one, *other);
        }
        self.drop_paired(correlation);
    }

    /// The same, for items that their order alone tells apart.
    pub(crate) fn pair_in_order_because(&mut self, correlation: &mut Correlation) {
        for (one, other) in self.original.iter().zip(&self.patched) {
            correlation.pair_because(*one, *other, Why::Order);
        }
        self.drop_paired(correlation);
    }

    pub(super) fn drop_paired(&mut self, correlation: &Correlation) {
        self.original
            .retain(|item| correlation.patched(*item).is_none());
        self.patched
            .retain(|item| correlation.original(*item).is_none());
    }

    pub(super) fn is_done(&self) -> bool {
        self.original.is_empty() || self.patched.is_empty()
    }
}

/// Groups the items without a counterpart by `key`.
pub(super) fn groups<K: Ord>(
    original: &Build<'_>,
    patched: &Build<'_>,
    correlation: &Correlation,
    key: impl Fn(&Build<'_>, ItemId, &str) -> Option<K>,
) -> BTreeMap<K, Group> {
    let mut groups: BTreeMap<K, Group> = BTreeMap::new();
    for (symbol, item) in starts(original) {
        if correlation.patched(item).is_none()
            && original.name(item) == symbol.name
            && let Some(key) = key(original, item, symbol.name)
        {
            groups.entry(key).or_default().original.push(item);
        }
    }
    for (symbol, item) in starts(patched) {
        if correlation.original(item).is_none()
            && patched.name(item) == symbol.name
            && let Some(key) = key(patched, item, symbol.name)
        {
            groups.entry(key).or_default().patched.push(item);
        }
    }
    groups
}

/// Items that share a name: by content, the rest in order. Only functions and constants; variables
/// need more evidence (`static_locals`).
pub(super) fn pair_duplicates(
    original: &Build<'_>,
    patched: &Build<'_>,
    correlation: &mut Correlation,
) {
    let groups = groups(original, patched, correlation, |build, item, name| {
        let kind = build.items.item(item).kind;
        let is_numbered = kind == ItemKind::Function && names::is_numbered(name);
        (is_code(kind) && !is_numbered && names::cold_parent(name).is_none())
            .then(|| name.to_owned())
    });
    for mut group in groups.into_values() {
        if group.is_done() {
            continue;
        }
        group.pair_equal_bytes(original, patched, correlation);
        group.pair_in_order_because(correlation);
    }
}

fn is_code(kind: ItemKind) -> bool {
    matches!(kind, ItemKind::Function | ItemKind::Label)
}

/// Clones of one kind (`f.constprop`): by content, then by name, then the rest in order. A clone
/// and the plain function are correlated only when their bytes are equal, because their calling
/// conventions may differ.
pub(super) fn pair_clones(
    original: &Build<'_>,
    patched: &Build<'_>,
    correlation: &mut Correlation,
) {
    let clones = groups(original, patched, correlation, |build, item, name| {
        let is_clone = is_code(build.items.item(item).kind)
            && names::is_clone(name)
            && names::cold_parent(name).is_none();
        is_clone.then(|| names::clone_family(name))
    });
    for mut group in clones.into_values() {
        if group.is_done() {
            continue;
        }
        group.pair_unique(
            correlation,
            |item| Some((original.bytes(item), original.name(item))),
            |item| Some((patched.bytes(item), patched.name(item))),
        );
        group.pair_equal_bytes(original, patched, correlation);
        group.pair_unique(
            correlation,
            |item| Some(original.name(item)),
            |item| Some(patched.name(item)),
        );
        group.pair_in_order_because(correlation);
    }
    let roots = groups(original, patched, correlation, |build, item, name| {
        let plain = is_code(build.items.item(item).kind) && names::cold_parent(name).is_none();
        plain.then(|| names::root(name).to_owned())
    });
    for mut group in roots.into_values() {
        if !group.is_done() {
            group.pair_unique(
                correlation,
                |item| Some(original.bytes(item)),
                |item| Some(patched.bytes(item)),
            );
        }
    }
}

/// Out-of-line parts belong to their parents.
pub(super) fn pair_cold_parts(
    original: &Build<'_>,
    patched: &Build<'_>,
    correlation: &mut Correlation,
) {
    let mut parts: BTreeMap<ItemId, Group> = BTreeMap::new();
    for item in patched.items.ids() {
        if let Some(parent) = correlation.patched_parent[item.index()]
            && let Some(counterpart) = correlation.original(parent)
        {
            parts.entry(counterpart).or_default().patched.push(item);
        }
    }
    for item in original.items.ids() {
        if let Some(parent) = correlation.original_parent[item.index()]
            && let Some(group) = parts.get_mut(&parent)
        {
            group.original.push(item);
        }
    }
    for mut group in parts.into_values() {
        group.pair_equal_bytes(original, patched, correlation);
        group.pair_in_order(correlation);
    }
}

/// Why a gap is there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Left {
    ByAlignment,
    OnPurpose,
}

/// Gaps without a symbol that are no content: by section, and in order within it. Padding appears
/// and disappears, so it is ordered separately.
pub(super) fn pair_gaps(original: &Build<'_>, patched: &Build<'_>, correlation: &mut Correlation) {
    let mut groups: BTreeMap<(&str, usize, Left), Group> = BTreeMap::new();
    for (build, is_original) in [(original, true), (patched, false)] {
        let mut occurrences: BTreeMap<&str, usize> = BTreeMap::new();
        for (section, header) in build.object.sections() {
            let gaps = build.items.of_section(section).filter(|item| {
                build.items.item(*item).kind == ItemKind::Gap && !is_content(build, *item)
            });
            let gaps: Vec<ItemId> = gaps.collect();
            if gaps.is_empty() {
                continue;
            }
            let occurrence = occurrences.entry(header.name).or_insert(0);
            for gap in gaps {
                let left = if is_filler(build, gap) {
                    Left::ByAlignment
                } else {
                    Left::OnPurpose
                };
                let group = groups.entry((header.name, *occurrence, left)).or_default();
                if is_original {
                    group.original.push(gap);
                } else {
                    group.patched.push(gap);
                }
            }
            *occurrence += 1;
        }
    }
    for mut group in groups.into_values() {
        if group.original.len() != group.patched.len() {
            group.pair_unique(
                correlation,
                |item| Some((original.bytes(item), original.items.item(item).size)),
                |item| Some((patched.bytes(item), patched.items.item(item).size)),
            );
        }
        group.pair_in_order(correlation);
    }
}
