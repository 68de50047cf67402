//! The report's lists of what goes into the payload.

use crate::compare::changes::Changes;
use crate::compare::comparer::Comparer;
use crate::compare::inclusion::Inclusion;
use crate::read::items::{ItemId, ItemKind};
use crate::read::side::Build;
use crate::report::object_diff::{DataChange, FunctionChange, SpecialSection};
use crate::verdict::kinds::{Ignored, Reason, Status};

pub(crate) fn functions(
    object: &str,
    comparer: &Comparer<'_, '_>,
    changes: &Changes,
    inclusion: &Inclusion,
) -> Vec<FunctionChange> {
    let patched = comparer.patched;
    let of = |item: ItemId, reasons: Vec<Reason>| {
        let counterpart = comparer.correlation.original(item);
        FunctionChange {
            object: object.to_owned(),
            name: patched.name(item).to_owned(),
            file: patched
                .symbol(item)
                .and_then(|symbol| crate::include::originals::file_of(patched, symbol)),
            status: if counterpart.is_some() {
                Status::Changed
            } else {
                Status::New
            },
            old_size: counterpart.map_or(0, |counterpart| {
                comparer.original.items.item(counterpart).named_size()
            }),
            new_size: patched.items.item(item).named_size(),
            source: None,
            reasons,
        }
    };
    let table = (!changes.functions.is_empty())
        .then(|| crate::debug_info::line_table::LineTable::new(&patched.object))
        .flatten();
    let mut functions: Vec<FunctionChange> = changes
        .functions
        .iter()
        .map(|(item, reasons)| {
            let mut function = of(*item, reasons.clone());
            let (part, offset) = changes.first.get(item).copied().unwrap_or((*item, 0));
            let place = patched.items.item(part);
            let at = place.offset.saturating_add(offset);
            function.source = table
                .as_ref()
                .and_then(|table| table.source(place.section, at));
            function
        })
        .collect();
    for (item, reason) in &inclusion.items {
        let is_code = matches!(
            patched.items.item(*item).kind,
            ItemKind::Function | ItemKind::Label
        );
        if is_code && let Some(reason) = reason {
            functions.push(of(*item, vec![reason.clone()]));
        }
    }
    functions.sort_by(|a, b| (&a.name, &a.file).cmp(&(&b.name, &b.file)));
    functions
}

pub(crate) fn data(
    object: &str,
    comparer: &Comparer<'_, '_>,
    inclusion: &Inclusion,
) -> Vec<DataChange> {
    let patched = comparer.patched;
    let mut data: Vec<DataChange> = inclusion
        .items
        .keys()
        .filter(|item| {
            matches!(
                patched.items.item(**item).kind,
                ItemKind::Datum | ItemKind::UnsizedDatum
            ) && patched.items.class(**item) != crate::read::section_class::SectionClass::Hook
                && !crate::read::side::is_content(patched, **item)
        })
        .map(|item| DataChange {
            object: object.to_owned(),
            name: patched.shown(*item),
            section: patched.section_name(*item).to_owned(),
            status: if comparer.correlation.original(*item).is_some() {
                Status::Changed
            } else {
                Status::New
            },
        })
        .collect();
    data.sort_by(|a, b| (&a.name, &a.section).cmp(&(&b.name, &b.section)));
    data
}

pub(crate) fn special_sections(
    object: &str,
    patched: &Build<'_>,
    inclusion: &Inclusion,
) -> Vec<SpecialSection> {
    let mut counts = std::collections::BTreeMap::new();
    for entry in &inclusion.entries {
        *counts
            .entry(patched.object.section(entry.section).name)
            .or_insert(0) += 1;
    }
    counts
        .into_iter()
        .map(|(section, entries)| SpecialSection {
            object: object.to_owned(),
            section: section.to_owned(),
            entries,
        })
        .collect()
}

/// Static variables that changed functions use and that only their order tells apart. Where all
/// users are equal in bytes and references, the order was right and nothing is listed.
pub(crate) fn guesses(
    object: &str,
    comparer: &Comparer<'_, '_>,
    changes: &Changes,
) -> Vec<Ignored> {
    let users = comparer.patched_users;
    let is_guessed = |item: &&ItemId| match users.only_function(**item) {
        Some(function) => changes.functions.contains_key(&function),
        None => !users.is_unused(**item) && !changes.functions.is_empty(),
    };
    let guesses = comparer.correlation.by_order.iter().filter(is_guessed);
    let told = |item: &ItemId| Ignored {
        object: object.to_owned(),
        name: comparer.patched.shown(*item),
        why: "only its order tells this static variable from others of its name; it was matched \
              with the one at the same position"
            .to_owned(),
    };
    guesses.map(told).collect()
}
