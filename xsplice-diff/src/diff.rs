//! The pipeline of one object: read both builds, correlate, compare, apply the rules, include,
//! carve, judge.

use std::collections::BTreeSet;

use xsplice_abi::machine::ALL;

use crate::compare::changes::{Changes, find_changes};
use crate::compare::comparer::Comparer;
use crate::compare::inclusion::Inclusion;
use crate::compare::special_entries::SpecialEntries;
use crate::compare::users::Users;
use crate::correlate::{Correlation, correlate};
use crate::debug_info::toolchain::{Toolchain, Toolchains};
use crate::debug_info::types::read::TypeSections;
use crate::include::carve::{Carved, carve};
use crate::include::described_size;
use crate::include::originals::file_of;
use crate::include::reach::include;
use crate::layouts::Layouts;
use crate::options::Dropped;
use crate::read::error::{ObjectProblem, Side};
use crate::read::items::{ItemId, ItemKind};
use crate::read::object::{ElfObject, Symbol, SymbolPlace, machine_of};
use crate::read::side::Build;
use crate::report::judge::{Scope, judge};
use crate::report::lists;
use crate::report::object_diff::{Evidence, NameChange};
use crate::rules;
use crate::rules::definitions::SharedNames;
use crate::verdict::kinds::{Reason, RefusalCode};
use crate::verdict::refusal::Refusal;
use crate::verdict::refusals::Verdicts;
use crate::{DiffError, Extract, ObjectDiff, Options, OriginalItem, Originals};

/// Compares two builds of one object, and judges it by itself. `name` is what the report calls it:
/// its file name.
///
/// # Errors
///
/// When one of the two is not a well-formed object of a known machine. A change that cannot become
/// a payload is not an error but a refusal in the result.
pub fn diff_objects<'data>(
    name: &str,
    original: &'data [u8],
    patched: &'data [u8],
    options: &Options,
) -> Result<ObjectDiff<'data>, DiffError> {
    gather(name, original, patched, options).map(alone)
}

/// Compares two builds that were already read, and judges the object by itself.
#[must_use]
pub fn diff_builds<'data>(
    name: &str,
    original: &Build<'data>,
    patched: &Build<'data>,
    options: &Options,
) -> ObjectDiff<'data> {
    alone(gather_builds(
        name,
        original,
        patched,
        options,
        &Dropped::default(),
    ))
}

fn alone(mut diff: ObjectDiff<'_>) -> ObjectDiff<'_> {
    let mut changes = crate::layouts::merge(&diff.layouts.changes);
    judge(std::slice::from_mut(&mut diff), &mut changes, Scope::Object);
    diff
}

/// Compares two builds of one object of a tree, and leaves to [`crate::report::judge`] what only
/// the whole tree can tell. `name` is its path in the tree.
///
/// # Errors
///
/// When one of the two is not a well-formed object of a known machine. A change that cannot become
/// a payload is not an error but a refusal in the result.
pub fn gather<'data>(
    name: &str,
    original: &'data [u8],
    patched: &'data [u8],
    options: &Options,
) -> Result<ObjectDiff<'data>, DiffError> {
    if original == patched {
        return Ok(ObjectDiff::unchanged(name));
    }
    gather_without(name, original, patched, options, &Dropped::default())
}

/// Like [`gather`], of an object of which the base does not have everything: what was `dropped`
/// when the base was linked counts as new.
///
/// # Errors
///
/// As [`gather`].
pub fn gather_without<'data>(
    name: &str,
    original: &'data [u8],
    patched: &'data [u8],
    options: &Options,
    dropped: &Dropped,
) -> Result<ObjectDiff<'data>, DiffError> {
    check_machines(name, original, patched)?;
    // Both builds are read in parallel: a tree may hold one object that was merged from all others,
    // and the other cores would wait for it.
    let (original, patched) = rayon::join(
        || read(name, original, options.abi).map_err(DiffError::in_original),
        || read(name, patched, options.abi),
    );
    Ok(gather_builds(name, &original?, &patched?, options, dropped))
}

/// Two builds for two machines have nothing to compare, whether the machines are known or not.
fn check_machines(name: &str, original: &[u8], patched: &[u8]) -> Result<(), DiffError> {
    match (machine_of(patched), machine_of(original)) {
        (Some(machine), Some(other)) if machine != other => Err(DiffError {
            object: name.to_owned(),
            problem: ObjectProblem::TwoMachines {
                machine,
                original: name.to_owned(),
                other,
            },
            side: Side::Patched,
        }),
        _ => Ok(()),
    }
}

/// Takes an object that only the patched tree has: every function of it is new.
///
/// # Errors
///
/// When it is not a well-formed object of a known machine.
pub fn take_whole<'data>(
    name: &str,
    patched: &'data [u8],
    options: &Options,
) -> Result<ObjectDiff<'data>, DiffError> {
    let patched = read(name, patched, options.abi)?;
    let original = Build::empty(name, patched.object.machine);
    let mut diff = gather_builds(name, &original, &patched, options, &Dropped::default());
    for function in &mut diff.functions {
        for reason in &mut function.reasons {
            if *reason == Reason::NewGlobal {
                *reason = Reason::NewObject;
            }
        }
    }
    Ok(diff)
}

/// Judges an object that only the original tree has: it may remove table entries, or names that
/// other objects use.
///
/// # Errors
///
/// When it is not a well-formed object of a known machine.
pub fn drop_whole(
    name: &str,
    original: &[u8],
    options: &Options,
) -> Result<ObjectDiff<'static>, DiffError> {
    let original = read(name, original, options.abi).map_err(DiffError::in_original)?;
    let patched = Build::empty(name, original.object.machine);
    let diff = gather_builds(name, &original, &patched, options, &Dropped::default());
    Ok(ObjectDiff {
        refusals: diff.refusals,
        accepted: diff.accepted,
        evidence: diff.evidence,
        ..ObjectDiff::unchanged(name)
    })
}

/// Refuses an object that differs between the trees and is not for x86-64 in either: nothing here
/// can read its code. `None` where it is for x86-64, or damaged, in a tree that has it.
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
    let known: Vec<&str> = ALL.iter().map(|machine| machine.name).collect();
    let known = known.join(" or ");
    let problem = format!(
        "{what}, and is not for {known}, so that nothing can tell what its change means; \
         if the running system does without the change, leave the object out with \
         --ignore-object '{name}'"
    );
    Some(ObjectDiff {
        refusals: vec![Refusal::new(RefusalCode::ForeignObject, name, problem)],
        ..ObjectDiff::unchanged(name)
    })
}

/// The names that an object shares with others.
///
/// # Errors
///
/// When it is not a well-formed object of a known machine.
pub fn shared_names<'data>(
    name: &str,
    object: &'data [u8],
) -> Result<SharedNames<'data>, DiffError> {
    let object = ElfObject::parse(name, object)?;
    Ok(rules::definitions::shared_names(&object))
}

/// What one object defines: each name, and for a local the `STT_FILE` symbol that qualifies it.
///
/// # Errors
///
/// When it is not a well-formed object of a known machine.
pub fn defined_names(
    name: &str,
    object: &[u8],
) -> Result<Vec<(String, Option<String>)>, DiffError> {
    let build = read(name, object, &xsplice_abi::profile::XSPLICE)?;
    let is_item = |symbol: &&Symbol<'_>| {
        matches!(symbol.place, SymbolPlace::Section(_))
            && !symbol.is_section()
            && !symbol.name.is_empty()
    };
    let all = build.object.symbols.iter().filter(is_item);
    let named = all.map(|symbol| (symbol.name.to_owned(), file_of(&build, symbol)));
    Ok(named.collect())
}

/// Every function and constant of one original object, for proving that the base was linked from
/// it.
///
/// # Errors
///
/// When it is not a well-formed object of a known machine.
pub fn originals<'data>(name: &str, original: &'data [u8]) -> Result<Originals<'data>, DiffError> {
    let build = read(name, original, &xsplice_abi::profile::XSPLICE)?;
    let entries = SpecialEntries::new(&build, |item| item);
    Ok(Originals::new(&build, &entries, |item| item))
}

/// The local variables of one original object, for telling which object a variable of the base
/// comes from.
///
/// # Errors
///
/// When it is not a well-formed object of a known machine.
pub fn local_variables<'data>(
    name: &str,
    original: &'data [u8],
) -> Result<Vec<OriginalItem<'data>>, DiffError> {
    let build = read(name, original, &xsplice_abi::profile::XSPLICE)?;
    let entries = SpecialEntries::new(&build, |item| item);
    Ok(crate::include::originals::local_variables(&build, &entries))
}

/// Reads one build. Refuses an object whose description would be disproportionately large.
fn read<'data>(
    name: &str,
    bytes: &'data [u8],
    abi: &xsplice_abi::Profile,
) -> Result<Build<'data>, DiffError> {
    let build = Build::new(name, bytes, abi)?;
    described_size::check(&build).map_err(|problem| DiffError {
        object: name.to_owned(),
        problem,
        side: Side::Patched,
    })?;
    Ok(build)
}

/// One side of the comparison: who uses what, and which entries belong to whom.
struct Related {
    users: Users,
    entries: SpecialEntries,
}

/// One object, phase by phase: correlate, compare, apply the rules, include, carve, compare layouts
/// and toolchains, list.
fn gather_builds<'data>(
    name: &str,
    original: &Build<'data>,
    patched: &Build<'data>,
    options: &Options,
    dropped: &Dropped,
) -> ObjectDiff<'data> {
    let mut correlation = correlate(original, patched);
    let new = part_dropped(original, &mut correlation, dropped);
    let (before, after) = relate(original, patched, &correlation);
    let mut comparer = Comparer::new(
        original,
        patched,
        &correlation,
        &before.users,
        &after.users,
        (&before.entries, &after.entries),
    );
    let entries = (&before.entries, &after.entries);
    let mut verdicts = Verdicts::new(name, patched, options);
    let changes = find_changes(name, &mut comparer, entries.0, entries.1, &mut verdicts);
    let names = rules::check_contents(&mut comparer, &changes, entries, &mut verdicts);
    let inclusion = include(&comparer, &changes, entries.1, &mut verdicts);
    rules::left_behind_entries::check(patched, entries.1, &inclusion, &mut verdicts);
    let is_carried = verdicts.refusals.is_empty() && !inclusion.items.is_empty();
    lists::tell_pairs(&comparer, &inclusion, &mut verdicts);
    for item in new.into_iter().filter(|item| inclusion.holds(*item)) {
        let note = "the base does not have it, since nothing there uses it: the payload brings it";
        verdicts.note(patched.shown(item), note);
    }
    let carved = is_carried.then(|| {
        carve(
            name, &comparer, &changes, &inclusion, entries.0, &verdicts, options,
        )
    });
    let (layouts, toolchains) = compare_debug_info(name, &comparer, &changes, &inclusion);
    let mut diff = report(name, &comparer, changes, &inclusion, verdicts);
    diff.evidence.names = names
        .into_iter()
        .map(|(name, what)| NameChange { name, what })
        .collect();
    attach(&mut diff, carved, layouts, toolchains);
    diff
}

/// Parts the items that the base does not have from their counterparts, and returns those.
fn part_dropped(
    original: &Build<'_>,
    correlation: &mut Correlation,
    dropped: &Dropped,
) -> Vec<ItemId> {
    if dropped.0.is_empty() {
        return Vec::new();
    }
    let is_dropped = |item: &ItemId| {
        original.symbol(*item).is_some_and(|symbol| {
            let name = (symbol.name.to_owned(), file_of(original, symbol));
            dropped.0.contains(&name)
        })
    };
    let items = original.items.ids().filter(is_dropped);
    items.filter_map(|item| correlation.part(item)).collect()
}

/// Finds who refers to what in both builds, and which entries of special sections belong to whom.
fn relate(
    original: &Build<'_>,
    patched: &Build<'_>,
    correlation: &Correlation,
) -> (Related, Related) {
    let original_root = |item| correlation.original_root(item);
    let patched_root = |item| correlation.patched_root(item);
    rayon::join(
        || Related {
            users: Users::new(original, original_root),
            entries: SpecialEntries::new(original, original_root),
        },
        || Related {
            users: Users::new(patched, patched_root),
            entries: SpecialEntries::new(patched, patched_root),
        },
    )
}

/// Compares the layouts of types and the toolchains, by debug information. Debug information is by
/// far the largest part of an object, so it is read only when a function is included, and only
/// once.
fn compare_debug_info(
    name: &str,
    comparer: &Comparer<'_, '_>,
    changes: &Changes,
    inclusion: &Inclusion,
) -> (Layouts, Option<Toolchains>) {
    let (original, patched) = (comparer.original, comparer.patched);
    let included: BTreeSet<ItemId> = changes
        .functions
        .keys()
        .chain(inclusion.items.keys())
        .copied()
        .filter(|item| patched.items.item(*item).kind == ItemKind::Function)
        .collect();
    let sections = |build: &Build<'_>| {
        (!included.is_empty())
            .then(|| TypeSections::new(&build.object))
            .flatten()
    };
    let (old, new) = (sections(original), sections(patched));
    let old = old.as_ref().and_then(TypeSections::read);
    let new = new.as_ref().and_then(TypeSections::read);
    let layouts = crate::layouts::find(name, comparer, &included, old.as_ref(), new.as_ref());
    let toolchains = (!included.is_empty()).then(|| {
        Toolchains::new(
            Toolchain::of(&original.object, old.as_ref()),
            Toolchain::of(&patched.object, new.as_ref()),
        )
    });
    (layouts, toolchains)
}

/// The result for the object, without the extract and without what debug information adds.
fn report<'data>(
    name: &str,
    comparer: &Comparer<'_, '_>,
    changes: Changes,
    inclusion: &Inclusion,
    verdicts: Verdicts,
) -> ObjectDiff<'data> {
    ObjectDiff {
        evidence: Evidence {
            accept: verdicts.accept_list().clone(),
            names: Vec::new(),
            begun: inclusion.begun.clone(),
            lost_state: lists::lost_state(comparer),
            new_state: lists::new_state(comparer, inclusion),
        },
        functions: lists::functions(name, comparer, &changes, inclusion),
        data: lists::data(name, comparer, inclusion),
        special_sections: lists::special_sections(name, comparer.patched, inclusion),
        accepted: verdicts.accepted,
        refusals: verdicts.refusals,
        ignored: changes.ignored,
        notes: verdicts.notes,
        ..ObjectDiff::unchanged(name)
    }
}

/// Adds what the linker needs, and what debug information says.
fn attach<'data>(
    diff: &mut ObjectDiff<'data>,
    carved: Option<Carved<'data>>,
    layouts: Layouts,
    toolchains: Option<Toolchains>,
) {
    if let Some(Carved { extract, parts }) = carved {
        diff.extract = Some(Extract {
            compiled_by: toolchains
                .as_ref()
                .map_or_else(Toolchain::default, |both| both.original.clone()),
            ..extract
        });
        diff.parts = parts;
    }
    diff.layouts = layouts;
    diff.toolchains = toolchains;
    name_layouts(diff);
}

/// Adds to functions that differ in displacements alone the types whose layout changed. Where debug
/// information shows that none of their types changed, the label is removed: the cause is another
/// one.
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
