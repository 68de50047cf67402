//! The result of comparing one pair of objects, in the shape of the JSON report.

use serde::{Deserialize, Serialize};

use crate::debug_info::line_table::SourceLine;
use crate::debug_info::toolchain::Toolchains;
use crate::extract::{Extract, Part};
use crate::layouts::{self, LayoutChange, Layouts};
use crate::verdict::accept::Acknowledgements;
use crate::verdict::kinds::{Accepted, Ignored, Reason, Status};
use crate::verdict::refusal::Refusal;

/// Everything that was found out about one pair of objects.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ObjectDiff<'data> {
    /// The object's path in its tree, or its file name.
    pub object: String,
    /// Functions that are replaced or new, by name.
    pub functions: Vec<FunctionChange>,
    /// Data that is new, or that changed and was acknowledged, by name.
    pub data: Vec<DataChange>,
    /// Special sections of which entries travel.
    pub special_sections: Vec<SpecialSection>,
    /// Differences that do not matter, each with the proof's name.
    pub ignored: Vec<Ignored>,
    /// What would have been refused, had the author not acknowledged it.
    pub accepted: Vec<Accepted>,
    /// Why no payload can be made. Not empty: no payload.
    pub refusals: Vec<Refusal>,
    /// How the layouts of the types compare that changed functions may look at.
    pub layouts: Layouts,
    /// What the two builds were compiled by; `None` when nothing travels.
    pub toolchains: Option<Toolchains>,
    /// What [`crate::report::judge`] decides about when all objects are known.
    #[serde(skip)]
    pub evidence: Evidence,
    /// What the linker needs; `None` when nothing travels or the code was refused. With a refused
    /// layout it is there, for only the whole tree tells whether the layout was acknowledged.
    #[serde(skip)]
    pub extract: Option<Extract<'data>>,
    /// Out-of-line parts of the replaced functions, for listings; empty without an extract.
    #[serde(skip)]
    pub parts: Vec<Part<'data>>,
}

/// What one object shows and cannot decide alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// What the options and the patched object acknowledge, whether it is needed or not.
    pub accept: Acknowledgements,
    /// Names that mean something else to other objects, in order.
    pub names: Vec<NameChange>,
}

/// A name that is new to other objects, gone, or weak or not weak any more. Whether that matters,
/// only objects know that refer to it weakly or have a weak definition of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameChange {
    /// The name.
    pub name: String,
    /// What became of it: `is new`.
    pub what: &'static str,
}

/// What the diff amounts to; the command's exit status follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Something travels: exit 0.
    Changed,
    /// Something cannot be patched: exit 2.
    Refused,
    /// No functional change: exit 3.
    Unchanged,
}

impl ObjectDiff<'_> {
    /// The diff of two objects between which nothing differs.
    #[must_use]
    pub fn unchanged(object: &str) -> ObjectDiff<'static> {
        ObjectDiff {
            object: object.to_owned(),
            functions: Vec::new(),
            data: Vec::new(),
            special_sections: Vec::new(),
            ignored: Vec::new(),
            accepted: Vec::new(),
            refusals: Vec::new(),
            layouts: Layouts::default(),
            toolchains: None,
            evidence: Evidence::default(),
            extract: None,
            parts: Vec::new(),
        }
    }

    /// Refusals come before everything else: a change that cannot travel is never "no change".
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if !self.refusals.is_empty() {
            Verdict::Refused
        } else if self.extract.is_some() {
            Verdict::Changed
        } else {
            Verdict::Unchanged
        }
    }
}

/// A function that travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionChange {
    /// The object that holds it.
    pub object: String,
    /// Its name in the patched object.
    pub name: String,
    /// For a local: the `STT_FILE` symbol that qualifies it.
    pub file: Option<String>,
    /// Replaced or new.
    pub status: Status,
    /// In bytes; 0 for a new one.
    pub old_size: u64,
    /// In bytes.
    pub new_size: u64,
    /// Where in the patched source the first difference stands, by debug information.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<SourceLine>,
    /// Why it travels; never empty.
    pub reasons: Vec<Reason>,
}

/// A datum that travels, or that differs and was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataChange {
    /// The object that holds it.
    pub object: String,
    /// Its name in the patched object.
    pub name: String,
    /// The section that holds it.
    pub section: String,
    /// Changed or new.
    pub status: Status,
}

/// Entries of a special section that travel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecialSection {
    /// The object that holds it.
    pub object: String,
    /// The section.
    pub section: String,
    /// How many entries travel.
    pub entries: u64,
}

/// What to tell about layouts beside the refusals. Lines; empty when there is nothing to tell.
#[must_use]
pub fn layout_summary(diffs: &[ObjectDiff<'_>], changes: &[LayoutChange]) -> String {
    let not_compared: Vec<_> = diffs
        .iter()
        .filter_map(|diff| Some((diff.object.as_str(), diff.layouts.not_compared?)))
        .collect();
    layouts::summary(&not_compared, changes)
}
