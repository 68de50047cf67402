//! The report's lists of what goes into the payload.

use std::collections::BTreeSet;

use crate::compare::changes::Changes;
use crate::compare::comparer::Comparer;
use crate::compare::inclusion::Inclusion;
use crate::correlate::Why;
use crate::read::items::{ItemId, ItemKind};
use crate::read::names;
use crate::read::section_class::SectionClass;
use crate::read::side::Build;
use crate::report::object_diff::{DataChange, FunctionChange, SpecialSection, Variable};
use crate::verdict::kinds::{Reason, Status};
use crate::verdict::refusals::Verdicts;

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
            ) && patched.items.class(**item) != SectionClass::Hook
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

/// Tells by what evidence the items were paired that included code uses, where it was no name: the
/// counterpart is called otherwise, or nothing tells it from others.
pub(crate) fn tell_pairs(
    comparer: &Comparer<'_, '_>,
    inclusion: &Inclusion,
    verdicts: &mut Verdicts,
) {
    let (original, patched) = (comparer.original, comparer.patched);
    let correlation = comparer.correlation;
    if correlation.because.is_empty() || inclusion.items.is_empty() {
        return;
    }
    let mut used: BTreeSet<ItemId> = inclusion.items.keys().copied().collect();
    for item in inclusion.items.keys() {
        let targets = patched.relocations(*item);
        used.extend(targets.filter_map(|(_, target)| target.item()));
    }
    for (item, why) in &correlation.because {
        let Some(counterpart) = correlation.original(*item).filter(|_| used.contains(item)) else {
            continue;
        };
        let (old, new) = (original.shown(counterpart), patched.shown(*item));
        // What has no name is called by its place, which moves with everything in front of it.
        let is_renamed = old != new && !patched.name(*item).is_empty();
        if is_renamed || matches!(why, Why::Number | Why::Order) {
            let note = format!("is {old} of the original: {}", why.said());
            verdicts.note(new, note);
        }
    }
}

/// Variables that only the original has.
pub(crate) fn lost_state(comparer: &Comparer<'_, '_>) -> BTreeSet<Variable> {
    let lost = comparer.correlation.lost_state.iter();
    lost.map(|item| variable(comparer.original, *item))
        .collect()
}

/// Variables that are included and that the original does not have.
pub(crate) fn new_state(comparer: &Comparer<'_, '_>, inclusion: &Inclusion) -> BTreeSet<Variable> {
    let patched = comparer.patched;
    let new = inclusion.items.keys().filter(|item| {
        let class = patched.items.class(**item);
        matches!(class, SectionClass::Data | SectionClass::Bss)
            && comparer.correlation.original(**item).is_none()
            && patched.items.item(**item).symbol.is_some()
    });
    new.map(|item| variable(patched, *item)).collect()
}

fn variable(build: &Build<'_>, item: ItemId) -> Variable {
    Variable {
        name: names::given(build.name(item)).to_owned(),
        size: build.items.item(item).size,
    }
}
