//! The JSON report of one object, which `xsplice-diff --json` writes.

use serde::Serialize;

use crate::debug_info::toolchain::Toolchains;
use crate::report::json::{Changes, PayloadSummary};
use crate::report::object_diff::ObjectDiff;
use crate::verdict::refusal::Refusal;

/// The whole report of one object.
#[derive(Debug, Serialize)]
pub(super) struct ObjectReport<'a> {
    /// What was compared.
    pub(super) inputs: Pair,
    /// What differs.
    #[serde(flatten)]
    pub(super) changes: Changes<'a>,
    /// What the two were built by.
    pub(super) toolchain: Toolchains,
    /// Refusals: why no payload can be made.
    pub(super) refusals: &'a [Refusal],
    /// Always `None`: an object alone makes no payload. Every report has the key.
    pub(super) payload: Option<PayloadSummary>,
}

/// The two builds of one object, as given.
#[derive(Debug, Serialize)]
pub(super) struct Pair {
    /// As shipped.
    pub(super) original: String,
    /// With the change.
    pub(super) patched: String,
}

impl<'a> ObjectReport<'a> {
    /// The report of `diff`, made of the files that `inputs` names.
    #[must_use]
    pub(super) fn new(inputs: Pair, diff: &'a ObjectDiff<'_>) -> ObjectReport<'a> {
        let diffs = std::slice::from_ref(diff);
        ObjectReport {
            inputs,
            changes: Changes::new(diffs, &diff.layouts.changes),
            toolchain: Toolchains::of_all(diff.toolchains.as_ref()),
            refusals: &diff.refusals,
            payload: None,
        }
    }
}
