//! `remove`: takes a build out of its place in one step, and then what nobody else needs.

use std::collections::HashSet;
use std::fs;

use anyhow::{Context, Result};

use super::add::{OBJECTS_LIST, SOURCE_LIST};
use super::contents::needed_by;
use super::record::BuildRecord;
use super::{Store, listing};

/// Removes a build from a store that nobody else uses; how many contents went with it, and their
/// size in bytes. Contents that an interrupted `add` left go too.
///
/// # Errors
///
/// There is no such build, or something cannot be read or removed.
pub(crate) fn remove(store: &Store, wanted: &str) -> Result<(BuildRecord, (usize, u64))> {
    let record = store.record(wanted)?;
    store.sweep_unfinished()?;
    let folder = store.build(&record.build_id);
    fs::rename(&folder, store.unfinished().join(&record.build_id))
        .with_context(|| format!("{}: cannot be removed", folder.display()))?;
    let mut needed = HashSet::new();
    for other in store.records()? {
        needed.insert(other.base.sha256.clone());
        let trees = [(&other.source, SOURCE_LIST), (&other.objects, OBJECTS_LIST)];
        for (_, list) in trees.into_iter().filter(|(tree, _)| tree.path.is_none()) {
            let tree = listing::read(&store.build(&other.build_id).join(list))?;
            needed.extend(needed_by(&tree));
        }
    }
    let swept = store.sweep_contents(&needed)?;
    store.sweep_unfinished()?;
    Ok((record, swept))
}
