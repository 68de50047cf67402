//! Texts that an object has among its constants, not in a section of texts: compilers that do not
//! optimise put them there.
//!
//! A text without a name has only its letters: nobody can ask for its alignment, and where it tells
//! the time of the build, a base that tells another is as good.

use super::stamps::differ_in_time;
use super::{Follower, Place};
use crate::read::image::Bytes;
use crate::read::tree::ItemId;

/// Zeros that a text may end with: its own, and what fills up to the next.
const ZEROS_MAX: usize = 8;

impl<'data> Follower<'_, 'data> {
    /// The bytes of an item that is a text without a name, with the zeros behind it.
    pub(super) fn text(&self, id: ItemId) -> Option<&'data [u8]> {
        let bytes = self.nameless(id)?;
        is_text(bytes).then_some(bytes)
    }

    /// Whether the base has a text at a place that tells another time of the build.
    pub(super) fn is_of_another_time(&self, ours: &[u8], place: Place) -> bool {
        // A date may be written with more letters than the other, or with fewer.
        const LONGER_BYTES: u64 = 16;
        let Place::Base(address) = place else {
            return false;
        };
        let Some(section) = self.image.section_at(address) else {
            return false;
        };
        let length = (ours.len() as u64)
            .saturating_add(LONGER_BYTES)
            .min(section.range.end - address);
        match self.image.bytes(address, length) {
            Some(Bytes::Present(theirs)) => differ_in_time(ours, theirs),
            _ => false,
        }
    }

    /// Whether an item is a text that tells another time of the build than the base does where a
    /// reference leads to: how long it is.
    pub(super) fn stamp(&self, item: ItemId, start: Place) -> Option<u64> {
        let ours = self.text(item)?;
        let length = ours.len() as u64;
        let is_equal = |address| {
            let theirs = self.image.bytes(address, length);
            matches!(theirs, Some(Bytes::Present(theirs)) if theirs == ours)
        };
        let Place::Base(address) = start else {
            return None;
        };
        (!is_equal(address) && self.is_of_another_time(ours, start)).then_some(length)
    }
}

fn is_text(bytes: &[u8]) -> bool {
    let letters = bytes.iter().rposition(|byte| *byte != 0);
    let letters = letters.map_or(&[][..], |last| &bytes[..=last]);
    let zeros = bytes.len() - letters.len();
    let is_letter = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r');
    !letters.is_empty() && (1..=ZEROS_MAX).contains(&zeros) && letters.iter().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::is_text;

    #[test]
    fn a_text_is_letters_and_few_zeros() {
        assert!(is_text(b"a date\0"));
        assert!(is_text(b"a date\0\0\0"));
        assert!(!is_text(b"no end"));
        assert!(!is_text(b"two\0texts\0"));
        assert!(!is_text(b"\0\0"));
        assert!(!is_text(&[
            b'a', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
        ]));
    }
}
