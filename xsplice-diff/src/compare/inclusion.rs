//! What of the patched object is included in the payload. [`crate::include`] fills it, rules read
//! it.

use std::collections::{BTreeMap, BTreeSet};

use crate::compare::comparer::Comparer;
use crate::compare::special_entries::Entry;
use crate::read::items::ItemId;
use crate::verdict::kinds::Reason;

/// What is included of the patched object.
#[derive(Debug, Default)]
pub(crate) struct Inclusion {
    /// Included items; with the reason, unless it is that they changed.
    pub items: BTreeMap<ItemId, Option<Reason>>,
    /// Special-section entries of included functions.
    pub entries: Vec<Entry>,
    /// For content without identity: the function that it belongs to, which decides where its
    /// references lead.
    pub owners: BTreeMap<ItemId, ItemId>,
    /// Symbols of other objects that included code refers to, and did not before; each with the
    /// first function that does.
    pub begun: BTreeMap<String, String>,
    /// Items of special code that must keep their distance.
    pub bound: BTreeSet<(ItemId, ItemId)>,
}

impl Inclusion {
    /// Whether the item is included.
    #[must_use]
    pub(crate) fn holds(&self, item: ItemId) -> bool {
        self.items.contains_key(&item)
    }

    /// The function on whose behalf an included item refers to others; the item itself if it
    /// belongs to none.
    #[must_use]
    pub(crate) fn source(&self, comparer: &Comparer<'_, '_>, item: ItemId) -> ItemId {
        let owner = self.owners.get(&item).copied();
        owner.unwrap_or_else(|| comparer.correlation.patched_root(item))
    }

    /// Whether two pieces of special code are included at their distance.
    #[must_use]
    pub(crate) fn keep_distance(&self, one: ItemId, other: ItemId) -> bool {
        self.bound.contains(&(one, other))
    }
}
