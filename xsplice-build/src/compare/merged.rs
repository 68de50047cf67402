//! Tells objects that the build merged from others (`ld -r`) from those that it compiled.
//!
//! Build trees hold both, and a change shows in each. A merged object is left out only when every
//! difference in it was also found in the objects that it was merged from.

use std::collections::{BTreeMap, HashMap, HashSet};

use rayon::prelude::*;
use xsplice_diff::ObjectDiff;
use xsplice_diff::read::special_sections::is_special_code;
use xsplice_diff::source_files;
use xsplice_diff::verdict::kinds::RefusalCode;

use crate::inputs::{Bytes, Input};

/// The merged objects of a tree.
#[derive(Debug, Default)]
pub struct Merged {
    /// Name of a merged object → names of the objects that it was merged from.
    pub parts: BTreeMap<String, Vec<String>>,
}

/// Finds the objects that have several source files, each of which another input was compiled
/// from.
#[must_use]
pub fn find(inputs: &[Input]) -> Merged {
    let files: Vec<Vec<&str>> = inputs.par_iter().map(files_of).collect();
    let mut compiled: HashMap<&str, Vec<&str>> = HashMap::new();
    for (input, files) in inputs.iter().zip(&files) {
        if let [file] = files.as_slice() {
            compiled.entry(file).or_default().push(&input.name);
        }
    }
    let mut merged = Merged::default();
    for (input, files) in inputs
        .iter()
        .zip(&files)
        .filter(|(_, files)| files.len() > 1)
    {
        let parts: Option<Vec<_>> = files.iter().map(|file| compiled.get(file)).collect();
        if let Some(parts) = parts {
            let parts = parts
                .into_iter()
                .flatten()
                .map(|&part| part.to_owned())
                .collect();
            merged.parts.insert(input.name.clone(), parts);
        }
    }
    merged
}

impl Merged {
    /// Names of the merged objects in `diffs` whose differences were all found in their parts.
    #[must_use]
    pub fn covered(&self, diffs: &[ObjectDiff<'_>]) -> HashSet<String> {
        let by_object: HashMap<&str, &ObjectDiff<'_>> = diffs
            .iter()
            .map(|diff| (diff.object.as_str(), diff))
            .collect();
        diffs
            .iter()
            .filter(|diff| {
                self.parts.get(&diff.object).is_some_and(|parts| {
                    let parts: Vec<_> = parts
                        .iter()
                        .filter_map(|part| by_object.get(part.as_str()).copied())
                        .collect();
                    says_nothing_new(diff, &parts)
                })
            })
            .map(|diff| diff.object.clone())
            .collect()
    }
}

/// Whether nothing is lost without `merged`: a part is refused, which ends the run anyway, or
/// each of its functions and data has one of its name in `parts`, and nothing in it is refused
/// but for what merging alone causes. There, code that special sections own (`.fixup`) stands
/// behind the labels of other parts, and is taken for theirs; in the parts it was compared entry
/// by entry, with the functions that own it.
fn says_nothing_new(merged: &ObjectDiff<'_>, parts: &[&ObjectDiff<'_>]) -> bool {
    if parts.iter().any(|part| !part.refusals.is_empty()) {
        return true;
    }
    let functions: HashSet<&str> = parts
        .iter()
        .flat_map(|part| &part.functions)
        .map(|function| function.name.as_str())
        .collect();
    let data: HashSet<&str> = parts
        .iter()
        .flat_map(|part| &part.data)
        .map(|datum| datum.name.as_str())
        .collect();
    let has_own_refusal = merged.refusals.iter().any(|refusal| {
        let section = refusal.place.section.as_deref().unwrap_or_default();
        refusal.code != RefusalCode::ChangedAssembly || !is_special_code(section)
    });
    !has_own_refusal
        && merged
            .functions
            .iter()
            .all(|function| functions.contains(function.name.as_str()))
        && merged
            .data
            .iter()
            .all(|datum| data.contains(datum.name.as_str()))
}

/// Source files of the input's newer object; none for one that cannot be read.
fn files_of(input: &Input) -> Vec<&str> {
    let bytes = match &input.bytes {
        Bytes::Both { patched, .. } | Bytes::Added { patched } => patched,
        Bytes::Removed { original } => original,
    };
    source_files(&input.name, bytes).unwrap_or_default()
}
