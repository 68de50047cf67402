//! Common symbols, which have no contents: the linker reserves space for them.

use std::collections::BTreeMap;

use crate::compare::comparer::Comparer;
use crate::read::object::SymbolPlace;
use crate::read::side::Build;
use crate::verdict::kinds::RefusalCode;
use crate::verdict::place::Place;
use crate::verdict::refusals::Verdicts;

/// Refuses a common symbol that is new, larger, or more strictly aligned. The linker reserved the
/// space of common symbols when the base was linked, so a new build cannot get more.
pub fn check(comparer: &Comparer<'_, '_>, verdicts: &mut Verdicts) {
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
