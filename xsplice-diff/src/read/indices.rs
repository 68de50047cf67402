//! Offsets of files are 64 bits wide, and slices are indexed by what the host has.

use std::ops::Range;

/// The indices that offsets mean; `None` for what no slice is long enough for.
#[must_use]
pub fn indices(offsets: Range<u64>) -> Option<Range<usize>> {
    Some(usize::try_from(offsets.start).ok()?..usize::try_from(offsets.end).ok()?)
}

/// The bytes at these offsets; empty where there are none.
#[must_use]
pub fn bytes_at(bytes: &[u8], offsets: Range<u64>) -> &[u8] {
    indices(offsets)
        .and_then(|range| bytes.get(range))
        .unwrap_or_default()
}
