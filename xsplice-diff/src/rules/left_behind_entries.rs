//! Refuses included functions that a special-section entry refers to without a recognisable owner:
//! the table cannot be cut into entries, or the entry does not begin with the code it is for. The
//! payload would lack the entry, and the new code would fault at the place that the entry handles.

use std::collections::BTreeSet;

use crate::compare::inclusion::Inclusion;
use crate::compare::special_entries::SpecialEntries;
use crate::read::items::ItemKind;
use crate::read::side::Build;
use crate::read::special_sections::Included;
use crate::verdict::kinds::RefusalCode;
use crate::verdict::place::Place;
use crate::verdict::refusals::Verdicts;

/// Looks for entries without an owner that refer to included code.
pub fn check(
    patched: &Build<'_>,
    entries: &SpecialEntries,
    inclusion: &Inclusion,
    verdicts: &mut Verdicts,
) {
    let mut refused = BTreeSet::new();
    for entry in &entries.unowned {
        if entry.table.included == Included::Never {
            continue;
        }
        let function = entry
            .relocation_range(patched)
            .filter_map(|index| patched.targets[index].item())
            .find(|item| {
                inclusion.holds(*item)
                    && matches!(
                        patched.items.item(*item).kind,
                        ItemKind::Function | ItemKind::Label
                    )
            });
        let Some(function) = function else { continue };
        if !refused.insert((entry.section, function)) {
            continue;
        }
        let header = patched.object.section(entry.section);
        let what = if entry.size == header.size {
            format!(
                "its {} bytes cannot be cut into entries, and one of them belongs to {}, which \
                 is included; give each entry the size that the base's have, and let it begin \
                 with the address of the code it is for",
                header.size,
                patched.shown(function)
            )
        } else {
            format!(
                "the entry refers to {}, which is included, but does not say which function it \
                 belongs to; let each entry begin with the address of the code it is for",
                patched.shown(function)
            )
        };
        verdicts.refuse(
            RefusalCode::MalformedSpecialSection,
            Place::section(header.name).at(entry.offset),
            &what,
        );
    }
}
