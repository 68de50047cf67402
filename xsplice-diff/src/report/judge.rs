//! Judges the evidence of all objects, once.
//!
//! Layouts, toolchains and names concern more than the object in which they were found: one object
//! cannot tell whether others still call a function, and a type that ten objects show is accepted
//! once. So comparing an object only gathers evidence, and this step refuses or accepts.

use std::collections::{BTreeMap, BTreeSet};

use crate::debug_info::toolchain::{Difference, DifferenceKind, say_differences};
use crate::layouts::{ChangedKind, LayoutChange, problem};
use crate::report::object_diff::{ObjectDiff, Variable};
use crate::rules::definitions::IS_GONE;
use crate::verdict::accept::{Found, LINE_NUMBERS, acceptable, remedy};
use crate::verdict::kinds::{Accepted, Reason, RefusalCode};
use crate::verdict::place::Place;
use crate::verdict::refusal::Refusal;

/// How much of the program was compared.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// One object: others may call its global functions.
    Object,
    /// All objects of the tree, which share these names.
    Tree(&'a SharedByTree),
}

/// What the objects of both trees have to do with the names that changed, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedByTree {
    /// Objects of the original tree that have it as a weak symbol.
    pub weak: BTreeMap<String, Vec<String>>,
    /// Objects of the patched tree that must find it in another one.
    pub needed: BTreeMap<String, Vec<String>>,
    /// Names that an object of the patched tree defines.
    pub defined: BTreeSet<String>,
    /// Names that an object of the original tree defines in memory that is given back after the
    /// boot.
    pub at_boot: BTreeSet<String>,
    /// Objects of the original tree that have a weak definition of it.
    pub weak_definitions: BTreeMap<String, Vec<String>>,
}

/// Decides about names, layouts and toolchains. `changes` are the layout changes of all objects,
/// each once, with their users; those that turn out to break nothing are marked so.
pub fn judge(diffs: &mut [ObjectDiff<'_>], changes: &mut [LayoutChange], scope: Scope<'_>) {
    if let Scope::Tree(shared) = scope {
        names(diffs, shared);
        one_of_several(diffs, shared);
        moved_state(diffs);
    }
    for change in changes {
        let is_prototype = change.kind == ChangedKind::Prototype;
        if is_prototype && matches!(scope, Scope::Tree(_)) && change.users.is_empty() {
            // All its callers change with it.
            change.breaks = false;
        }
        if change.breaks {
            layout(diffs, change);
        }
    }
    traces(diffs);
    toolchains(diffs);
}

/// So many functions of one object that differ in displacements alone are no accident.
const TRACES_MIN: usize = 2;
/// The name by which a change of layout is accepted of which only traces are seen.
const TRACES: &str = "unknown";

/// Refuses what looks like a structure of another layout where no debug information tells: objects
/// of the old layout exist in the running system. Once, however many objects show it.
fn traces(diffs: &mut [ObjectDiff<'_>]) {
    let shows = |diff: &ObjectDiff<'_>| -> Vec<String> {
        let untold = diff.layouts.not_compared.is_some();
        let functions = diff.functions.iter().filter(|function| {
            let is_trace = |reason: &Reason| matches!(reason, Reason::LayoutOnly { .. });
            untold && function.reasons.iter().any(is_trace)
        });
        functions.map(|function| function.name.clone()).collect()
    };
    let found: Vec<(usize, Vec<String>)> = diffs
        .iter()
        .enumerate()
        .map(|(index, diff)| (index, shows(diff)))
        .filter(|(_, functions)| functions.len() >= TRACES_MIN)
        .collect();
    let Some((first, functions)) = found.first() else {
        return;
    };
    let all: usize = found.iter().map(|(_, functions)| functions.len()).sum();
    let more = match found.len() - 1 {
        0 => String::new(),
        1 => " and 1 more object".to_owned(),
        more => format!(" and {more} more objects"),
    };
    let code = RefusalCode::ChangedLayout;
    let place = Place::symbol(TRACES);
    let problem = format!(
        "{all} functions ({}, {}{}) differ in displacements alone, as when a structure got another \
         layout, and without debug information nothing tells whether one did; build both trees \
         with -g; if none did{}",
        functions[0],
        functions[1],
        if all > TRACES_MIN { ", …" } else { "" },
        remedy(code, &place)
    );
    let word = acceptable(code).unwrap_or_default();
    let accepted = found
        .iter()
        .find_map(|(index, _)| diffs[*index].evidence.accept.by_name(word, &[TRACES]));
    let object = &diffs[*first].object;
    let refusal = Refusal::new(code, object, problem)
        .named(format!("{object}{more}"))
        .in_place(place);
    match accepted {
        None => diffs[*first].refusals.push(refusal),
        Some(what) => {
            let said = Accepted::new(&refusal, what.clone(), None);
            diffs[*first].accepted.push(said);
            for (index, _) in &found {
                if let Some(extract) = &mut diffs[*index].extract {
                    extract.accepted.push(what.clone());
                }
            }
        }
    }
}

/// A name that is new, gone, weak or no longer weak matters where another object has a weak symbol
/// of that name; and one that is gone where another object still needs it.
fn names(diffs: &mut [ObjectDiff<'_>], shared: &SharedByTree) {
    for diff in diffs {
        for change in std::mem::take(&mut diff.evidence.names) {
            let others = |of: &BTreeMap<String, Vec<String>>| {
                let all = of.get(&change.name).into_iter().flatten();
                let others: Vec<&str> = all
                    .map(String::as_str)
                    .filter(|user| *user != diff.object)
                    .collect();
                (!others.is_empty()).then(|| others.join(", "))
            };
            let is_lost = change.what == IS_GONE && !shared.defined.contains(&change.name);
            let problem = if let Some(users) = others(&shared.needed).filter(|_| is_lost) {
                format!(
                    "is gone from every object of the patched tree, and {users} still refers to \
                     it, so that this tree does not link; give both trees whole, or take the \
                     change out of the patch"
                )
            } else if let Some(users) = others(&shared.weak) {
                format!(
                    "{}, and {users} has a weak symbol of this name, which now resolves to \
                     something else, while the base stays as it was linked; change the callers \
                     instead",
                    change.what,
                )
            } else {
                continue;
            };
            refuse_name(diff, RefusalCode::DefinitionChanged, &change.name, &problem);
        }
        for (name, by) in std::mem::take(&mut diff.evidence.begun) {
            if shared.at_boot.contains(&name) {
                let problem = format!(
                    "{by} uses it now and did not before, and its memory is given back after the \
                     boot; use something that stays"
                );
                refuse_name(diff, RefusalCode::ChangedInit, &name, &problem);
            }
        }
    }
}

/// Of several weak definitions of a function the base has one, and which it is depends on the order
/// of the link: equal bytes prove nothing.
fn one_of_several(diffs: &mut [ObjectDiff<'_>], shared: &SharedByTree) {
    for diff in diffs {
        let replaced: Vec<String> = diff.replaced_weak().map(str::to_owned).collect();
        for name in replaced {
            let others: Vec<&str> = shared
                .weak_definitions
                .get(&name)
                .into_iter()
                .flatten()
                .map(String::as_str)
                .filter(|object| *object != diff.object)
                .collect();
            if others.is_empty() {
                continue;
            }
            let problem = format!(
                "is weak and changed here, and {} has a weak definition of it too; which of them \
                 runs depends on the order of the link, so make sure that it is this one",
                others.join(", ")
            );
            refuse_name(diff, RefusalCode::DefinitionChanged, &name, &problem);
        }
    }
}

/// A variable that vanishes from one object where one of its name and size appears in another has
/// moved, most likely, and would lose its state.
fn moved_state(diffs: &mut [ObjectDiff<'_>]) {
    let lost: Vec<(String, Variable)> = diffs
        .iter()
        .flat_map(|diff| {
            let lost = diff.evidence.lost_state.iter();
            lost.map(|one| (diff.object.clone(), one.clone()))
        })
        .collect();
    if lost.is_empty() {
        return;
    }
    for diff in diffs {
        for new in std::mem::take(&mut diff.evidence.new_state) {
            let from = lost
                .iter()
                .find(|(object, lost)| *lost == new && *object != diff.object);
            if let Some((object, _)) = from {
                let problem = format!(
                    "cannot tell whether this variable is new or the one that {object} has no \
                     more, whose value it would lose; give it a name of its own if it is new, or \
                     leave it where it was"
                );
                refuse_name(diff, RefusalCode::AmbiguousStaticLocal, &new.name, &problem);
            }
        }
    }
}

fn refuse_name(diff: &mut ObjectDiff<'_>, code: RefusalCode, name: &str, problem: &str) {
    let place = Place::symbol(name);
    let problem = format!("{problem}{}", remedy(code, &place));
    let accepted = acceptable(code).and_then(|word| diff.evidence.accept.by_name(word, &[name]));
    let symbol = place.symbol.clone();
    let refusal = Refusal::new(code, &diff.object, problem).in_place(place);
    match accepted {
        Some(what) => {
            if let Some(extract) = &mut diff.extract {
                extract.accepted.push(what.clone());
            }
            diff.accepted.push(Accepted::new(&refusal, what, symbol));
        }
        None => diff.refusals.push(refusal),
    }
}

/// One refusal for a type, however many objects show it.
fn layout(diffs: &mut [ObjectDiff<'_>], change: &LayoutChange) {
    let code = match change.kind {
        ChangedKind::Prototype => RefusalCode::ChangedPrototype,
        _ => RefusalCode::ChangedLayout,
    };
    let word = acceptable(code).unwrap_or_default();
    let accepted = diffs
        .iter()
        .filter(|diff| change.objects.contains(&diff.object))
        .find_map(|diff| diff.evidence.accept.by_name(word, &[&change.name]));
    let Some(diff) = diffs
        .iter_mut()
        .find(|diff| change.objects.contains(&diff.object))
    else {
        return;
    };
    let place = Place::symbol(&change.name);
    let problem = format!("{}{}", problem(change), remedy(code, &place));
    let refusal = Refusal::new(code, &diff.object, problem).in_place(place);
    let Some(what) = accepted else {
        diff.refusals.push(refusal);
        return;
    };
    diff.accepted
        .push(Accepted::new(&refusal, what.clone(), None));
    // The acceptance is listed for each object that has the type, as when each is compared alone.
    let concerned = diffs
        .iter_mut()
        .filter(|diff| change.objects.contains(&diff.object));
    for extract in concerned.filter_map(|diff| diff.extract.as_mut()) {
        extract.accepted.push(what.clone());
    }
}

/// Refuses objects whose two builds are by different toolchains, or records that this was accepted:
/// once for each difference, however many objects have it.
fn toolchains(diffs: &mut [ObjectDiff<'_>]) {
    let code = RefusalCode::ToolchainDiffers;
    let mut groups: BTreeMap<Vec<Difference>, Vec<usize>> = BTreeMap::new();
    for (index, diff) in diffs.iter().enumerate() {
        // A lost protection cannot be accepted; crate::rules::protection refuses it.
        let differences = diff.toolchains.iter().flat_map(|both| &both.differences);
        let differences: Vec<Difference> = differences
            .filter(|difference| difference.kind != DifferenceKind::Protection)
            .cloned()
            .collect();
        if !differences.is_empty() {
            groups.entry(differences).or_default().push(index);
        }
    }
    for (differences, indices) in groups {
        let accepted = indices
            .iter()
            .find_map(|index| diffs[*index].evidence.accept.toolchain());
        let others = match indices.len() - 1 {
            0 => String::new(),
            1 => " and 1 more object".to_owned(),
            more => format!(" and {more} more objects"),
        };
        let diff = &mut diffs[indices[0]];
        let problem = format!(
            "the two builds are by different toolchains: {}; build the patched tree \
             with the compiler and flags of the original, or accept it with --accept toolchain \
             when the difference is the fix",
            say_differences(&differences)
        );
        let named = format!("{}{others}", diff.object);
        let refusal = Refusal::new(code, &diff.object, problem).named(named);
        match accepted {
            Some(what) => {
                if let Some(extract) = &mut diff.extract {
                    extract.accepted.push(what.clone());
                }
                diff.accepted.push(Accepted::new(&refusal, what, None));
            }
            None => diff.refusals.push(refusal),
        }
    }
}

/// What was accepted in some objects, and what could have been.
#[must_use]
pub fn acceptances(diffs: &[ObjectDiff<'_>]) -> Found {
    let by_line = |name: &str| format!("{LINE_NUMBERS}:{name}");
    let mut found = Found::default();
    for diff in diffs {
        let all = diff.accepted.iter().map(|accepted| accepted.what.clone());
        found.accepted.extend(all);
        let lines = diff.ignored.iter().filter(|one| one.is_accepted());
        found.accepted.extend(lines.map(|one| by_line(&one.name)));
        for refusal in &diff.refusals {
            if let Some((word, name)) = acceptable(refusal.code).zip(refusal.place.name()) {
                found.refused.push(format!("{word}:{name}"));
            }
        }
        let alike = diff
            .functions
            .iter()
            .filter(|function| function.reasons.contains(&Reason::LooksLikeLineNumbers));
        found.refused.extend(alike.map(|one| by_line(&one.name)));
    }
    found
}
