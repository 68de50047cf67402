//! Which types a function may use: a walk from its own types through members and pointers.

use std::collections::{HashSet, VecDeque};

use super::Held;
use crate::debug_info::types::{EntryId, SHARED_UNIT, TypeName, Types, is_pointer, kind};

/// A function to start from.
pub(super) struct Root {
    /// Its name.
    pub function: String,
    /// Its unit.
    pub unit: u32,
    /// Its variables, parameters and itself (for the result): everything that has a type.
    pub entries: Vec<EntryId>,
}

/// A type that was reached.
pub(super) struct Reached {
    /// Its name.
    pub name: TypeName,
    /// The unit that it was reached from.
    pub unit: u32,
    /// The function.
    pub function: String,
    /// How the function holds it.
    pub held: Held,
    /// The type that led to it.
    pub through: Option<String>,
}

/// Everything in a function that has a type: the function itself, for its result; parameters and
/// variables, including those of functions inlined into it.
pub(super) fn roots(types: &Types<'_>, function: EntryId) -> Vec<EntryId> {
    let mut roots = Vec::new();
    let mut seen = HashSet::from([function]);
    let mut queue = VecDeque::from([function]);
    while let Some(at) = queue.pop_front() {
        roots.push(at);
        let mut enqueue = |origin: Option<EntryId>| {
            if let Some(origin) = origin
                && types.entry(origin).tag == gimli::DW_TAG_subprogram
                && seen.insert(origin)
            {
                queue.push_back(origin);
            }
        };
        enqueue(types.origin(at));
        for below in types.below(at) {
            match types.entry(below).tag {
                gimli::DW_TAG_formal_parameter | gimli::DW_TAG_variable => roots.push(below),
                gimli::DW_TAG_inlined_subroutine => enqueue(types.origin(below)),
                _ => {}
            }
        }
    }
    roots
}

/// One step of the walk.
#[derive(Clone, Copy)]
struct Step {
    id: EntryId,
    root: usize,
    held: Held,
    /// The named type that it was reached through.
    through: Option<EntryId>,
}

/// Everything that some functions reach, each type once, the nearest way first.
pub(super) fn reach(types: &Types<'_>, roots: &[Root]) -> Vec<Reached> {
    let mut queue = VecDeque::new();
    // A type of a type unit can be reached from several units; all others belong to one.
    let mut seen = vec![false; types.ids().len()];
    for held in [Held::ByValue, Held::ByPointer] {
        for (root, from) in roots.iter().enumerate() {
            for entry in &from.entries {
                let Some(id) = types.type_of(*entry) else {
                    continue;
                };
                let points = types
                    .stripped(id)
                    .is_some_and(|id| is_pointer(types.entry(id).tag));
                if points == (held == Held::ByPointer) {
                    queue.push_back(Step {
                        id,
                        root,
                        held,
                        through: None,
                    });
                }
            }
        }
    }
    let mut all = Vec::new();
    while let Some(step) = queue.pop_front() {
        if std::mem::replace(&mut seen[step.id.0 as usize], true) {
            continue;
        }
        let entry = types.entry(step.id);
        let root = &roots[step.root];
        let mut next = Step { ..step };
        if kind(entry.tag).is_some() {
            if let Some(name) = types.type_name(step.id) {
                all.push(Reached {
                    name,
                    unit: if entry.unit == SHARED_UNIT {
                        root.unit
                    } else {
                        entry.unit
                    },
                    function: root.function.clone(),
                    held: step.held,
                    through: step
                        .through
                        .and_then(|id| types.type_name(id))
                        .map(|name| name.to_string()),
                });
                next.through = Some(step.id);
                next.held = Held::ThroughOthers;
            }
            for member in types.children(step.id) {
                if let Some(id) = types.type_of(member) {
                    queue.push_back(Step { id, ..next });
                }
            }
            continue;
        }
        if entry.tag == gimli::DW_TAG_subroutine_type {
            for parameter in types.children(step.id) {
                if let Some(id) = types.type_of(parameter) {
                    queue.push_back(Step { id, ..next });
                }
            }
        }
        if is_pointer(entry.tag) && next.held == Held::ByValue {
            next.held = Held::ByPointer;
        }
        if let Some(id) = types.type_of(step.id) {
            queue.push_back(Step { id, ..next });
        }
    }
    all
}
