//! Finds users of a changed type in the other objects of a tree.

use std::collections::{BTreeSet, HashSet};

use super::fields::{differences, shape};
use super::uses::{self, Edges, Uses};
use super::{ChangedKind, LayoutChange, Side, Unpaired, User};
use crate::debug_info::types::read::TypeSections;
use crate::debug_info::types::{EntryId, Types};
use crate::read::error::DiffError;
use crate::read::object::ElfObject;
use crate::read::relocation::Target;
use crate::read::side::Build;

/// Users of one change in one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Index of the change.
    change: usize,
    users: Vec<User>,
    distant_users: usize,
}

/// Looks for users of `changes` in an original object. `changed` are the functions of the object
/// that are replaced. Objects in which a change was found are left out: their users are known.
///
/// # Errors
///
/// When it is not a well-formed x86-64 object.
pub fn users_in(
    object: &str,
    bytes: &[u8],
    changes: &[LayoutChange],
    changed: &HashSet<String>,
) -> Result<Vec<Found>, DiffError> {
    let concerns = |change: &LayoutChange| {
        change.breaks && change.is_shared && !change.objects.iter().any(|name| name == object)
    };
    let wanted: Vec<(usize, &LayoutChange)> = changes
        .iter()
        .enumerate()
        .filter(|(_, change)| concerns(change))
        .filter(|(_, change)| is_mentioned(bytes, &change.name))
        .collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let build = Build::new(object, bytes, &xsplice_abi::profile::XSPLICE)?;
    let mut found = Vec::new();
    for (index, change) in &wanted {
        if change.kind == ChangedKind::Prototype {
            found.push(Found {
                change: *index,
                users: callers(object, &build, &change.name, changed),
                distant_users: 0,
            });
        }
    }
    let sections = TypeSections::new(&build.object);
    let Some(types) = sections.as_ref().and_then(TypeSections::read) else {
        return Ok(found);
    };
    let side = Side {
        build: &build,
        types: &types,
    };
    let unchanged = uses::functions(&side, |_, name| !changed.contains(name));
    let edges = Edges::new(&types);
    for (index, change) in wanted {
        let targets = same_types(&types, change);
        if change.kind == ChangedKind::Prototype || targets.is_empty() {
            continue;
        }
        let uses = Uses::new(&types, &edges, &targets);
        let (users, distant_users) = uses.users(object, &unchanged);
        found.push(Found {
            change: index,
            users,
            distant_users,
        });
    }
    Ok(found)
}

/// Adds what [`users_in`] found.
pub fn add_users(changes: &mut [LayoutChange], found: impl IntoIterator<Item = Found>) {
    for one in found {
        let change = &mut changes[one.change];
        change.users.extend(one.users);
        change.users.sort();
        change.distant_users += one.distant_users;
    }
}

/// Looks for the old layouts of types that one object did not describe before (`unpaired`), because
/// it includes a header only now or is new as a whole. They are looked for in another object of the
/// tree that differs between the builds. A type that no original object describes is new and breaks
/// nothing.
///
/// # Errors
///
/// When one of the two is not a well-formed x86-64 object.
pub fn changed_elsewhere(
    object: &str,
    original: &[u8],
    patched: &[u8],
    unpaired: &[&Unpaired],
) -> Result<Vec<LayoutChange>, DiffError> {
    let wanted: Vec<&Unpaired> = unpaired
        .iter()
        .copied()
        .filter(|unpaired| unpaired.reaching.object != object)
        .filter(|unpaired| unpaired.name.function.is_none())
        .filter(|unpaired| is_mentioned(original, &unpaired.name.name))
        .collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let old = ElfObject::parse(object, original).map_err(DiffError::in_original)?;
    let new = ElfObject::parse(object, patched)?;
    let (old, new) = (TypeSections::new(&old), TypeSections::new(&new));
    let old = old.as_ref().and_then(TypeSections::read);
    let new = new.as_ref().and_then(TypeSections::read);
    let (Some(old), Some(new)) = (old, new) else {
        return Ok(Vec::new());
    };
    let mut changes = Vec::new();
    for unpaired in wanted {
        let of_name = |types: &Types<'_>| -> Vec<EntryId> {
            let named = types.all_named();
            let ours = named.filter(|(_, name, _)| **name == unpaired.name);
            ours.flat_map(|(_, _, ids)| ids).copied().collect()
        };
        // The other object must describe the same type in the patched build; otherwise only the
        // name is the same.
        let now = of_name(&new)
            .into_iter()
            .find(|id| shape(&new, *id) == unpaired.shape);
        let before = of_name(&old).first().copied();
        let (Some(before), Some(now)) = (before, now) else {
            continue;
        };
        if let Some(mut change) = differences(&old, before, &new, now, &unpaired.name) {
            change.old_shape = shape(&old, before);
            change.objects.push(unpaired.reaching.object.clone());
            change.reached.push(unpaired.reaching.clone());
            changes.push(change);
        }
    }
    Ok(changes)
}

/// The types of an object that have the old name and the old layout: one of the same name that
/// another file declares for itself is not it.
fn same_types(types: &Types<'_>, change: &LayoutChange) -> Vec<EntryId> {
    types
        .all_named()
        .filter(|(_, name, _)| name.name == change.name && name.to_string() == change.said)
        .flat_map(|(_, _, ids)| ids)
        .copied()
        .filter(|id| shape(types, *id) == change.old_shape)
        .collect()
}

/// Who refers to a global function of another object.
fn callers(object: &str, build: &Build<'_>, name: &str, changed: &HashSet<String>) -> Vec<User> {
    let mut users = BTreeSet::new();
    build.each_reference(|source, _, target| {
        let Target::Symbol { symbol, .. } = target else {
            return;
        };
        if build.object.symbol(symbol).name == name && uses::runs(build, source) {
            let user = build.shown(source);
            if !changed.contains(crate::read::names::root(&user)) {
                users.insert(User {
                    object: object.to_owned(),
                    name: user,
                });
            }
        }
    });
    users.into_iter().collect()
}

/// Whether a file can contain a name at all: searching is much faster than reading debug
/// information. A compressed section may contain any name.
fn is_mentioned(bytes: &[u8], name: &str) -> bool {
    /// The start of a compressed section's header (`ch_type` of zlib or zstd, `ch_reserved`).
    const COMPRESSED: [[u8; 8]; 2] = [[1, 0, 0, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0, 0, 0]];
    let holds = |needle: &[u8]| memchr::memmem::find(bytes, needle).is_some();
    holds(name.as_bytes()) || COMPRESSED.iter().any(|header| holds(header))
}
