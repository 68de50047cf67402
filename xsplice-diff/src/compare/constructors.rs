//! Functions that ran while the base started and are never called again: constructors, init calls.
//! Replacing one would have no effect.

use std::collections::BTreeSet;

use crate::read::items::{ItemId, ItemKind};
use crate::read::side::Build;

/// Tables whose functions are called once, at boot.
const CALLED_AT_START: [&str; 4] = [".init_array", ".preinit_array", ".ctors", ".initcall"];

/// The local functions that only such tables refer to.
#[must_use]
pub fn only_called_at_start(build: &Build<'_>) -> BTreeSet<ItemId> {
    let is_table = |section: &str| {
        CALLED_AT_START
            .iter()
            .any(|prefix| section.starts_with(prefix))
    };
    let mut called = BTreeSet::new();
    if !build
        .object
        .sections
        .iter()
        .any(|section| is_table(section.name))
    {
        return called;
    }
    let mut used_elsewhere = BTreeSet::new();
    build.each_reference(|source, _, target| {
        let Some(item) = target.item() else { return };
        if build.items.item(item).kind != ItemKind::Function || item == source {
            return;
        }
        if is_table(build.section_name(source)) {
            called.insert(item);
        } else {
            used_elsewhere.insert(item);
        }
    });
    called.retain(|item| {
        let is_local = build.symbol(*item).is_some_and(|symbol| symbol.is_local());
        is_local && !used_elsewhere.contains(item)
    });
    called
}
