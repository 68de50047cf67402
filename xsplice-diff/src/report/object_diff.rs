//! The result of comparing one pair of objects, in the shape of the JSON report.

use std::collections::{BTreeMap, BTreeSet};

use object::elf;
use serde::{Deserialize, Serialize};

use crate::debug_info::line_table::SourceLine;
use crate::debug_info::toolchain::Toolchains;
use crate::extract::{Extract, Part};
use crate::layouts::{self, LayoutChange, Layouts};
use crate::verdict::accept::AcceptList;
use crate::verdict::kinds::{Accepted, Ignored, Note, Reason, Status};
use crate::verdict::refusal::Refusal;

/// The whole result for one pair of objects.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ObjectDiff<'data> {
    /// The object's path in its tree, or its file name.
    pub object: String,
    /// Functions that are replaced or new, by name.
    pub functions: Vec<FunctionChange>,
    /// Data that is new, or that changed and was accepted, by name.
    pub data: Vec<DataChange>,
    /// Special sections of which entries are included.
    pub special_sections: Vec<SpecialSection>,
    /// Differences that do not matter, each with the proof's name.
    pub ignored: Vec<Ignored>,
    /// What a person has to know although it was decided.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// What would have been refused, had the author not accepted it.
    pub accepted: Vec<Accepted>,
    /// Refusals. If there are any, no payload is made.
    pub refusals: Vec<Refusal>,
    /// The comparison of the layouts of types that changed functions may use.
    pub layouts: Layouts,
    /// The toolchains of both builds; `None` when nothing is included.
    pub toolchains: Option<Toolchains>,
    /// Evidence that [`crate::report::judge`] decides about when all objects are known.
    #[serde(skip)]
    pub evidence: Evidence,
    /// What the linker needs; `None` when nothing is included or the code was refused. It is
    /// present despite a refused layout, because only the whole tree shows whether the layout was
    /// accepted.
    #[serde(skip)]
    pub extract: Option<Extract<'data>>,
    /// Out-of-line parts of the replaced functions, for listings; empty without an extract.
    #[serde(skip)]
    pub parts: Vec<Part<'data>>,
}

/// Evidence of one object that only the whole tree can decide about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// What the options and the patched object accept, whether it is needed or not.
    pub accept: AcceptList,
    /// Names that changed for other objects, in order.
    pub names: Vec<NameChange>,
    /// Symbols of other objects that included code refers to and did not before, by name, each with
    /// the first function that does.
    pub begun: BTreeMap<String, String>,
    /// Variables that only the original has.
    pub lost_state: BTreeSet<Variable>,
    /// Variables that are included and that the original does not have.
    pub new_state: BTreeSet<Variable>,
}

/// A variable, by what stays of it in another object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Variable {
    /// Its name, without what compilers append.
    pub name: String,
    /// In bytes.
    pub size: u64,
}

/// A name that is new to other objects, gone, or changed between weak and global. That matters only
/// where another object refers to it weakly or has a weak definition of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameChange {
    /// The name.
    pub name: String,
    /// What became of it: `is new`.
    pub what: &'static str,
}

/// The verdict on an object; it determines the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Something is included: exit 0.
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
            notes: Vec::new(),
            accepted: Vec::new(),
            refusals: Vec::new(),
            layouts: Layouts::default(),
            toolchains: None,
            evidence: Evidence::default(),
            extract: None,
            parts: Vec::new(),
        }
    }

    /// The weak functions that it replaces.
    pub fn replaced_weak(&self) -> impl Iterator<Item = &str> {
        let records = self.extract.iter().flat_map(|extract| &extract.records);
        records
            .filter(|record| record.binding == elf::STB_WEAK.0)
            .map(|record| record.name.as_str())
    }

    /// Refusals come first: a change that cannot be included is never "no change".
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

/// An included function.
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
    /// Source line of the first difference in the patched build, by debug information.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<SourceLine>,
    /// Why it is included; never empty.
    pub reasons: Vec<Reason>,
}

/// Data that is included, or that differs and was accepted.
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

/// Included entries of a special section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecialSection {
    /// The object that holds it.
    pub object: String,
    /// The section.
    pub section: String,
    /// How many entries are included.
    pub entries: u64,
}

/// Lines about layouts besides the refusals; empty when there are none.
#[must_use]
pub fn layout_summary(diffs: &[ObjectDiff<'_>], changes: &[LayoutChange]) -> String {
    let not_compared: Vec<_> = diffs
        .iter()
        .filter_map(|diff| Some((diff.object.as_str(), diff.layouts.not_compared?)))
        .collect();
    layouts::summary(&not_compared, changes)
}
