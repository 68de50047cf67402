//! Turns layout changes into refusals, or into acknowledged differences: one for each type,
//! however many objects show it.

use std::collections::BTreeMap;

use super::wording::problem;
use super::{ChangedKind, LayoutChange};
use crate::report::object_diff::{Accepted, ObjectDiff, Refusal, RefusalCode};
use crate::verdict::refusals::acceptable;

/// How much of the program was seen when users were looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// One object: others may call its global functions.
    OneObject,
    /// All objects of the tree.
    AllObjects,
}

/// The changes of several objects, each once, in order of name.
#[must_use]
pub fn merge(diffs: &[ObjectDiff<'_>]) -> Vec<LayoutChange> {
    merge_all(diffs.iter().flat_map(|diff| &diff.layouts.changes))
}

/// Makes one of those changes that are the same in several objects.
#[must_use]
pub fn merge_all<'a>(changes: impl IntoIterator<Item = &'a LayoutChange>) -> Vec<LayoutChange> {
    let mut merged: BTreeMap<LayoutChange, LayoutChange> = BTreeMap::new();
    for change in changes {
        // What makes two changes the same is all but where they were found.
        let key = LayoutChange {
            objects: if change.is_shared {
                Vec::new()
            } else {
                change.objects.clone()
            },
            reached: Vec::new(),
            users: Vec::new(),
            distant_users: 0,
            ..change.clone()
        };
        let into = merged.entry(key.clone()).or_insert(key);
        if change.is_shared {
            into.objects.extend(change.objects.iter().cloned());
        }
        into.reached.extend(change.reached.iter().cloned());
        into.users.extend(change.users.iter().cloned());
        into.distant_users += change.distant_users;
    }
    let mut all: Vec<LayoutChange> = merged.into_values().collect();
    for change in &mut all {
        change.objects.sort();
        change.objects.dedup();
        change.reached.sort();
        change.reached.dedup();
        change.users.sort();
    }
    all.sort_by(|a, b| (&a.said, &a.objects).cmp(&(&b.said, &b.objects)));
    all
}

/// Decides about every change; what was decided before is forgotten. `changes` come from
/// [`merge`], with the users that were found since.
pub fn judge(diffs: &mut [ObjectDiff<'_>], changes: &mut [LayoutChange], seen: Seen) {
    let is_ours = |code: RefusalCode| {
        matches!(
            code,
            RefusalCode::ChangedLayout | RefusalCode::ChangedPrototype
        )
    };
    for diff in &mut *diffs {
        diff.refusals.retain(|refusal| !is_ours(refusal.code));
        let before: Vec<String> = diff
            .accepted
            .extract_if(.., |accepted| is_ours(accepted.code))
            .map(|accepted| accepted.what)
            .collect();
        if let Some(extract) = &mut diff.extract {
            extract.accepted.retain(|what| !before.contains(what));
        }
    }
    for change in changes {
        if change.kind == ChangedKind::Prototype
            && seen == Seen::AllObjects
            && change.users.is_empty()
        {
            // Whoever calls it changes with it.
            change.breaks = false;
        }
        if change.breaks {
            decide(diffs, change);
        }
    }
}

fn decide(diffs: &mut [ObjectDiff<'_>], change: &LayoutChange) {
    let code = match change.kind {
        ChangedKind::Prototype => RefusalCode::ChangedPrototype,
        _ => RefusalCode::ChangedLayout,
    };
    let word = acceptable(code).unwrap_or_default();
    let wanted = format!("{word}:{}", change.name);
    let is_accepted = diffs
        .iter()
        .filter(|diff| change.objects.contains(&diff.object))
        .any(|diff| diff.acknowledged.contains(&wanted));
    let Some(diff) = diffs
        .iter_mut()
        .find(|diff| change.objects.contains(&diff.object))
    else {
        return;
    };
    let message = format!(
        "{} ({}): {}, then acknowledge it with --accept {wanted} or XSPLICE_ACCEPT in the source",
        diff.object,
        change.name,
        problem(change)
    );
    if is_accepted {
        diff.accepted.push(Accepted {
            object: diff.object.clone(),
            what: wanted.clone(),
            symbol: None,
            code,
            message,
        });
        // Each object that has the type says so, as it would say when it is compared alone.
        let concerned = diffs
            .iter_mut()
            .filter(|diff| change.objects.contains(&diff.object));
        for extract in concerned.filter_map(|diff| diff.extract.as_mut()) {
            extract.accepted.push(wanted.clone());
        }
    } else {
        diff.refusals.push(Refusal {
            code,
            object: diff.object.clone(),
            section: None,
            symbol: Some(change.name.clone()),
            offset: None,
            message,
        });
    }
}
