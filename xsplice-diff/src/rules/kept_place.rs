//! Whether a variable that both builds have can stay where the base put it: in memory of the same
//! kind, and on an address that is aligned as the patched code expects.
//!
//! Code that writes to read-only memory faults, and so does an aligned 16-byte access to an address
//! that is not a multiple of 16.

use std::collections::BTreeMap;

use crate::compare::comparer::Comparer;
use crate::read::items::{ItemId, ItemKind};
use crate::read::object::SectionId;
use crate::read::section_class::SectionClass;
use crate::read::side::is_content;
use crate::verdict::kinds::RefusalCode;
use crate::verdict::place::Place;
use crate::verdict::refusals::Verdicts;

/// Sections that the base makes read-only once it has booted.
const READ_ONLY_AFTER_BOOT: [&str; 2] = [".data.ro_after_init", ".data..ro_after_init"];

/// What kind of memory an item lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    Writable,
    ReadOnly,
    PerCpu,
    LinkerSet,
    ThreadLocal,
    /// Others: memory that is freed after boot, code, tables with rules of their own.
    Other,
}

/// Refuses variables that cannot stay.
pub(crate) fn check(comparer: &Comparer<'_, '_>, verdicts: &mut Verdicts) {
    let patched = comparer.patched;
    let mut shared: BTreeMap<SectionId, Vec<(ItemId, ItemId)>> = BTreeMap::new();
    for item in patched.items.ids() {
        let is_datum = matches!(
            patched.items.item(item).kind,
            ItemKind::Datum | ItemKind::UnsizedDatum
        );
        let Some(counterpart) = comparer.correlation.original(item).filter(|_| is_datum) else {
            continue;
        };
        if is_content(patched, item) {
            continue;
        }
        check_memory(comparer, counterpart, item, verdicts);
        // A size that changed is refused anyway.
        let same_size =
            patched.items.item(item).size == comparer.original.items.item(counterpart).size;
        if !same_size || demanded(comparer, item) <= given(comparer, counterpart) {
            continue;
        }
        let alone = |build: &crate::read::side::Build<'_>, item: ItemId| {
            let section = build.items.item(item).section;
            build.items.of_section(section).nth(1).is_none()
        };
        if alone(patched, item) && alone(comparer.original, counterpart) {
            refuse_alignment(comparer, counterpart, item, verdicts);
        } else {
            shared
                .entry(patched.items.item(item).section)
                .or_default()
                .push((counterpart, item));
        }
    }
    for (section, items) in shared {
        check_shared(comparer, section, &items, verdicts);
    }
}

/// The alignment that an item's section asks for, in bytes.
fn demanded(comparer: &Comparer<'_, '_>, item: ItemId) -> u64 {
    let patched = comparer.patched;
    patched
        .object
        .section(patched.items.item(item).section)
        .alignment
}

fn given(comparer: &Comparer<'_, '_>, counterpart: ItemId) -> u64 {
    let original = comparer.original;
    original
        .object
        .section(original.items.item(counterpart).section)
        .alignment
}

/// When a section of several variables became more strictly aligned, one of its variables requires
/// that. It must lie on a multiple of the new alignment. A new variable that does so explains the
/// change. Otherwise it is one of the old variables that do so, most likely one that did not
/// before.
fn check_shared(
    comparer: &Comparer<'_, '_>,
    section: SectionId,
    items: &[(ItemId, ItemId)],
    verdicts: &mut Verdicts,
) {
    let patched = comparer.patched;
    let alignment = patched.object.section(section).alignment;
    let fits = |item: ItemId| patched.items.item(item).offset.is_multiple_of(alignment);
    let is_explained = patched.items.of_section(section).any(|item| {
        comparer.correlation.original(item).is_none()
            && (patched.items.item(item).symbol.is_some()
                || patched.items.class(item).is_constant())
            && fits(item)
    });
    if is_explained {
        return;
    }
    let came_to_fit = |(counterpart, item): &&(ItemId, ItemId)| {
        let before = comparer.original.items.item(*counterpart).offset;
        fits(*item) && !before.is_multiple_of(alignment)
    };
    let candidate = items
        .iter()
        .find(came_to_fit)
        .or_else(|| items.iter().find(|(_, item)| fits(*item)));
    if let Some((counterpart, item)) = candidate {
        refuse_alignment(comparer, *counterpart, *item, verdicts);
    }
}

fn refuse_alignment(
    comparer: &Comparer<'_, '_>,
    counterpart: ItemId,
    item: ItemId,
    verdicts: &mut Verdicts,
) {
    verdicts.refuse_acceptable(
        RefusalCode::ChangedData,
        Place::of(comparer.patched, item),
        &format!(
            "an existing variable asks for an alignment of {} bytes now, and the base gave it {}; \
             give what needs the alignment another name",
            demanded(comparer, item),
            given(comparer, counterpart)
        ),
    );
}

fn check_memory(
    comparer: &Comparer<'_, '_>,
    counterpart: ItemId,
    item: ItemId,
    verdicts: &mut Verdicts,
) {
    let (original, patched) = (comparer.original, comparer.patched);
    let old = memory(
        original.items.class(counterpart),
        original.section_name(counterpart),
    );
    let new = memory(patched.items.class(item), patched.section_name(item));
    let code = match (old, new) {
        _ if old == new => return,
        (Memory::ReadOnly, Memory::Writable) => RefusalCode::ChangedData,
        // Code that stays does not mind; but somebody asked for the protection.
        (Memory::Writable, _) if READ_ONLY_AFTER_BOOT.contains(&patched.section_name(item)) => {
            verdicts.refuse_acceptable(
                RefusalCode::ChangedData,
                Place::of(patched, item),
                &format!(
                    "an existing variable is in {} now, to be read-only after the boot, and in \
                     what runs it stays writable, in {}; the next boot brings it",
                    patched.section_name(item),
                    original.section_name(counterpart)
                ),
            );
            return;
        }
        (Memory::PerCpu, _) | (_, Memory::PerCpu) => RefusalCode::ChangedPerCpu,
        (Memory::ThreadLocal, _) | (_, Memory::ThreadLocal) => RefusalCode::ThreadLocal,
        (Memory::LinkerSet, _) | (_, Memory::LinkerSet) => RefusalCode::ChangedLinkerSet,
        _ => return,
    };
    verdicts.refuse_acceptable(
        code,
        Place::of(patched, item),
        &format!(
            "an existing variable is in {} now, and the base has it in {}; give it another name, \
             and take over what it holds in a hook",
            patched.section_name(item),
            original.section_name(counterpart)
        ),
    );
}

fn memory(class: SectionClass, section: &str) -> Memory {
    match class {
        SectionClass::Data | SectionClass::Bss => {
            if READ_ONLY_AFTER_BOOT.contains(&section) {
                Memory::ReadOnly
            } else {
                Memory::Writable
            }
        }
        SectionClass::Rodata | SectionClass::Content => Memory::ReadOnly,
        SectionClass::PerCpu => Memory::PerCpu,
        SectionClass::LinkerSet => Memory::LinkerSet,
        SectionClass::ThreadLocal => Memory::ThreadLocal,
        _ => Memory::Other,
    }
}
