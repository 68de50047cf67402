//! Tells quickly that a type is described alike in two builds.
//!
//! A change of one structure leads to hundreds of types in each object that uses it, nearly all of
//! them the same as before. Only those that may differ are put into words and compared in detail.

use gimli::DwTag;

use super::{Entry, EntryId, Types, kind};

/// Deeper than real declarations nest; what nests deeper is compared in detail.
const DEPTH_MAX: usize = 12;

impl Types<'_> {
    /// Whether all that is described of a type's members is the same: then no layout, name or call
    /// through a member differs. Types with a tag that members point to or hold are only compared
    /// by tag and size, because each is compared by itself.
    #[must_use]
    pub(crate) fn is_alike(&self, id: EntryId, other: &Types<'_>, theirs: EntryId) -> bool {
        is_headed_alike(self.entry(id), other.entry(theirs))
            && self.has_children_alike(id, other, theirs, 0)
    }

    fn has_children_alike(
        &self,
        id: EntryId,
        other: &Types<'_>,
        theirs: EntryId,
        depth: usize,
    ) -> bool {
        let mut ours = self.children(id);
        let mut others = other.children(theirs);
        loop {
            match (ours.next(), others.next()) {
                (None, None) => return true,
                (Some(one), Some(two)) => {
                    let is_alike = is_headed_alike(self.entry(one), other.entry(two))
                        && self.has_type_alike(one, other, two, depth);
                    if !is_alike {
                        return false;
                    }
                }
                _ => return false,
            }
        }
    }

    /// Whether two members, parameters or pointers are of one type.
    fn has_type_alike(
        &self,
        id: EntryId,
        other: &Types<'_>,
        theirs: EntryId,
        depth: usize,
    ) -> bool {
        let (ours, theirs) = match (self.type_of(id), other.type_of(theirs)) {
            (None, None) => return true,
            (Some(ours), Some(theirs)) => (ours, theirs),
            _ => return false,
        };
        let (one, two) = (self.entry(ours), other.entry(theirs));
        if depth >= DEPTH_MAX || !is_headed_alike(one, two) {
            return false;
        }
        if kind(one.tag).is_some() && !one.name.is_empty() {
            return true;
        }
        self.has_children_alike(ours, other, theirs, depth + 1)
            && self.has_type_alike(ours, other, theirs, depth + 1)
    }
}

/// Whether two entries say the same but for where they are and what they lead to.
fn is_headed_alike(one: &Entry<'_>, other: &Entry<'_>) -> bool {
    type Numbers = (Option<u64>, Option<u64>, u64, Option<i128>, Option<u64>);
    let numbers = |entry: &Entry<'_>| -> (DwTag, Numbers, Option<gimli::DwAte>, bool) {
        let numbers = (
            entry.size_bytes,
            entry.size_bits,
            entry.offset_bits,
            entry.value,
            entry.count,
        );
        (entry.tag, numbers, entry.encoding, entry.is_declaration)
    };
    numbers(one) == numbers(other) && one.name == other.name
}
