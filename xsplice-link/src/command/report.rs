//! What the commands say in JSON, each behind the inputs that it was given. The keys are in
//! docs/json.md; those of a payload that was written are the ones of `xsplice-build`.

use std::path::Path;

use serde::Serialize;
use xsplice_console::json::Tool;
use xsplice_diff::report::json::PayloadSummary;

use crate::error::Refusal;
use crate::inspect::Inspection;
use crate::verify::Verification;

/// Who writes these.
const LINKER: Tool = Tool::new("xsplice-link");
/// Who writes [`LinkReport`].
pub(super) const LINK: Tool = LINKER.doing("link");
/// Who writes [`InspectReport`].
pub(super) const INSPECT: Tool = LINKER.doing("inspect");
/// Who writes [`VerifyReport`].
pub(super) const VERIFY: Tool = LINKER.doing("verify");

/// Of `xsplice-link link`.
#[derive(Debug, Serialize)]
pub(super) struct LinkReport {
    pub(super) inputs: LinkInputs,
    /// Why no payload was written.
    pub(super) refusals: Vec<Refusal>,
    pub(super) payload: Option<PayloadSummary>,
}

#[derive(Debug, Serialize)]
pub(super) struct LinkInputs {
    pub(super) base: String,
    pub(super) extracts: Vec<String>,
}

/// Of `xsplice-link inspect`.
#[derive(Debug, Serialize)]
pub(super) struct InspectReport<'a> {
    pub(super) inputs: InspectInputs,
    #[serde(flatten)]
    pub(super) inspection: &'a Inspection,
}

#[derive(Debug, Serialize)]
pub(super) struct InspectInputs {
    pub(super) payload: String,
}

/// Of `xsplice-link verify`.
#[derive(Debug, Serialize)]
pub(super) struct VerifyReport<'a> {
    pub(super) inputs: VerifyInputs,
    #[serde(flatten)]
    pub(super) verification: &'a Verification,
}

#[derive(Debug, Serialize)]
pub(super) struct VerifyInputs {
    pub(super) payload: String,
    pub(super) base: String,
    /// The payloads below, the lowest first.
    pub(super) stack: Vec<String>,
}

/// A path as given.
pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}
