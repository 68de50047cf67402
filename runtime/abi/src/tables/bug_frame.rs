//! An entry of `.bug_frames.N`: what a trap means. Two words; each has a displacement from the
//! start of the frame in its low 24 bits and 7 bits of the line above. An assertion has two words
//! more, of which the second leads to its message.

use super::layout::{Field, LeadsTo};

/// Bits of a word that hold the displacement; the rest holds bits of the line.
const DISPLACEMENT_BITS: u32 = 24;
/// Bits of the line in each of the two words.
const LINE_BITS: u32 = 7;
const WORD_BYTES: usize = 4;

/// What a trap means, by the number at the end of the section's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BugKind {
    /// Runs a function.
    RunFunction,
    /// Warns and goes on.
    Warning,
    /// Stops.
    Bug,
    /// Stops with a message.
    Assertion,
}

impl BugKind {
    /// Every kind, by number.
    pub const ALL: [BugKind; 4] = [
        BugKind::RunFunction,
        BugKind::Warning,
        BugKind::Bug,
        BugKind::Assertion,
    ];

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            BugKind::RunFunction => 0,
            BugKind::Warning => 1,
            BugKind::Bug => 2,
            BugKind::Assertion => 3,
        }
    }

    /// What the name of its section ends in.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            BugKind::RunFunction => "0",
            BugKind::Warning => "1",
            BugKind::Bug => "2",
            BugKind::Assertion => "3",
        }
    }
}

/// Xen's `struct bug_frame` (`asm/bug.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BugFrame {
    /// From the frame to the trapping instruction, in bytes.
    pub location: i32,
    /// From the frame to the file name, or to the function that is run, in bytes.
    pub pointer: i32,
    /// Line.
    pub line: u32,
    /// From the frame to the message of an assertion, in bytes.
    pub message: Option<i32>,
}

impl BugFrame {
    /// What the sections of these entries begin with; the number of their kind follows.
    pub const SECTIONS: &str = ".bug_frames.";
    /// Size of a frame in bytes.
    pub const BYTES: u64 = 8;
    /// Size of the frame of an assertion in bytes.
    pub const ASSERTION_BYTES: u64 = 16;
    /// Bytes of a frame whose fields have bits of the line in them.
    pub const LINE_FIELDS_BYTES: u64 = 8;
    /// Offset of the field that leads to the trapping instruction, in bytes.
    pub const LOCATION_AT: u64 = 0;
    /// Offset of the field that leads to the file name or function, in bytes.
    pub const POINTER_AT: u64 = 4;
    /// Offset of the field that leads to an assertion's message, in bytes.
    pub const MESSAGE_AT: u64 = 12;

    pub(super) const fn fields(kind: BugKind) -> &'static [Field] {
        const LOCATION: Field = Field::new(BugFrame::LOCATION_AT, LeadsTo::Owner);
        const POINTER: Field = Field::new(BugFrame::POINTER_AT, LeadsTo::Anything);
        const MESSAGE: Field = Field::new(BugFrame::MESSAGE_AT, LeadsTo::Anything);
        match kind {
            BugKind::RunFunction | BugKind::Warning | BugKind::Bug => &[LOCATION, POINTER],
            BugKind::Assertion => &[LOCATION, POINTER, MESSAGE],
        }
    }

    /// Decodes the frame that `bytes` begin with; `None` where they are fewer than one.
    #[must_use]
    pub fn read(kind: BugKind, bytes: &[u8]) -> Option<BugFrame> {
        let words = bytes.as_chunks::<WORD_BYTES>().0;
        let word = |index: usize| Some(u32::from_le_bytes(*words.get(index)?));
        let (location, line_high) = parted(word(0)?);
        let (pointer, line_low) = parted(word(1)?);
        let message = match kind {
            // The word before it is unused.
            BugKind::Assertion => Some(word(3)?.cast_signed()),
            BugKind::RunFunction | BugKind::Warning | BugKind::Bug => None,
        };
        Some(BugFrame {
            location,
            pointer,
            line: (line_high << LINE_BITS) | line_low,
            message,
        })
    }

    /// The displacement in a relocation's addend, and the bits of the line above it.
    #[must_use]
    pub const fn part_addend(addend: i64) -> (i64, i64) {
        let unused = i64::BITS - DISPLACEMENT_BITS;
        let displacement = (addend << unused) >> unused;
        (
            displacement,
            addend.wrapping_sub(displacement) >> DISPLACEMENT_BITS,
        )
    }

    /// The line whose upper and lower bits are these.
    #[must_use]
    pub const fn joined_line(high: i64, low: i64) -> i64 {
        (high << LINE_BITS) | low
    }
}

/// Displacement and line bits of a word. A negative displacement has borrowed one from the line.
fn parted(word: u32) -> (i32, u32) {
    let unused = u32::BITS - DISPLACEMENT_BITS;
    let displacement = (word << unused).cast_signed() >> unused;
    let borrowed = u32::from(displacement < 0);
    let line = (word >> DISPLACEMENT_BITS).wrapping_add(borrowed);
    (displacement, line & ((1 << LINE_BITS) - 1))
}

#[cfg(test)]
mod tests {
    use super::{BugFrame, BugKind};

    fn frame(location: i32, pointer: i32, line: u32) -> [u8; 8] {
        // As the assembler adds them: displacement plus the line bits above it.
        let high = location.cast_unsigned().wrapping_add((line >> 7) << 24);
        let low = pointer.cast_unsigned().wrapping_add((line & 0x7f) << 24);
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&high.to_le_bytes());
        bytes[4..].copy_from_slice(&low.to_le_bytes());
        bytes
    }

    #[test]
    fn lines_survive_displacements_of_either_sign() {
        for (location, pointer) in [(-16, 64), (16, -64), (-16, -64), (16, 64)] {
            for line in [1, 127, 128, 2000, 16383] {
                let decoded = BugFrame::read(BugKind::Bug, &frame(location, pointer, line));
                let expected = BugFrame {
                    location,
                    pointer,
                    line,
                    message: None,
                };
                assert_eq!(decoded, Some(expected));
            }
        }
    }

    #[test]
    fn a_frame_that_is_cut_is_none() {
        assert_eq!(BugFrame::read(BugKind::Bug, &[0; 7]), None);
        assert_eq!(BugFrame::read(BugKind::Assertion, &[0; 12]), None);
    }
}
