//! What of the patched object goes into the payload. Filled by [`crate::include`]; rules look at it.

use std::collections::{BTreeMap, BTreeSet};

use crate::compare::comparer::Comparer;
use crate::compare::special_entries::Entry;
use crate::read::items::ItemId;
use crate::verdict::kinds::Reason;

/// What travels of the patched object.
#[derive(Debug, Default)]
pub struct Inclusion {
    /// Items, with the reason where it is not that they changed.
    pub items: BTreeMap<ItemId, Option<Reason>>,
    /// Special-section entries of included functions.
    pub entries: Vec<Entry>,
    /// The function that content without identity belongs to, for its references back.
    pub owners: BTreeMap<ItemId, ItemId>,
    /// Items of special code that must stay as far apart as they are.
    pub bound: BTreeSet<(ItemId, ItemId)>,
}

impl Inclusion {
    /// Whether the item travels.
    #[must_use]
    pub fn holds(&self, item: ItemId) -> bool {
        self.items.contains_key(&item)
    }

    /// The function for which something that travels refers to others; itself if it is none's.
    #[must_use]
    pub fn source(&self, comparer: &Comparer<'_, '_>, item: ItemId) -> ItemId {
        let owner = self.owners.get(&item).copied();
        owner.unwrap_or_else(|| comparer.correlation.patched_root(item))
    }

    /// Whether two pieces of special code travel as far apart as they are.
    #[must_use]
    pub fn keep_distance(&self, one: ItemId, other: ItemId) -> bool {
        self.bound.contains(&(one, other))
    }
}
