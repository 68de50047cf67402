//! An entry of `.bug_frames.N`: what a trap means.
//!
//! Packed, it has two words; each has a displacement from the start of the frame in its low 24 bits
//! and 7 bits of the line above. An assertion has two words more, of which the second leads to its
//! message. Plain, it has three displacements from its start and the line in two bytes behind them,
//! whatever its kind.

use super::layout::{Field, LeadsTo, LineField};
use crate::machine::EntryForm;

/// Bits of a word that hold the displacement; the rest holds bits of the line.
const DISPLACEMENT_BITS: u32 = 24;
/// Bits of the line in each of the two words.
const LINE_BITS: u32 = 7;
const WORD_BYTES: usize = 4;
/// The line in the last word of a plain frame.
const LINE_MASK: u32 = 0xffff;

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
    /// Size of a frame of the packed form in bytes.
    pub const BYTES: u64 = 8;
    /// Size of the frame of an assertion of the packed form in bytes.
    pub const ASSERTION_BYTES: u64 = 16;
    /// Size of a frame of the plain form in bytes.
    pub const PLAIN_BYTES: u64 = 16;
    /// Bytes of a packed frame whose fields have bits of the line in them.
    pub const LINE_FIELDS_BYTES: u64 = 8;
    /// Offset of the field that leads to the trapping instruction, in bytes.
    pub const LOCATION_AT: u64 = 0;
    /// Offset of the field that leads to the file name or function, in bytes.
    pub const POINTER_AT: u64 = 4;

    /// Size of a frame in bytes.
    #[must_use]
    pub const fn bytes(form: EntryForm, kind: BugKind) -> u64 {
        match (form, kind) {
            (EntryForm::Plain, _) => BugFrame::PLAIN_BYTES,
            (EntryForm::Packed, BugKind::Assertion) => BugFrame::ASSERTION_BYTES,
            (EntryForm::Packed, _) => BugFrame::BYTES,
        }
    }

    /// Offset of the field that leads to an assertion's message, in bytes.
    #[must_use]
    pub const fn message_at(form: EntryForm) -> u64 {
        match form {
            EntryForm::Packed => 12,
            EntryForm::Plain => 8,
        }
    }

    /// The bytes of the line, where it has bytes of its own.
    #[must_use]
    pub const fn line_field(form: EntryForm) -> Option<LineField> {
        match form {
            EntryForm::Packed => None,
            EntryForm::Plain => Some(LineField { at: 12, bytes: 2 }),
        }
    }

    /// Whether the field for a message leads to one. The plain form has the field in every frame;
    /// in one without a message it leads behind the file name, to whatever stands there.
    #[must_use]
    pub const fn has_message(kind: BugKind) -> bool {
        matches!(kind, BugKind::Assertion)
    }

    pub(super) const fn fields(form: EntryForm, kind: BugKind) -> &'static [Field] {
        const LOCATION: Field = Field::new(BugFrame::LOCATION_AT, LeadsTo::Owner);
        const POINTER: Field = Field::new(BugFrame::POINTER_AT, LeadsTo::Anything);
        const MESSAGE: Field =
            Field::new(BugFrame::message_at(EntryForm::Packed), LeadsTo::Anything);
        const PLAIN_MESSAGE: Field =
            Field::new(BugFrame::message_at(EntryForm::Plain), LeadsTo::Anything);
        match (form, kind) {
            (EntryForm::Packed, BugKind::Assertion) => &[LOCATION, POINTER, MESSAGE],
            (EntryForm::Packed, _) => &[LOCATION, POINTER],
            // Which function is run stands in a register.
            (EntryForm::Plain, BugKind::RunFunction) => &[LOCATION],
            (EntryForm::Plain, _) => &[LOCATION, POINTER, PLAIN_MESSAGE],
        }
    }

    /// Decodes the frame that `bytes` begin with; `None` where they are fewer than one.
    #[must_use]
    pub fn read(form: EntryForm, kind: BugKind, bytes: &[u8]) -> Option<BugFrame> {
        match form {
            EntryForm::Packed => BugFrame::read_packed(kind, bytes),
            EntryForm::Plain => BugFrame::read_plain(kind, bytes),
        }
    }

    fn read_plain(kind: BugKind, bytes: &[u8]) -> Option<BugFrame> {
        let words = bytes.as_chunks::<WORD_BYTES>().0;
        let word = |index: usize| Some(u32::from_le_bytes(*words.get(index)?));
        Some(BugFrame {
            location: word(0)?.cast_signed(),
            pointer: word(1)?.cast_signed(),
            message: BugFrame::has_message(kind)
                .then(|| word(2))
                .flatten()
                .map(u32::cast_signed),
            line: word(3)? & LINE_MASK,
        })
    }

    fn read_packed(kind: BugKind, bytes: &[u8]) -> Option<BugFrame> {
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
    pub const fn part_addend(form: EntryForm, addend: i64) -> (i64, i64) {
        if matches!(form, EntryForm::Plain) {
            return (addend, 0);
        }
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
    use crate::machine::EntryForm;

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
                let decoded = BugFrame::read(
                    EntryForm::Packed,
                    BugKind::Bug,
                    &frame(location, pointer, line),
                );
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
        assert_eq!(
            BugFrame::read(EntryForm::Packed, BugKind::Bug, &[0; 7]),
            None
        );
        assert_eq!(
            BugFrame::read(EntryForm::Packed, BugKind::Assertion, &[0; 12]),
            None
        );
    }

    #[test]
    fn a_plain_frame_has_its_line_beside_three_displacements() {
        let words = [-16_i32, 64, 80, 0x1234];
        let bytes: [u8; 16] = zerocopy::transmute!(words.map(i32::to_le_bytes));
        let read = |kind| BugFrame::read(EntryForm::Plain, kind, &bytes).expect("is whole");
        let frame = read(BugKind::Assertion);
        assert_eq!((frame.location, frame.pointer), (-16, 64));
        assert_eq!((frame.message, frame.line), (Some(80), 0x1234));
        assert_eq!(read(BugKind::Bug).message, None);
        assert_eq!(
            BugFrame::read(EntryForm::Plain, BugKind::Bug, &bytes[..15]),
            None
        );
        assert_eq!(
            BugFrame::part_addend(EntryForm::Plain, 5 << 24),
            (5 << 24, 0)
        );
    }
}
