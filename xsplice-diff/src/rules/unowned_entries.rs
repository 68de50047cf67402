//! Refuses a change of entries of special sections that no function owns: whether the payload
//! needs them, nobody can tell.

use crate::compare::comparer::Comparer;
use crate::compare::special_entries::SpecialEntries;
use crate::verdict::kinds::{Reason, RefusalCode};
use crate::verdict::place::Place;
use crate::verdict::refusals::Verdicts;

/// Refuses a change of such entries: they belong to no replaced function, so no payload includes
/// them.
pub fn check(
    comparer: &mut Comparer<'_, '_>,
    original_entries: &SpecialEntries,
    patched_entries: &SpecialEntries,
    verdicts: &mut Verdicts,
) {
    if let Some(Reason::SpecialEntryDiffers { section, detail }) =
        comparer.entries_differ(&original_entries.unowned, &patched_entries.unowned)
    {
        verdicts.refuse(
            RefusalCode::MalformedSpecialSection,
            Place::section(&section),
            &format!(
                "{detail}, and no function owns it; let each entry begin with the address of \
                 the code it is for"
            ),
        );
    }
}
