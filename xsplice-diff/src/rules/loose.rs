//! Contents that no symbol stands for and nothing refers to: loose read-only sections, notes,
//! padding, and common symbols, which have no contents at all.

use std::collections::{BTreeMap, BTreeSet};

use crate::compare::comparer::Comparer;
use crate::correlate::is_content;
use crate::read::items::ItemId;
use crate::read::object::SymbolPlace;
use crate::read::padding::is_filler;
use crate::read::section_class::{SectionClass, is_noted};
use crate::read::side::Build;
use crate::report::object_diff::RefusalCode;
use crate::verdict::refusals::{Place, Verdicts};

/// Read-only contents that nothing in the object refers to and no symbol stands for: somebody
/// finds them by their section.
pub fn check(comparer: &mut Comparer<'_, '_>, verdicts: &mut Verdicts) {
    notes(comparer, verdicts);
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
                "read-only contents that no symbol stands for changed; give them a symbol with \
                 a size, or change them from a hook",
            );
        }
    }
}

/// Notes that say something about the image, to whoever starts or inspects it: Xen's own, a
/// kernel's entry point. Those about one object are noise.
fn notes(comparer: &Comparer<'_, '_>, verdicts: &mut Verdicts) {
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

/// Common symbols get their room from the linker, which has long given it: no more of it than it
/// was asked for, and on an address no more even than that.
pub fn common_symbols(comparer: &Comparer<'_, '_>, verdicts: &mut Verdicts) {
    /// Size and alignment in bytes.
    struct Asked {
        size: u64,
        alignment: u64,
    }
    let commons = |build: &Build<'_>| -> BTreeMap<String, Asked> {
        build
            .object
            .symbols
            .iter()
            .filter(|symbol| symbol.place == SymbolPlace::Common)
            .map(|symbol| {
                let asked = Asked {
                    size: symbol.size,
                    alignment: symbol.value,
                };
                (symbol.name.to_owned(), asked)
            })
            .collect()
    };
    let old = commons(comparer.original);
    for (name, new) in commons(comparer.patched) {
        let old = old.get(&name);
        if old.is_none_or(|old| old.size != new.size) {
            verdicts.refuse_acceptable(
                RefusalCode::CommonSymbol,
                Place::symbol(&name),
                "a common symbol is new or has another size; compile both trees with \
                 -fno-common",
            );
        } else if let Some(old) = old.filter(|old| old.alignment < new.alignment) {
            verdicts.refuse_acceptable(
                RefusalCode::CommonSymbol,
                Place::symbol(&name),
                &format!(
                    "a common symbol asks for an alignment of {} bytes now, and the base gave it \
                     {}; give what needs the alignment another name",
                    new.alignment, old.alignment
                ),
            );
        }
    }
}
