//! Refuses changes of notes about the image.

use std::collections::{BTreeMap, BTreeSet};

use crate::compare::comparer::Comparer;
use crate::read::object::SymbolPlace;
use crate::read::section_class::is_noted;
use crate::read::side::Build;
use crate::verdict::kinds::RefusalCode;
use crate::verdict::place::Place;
use crate::verdict::refusals::Verdicts;

/// Notes about the image are read by boot loaders and tools: Xen's own notes, a kernel's entry
/// point. The running image keeps its own. Notes about one object do not matter.
pub fn check(comparer: &Comparer<'_, '_>, verdicts: &mut Verdicts) {
    let notes = |build: &Build<'_>| {
        let mut by_name: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for (id, section) in build.object.sections() {
            if !is_noted(section) {
                continue;
            }
            let text = by_name.entry(section.name.to_owned()).or_default();
            text.extend(section.data);
            for relocation in build.object.relocations_of(id) {
                text.extend(relocation.offset.to_le_bytes());
                text.extend(relocation.addend.to_le_bytes());
                text.extend(note_target(build, relocation.symbol).bytes());
            }
        }
        by_name
    };
    let (old, new) = (notes(comparer.original), notes(comparer.patched));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        if old.get(name) != new.get(name) {
            verdicts.refuse_acceptable(
                RefusalCode::ChangedSection,
                Place::section(name),
                "a note about the image changed, and the image that runs keeps its own; take \
                 the change out of the patch",
            );
        }
    }
}

/// What a person calls the target of a relocation in a note.
fn note_target(build: &Build<'_>, symbol: crate::read::object::SymbolId) -> String {
    let symbol = build.object.symbol(symbol);
    match symbol.place {
        SymbolPlace::Section(id) if symbol.is_section() => build.object.section(id).name.to_owned(),
        _ => symbol.name.to_owned(),
    }
}
