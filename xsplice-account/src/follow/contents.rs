//! Whether a place holds an entry of a section whose equal entries the linker makes one.

use super::compare::Outcome;
use super::stamps::differ_in_time;
use super::{Follower, Place};
use crate::read::image::Bytes;

impl Follower<'_, '_> {
    /// Whether a place holds an entry of a merged section.
    pub(super) fn holds_content(&self, bytes: &[u8], start: Place, outcome: &mut Outcome) -> bool {
        let length = bytes.len() as u64;
        outcome.contents.push((start, length));
        let theirs = match start {
            Place::Base(address) => self.image.bytes(address, length),
            Place::Payload(id, offset) => self.payload_bytes(id, offset, length),
        };
        let is_same = matches!(theirs, Some(Bytes::Present(theirs)) if theirs == bytes);
        let is_stamp = !is_same && self.is_of_another_time(bytes, start);
        outcome.stamps += if is_stamp { length } else { 0 };
        is_same || is_stamp
    }

    /// Whether the base has a text at a place that tells another time of the build.
    fn is_of_another_time(&self, ours: &[u8], place: Place) -> bool {
        // A date may be written with more letters than the other.
        const LONGER_BYTES: u64 = 16;
        let Place::Base(address) = place else {
            return false;
        };
        let length = ours.len() as u64;
        let theirs = self
            .image
            .bytes(address, length.saturating_add(LONGER_BYTES))
            .or_else(|| self.image.bytes(address, length));
        match theirs {
            Some(Bytes::Present(theirs)) => differ_in_time(ours, theirs),
            _ => false,
        }
    }
}
