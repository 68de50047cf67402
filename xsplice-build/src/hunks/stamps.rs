//! Dates and times that the patch itself writes: whatever they look like, no build made them.

use xsplice_diff::ObjectDiff;

use crate::source::patch_file::{Hunk, Side};

/// A text that a hunk puts into the source, and that was taken for the date or time of the build
/// and left out.
pub(super) fn written<'d>(hunk: &Hunk, diffs: &'d [ObjectDiff<'_>]) -> Option<&'d str> {
    let added = hunk.changes.iter().filter(|line| line.side == Side::New);
    let added: Vec<&str> = added.map(|line| line.text.as_str()).collect();
    let ignored = diffs.iter().flat_map(|diff| &diff.ignored);
    let stamps = ignored.filter(|ignored| ignored.is_build_stamp());
    // The texts of both builds stand there in quotes.
    let mut texts = stamps.flat_map(|stamp| stamp.why.split('"').skip(1).step_by(2));
    texts.find(|text| !text.is_empty() && added.iter().any(|line| line.contains(text)))
}
