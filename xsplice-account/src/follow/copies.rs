//! Copies that a payload has of variables: one that the base has as well would be a second state.

use super::Follower;
use crate::read::names::without_number;
use crate::read::tree::ItemId;

impl Follower<'_, '_> {
    /// Whether a copy in the payload would be a second one, going by the base's names.
    pub(crate) fn is_second_copy(&self, item: ItemId) -> bool {
        self.tree.is_writable(item)
            && !self.is_accepted(item)
            && !self.may_be_copied(item)
            && !self.counterparts_in_base(item).is_empty()
    }

    /// Whether all of the build decides about a copy: compilers number local names anew, so the
    /// base's variable of that name may be another one of the build.
    pub(super) fn is_judged_as_state(&self, item: ItemId) -> bool {
        let mut names = self.tree.names(item);
        self.claims.is_some() && names.all(|symbol| symbol.is_local())
    }

    /// Where the base has a symbol of one of the item's names, of the same size.
    fn counterparts_in_base(&self, item: ItemId) -> Vec<u64> {
        let mut found = Vec::new();
        for symbol in self.tree.names(item) {
            let all = self.image.named_as(symbol);
            let equal = all.filter(|other| other.size == symbol.size);
            found.extend(equal.map(|other| other.address));
        }
        found
    }

    /// Where the base has local variables of the item's file that a compiler may have numbered in
    /// its place: of its name but for the number, and of its size.
    pub(crate) fn alike_in_base(&self, item: ItemId) -> Vec<u64> {
        let mut found = Vec::new();
        for symbol in self.tree.names(item) {
            let stem = without_number(symbol.name);
            let all = self.image.symbols.iter().filter(|other| {
                let is_same_file = match (symbol.file, other.file) {
                    (Some(ours), Some(theirs)) => ours == theirs,
                    _ => true,
                };
                is_same_file
                    && other.is_local
                    && other.is_placed
                    && other.size == symbol.size
                    && without_number(other.name) == stem
            });
            found.extend(all.map(|other| other.address));
        }
        found
    }
}
