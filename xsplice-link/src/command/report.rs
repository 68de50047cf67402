//! The JSON reports of the commands, each with its inputs. docs/json.md documents the keys; for a
//! written payload they are the same as in `xsplice-build`.

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
/// Who writes [`SignReport`].
pub(super) const SIGN: Tool = LINKER.doing("sign");

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

/// Of `xsplice-link sign`.
#[derive(Debug, Serialize)]
pub(super) struct SignReport<'a> {
    pub(super) inputs: SignInputs,
    pub(super) signed: SignedFile<'a>,
}

#[derive(Debug, Serialize)]
pub(super) struct SignInputs {
    pub(super) payload: String,
    pub(super) key: String,
    pub(super) cert: String,
}

/// What was written.
#[derive(Debug, Serialize)]
pub(super) struct SignedFile<'a> {
    pub(super) path: String,
    /// In bytes.
    pub(super) size: usize,
    /// In hexadecimal.
    pub(super) sha256: String,
    pub(super) signer: &'a str,
}

/// A path as given.
pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}
