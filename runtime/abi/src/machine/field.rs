//! A field that a relocation fills: which bits of which bytes, what is computed, what fits.
//!
//! On one machine a field is whole bytes, on another some bits of an instruction. Both are read and
//! written here as bits of a little-endian word; writing keeps the other bits.

/// A field of a relocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Bytes of the little-endian word that holds it: 0 to 8.
    bytes: u8,
    /// Where the bits of the number lie in the word, its lowest first.
    parts: &'static [Part],
    /// This many low bits of the value are not stored.
    scale: u8,
    /// What is computed.
    pub kind: Kind,
    /// What fits.
    pub range: Range,
}

/// Some bits of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The lowest.
    pub low: u8,
    /// How many.
    pub width: u8,
}

/// What a relocation computes from its target (S + A) and its place (P).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Nothing,
    /// S + A.
    Absolute,
    /// S + A - P.
    Relative,
    /// The page of S + A minus the page of P; a page has 1 << `bits` bytes.
    Page {
        /// Bits of a place in its page.
        bits: u8,
    },
    /// The low bits of S + A: a place in a page of 1 << `bits` bytes.
    LowBits {
        /// Bits of a place in its page.
        bits: u8,
    },
    /// The distance to a slot that holds S: a slot in the GOT.
    Slot,
    /// Something that payloads do not have: thread-local storage, the address of the GOT.
    Other,
}

/// Which values fit a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// Unsigned values of this many bits.
    Unsigned(u8),
    /// Signed values of this many bits.
    Signed(u8),
    /// Addresses that sign extension of this many bits restores.
    SignedAddress(u8),
    /// All values; upper bits are cut off.
    Unchecked,
}

impl Field {
    /// Whole bytes.
    #[must_use]
    pub const fn whole(bytes: u8, kind: Kind, range: Range) -> Field {
        const WHOLE: [&[Part]; 9] = [
            &[],
            &[Part { low: 0, width: 8 }],
            &[Part { low: 0, width: 16 }],
            &[Part { low: 0, width: 24 }],
            &[Part { low: 0, width: 32 }],
            &[Part { low: 0, width: 40 }],
            &[Part { low: 0, width: 48 }],
            &[Part { low: 0, width: 56 }],
            &[Part { low: 0, width: 64 }],
        ];
        Field {
            bytes,
            parts: WHOLE[bytes as usize],
            scale: 0,
            kind,
            range,
        }
    }

    /// Some bits of an instruction of `bytes` bytes; `scale` low bits of the value are not kept.
    #[must_use]
    pub const fn bits(
        bytes: u8,
        parts: &'static [Part],
        scale: u8,
        kind: Kind,
        range: Range,
    ) -> Field {
        Field {
            bytes,
            parts,
            scale,
            kind,
            range,
        }
    }

    /// Bytes of the word that holds the field.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// Whether the value depends on the address of the field.
    #[must_use]
    pub const fn is_relative(&self) -> bool {
        matches!(self.kind, Kind::Relative | Kind::Page { .. } | Kind::Slot)
    }

    /// The value of a field at `place` for a target and its addend; `None` for kinds that a
    /// loader does not compute.
    #[must_use]
    pub fn value(&self, target: i128, place: u64) -> Option<i128> {
        let place = i128::from(place);
        match self.kind {
            Kind::Absolute => Some(target),
            Kind::Relative => Some(target - place),
            Kind::Page { bits } => Some(((target >> bits) - (place >> bits)) << bits),
            Kind::LowBits { bits } => Some(target & ((1 << bits) - 1)),
            Kind::Nothing | Kind::Slot | Kind::Other => None,
        }
    }

    /// Whether a value fits, as the 64 bits that a register would have; `None` if it does not.
    #[must_use]
    pub fn fitting(&self, value: i128) -> Option<u64> {
        match self.range {
            Range::Unsigned(width) => {
                let value = u64::try_from(value).ok()?;
                (unused(width)? == 0 || value >> width == 0).then_some(value)
            }
            Range::Signed(width) => {
                let value = i64::try_from(value).ok()?;
                (extended(value, width)? == value).then(|| value.cast_unsigned())
            }
            // A negative sum is no address: hardware would wrap it, and here it is refused.
            Range::SignedAddress(width) => {
                let value = u64::try_from(value).ok()?;
                (extended(value.cast_signed(), width)?.cast_unsigned() == value).then_some(value)
            }
            Range::Unchecked => {
                let low = value & i128::from(u64::MAX);
                u64::try_from(low).ok()
            }
        }
    }

    /// Writes a value into the first [`Field::bytes`] bytes of `word`; other bits of the word
    /// stay. `None`, and nothing is written, when it does not fit or the word is too short.
    #[must_use]
    pub fn write(&self, word: &mut [u8], value: i128) -> Option<()> {
        let value = self.fitting(value)?;
        let mask = (1_u64 << self.scale) - 1;
        if !matches!(self.range, Range::Unchecked) && value & mask != 0 {
            return None;
        }
        let mut number = value >> self.scale;
        let mut bits = self.word(word)?;
        for part in self.parts {
            let ones = ones(part.width);
            bits = (bits & !(ones << part.low)) | ((number & ones) << part.low);
            number = number.checked_shr(part.width.into()).unwrap_or(0);
        }
        let held = word.get_mut(..self.bytes())?;
        held.copy_from_slice(bits.to_le_bytes().get(..self.bytes())?);
        Some(())
    }

    /// The value that the first [`Field::bytes`] bytes of `word` hold, extended by its sign where
    /// it has one, as 64 bits.
    #[must_use]
    pub fn read(&self, word: &[u8]) -> Option<u64> {
        let bits = self.word(word)?;
        let (mut number, mut width) = (0, 0_u8);
        for part in self.parts {
            number |= ((bits >> part.low) & ones(part.width)) << width;
            width += part.width;
        }
        let number = match self.range {
            Range::Signed(_) | Range::SignedAddress(_) if width > 0 => {
                extended(number.cast_signed(), width)?.cast_unsigned()
            }
            _ => number,
        };
        Some(number << self.scale)
    }

    fn word(&self, word: &[u8]) -> Option<u64> {
        let mut wide = [0; 8];
        wide.get_mut(..self.bytes())?
            .copy_from_slice(word.get(..self.bytes())?);
        Some(u64::from_le_bytes(wide))
    }
}

fn unused(width: u8) -> Option<u32> {
    u64::BITS.checked_sub(width.into())
}

fn ones(width: u8) -> u64 {
    unused(width)
        .and_then(|unused| u64::MAX.checked_shr(unused))
        .unwrap_or(0)
}

/// The low bits of a number, extended by their sign.
fn extended(value: i64, width: u8) -> Option<i64> {
    let unused = unused(width)?;
    Some(value.checked_shl(unused)? >> unused)
}

#[cfg(test)]
mod tests {
    use super::{Field, Kind, Part, Range};
    use crate::machine::x86_64::{ABS32S, ABS64, PC32, PC64};

    fn fits(field: Field, value: i128) -> bool {
        field.write(&mut [0; 8], value).is_some()
    }

    #[test]
    fn each_field_takes_its_range_and_nothing_more() {
        let high = 0xffff_ffff_8020_0000_u64;
        assert!(fits(ABS32S.field, high.into()));
        assert!(fits(ABS32S.field, 0x7fff_ffff));
        assert!(!fits(ABS32S.field, 0x8000_0000));
        assert!(!fits(ABS32S.field, 0xffff_ffff_7fff_ffff));
        assert!(!fits(ABS32S.field, -1));
        assert!(fits(PC32.field, 0x7fff_ffff) && fits(PC32.field, -0x8000_0000));
        assert!(!fits(PC32.field, 0x8000_0000));
        assert!(!fits(PC32.field, -0x8000_0001));
        assert!(fits(ABS64.field, u64::MAX.into()) && !fits(ABS64.field, 1 << 64));
        assert!(fits(PC64.field, i64::MIN.into()) && !fits(PC64.field, 1 << 63));
        let mut bytes = [0; 4];
        assert!(ABS32S.field.write(&mut bytes, high.into()).is_some());
        assert_eq!(bytes, 0x8020_0000_u32.to_le_bytes());
        assert_eq!(ABS32S.field.read(&bytes), Some(high));
    }

    /// A page's distance in two parts, as an instruction of four bytes may hold it.
    const SPLIT: Field = Field::bits(
        4,
        &[Part { low: 29, width: 2 }, Part { low: 5, width: 19 }],
        12,
        Kind::Page { bits: 12 },
        Range::Signed(33),
    );
    /// A branch of 26 bits, in units of four bytes.
    const BRANCH: Field = Field::bits(
        4,
        &[Part { low: 0, width: 26 }],
        2,
        Kind::Relative,
        Range::Signed(28),
    );

    #[test]
    fn bits_beside_a_field_stay() {
        let mut word = 0x9000_0010_u32.to_le_bytes();
        let value = SPLIT.value(0x1234_5678, 0x1_0000).expect("is computed");
        assert_eq!(value, 0x1233_5000);
        SPLIT.write(&mut word, value).expect("fits");
        assert_eq!(SPLIT.read(&word), Some(0x1233_5000));
        assert_eq!(u32::from_le_bytes(word) & 0x9f00_001f, 0x9000_0010);
        SPLIT.write(&mut word, -0x1000).expect("fits");
        assert_eq!(SPLIT.read(&word), Some((-0x1000_i64).cast_unsigned()));
    }

    #[test]
    fn a_distance_that_is_no_multiple_or_too_far_is_not_written() {
        let mut word = 0x9400_0000_u32.to_le_bytes();
        for wrong in [2, 1 << 27, -(1 << 27) - 4] {
            assert_eq!(BRANCH.write(&mut word, wrong), None, "{wrong}");
        }
        assert_eq!(word, 0x9400_0000_u32.to_le_bytes());
        BRANCH.write(&mut word, -(1 << 27)).expect("fits");
        assert_eq!(word, 0x9600_0000_u32.to_le_bytes());
        assert_eq!(BRANCH.write(&mut word[..3], 4), None);
    }
}
