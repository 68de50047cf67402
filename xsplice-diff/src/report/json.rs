//! The part of the JSON report that is about two builds and the payload. `xsplice-diff` writes it
//! for one object and `xsplice-build` for two trees, with the same structures. docs/json.md
//! documents the keys, and a test compares it with real output.

use serde::Serialize;

use super::object_diff::{DataChange, FunctionChange, ObjectDiff, SpecialSection};
use crate::layouts::{self, LayoutChange};
use crate::verdict::kinds::{Accepted, Ignored, Note};

/// What differs between two builds.
#[derive(Debug, Serialize)]
pub struct Changes<'a> {
    /// Included functions, in object then name order.
    pub functions: Vec<&'a FunctionChange>,
    /// Included data.
    pub data: Vec<&'a DataChange>,
    /// Special sections of which entries are included.
    pub special_sections: Vec<&'a SpecialSection>,
    /// Differences that are proven not to matter.
    pub ignored: Vec<&'a Ignored>,
    /// What a person has to know although it was decided; absent when there is nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<&'a Note>,
    /// Differences that the author accepted.
    pub accepted: Vec<&'a Accepted>,
    /// Types and prototypes.
    pub layouts: LayoutReport<'a>,
}

/// How types and prototypes compare.
#[derive(Debug, Serialize)]
pub struct LayoutReport<'a> {
    /// How many were compared.
    pub compared: usize,
    /// Objects of which functions changed and no layout could be compared.
    pub not_compared: Vec<NotCompared<'a>>,
    /// Those that differ, with who uses them.
    pub changes: &'a [LayoutChange],
}

/// An object of which no layout could be compared.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct NotCompared<'a> {
    /// The object.
    pub object: &'a str,
    /// Why.
    pub why: layouts::NotCompared,
}

/// A payload that was written.
#[derive(Clone, Debug, Serialize)]
pub struct PayloadSummary {
    /// Where it was written.
    pub path: String,
    /// In bytes.
    pub size: usize,
    /// Its own build-id, in hexadecimal.
    pub build_id: String,
    /// What it stacks on, in hexadecimal.
    pub depends: String,
    /// SHA-1 of the file, in hexadecimal.
    pub sha1: String,
    /// How many functions it replaces.
    pub functions: usize,
}

impl<'a> Changes<'a> {
    /// Those of `diffs`, of which `changes` are the layout changes of all.
    #[must_use]
    pub fn new(diffs: &'a [ObjectDiff<'_>], changes: &'a [LayoutChange]) -> Changes<'a> {
        let not_compared = diffs.iter().filter_map(|diff| {
            let why = diff.layouts.not_compared?;
            Some(NotCompared {
                object: &diff.object,
                why,
            })
        });
        Changes {
            functions: diffs.iter().flat_map(|diff| &diff.functions).collect(),
            data: diffs.iter().flat_map(|diff| &diff.data).collect(),
            special_sections: diffs
                .iter()
                .flat_map(|diff| &diff.special_sections)
                .collect(),
            ignored: diffs.iter().flat_map(|diff| &diff.ignored).collect(),
            notes: diffs.iter().flat_map(|diff| &diff.notes).collect(),
            accepted: diffs.iter().flat_map(|diff| &diff.accepted).collect(),
            layouts: LayoutReport {
                compared: diffs.iter().map(|diff| diff.layouts.compared).sum(),
                not_compared: not_compared.collect(),
                changes,
            },
        }
    }
}
