//! Read-only contents without a symbol that nothing refers to.

use std::collections::{BTreeMap, BTreeSet};

use crate::compare::comparer::Comparer;
use crate::read::items::ItemId;
use crate::read::padding::is_filler;
use crate::read::section_class::SectionClass;
use crate::read::side::{Build, is_content};
use crate::verdict::kinds::RefusalCode;
use crate::verdict::place::Place;
use crate::verdict::refusals::Verdicts;

/// Refuses changed read-only contents that have no symbol and that nothing in the object refers to:
/// the base must find them by their section.
pub fn check(comparer: &mut Comparer<'_, '_>, verdicts: &mut Verdicts) {
    let loose = |build: &Build<'_>, users: &crate::compare::users::Users| {
        let mut by_name: BTreeMap<String, Vec<ItemId>> = BTreeMap::new();
        for item in build.items.ids() {
            if is_content(build, item)
                && build.items.class(item) == SectionClass::Rodata
                && users.is_unused(item)
                && !is_filler(build, item)
            {
                let name = build.section_name(item).to_owned();
                by_name.entry(name).or_default().push(item);
            }
        }
        by_name
    };
    let old = loose(comparer.original, comparer.original_users);
    let new = loose(comparer.patched, comparer.patched_users);
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let before = old.get(name).map_or(&[][..], Vec::as_slice);
        let after = new.get(name).map_or(&[][..], Vec::as_slice);
        let same = before.len() == after.len()
            && before
                .iter()
                .zip(after)
                .all(|(o, p)| comparer.content_difference(*o, *p).is_none());
        if !same {
            verdicts.refuse_acceptable(
                RefusalCode::ChangedSection,
                Place::section(name),
                "read-only contents without a symbol changed; give them a symbol with \
                 a size, or change them from a hook",
            );
        }
    }
}
