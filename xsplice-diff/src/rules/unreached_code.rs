//! Special code that no entry and no function leads to.
//!
//! Special code that a table entry or a function leads to is compared and included with it, and so
//! is all code reached from there. Unreached code is compared by itself: it stays in the base, and
//! a payload cannot change it.

use std::collections::{BTreeMap, BTreeSet};

use crate::compare::comparer::Comparer;
use crate::compare::pieces::is_piece;
use crate::compare::special_entries::SpecialEntries;
use crate::read::items::ItemId;
use crate::read::padding::is_padding;
use crate::read::section_class::SectionClass;
use crate::read::side::Build;
use crate::verdict::kinds::RefusalCode;
use crate::verdict::place::Place;
use crate::verdict::refusals::Verdicts;

/// Refuses a change of unreached special code.
pub(crate) fn check(
    comparer: &mut Comparer<'_, '_>,
    original_entries: &SpecialEntries,
    patched_entries: &SpecialEntries,
    verdicts: &mut Verdicts,
) {
    let unreached = |build: &Build<'_>, entries: &SpecialEntries| {
        let mut by_name: BTreeMap<String, Vec<ItemId>> = BTreeMap::new();
        for (id, section) in build.object.sections() {
            if build.items.class_of(id) != SectionClass::SpecialCode {
                continue;
            }
            let pieces = build.items.of_section(id).filter(|item| {
                is_piece(build, *item) && !entries.is_reached(*item) && !is_padding(build, *item)
            });
            by_name
                .entry(section.name.to_owned())
                .or_default()
                .extend(pieces);
        }
        by_name
    };
    let old = unreached(comparer.original, original_entries);
    let new = unreached(comparer.patched, patched_entries);
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let before = old.get(name).map_or(&[][..], Vec::as_slice);
        let after = new.get(name).map_or(&[][..], Vec::as_slice);
        let first = (0..before.len().max(after.len())).find(|index| {
            match (before.get(*index), after.get(*index)) {
                (Some(o), Some(p)) => comparer.content_difference(*o, *p).is_some(),
                _ => true,
            }
        });
        let Some(first) = first else { continue };
        let place = match (after.get(first), before.get(first)) {
            (Some(item), _) => Place::of(comparer.patched, *item),
            (None, Some(item)) => Place::of(comparer.original, *item),
            (None, None) => Place::section(name),
        };
        verdicts.refuse_acceptable(
            RefusalCode::ChangedAssembly,
            place,
            "code without a symbol changed, and no table entry or function of this object leads \
             to it; give it a symbol with .type and .size in both trees, or deal with the \
             change in a hook",
        );
    }
}
