//! ELF notes: those that carry build-ids (`.note.gnu.build-id` and the dependency notes), and
//! `.note.gnu.property`.
//!
//! Layout (System V gABI, "Note Section"; GNU build-id type): name length 4, description length,
//! type 3, `"GNU\0"`, then the id padded to four bytes.

use zerocopy::byteorder::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Note type of a build-id (`NT_GNU_BUILD_ID`).
pub const TYPE_BUILD_ID: u32 = 3;
/// Owner of a build-id note.
pub const OWNER_GNU: [u8; 4] = *b"GNU\0";
/// Length of the SHA-1 build-id that we write, in bytes.
pub const BUILD_ID_BYTES: usize = 20;
/// Longest build-id that is taken, in bytes (SHA-512).
pub const BUILD_ID_BYTES_MAX: usize = 64;

/// The fixed part before the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Length of the owner's name with its NUL: 4.
    pub name_bytes: U32,
    /// Length of the id.
    pub description_bytes: U32,
    /// [`TYPE_BUILD_ID`].
    pub kind: U32,
    /// [`OWNER_GNU`].
    pub owner: [u8; 4],
}

const _: () = assert!(size_of::<Header>() == 16);

impl Header {
    /// The header of a build-id note whose id has `id_bytes` bytes; `None` when that is no
    /// length a build-id may have.
    #[must_use]
    pub fn build_id(id_bytes: usize) -> Option<Header> {
        if id_bytes == 0 || id_bytes > BUILD_ID_BYTES_MAX {
            return None;
        }
        Some(Header {
            name_bytes: U32::new(4),
            description_bytes: U32::new(u32::try_from(id_bytes).ok()?),
            kind: U32::new(TYPE_BUILD_ID),
            owner: OWNER_GNU,
        })
    }
}

/// The id inside the first note of `note`; `None` when it is not a well-formed GNU build-id
/// note. Bytes after the note are ignored: linkers merge further notes behind it.
#[must_use]
pub fn build_id(note: &[u8]) -> Option<&[u8]> {
    notes(note).next()?.build_id()
}

/// What every note begins with, whoever owns it: the lengths of its two parts, and its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Lengths {
    owner_bytes: U32,
    description_bytes: U32,
    kind: U32,
}

/// A note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note<'data> {
    /// Who defines its types, with the NUL at the end.
    pub owner: &'data [u8],
    /// Its type.
    pub kind: u32,
    /// What it says.
    pub description: &'data [u8],
}

/// The notes of a section, up to the first that is cut.
#[derive(Clone, Debug)]
pub struct Notes<'data> {
    rest: &'data [u8],
}

/// The notes of a section or segment. Both parts of each are padded to four bytes.
#[must_use]
pub fn notes(section: &[u8]) -> Notes<'_> {
    Notes { rest: section }
}

/// What both parts of a note are padded to, in bytes.
const PADDED: usize = 4;

impl<'data> Iterator for Notes<'data> {
    type Item = Note<'data>;

    fn next(&mut self) -> Option<Note<'data>> {
        let (lengths, rest) = Lengths::read_from_prefix(self.rest).ok()?;
        let (owner, rest) = part(rest, lengths.owner_bytes)?;
        let (description, rest) = part(rest, lengths.description_bytes)?;
        self.rest = rest;
        Some(Note {
            owner,
            kind: lengths.kind.get(),
            description,
        })
    }
}

/// A part of a note, and what is behind its padding, which may be missing at the end.
fn part(bytes: &[u8], length: U32) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(length.get()).ok()?;
    let part = bytes.get(..length)?;
    let padded = length.checked_next_multiple_of(PADDED)?;
    Some((part, bytes.get(padded..).unwrap_or_default()))
}

impl<'data> Note<'data> {
    /// The id, when this is a GNU build-id of a length that an id may have.
    #[must_use]
    pub fn build_id(&self) -> Option<&'data [u8]> {
        let is_legal = Header::build_id(self.description.len()).is_some();
        (self.is_build_id() && is_legal).then_some(self.description)
    }

    /// Whether this is a GNU build-id by its owner and type, whatever its length.
    #[must_use]
    pub fn is_build_id(&self) -> bool {
        self.owner == OWNER_GNU && self.kind == TYPE_BUILD_ID
    }
}

/// Type of the note in which objects and images say what all of their code takes part in
/// (`NT_GNU_PROPERTY_TYPE_0`).
const TYPE_PROPERTIES: u32 = 5;

/// A property: its type, and the length of its data, which are padded to eight bytes in 64-bit
/// files (Linux extensions to the gABI, "Program Property").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct PropertyHeader {
    kind: U32,
    data_bytes: U32,
}

const PROPERTY_PADDED: usize = 8;

/// The bits of the 4-byte property `kind` in a section `.note.gnu.property`, of all notes
/// together; 0 where it is not there.
#[must_use]
pub fn property_bits(section: &[u8], kind: u32) -> u32 {
    let is_property = |note: &Note<'_>| note.owner == OWNER_GNU && note.kind == TYPE_PROPERTIES;
    let mut bits = 0;
    for note in notes(section).filter(is_property) {
        let mut rest = note.description;
        while let Ok((header, data)) = PropertyHeader::read_from_prefix(rest) {
            let length = usize::try_from(header.data_bytes.get()).unwrap_or(usize::MAX);
            if header.kind.get() == kind
                && let Some(Ok(value)) = data.get(..length).map(U32::read_from_bytes)
            {
                bits |= value.get();
            }
            let padded = length.checked_next_multiple_of(PROPERTY_PADDED);
            rest = padded
                .and_then(|padded| data.get(padded..))
                .unwrap_or_default();
        }
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::{Header, build_id, notes, property_bits};
    use zerocopy::IntoBytes;

    /// A property note: type 2 of 4 bytes, padded to 8, then the one that is asked for.
    const PROPERTIES: [u8; 48] = [
        4, 0, 0, 0, 32, 0, 0, 0, 5, 0, 0, 0, b'G', b'N', b'U', 0, //
        2, 0, 0, 0, 4, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, //
        3, 0, 0, 0, 4, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0,
    ];

    #[test]
    fn a_property_is_found_behind_others_and_in_every_note() {
        assert_eq!(property_bits(&PROPERTIES, 2), 9);
        assert_eq!(property_bits(&PROPERTIES, 3), 6);
        assert_eq!(property_bits(&PROPERTIES, 4), 0);
        let mut two = [0; 96];
        two[..48].copy_from_slice(&PROPERTIES);
        two[48..].copy_from_slice(&PROPERTIES);
        two[88] = 1;
        assert_eq!(property_bits(&two, 3), 7);
        // A note of another owner, one that is cut, one whose property claims more than is there.
        two[12] = b'X';
        assert_eq!(property_bits(&two, 3), 1);
        assert_eq!(property_bits(&PROPERTIES[..47], 3), 0);
        let mut long = PROPERTIES;
        long[20] = 255;
        assert_eq!(property_bits(&long, 3), 0);
    }

    #[test]
    fn notes_are_read_one_by_one() {
        let all: [u8; 36] = [
            4, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, b'G', b'N', b'U', 0, b'a', b'b', b'c', b'd', b'e',
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0,
        ];
        let mut read = notes(&all);
        let first = read.next().expect("a whole note");
        assert_eq!((first.owner, first.kind), (&b"GNU\0"[..], 1));
        assert_eq!(first.description, b"abcde");
        let second = read.next().expect("a note of nothing");
        assert_eq!(
            (second.owner, second.kind, second.description),
            (&b""[..], 7, &b""[..])
        );
        assert!(read.next().is_none());
        // The padding of the last may be missing, its contents may not.
        assert_eq!(notes(&all[..21]).count(), 1);
        assert_eq!(notes(&all[..20]).count(), 0);
    }

    fn note(id: &[u8]) -> ([u8; 80], usize) {
        let mut bytes = [0; 80];
        let header = Header::build_id(id.len()).expect("the test's id has a legal length");
        bytes[..16].copy_from_slice(header.as_bytes());
        bytes[16..16 + id.len()].copy_from_slice(id);
        (bytes, 16 + id.len())
    }

    #[test]
    fn ids_of_several_lengths_are_read_back() {
        for length in [16, 20, 32] {
            let (bytes, end) = note(&[7; 32][..length]);
            assert_eq!(build_id(&bytes[..end]), Some(&[7; 32][..length]));
        }
    }

    #[test]
    fn a_note_that_is_cut_or_of_another_owner_is_none() {
        let (mut bytes, end) = note(&[7; 20]);
        assert_eq!(build_id(&bytes[..end - 1]), None);
        bytes[12] = b'X';
        assert_eq!(build_id(&bytes[..end]), None);
        assert_eq!(build_id(&[]), None);
    }
}
