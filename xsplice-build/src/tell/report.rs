//! The JSON report, schema 1.
//!
//! Fields may be added, never changed: pipelines read this.

use std::path::Path;

use serde::Serialize;
use xsplice_diff::ObjectDiff;
use xsplice_diff::layouts::{self, LayoutChange};
use xsplice_diff::report::object_diff::{
    Accepted, DataChange, FunctionChange, Ignored, SpecialSection,
};
use xsplice_link::LinkError;
use xsplice_link::command::output::write_json;
use xsplice_link::verify::Outlook;

use crate::compare::toolchain::Fingerprint;

use crate::hunks::HunkReport;

/// The whole report. On refusal, `payload` is `null` and `refusals` says why.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    /// 1.
    pub schema: u32,
    /// `xsplice-build`.
    pub tool: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What was compared.
    pub inputs: Inputs,
    /// Functions that travel, in object then name order.
    pub functions: Vec<&'a FunctionChange>,
    /// Data that travels.
    pub data: Vec<&'a DataChange>,
    /// Special sections of which entries travel.
    pub special_sections: Vec<&'a SpecialSection>,
    /// Differences that are proven not to matter.
    pub ignored: Vec<Ignored>,
    /// Differences that the author acknowledged.
    pub accepted: Vec<&'a Accepted>,
    /// Types and prototypes that differ between the builds, with who uses them.
    pub layouts: &'a [LayoutChange],
    /// How many types and prototypes were compared.
    pub layouts_compared: usize,
    /// Objects of which functions changed and no layout could be compared.
    pub layouts_not_compared: Vec<NotCompared<'a>>,
    /// What original, patched tree and base were built by.
    pub toolchain: Fingerprint,
    /// Why there is no payload.
    pub refusals: Vec<RefusalEntry>,
    /// What became of each hunk of `--patch`; absent without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hunks: Option<Vec<HunkReport>>,
    /// How the original objects compare with the base; `null` when that was not looked at.
    pub proof: Option<ProofSummary>,
    /// A place for every byte of both builds; absent without `--account`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<xsplice_account::Account>,
    /// The payload; `null` when none was made.
    pub payload: Option<PayloadSummary>,
    /// What may be done with it later: applied again, replaced; `null` when none was made.
    pub outlook: Option<Outlook>,
}

/// An object of which no layout could be compared.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct NotCompared<'a> {
    /// The object.
    pub object: &'a str,
    /// Why.
    pub why: layouts::NotCompared,
}

/// What was compared.
#[derive(Debug, Serialize)]
pub struct Inputs {
    /// `--orig` as given.
    pub original: String,
    /// `--patched` as given.
    pub patched: String,
    /// The base image; `null` when none was needed.
    pub base: Option<BaseInput>,
    /// Objects that were paired.
    pub objects: usize,
    /// Of them, how many files are equal byte for byte.
    pub equal: usize,
    /// Objects that only the patched tree has.
    pub added: Vec<String>,
    /// Objects that only the original tree has.
    pub removed: Vec<String>,
    /// Objects that were left out by name.
    pub ignored_objects: Vec<String>,
    /// Objects that were merged from others (`ld -r`), which were compared themselves.
    pub merged_objects: Vec<String>,
    /// `--depends` as given; absent without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stacks_on: Option<String>,
}

/// The base image.
#[derive(Debug, Serialize)]
pub struct BaseInput {
    /// Its path.
    pub path: String,
    /// Its build-id, in hexadecimal.
    pub build_id: String,
}

/// One refusal, of the differ or of the linker.
#[derive(Clone, Debug, Serialize)]
pub struct RefusalEntry {
    /// Its kind, in kebab-case.
    pub code: serde_json::Value,
    /// The object at fault.
    pub object: String,
    /// Section, where there is one.
    pub section: Option<String>,
    /// Symbol, where there is one.
    pub symbol: Option<String>,
    /// Offset in the section in bytes, where there is one.
    pub offset: Option<u64>,
    /// The whole sentence: the place, what is wrong and what would make it right.
    pub message: String,
}

/// How the original tree compares with the base.
#[derive(Clone, Debug, Serialize)]
pub struct ProofSummary {
    /// Objects that are linked into the base.
    pub objects: usize,
    /// Their functions whose bytes the base holds.
    pub proven: usize,
    /// Their constants of a name that the base holds as they were compiled.
    pub constants: usize,
    /// Their functions that the base has no symbol of.
    pub absent: usize,
    /// Their functions that the base holds otherwise, each with the first difference.
    pub failed: Vec<String>,
    /// Their constants that the base holds otherwise, each with the first difference.
    pub failed_constants: Vec<String>,
    /// Objects in place of which others were linked that define the same names.
    pub superseded: Vec<String>,
    /// Objects that have functions, none of which is in the base.
    pub unlinked: Vec<String>,
    /// Files that were not compared: no x86-64 objects.
    pub foreign: Vec<String>,
}

/// The payload that was made.
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

impl<'a> Report<'a> {
    /// A report of `diffs`, of which `layouts` are the layout changes of all, that has come to no
    /// result yet.
    #[must_use]
    pub fn new(
        inputs: Inputs,
        diffs: &'a [ObjectDiff<'_>],
        layouts: &'a [LayoutChange],
    ) -> Report<'a> {
        Report {
            schema: 1,
            tool: "xsplice-build",
            version: env!("CARGO_PKG_VERSION"),
            inputs,
            functions: diffs.iter().flat_map(|diff| &diff.functions).collect(),
            data: diffs.iter().flat_map(|diff| &diff.data).collect(),
            special_sections: diffs
                .iter()
                .flat_map(|diff| &diff.special_sections)
                .collect(),
            ignored: diffs
                .iter()
                .flat_map(|diff| diff.ignored.iter().cloned())
                .collect(),
            accepted: diffs.iter().flat_map(|diff| &diff.accepted).collect(),
            layouts,
            layouts_compared: diffs.iter().map(|diff| diff.layouts.compared).sum(),
            layouts_not_compared: diffs
                .iter()
                .filter_map(|diff| {
                    let why = diff.layouts.not_compared?;
                    Some(NotCompared {
                        object: &diff.object,
                        why,
                    })
                })
                .collect(),
            toolchain: Fingerprint::new(diffs),
            refusals: Vec::new(),
            hunks: None,
            proof: None,
            account: None,
            payload: None,
            outlook: None,
        }
    }

    /// Writes it to `path`, or to standard output for `-`.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), LinkError> {
        write_json(path, self)
    }
}

impl From<&xsplice_diff::report::object_diff::Refusal> for RefusalEntry {
    fn from(refusal: &xsplice_diff::report::object_diff::Refusal) -> RefusalEntry {
        RefusalEntry {
            code: serde_json::to_value(refusal.code).unwrap_or_default(),
            object: refusal.object.clone(),
            section: refusal.section.clone(),
            symbol: refusal.symbol.clone(),
            offset: refusal.offset,
            message: refusal.message.clone(),
        }
    }
}

impl From<&xsplice_link::Refusal> for RefusalEntry {
    fn from(refusal: &xsplice_link::Refusal) -> RefusalEntry {
        RefusalEntry {
            code: serde_json::to_value(refusal.code).unwrap_or_default(),
            object: refusal.object.clone(),
            section: refusal.section.clone(),
            symbol: refusal.symbol.clone(),
            offset: refusal.offset,
            message: refusal.to_string(),
        }
    }
}

impl std::fmt::Display for RefusalEntry {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.message)
    }
}
