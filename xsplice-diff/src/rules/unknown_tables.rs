//! Refuses changes in sections that the base may walk as a table, although no rule knows them:
//! entries lie in a section of their own, and no code refers to them by name.
//!
//! Sections that are known to be tables have a class. Any other section with an unusual name is
//! taken for a table when an item that nothing refers to was added or removed. In known tables the
//! order of entries matters too.

use std::collections::BTreeMap;

use crate::compare::comparer::Comparer;
use crate::compare::users::Users;
use crate::read::items::{ItemId, ItemKind};
use crate::read::section_class::{SectionClass, is_usual};
use crate::read::side::Build;
use crate::verdict::kinds::RefusalCode;
use crate::verdict::place::Place;
use crate::verdict::refusals::Verdicts;

/// Refuses entries that were added, removed or reordered.
pub fn check(comparer: &Comparer<'_, '_>, verdicts: &mut Verdicts) {
    let (original, patched) = (comparer.original, comparer.patched);
    let sides = [
        (
            patched,
            comparer.patched_users,
            "came",
            "register it from a hook",
        ),
        (
            original,
            comparer.original_users,
            "is gone",
            "undo its effect in a hook",
        ),
    ];
    for (build, users, what, remedy) in sides {
        for item in build.items.ids() {
            let has_counterpart = if std::ptr::eq(build, patched) {
                comparer.correlation.original(item).is_some()
            } else {
                comparer.correlation.patched(item).is_some()
            };
            if has_counterpart || !may_be_walked(build, users, item) {
                continue;
            }
            let problem = format!(
                "an entry {what}, in a section of unusual name and with nothing that refers to \
                 it, so that the base may walk the section as a table; {remedy}, or use a section \
                 of the usual names"
            );
            verdicts.refuse_acceptable(
                RefusalCode::ChangedLinkerSet,
                Place::of(build, item),
                &problem,
            );
        }
    }
    check_order(comparer, verdicts);
}

fn may_be_walked(build: &Build<'_>, users: &Users, item: ItemId) -> bool {
    matches!(
        build.items.class(item),
        SectionClass::Data | SectionClass::Rodata | SectionClass::Bss
    ) && matches!(
        build.items.item(item).kind,
        ItemKind::Datum | ItemKind::UnsizedDatum
    ) && users.is_unused(item)
        && !crate::read::side::is_content(build, item)
        && !is_usual(build.section_name(item), build.name(item))
}

/// The base uses the entries of a table in their order in memory.
fn check_order(comparer: &Comparer<'_, '_>, verdicts: &mut Verdicts) {
    let patched = comparer.patched;
    let mut last: BTreeMap<&str, ItemId> = BTreeMap::new();
    for item in patched.items.ids() {
        let is_entry = patched.items.class(item) == SectionClass::LinkerSet
            && patched.items.item(item).kind != ItemKind::Gap;
        let Some(counterpart) = comparer.correlation.original(item).filter(|_| is_entry) else {
            continue;
        };
        let section = patched.section_name(item);
        if comparer.original.section_name(counterpart) != section {
            continue;
        }
        let before = last.insert(section, counterpart);
        if before.is_some_and(|before| before > counterpart) {
            verdicts.refuse_acceptable(
                RefusalCode::ChangedLinkerSet,
                Place::of(patched, item),
                "entries of a table that the base walks changed places, and the base keeps their \
                 order; take the change out of the patch",
            );
        }
    }
}
