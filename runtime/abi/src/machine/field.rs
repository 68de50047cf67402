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
    /// Whether those must be zero.
    low: Low,
    /// The bit of the word that is set for numbers that are not negative and cleared for others,
    /// of which the complement is stored; `None` where there is no such choice.
    sign: Option<u8>,
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

/// What becomes of low bits that a field has no place for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Low {
    /// They must be zero.
    Zero,
    /// Other fields hold them.
    Elsewhere,
}

/// What a filled field says about its target's address (S + A): some bits of it, or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The bits that are told; others are zero.
    pub value: u64,
    /// Which are told.
    pub mask: u64,
}

impl Told {
    /// The whole address.
    #[must_use]
    pub const fn whole(value: u64) -> Told {
        Told {
            value,
            mask: u64::MAX,
        }
    }

    /// Whether it could be this address.
    #[must_use]
    pub const fn fits(&self, address: u64) -> bool {
        address & self.mask == self.value
    }

    /// What both together tell; `None` where they contradict each other.
    #[must_use]
    pub const fn and(&self, other: Told) -> Option<Told> {
        if (self.value ^ other.value) & self.mask & other.mask != 0 {
            return None;
        }
        Some(Told {
            value: self.value | other.value,
            mask: self.mask | other.mask,
        })
    }

    /// The address, if all of it is told.
    #[must_use]
    pub const fn address(&self) -> Option<u64> {
        if self.mask == u64::MAX {
            Some(self.value)
        } else {
            None
        }
    }
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
            low: Low::Zero,
            sign: None,
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
            low: Low::Zero,
            sign: None,
            kind,
            range,
        }
    }

    /// The same field, of a value whose low bits other fields hold.
    #[must_use]
    pub const fn with_low_bits_elsewhere(self) -> Field {
        Field {
            low: Low::Elsewhere,
            ..self
        }
    }

    /// The same field in an instruction of which this bit tells that the number is not negative;
    /// of a negative one it holds the complement.
    #[must_use]
    pub const fn with_sign(self, bit: u8) -> Field {
        Field {
            sign: Some(bit),
            ..self
        }
    }

    /// Whether it holds only a part of its target's address.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        match self.kind {
            Kind::Page { .. } | Kind::LowBits { .. } => true,
            Kind::Absolute | Kind::Relative => {
                let stored = self.parts.iter().map(|part| part.width).sum::<u8>();
                let is_cut = self.range == Range::Unchecked && stored < 64;
                self.low == Low::Elsewhere || is_cut
            }
            Kind::Nothing | Kind::Slot | Kind::Other => false,
        }
    }

    /// What the field at `place`, which is filled, says about its target.
    #[must_use]
    pub fn told(&self, word: &[u8], place: u64) -> Option<Told> {
        let held = self.read(word)?;
        let stored = self.parts.iter().map(|part| part.width).sum::<u8>();
        let below = ones(self.scale);
        let (value, mask) = match self.kind {
            Kind::Absolute if self.range == Range::Unchecked => {
                (held, ones(stored).checked_shl(self.scale.into())?)
            }
            Kind::Absolute if self.low == Low::Elsewhere => (held, !below),
            Kind::Absolute => (held, u64::MAX),
            // Where low bits are elsewhere, those of the place take part in the sum.
            Kind::Relative if self.is_partial() => return None,
            Kind::Relative => (place.wrapping_add(held), u64::MAX),
            Kind::Page { bits } => {
                let page = !ones(bits);
                ((place & page).wrapping_add(held), page)
            }
            Kind::LowBits { bits } => (held, ones(bits)),
            Kind::Nothing | Kind::Slot | Kind::Other => return None,
        };
        Some(Told {
            value: value & mask,
            mask,
        })
    }

    /// Bytes of the word that holds the field.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// The bits of the word that it fills.
    #[must_use]
    pub fn mask(&self) -> u64 {
        let sign = self.sign.map_or(0, |bit| 1 << bit);
        self.parts
            .iter()
            .fold(sign, |mask, part| mask | (ones(part.width) << part.low))
    }

    /// What a value must be a multiple of.
    #[must_use]
    pub const fn unit(&self) -> u64 {
        match self.low {
            Low::Zero => 1 << self.scale,
            Low::Elsewhere => 1,
        }
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
            // The psABI and all loaders have words of 64 bits modulo 2^64: an address minus the
            // start of the image is written with an addend that makes the sum wrap.
            Range::Unsigned(64) | Range::Signed(64) | Range::Unchecked => {
                u64::try_from(value & i128::from(u64::MAX)).ok()
            }
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
        }
    }

    /// Writes a value into the first [`Field::bytes`] bytes of `word`; other bits of the word
    /// stay. `None`, and nothing is written, when it does not fit or the word is too short.
    #[must_use]
    pub fn write(&self, word: &mut [u8], value: i128) -> Option<()> {
        let value = self.fitting(value)?;
        let mask = (1_u64 << self.scale) - 1;
        let is_rounded = self.low == Low::Elsewhere || self.range == Range::Unchecked;
        if !is_rounded && value & mask != 0 {
            return None;
        }
        let mut bits = self.word(word)?;
        let is_negative = self.sign.is_some() && value.cast_signed() < 0;
        if let Some(bit) = self.sign {
            bits = (bits & !(1 << bit)) | (u64::from(!is_negative) << bit);
        }
        let mut number = if is_negative { !value } else { value } >> self.scale;
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
        if let Some(bit) = self.sign {
            let is_negative = bits & (1 << bit) == 0;
            let number = number << self.scale;
            return Some(if is_negative { !number } else { number });
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
        assert!(fits(ABS64.field, u64::MAX.into()) && fits(PC64.field, i64::MIN.into()));
        // Words of 64 bits wrap.
        assert_eq!(ABS64.field.fitting((1 << 64) + 5), Some(5));
        assert_eq!(PC64.field.fitting(-(1 << 63) - 1), Some(u64::MAX >> 1));
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
    fn two_fields_tell_an_address_together() {
        let target = 0x1234_5678_u64;
        let low = Field::bits(
            4,
            &[Part { low: 10, width: 12 }],
            3,
            Kind::LowBits { bits: 12 },
            Range::Unsigned(12),
        );
        let (mut page, mut rest) = ([0; 4], [0; 4]);
        let place = 0x1_0ffc;
        let value = |field: Field| field.value(target.into(), place).expect("is computed");
        SPLIT.write(&mut page, value(SPLIT)).expect("fits");
        low.write(&mut rest, value(low)).expect("fits");
        let told = SPLIT.told(&page, place).expect("tells");
        assert!(told.fits(target) && told.fits(target + 8) && !told.fits(target + 0x1000));
        let whole = told.and(low.told(&rest, place).expect("tells"));
        assert_eq!(whole.and_then(|told| told.address()), Some(target));
        assert!(SPLIT.is_partial() && low.is_partial() && !BRANCH.is_partial());
        // A low bit that the field has no place for is not dropped.
        assert_eq!(low.write(&mut rest, value(low) + 1), None);
    }

    #[test]
    fn a_number_is_moved_in_quarters_and_by_its_sign() {
        let quarter = |scale, range| {
            Field::bits(
                4,
                &[Part { low: 5, width: 16 }],
                scale,
                Kind::Absolute,
                range,
            )
            .with_low_bits_elsewhere()
        };
        let mut word = [0; 4];
        let upper = quarter(16, Range::Unsigned(32));
        upper.write(&mut word, 0xabcd_1234).expect("fits");
        let told = upper.told(&word, 0).expect("tells");
        assert!(told.fits(0xabcd_5678) && !told.fits(0x1_abcd_0000));
        assert_eq!(upper.write(&mut word, 1 << 32), None);
        let unchecked = quarter(16, Range::Unchecked);
        unchecked.write(&mut word, 0x7_abcd_1234).expect("fits");
        assert!(
            unchecked
                .told(&word, 0)
                .expect("tells")
                .fits(0xffff_abcd_0000)
        );
        let signed = quarter(0, Range::Signed(17)).with_sign(30);
        signed.write(&mut word, -2).expect("fits");
        assert_eq!(signed.read(&word), Some((-2_i64).cast_unsigned()));
        assert_eq!(word[3] & 0x40, 0);
        signed.write(&mut word, 0xffff).expect("fits");
        assert_eq!((signed.read(&word), word[3] & 0x40), (Some(0xffff), 0x40));
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
