//! The whole way of one object: read both builds, correlate, compare, include, judge, carve.

use crate::compare::changes::find_changes;
use crate::compare::comparer::Comparer;
use crate::compare::special_entries::SpecialEntries;
use crate::compare::users::Users;
use crate::correlate::correlate;
use crate::debug_info::toolchain::{Toolchain, Toolchains};
use crate::debug_info::types::read::TypeSections;
use crate::include::carve::{Carved, carve};
use crate::include::reach::{Inclusion, include};
use crate::layouts::Seen;
use crate::read::items::{ItemId, ItemKind};
use crate::read::object::ElfObject;
use crate::read::side::Build;
use crate::report::object_diff::{
    DataChange, FunctionChange, Ignored, Reason, Refusal, RefusalCode, SpecialSection, Status,
};
use crate::verdict::refusals::Verdicts;
use crate::{DiffError, Extract, ObjectDiff, Options, Originals};

/// Compares two builds of one object. `name` is what the report calls it: its path in the tree,
/// or its file name.
///
/// # Errors
///
/// When one of the two is not a well-formed x86-64 object. A change that cannot become a payload
/// is not an error but a refusal in the result.
pub fn diff_objects<'data>(
    name: &str,
    original: &'data [u8],
    patched: &'data [u8],
    options: &Options,
) -> Result<ObjectDiff<'data>, DiffError> {
    if original == patched {
        return Ok(ObjectDiff::unchanged(name));
    }
    // A tree may hold one object that was merged from all others: without a second core for its
    // second build, everything would wait for it.
    let (original, patched) = rayon::join(
        || Build::new(name, original, options.abi).map_err(DiffError::in_original),
        || Build::new(name, patched, options.abi),
    );
    Ok(diff_builds(name, &original?, &patched?, options))
}

/// Takes an object that only the patched tree has: every function of it is new.
///
/// # Errors
///
/// When it is not a well-formed x86-64 object.
pub fn take_whole<'data>(
    name: &str,
    patched: &'data [u8],
    options: &Options,
) -> Result<ObjectDiff<'data>, DiffError> {
    let original = Build::empty(name);
    let patched = Build::new(name, patched, options.abi)?;
    let mut diff = diff_builds(name, &original, &patched, options);
    for function in &mut diff.functions {
        for reason in &mut function.reasons {
            if *reason == Reason::NewGlobal {
                *reason = Reason::NewObject;
            }
        }
    }
    Ok(diff)
}

/// Looks at an object that only the original tree has: what it takes away from tables and from
/// other objects.
///
/// # Errors
///
/// When it is not a well-formed x86-64 object.
pub fn drop_whole(
    name: &str,
    original: &[u8],
    options: &Options,
) -> Result<ObjectDiff<'static>, DiffError> {
    let original = Build::new(name, original, options.abi).map_err(DiffError::in_original)?;
    let diff = diff_builds(name, &original, &Build::empty(name), options);
    Ok(ObjectDiff {
        refusals: diff.refusals,
        accepted: diff.accepted,
        unsettled_names: diff.unsettled_names,
        ..ObjectDiff::unchanged(name)
    })
}

/// Refuses an object that differs between the trees and is not for x86-64 in either: what its
/// change means cannot be told. `None`: it is one for x86-64, or is damaged, in a tree that has it.
#[must_use]
pub fn refuse_foreign(
    name: &str,
    original: Option<&[u8]>,
    patched: &[u8],
) -> Option<ObjectDiff<'static>> {
    let is_foreign =
        |bytes| ElfObject::parse(name, bytes).is_err_and(|error: DiffError| error.is_foreign());
    if !is_foreign(patched) || !original.is_none_or(is_foreign) {
        return None;
    }
    let what = if original.is_some() {
        "differs between the trees"
    } else {
        "is new"
    };
    let message = format!(
        "{name}: {what}, and is not for x86-64, so that nothing can tell what its change means; \
         if the running system does without the change, leave the object out with \
         --ignore-object '{name}'"
    );
    Some(ObjectDiff {
        refusals: vec![Refusal {
            code: RefusalCode::ForeignObject,
            object: name.to_owned(),
            section: None,
            symbol: None,
            offset: None,
            message,
        }],
        ..ObjectDiff::unchanged(name)
    })
}

/// The weak symbols of an object that other objects see, defined or not, in order.
///
/// # Errors
///
/// When it is not a well-formed x86-64 object.
pub fn weak_names<'data>(name: &str, object: &'data [u8]) -> Result<Vec<&'data str>, DiffError> {
    Ok(crate::rules::definitions::weak_names(&ElfObject::parse(
        name, object,
    )?))
}

/// Every function and constant of one original object, for proving that the base was linked from
/// it.
///
/// # Errors
///
/// When it is not a well-formed x86-64 object.
pub fn originals<'data>(name: &str, original: &'data [u8]) -> Result<Originals<'data>, DiffError> {
    let build = Build::new(name, original, &xsplice_abi::profile::XSPLICE)?;
    let entries = SpecialEntries::new(&build, |item| item);
    Ok(Originals::new(&build, &entries, |item| item))
}

/// What an object was compiled by.
///
/// # Errors
///
/// When it is not a well-formed x86-64 object.
pub fn toolchain_of(name: &str, object: &[u8]) -> Result<Toolchain, DiffError> {
    let object = ElfObject::parse(name, object)?;
    let sections = TypeSections::new(&object);
    let types = sections.as_ref().and_then(TypeSections::read);
    Ok(Toolchain::of(&object, types.as_ref()))
}

/// Compares two builds that were read already.
#[must_use]
pub fn diff_builds<'data>(
    name: &str,
    original: &Build<'data>,
    patched: &Build<'data>,
    options: &Options,
) -> ObjectDiff<'data> {
    let correlation = correlate(original, patched);
    let original_root = |item| correlation.original_root(item);
    let patched_root = |item| correlation.patched_root(item);
    let ((original_users, original_entries), (patched_users, patched_entries)) = rayon::join(
        || {
            let users = Users::new(original, original_root);
            (users, SpecialEntries::new(original, original_root))
        },
        || {
            let users = Users::new(patched, patched_root);
            (users, SpecialEntries::new(patched, patched_root))
        },
    );
    let mut comparer = Comparer::new(
        original,
        patched,
        &correlation,
        &original_users,
        &patched_users,
        (&original_entries, &patched_entries),
    );
    let mut verdicts = Verdicts::new(name, patched, options);
    let changes = find_changes(
        name,
        &mut comparer,
        &original_entries,
        &patched_entries,
        &mut verdicts,
    );
    crate::rules::unreached_code::check(
        &mut comparer,
        &original_entries,
        &patched_entries,
        &mut verdicts,
    );
    crate::rules::kind_changes::check(&comparer, &mut verdicts);
    if !changes.functions.is_empty() {
        crate::rules::protection::check(original, patched, &mut verdicts);
    }
    let unsettled_names =
        crate::rules::definitions::compare(name, &mut comparer, &changes, options, &mut verdicts);
    let inclusion = include(&comparer, &changes, &patched_entries, &mut verdicts);
    crate::rules::ownerless_entries::check(patched, &patched_entries, &inclusion, &mut verdicts);
    let travels = verdicts.refusals.is_empty() && !inclusion.items.is_empty();
    let carved = travels.then(|| {
        carve(
            name,
            &comparer,
            &changes,
            &inclusion,
            &original_entries,
            &verdicts,
            options,
        )
    });
    let travelling = changes
        .functions
        .keys()
        .chain(inclusion.items.keys())
        .copied()
        .filter(|item| patched.items.item(*item).kind == ItemKind::Function)
        .collect::<std::collections::BTreeSet<ItemId>>();
    // Debug information is by far the largest part of an object: it is read when something
    // travels, and then once.
    let sections = |build: &Build<'_>| {
        (!travelling.is_empty())
            .then(|| TypeSections::new(&build.object))
            .flatten()
    };
    let (old_sections, new_sections) = (sections(original), sections(patched));
    let old_types = old_sections.as_ref().and_then(TypeSections::read);
    let new_types = new_sections.as_ref().and_then(TypeSections::read);
    let layouts = crate::layouts::find(
        name,
        &comparer,
        &travelling,
        old_types.as_ref(),
        new_types.as_ref(),
    );
    let toolchains = (!travelling.is_empty()).then(|| {
        Toolchains::new(
            Toolchain::of(&original.object, old_types.as_ref()),
            Toolchain::of(&patched.object, new_types.as_ref()),
        )
    });
    let (extract, parts) = match carved {
        Some(Carved { extract, parts }) => (Some(extract), parts),
        None => (None, Vec::new()),
    };
    let extract = extract.map(|extract| Extract {
        compiled_by: toolchains
            .as_ref()
            .map_or_else(Toolchain::default, |both| both.original.clone()),
        ..extract
    });
    let mut diff = ObjectDiff {
        layouts,
        toolchains,
        acknowledged: verdicts.acknowledged().to_vec(),
        functions: functions(name, &comparer, &changes, &inclusion),
        data: data(name, &comparer, &inclusion),
        special_sections: special_sections(name, patched, &inclusion),
        accepted: verdicts.accepted,
        refusals: verdicts.refusals,
        unsettled_names,
        extract,
        parts,
        ..ObjectDiff::unchanged(name)
    };
    diff.ignored.clone_from(&changes.ignored);
    // Where every user is the same, byte for byte and reference for reference, the order was right.
    let guessed = |item: &&ItemId| match patched_users.only_function(**item) {
        Some(function) => changes.functions.contains_key(&function),
        None => !patched_users.is_unused(**item) && !changes.functions.is_empty(),
    };
    let guesses = correlation.by_order.iter().filter(guessed);
    diff.ignored.extend(guesses.map(|item| {
        Ignored {
            object: name.to_owned(),
            name: patched.shown(*item),
            why:
                "nothing but its order tells this static variable from others of its name; it was \
              taken for the one at the same place"
                    .to_owned(),
        }
    }));
    name_layouts(&mut diff);
    let diffs = std::slice::from_mut(&mut diff);
    let mut differ = crate::layouts::merge(diffs);
    crate::layouts::judge(diffs, &mut differ, Seen::OneObject);
    crate::debug_info::toolchain::judge(diffs);
    diff
}

/// Functions that differ in displacements alone are told which types' layouts it is. Where debug
/// information shows that no type of theirs changed, it is something else, and not said.
fn name_layouts(diff: &mut ObjectDiff<'_>) {
    let layouts = &diff.layouts;
    let is_known = layouts.compared > 0;
    for function in &mut diff.functions {
        let named = crate::layouts::types_of(layouts, &function.name);
        let is_refuted = is_known && named.is_empty() && !crate::layouts::any_breaks(layouts);
        function
            .reasons
            .retain(|reason| !(is_refuted && matches!(reason, Reason::LayoutOnly { .. })));
        for reason in &mut function.reasons {
            if let Reason::LayoutOnly { types } = reason {
                types.clone_from(&named);
            }
        }
    }
}

fn functions(
    object: &str,
    comparer: &Comparer<'_, '_>,
    changes: &crate::compare::changes::Changes,
    inclusion: &Inclusion,
) -> Vec<FunctionChange> {
    let patched = comparer.patched;
    let of = |item: ItemId, reasons: Vec<Reason>| {
        let twin = comparer.correlation.original(item);
        FunctionChange {
            object: object.to_owned(),
            name: patched.name(item).to_owned(),
            file: patched
                .symbol(item)
                .and_then(|symbol| crate::include::originals::file_of(patched, symbol)),
            status: if twin.is_some() {
                Status::Changed
            } else {
                Status::New
            },
            old_size: twin.map_or(0, |twin| comparer.original.items.item(twin).size),
            new_size: patched.items.item(item).size,
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

fn data(object: &str, comparer: &Comparer<'_, '_>, inclusion: &Inclusion) -> Vec<DataChange> {
    let patched = comparer.patched;
    let mut data: Vec<DataChange> = inclusion
        .items
        .keys()
        .filter(|item| {
            matches!(
                patched.items.item(**item).kind,
                ItemKind::Datum | ItemKind::UnsizedDatum
            ) && patched.items.class(**item) != crate::read::section_class::SectionClass::Hook
                && !crate::correlate::is_content(patched, **item)
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

fn special_sections(
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
