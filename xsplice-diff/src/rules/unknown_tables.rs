//! Refuses changes in sections that the base may walk, copy or map as a whole, although no rule
//! knows them.
//!
//! Sections that are known to be tables have a class. Any other section with an unusual name is
//! taken for one, whether code refers to its items or not: a variable that comes, goes or changes
//! places in it changes what the base finds there. In known tables the order of entries matters
//! too. Code has no order, for nothing walks from one function to the next; but a function that
//! moves into such a section, or out of it, is in another range of the base.

use std::collections::BTreeMap;

use crate::compare::comparer::Comparer;
use crate::read::items::{ItemId, ItemKind};
use crate::read::padding;
use crate::read::section_class::SectionClass;
use crate::read::side::{Build, is_content};
use crate::verdict::kinds::RefusalCode;
use crate::verdict::place::Place;
use crate::verdict::refusals::Verdicts;

/// Refuses items that came, went, moved or changed places in such sections.
pub(crate) fn check(comparer: &Comparer<'_, '_>, verdicts: &mut Verdicts) {
    check_members(comparer, verdicts);
    check_moves(comparer, verdicts);
    check_order(comparer, verdicts);
}

fn check_members(comparer: &Comparer<'_, '_>, verdicts: &mut Verdicts) {
    let (original, patched) = (comparer.original, comparer.patched);
    let came = |item: ItemId| comparer.correlation.original(item).is_none();
    let went = |item: ItemId| comparer.correlation.patched(item).is_none();
    for item in patched.items.ids().filter(|item| came(*item)) {
        if may_be_walked(patched, item) {
            refuse_member(patched, item, "came", "register it from a hook", verdicts);
        } else if is_code(patched, item) && in_unusual_code(patched, item) {
            verdicts.note(
                patched.shown(item),
                format!(
                    "new in {}, which the base may copy, map or ask for addresses in; the payload \
                     has it elsewhere",
                    patched.section_name(item)
                ),
            );
        }
    }
    for item in original.items.ids().filter(|item| went(*item)) {
        if may_be_walked(original, item) {
            let remedy = "undo its effect in a hook";
            refuse_member(original, item, "is gone", remedy, verdicts);
        }
    }
}

fn refuse_member(
    build: &Build<'_>,
    item: ItemId,
    what: &str,
    remedy: &str,
    verdicts: &mut Verdicts,
) {
    let problem = format!(
        "an entry {what}, in a section of unusual name, which the base may walk as a table; \
         {remedy}, or use a section of the usual names"
    );
    verdicts.refuse_acceptable(
        RefusalCode::ChangedLinkerSet,
        Place::of(build, item),
        &problem,
    );
}

fn is_code(build: &Build<'_>, item: ItemId) -> bool {
    matches!(
        build.items.item(item).kind,
        ItemKind::Function | ItemKind::Label
    )
}

fn in_unusual_code(build: &Build<'_>, item: ItemId) -> bool {
    build.items.class(item) == SectionClass::Code && build.is_in_unusual_section(item)
}

/// Whether an item is data in a section that the base may walk.
///
/// Shortcut S19: an executable section is searched by address, and data in usual sections by name.
fn may_be_walked(build: &Build<'_>, item: ItemId) -> bool {
    matches!(
        build.items.class(item),
        SectionClass::Data | SectionClass::Rodata | SectionClass::Bss
    ) && !is_content(build, item)
        && match build.items.item(item).kind {
            ItemKind::Datum | ItemKind::UnsizedDatum => build.is_in_unusual_section(item),
            // New and lost contents without a symbol have refusals of their own.
            ItemKind::Gap | ItemKind::Content | ItemKind::Function | ItemKind::Label => false,
        }
}

/// Whether a move of an item may be noticed: by its section, or by both.
fn check_moves(comparer: &Comparer<'_, '_>, verdicts: &mut Verdicts) {
    let (original, patched) = (comparer.original, comparer.patched);
    for item in patched.items.ids() {
        let Some(counterpart) = comparer.correlation.original(item) else {
            continue;
        };
        let (old, new) = (
            original.section_name(counterpart),
            patched.section_name(item),
        );
        if old == new || is_content(patched, item) {
            continue;
        }
        let is_function = is_code(patched, item);
        let moves = if is_function {
            // What the base has runs on, although the patched build gives it back after the boot.
            let is_lost = patched.items.class(item) == SectionClass::Init;
            (!is_lost && patched.is_in_unusual_section(item))
                || (original.items.class(counterpart) == SectionClass::Code
                    && original.is_in_unusual_section(counterpart))
        } else {
            may_be_walked(patched, item) || may_be_walked(original, counterpart)
        };
        if !moves {
            continue;
        }
        let what = if is_function { "function" } else { "variable" };
        verdicts.refuse_acceptable(
            RefusalCode::ChangedLinkerSet,
            Place::of(patched, item),
            &format!(
                "the {what} is in {new} now, and the base has it in {old}; the base may walk, copy \
                 or map a section of unusual name, and what it does so with stays: give it another \
                 name, or leave it where it was"
            ),
        );
    }
}

/// The base uses the entries of a table in their order in memory.
fn check_order(comparer: &Comparer<'_, '_>, verdicts: &mut Verdicts) {
    let patched = comparer.patched;
    let mut last: BTreeMap<&str, ItemId> = BTreeMap::new();
    for item in patched.items.ids() {
        let is_entry = match patched.items.class(item) {
            SectionClass::LinkerSet => !padding::is_left_by_alignment(patched, item),
            _ => may_be_walked(patched, item),
        };
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
                "entries of a section that the base may walk changed places, and the base keeps \
                 their order; take the change out of the patch",
            );
        }
    }
}
