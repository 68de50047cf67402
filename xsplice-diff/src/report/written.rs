//! What a diff extracted, as a file with the report in it.

use crate::extract::write_parts;
use crate::report::object_diff::{ObjectDiff, Verdict};

/// The ELF form of what a diff extracted, with the report in it; `None` when it extracted nothing.
#[must_use]
pub fn write_diff(diff: &ObjectDiff<'_>) -> Option<Vec<u8>> {
    if diff.verdict() == Verdict::Refused {
        return None;
    }
    let extract = diff.extract.as_ref()?;
    let report = serde_json::to_vec_pretty(diff).expect("a report has string keys alone");
    Some(write_parts(extract, Some(report)))
}
