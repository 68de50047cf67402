//! References of included code that the code it replaces does not make: they are judged as contents
//! are.
//!
//! What lies in memory of the boot is given back when the boot is over; code that used it before,
//! behind a question whether the boot still runs, may go on to. And where indirect branches are
//! checked, a pointer must lead to an entry that is marked for them: one that the boot takes the
//! mark from is none.

use crate::compare::comparer::Comparer;
use crate::read::items::{ItemId, ItemKind};
use crate::read::relocation::Target;
use crate::read::section_class::SectionClass;
use crate::read::side::Build;

/// The sections of tables whose functions lose the marks of their entries when the base boots, by a
/// part of their names.
const SEALS: [&str; 2] = [".ibt_endbr_seal", ".cf_clobber"];

/// Whether `source`, on whose behalf an item of the original is referred to, did not do so before.
#[must_use]
pub(crate) fn is_begun(comparer: &Comparer<'_, '_>, source: ItemId, counterpart: ItemId) -> bool {
    let before = comparer.correlation.original(source);
    before.is_none_or(|before| {
        !family(comparer, before)
            .iter()
            .flat_map(|part| comparer.original.relocations(*part))
            .any(|(_, target)| target.item() == Some(counterpart))
    })
}

/// A function of the original, with its out-of-line parts.
fn family(comparer: &Comparer<'_, '_>, function: ItemId) -> Vec<ItemId> {
    let parts = comparer.correlation.original_parts(function);
    std::iter::once(function)
        .chain(parts.iter().copied())
        .collect()
}

/// Whether an item of the original is given back after the boot.
#[must_use]
pub(crate) fn is_of_boot(comparer: &Comparer<'_, '_>, counterpart: ItemId) -> bool {
    comparer.original.items.class(counterpart) == SectionClass::Init
}

/// Whether the boot takes away the mark of a function's entry.
#[must_use]
pub(crate) fn is_sealed(original: &Build<'_>, function: ItemId) -> bool {
    let is_seal = |name: &str| SEALS.iter().any(|seal| name.contains(seal));
    if !original.object.sections.iter().any(|one| is_seal(one.name)) {
        return false;
    }
    let mut found = false;
    original.each_reference(|source, _, target| {
        found |= target.item() == Some(function) && is_seal(original.section_name(source));
    });
    found
}

/// Whether the entry of the base's function is no target of an indirect branch and that of the new
/// one is: then a pointer must lead to the new one.
#[must_use]
pub(crate) fn is_newly_marked(comparer: &Comparer<'_, '_>, o: ItemId, p: ItemId) -> bool {
    let (original, patched) = (comparer.original, comparer.patched);
    let machine = patched.object.machine;
    patched.items.item(p).kind == ItemKind::Function
        && !machine.is_marked(original.bytes(o))
        && machine.is_marked(patched.bytes(p))
}

/// Whether a function of the original or a part of it refers to another object's symbol of a name.
#[must_use]
pub(crate) fn named_before(comparer: &Comparer<'_, '_>, source: ItemId, name: &str) -> bool {
    let original = comparer.original;
    let before = comparer.correlation.original(source);
    let parts = before.map_or_else(Vec::new, |before| family(comparer, before));
    let mut all = parts
        .into_iter()
        .flat_map(|part| original.relocations(part));
    all.any(|(_, target)| match target {
        Target::Symbol { symbol, .. } => original.object.symbol(symbol).name == name,
        Target::Item { .. } | Target::Section { .. } => false,
    })
}
