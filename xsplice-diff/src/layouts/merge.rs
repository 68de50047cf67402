//! Merges layout changes that several objects show into one.

use std::collections::BTreeMap;

use super::LayoutChange;

/// Merges changes that are the same in several objects.
#[must_use]
pub fn merge<'a>(changes: impl IntoIterator<Item = &'a LayoutChange>) -> Vec<LayoutChange> {
    let mut merged: BTreeMap<LayoutChange, LayoutChange> = BTreeMap::new();
    for change in changes {
        // Two changes are the same if they differ only in where they were found.
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
