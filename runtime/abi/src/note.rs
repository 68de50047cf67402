//! ELF notes that carry build-ids: `.note.gnu.build-id` and the dependency notes.
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
    let (header, rest) = Header::read_from_prefix(note).ok()?;
    let id_bytes = usize::try_from(header.description_bytes.get()).ok()?;
    (Header::build_id(id_bytes)? == header).then_some(())?;
    rest.get(..id_bytes)
}

#[cfg(test)]
mod tests {
    use super::{Header, build_id};
    use zerocopy::IntoBytes;

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
