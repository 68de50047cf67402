//! Cuts mergeable sections into their strings and constants.

use std::ops::Range;

use crate::read::object::Section;

/// The strings (with terminator) or constants of a mergeable section, as offsets in bytes.
pub(crate) fn pieces(section: &Section<'_>) -> impl Iterator<Item = Range<u64>> {
    let unit = usize::try_from(section.entry_size).unwrap_or(1).max(1);
    let data = section.data;
    let strings = section.holds_strings();
    let mut position = 0_usize;
    std::iter::from_fn(move || {
        if position >= data.len() {
            return None;
        }
        let start = position;
        let end = if strings {
            start + string_bytes(&data[start..], unit)
        } else {
            start.saturating_add(unit).min(data.len())
        };
        position = end;
        Some(start as u64..end as u64)
    })
}

/// Length in bytes of the string at the start of `data`, its terminator of `unit` bytes included.
fn string_bytes(data: &[u8], unit: usize) -> usize {
    if unit == 1 {
        let end = data.iter().position(|byte| *byte == 0);
        return end.map_or(data.len(), |end| end + 1);
    }
    data.chunks(unit)
        .position(|chunk| chunk.iter().all(|byte| *byte == 0))
        .map_or(data.len(), |index| ((index + 1) * unit).min(data.len()))
}

/// The string for a person: up to the terminator, cut when long. `unit_bytes` is the size of one
/// character; wide ones are UTF-16 or UTF-32.
#[must_use]
pub(crate) fn shown(bytes: &[u8], unit_bytes: u64) -> String {
    const SHOWN_CHARACTERS: usize = 60;
    let text: String = match unit_bytes {
        2 => {
            let (units, _) = bytes.as_chunks::<2>();
            let units = units.iter().map(|unit| u16::from_le_bytes(*unit));
            char::decode_utf16(units.take_while(|unit| *unit != 0))
                .map(|read| read.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect()
        }
        4 => {
            let (units, _) = bytes.as_chunks::<4>();
            let units = units.iter().map(|unit| u32::from_le_bytes(*unit));
            units
                .take_while(|unit| *unit != 0)
                .map(|unit| char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect()
        }
        _ => {
            let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            String::from_utf8_lossy(bytes).into_owned()
        }
    };
    let mut shown: String = text.chars().take(SHOWN_CHARACTERS).collect();
    if text.chars().nth(SHOWN_CHARACTERS).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::{pieces, shown};
    use crate::read::object::Section;

    fn section(data: &[u8], flags: u64, entry_size: u64) -> Section<'_> {
        Section {
            name: ".rodata.str",
            kind: 1,
            flags,
            alignment: 1,
            entry_size,
            size: data.len() as u64,
            data,
            relocations: 0..0,
        }
    }

    #[test]
    fn strings_end_behind_their_terminator() {
        let one = section(b"ab\0\0c", 0x32, 1);
        assert_eq!(pieces(&one).collect::<Vec<_>>(), [0..3, 3..4, 4..5]);
        let wide = section(b"a\0\0b\0\0", 0x32, 2);
        assert_eq!(
            pieces(&wide).collect::<Vec<_>>().as_slice(),
            std::slice::from_ref(&(0..6))
        );
    }

    #[test]
    fn constants_have_the_size_of_an_entry() {
        let four = section(&[0; 10], 0x12, 4);
        assert_eq!(pieces(&four).collect::<Vec<_>>(), [0..4, 4..8, 8..10]);
    }

    #[test]
    fn what_is_shown_ends_at_the_terminator_and_is_cut() {
        assert_eq!(shown(b"a\n\0b", 1), "a\n");
        assert_eq!(shown(&[b'x'; 100], 1).chars().count(), 61);
        assert_eq!(shown(b"C\0D\0\0\0E\0", 2), "CD");
        assert_eq!(shown(b"C\0\0\0\xac\x20\0\0\0\0\0\0", 4), "C\u{20ac}");
    }
}
