//! One rule a file: each refuses a kind of change that a payload cannot contain, or that no
//! comparison of items shows.

pub(crate) mod begun_references;
pub(crate) mod boundary;
mod calls;
pub(crate) mod common_symbols;
pub(crate) mod counted_from;
pub(crate) mod definitions;
pub(crate) mod fall_through;
pub(crate) mod handed_out;
pub(crate) mod kept_alignment;
mod kept_for_calls;
pub(crate) mod kept_place;
pub(crate) mod kind_changes;
pub(crate) mod left_behind_entries;
mod left_in_register;
pub(crate) mod notes;
pub(crate) mod protection;
pub(crate) mod replaceable;
pub(crate) mod unknown_tables;
pub(crate) mod unowned_entries;
pub(crate) mod unreached_code;
pub(crate) mod unreferenced;

use crate::compare::changes::Changes;
use crate::compare::comparer::Comparer;
use crate::compare::special_entries::SpecialEntries;
use crate::verdict::refusals::Verdicts;

/// Applies the rules about what differs; those about what a payload includes are asked by
/// `include/`. Returns the names that other objects may notice.
pub(crate) fn check_contents(
    comparer: &mut Comparer<'_, '_>,
    changes: &Changes,
    (before, after): (&SpecialEntries, &SpecialEntries),
    verdicts: &mut Verdicts,
) -> Vec<(String, &'static str)> {
    notes::check(comparer, verdicts);
    unreferenced::check(comparer, verdicts);
    unknown_tables::check(comparer, verdicts);
    kept_place::check(comparer, verdicts);
    unowned_entries::check(comparer, before, after, verdicts);
    common_symbols::check(comparer, verdicts);
    unreached_code::check(comparer, before, after, verdicts);
    kind_changes::check(comparer, verdicts);
    handed_out::check(comparer, changes, verdicts);
    counted_from::check(comparer, verdicts);
    if !changes.functions.is_empty() {
        protection::check(comparer.original, comparer.patched, verdicts);
    }
    definitions::compare(comparer, changes, verdicts)
}
