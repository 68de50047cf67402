//! The JSON report of a whole run; the keys are in docs/json.md.
//!
//! Keys may be added. One that changes or goes raises the schema: pipelines read this.

use std::path::Path;

use serde::Serialize;
use xsplice_console::json::Tool;
use xsplice_diff::ObjectDiff;
use xsplice_diff::layouts::LayoutChange;
use xsplice_diff::report::json::{Changes, PayloadSummary};
use xsplice_diff::verdict::kinds::Accepted;
use xsplice_diff::verdict::refusal::Refusal;
use xsplice_link::LinkError;
use xsplice_link::command::output::write_json;
use xsplice_link::verify::Outlook;

use crate::compare::proof::ProofSummary;
use crate::compare::toolchain::Fingerprint;
use crate::hunks::HunkReport;

/// The author of the JSON documents.
const TOOL: Tool = Tool::new("xsplice-build");

/// The whole report. On refusal, `payload` is `null` and `refusals` says why.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    /// What was compared.
    pub inputs: Inputs,
    /// What differs between the builds.
    #[serde(flatten)]
    pub changes: Changes<'a>,
    /// What original, patched tree and base were built by.
    pub toolchain: Fingerprint,
    /// Why there is no payload.
    pub refusals: Vec<Refusal>,
    /// What became of each hunk of `--patch`; absent without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hunks: Option<Vec<HunkReport>>,
    /// How the original objects compare with the base; `null` when that was not looked at.
    pub proof: Option<ProofSummary>,
    /// Hunks that were accepted. In the document each is told with its hunk.
    #[serde(skip)]
    pub accepted_hunks: Vec<Accepted>,
    /// A place for every byte of both builds; absent when that was not looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<xsplice_account::Account>,
    /// The payload; `null` when none was made.
    pub payload: Option<PayloadSummary>,
    /// What may be done with it later: applied again, replaced; `null` when none was made.
    pub outlook: Option<Outlook>,
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
    /// Objects that were paired, but for the merged ones.
    pub objects: usize,
    /// Of them, how many files are equal byte for byte.
    pub equal: usize,
    /// Objects that only the patched tree has.
    pub added: Vec<String>,
    /// Objects that only the original tree has.
    pub removed: Vec<String>,
    /// Objects that were left out by name.
    pub ignored_objects: Vec<String>,
    /// Patterns of `--ignore-object` that match no object; told in the story alone.
    #[serde(skip)]
    pub idle_patterns: Vec<String>,
    /// Objects that were merged from others (`ld -r`): those were compared, and these were not.
    pub merged_objects: Vec<String>,
    /// `--depends` as given; absent without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stacks_on: Option<String>,
    /// `--fixes`: what the payload mends; absent without it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fixes: Vec<String>,
}

/// The base image.
#[derive(Debug, Serialize)]
pub struct BaseInput {
    /// Its path.
    pub path: String,
    /// Its build-id, in hexadecimal.
    pub build_id: String,
}

impl<'a> Report<'a> {
    /// A report of `diffs` without a payload so far. `layouts` are the layout changes of all of
    /// them.
    #[must_use]
    pub fn new(
        inputs: Inputs,
        diffs: &'a [ObjectDiff<'_>],
        layouts: &'a [LayoutChange],
    ) -> Report<'a> {
        Report {
            inputs,
            changes: Changes::new(diffs, layouts),
            toolchain: Fingerprint::new(diffs),
            refusals: Vec::new(),
            hunks: None,
            accepted_hunks: Vec::new(),
            proof: None,
            account: None,
            payload: None,
            outlook: None,
        }
    }

    /// All that was accepted: differences, and hunks of the patch.
    pub fn accepted(&self) -> impl Iterator<Item = &Accepted> {
        let differences = self.changes.accepted.iter().copied();
        differences.chain(&self.accepted_hunks)
    }

    /// Writes it to `path`, or to standard output for `-`.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), LinkError> {
        write_json(path, TOOL, self)
    }
}
