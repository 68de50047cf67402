//! Build-ids: what identifies a base or a payload, and the notes that carry it.

use std::fmt;

use object::LittleEndian;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _};
use xsplice_abi::note;
use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::error::LinkError;

const LE: LittleEndian = LittleEndian;

/// A build-id: 1 to 64 bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BuildId(Vec<u8>);

impl BuildId {
    /// Wraps raw bytes; `None` when there are none or more than
    /// [`note::BUILD_ID_BYTES_MAX`].
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<BuildId> {
        note::Header::build_id(bytes.len())?;
        Some(BuildId(bytes.to_vec()))
    }

    /// Reads hexadecimal digits, two a byte, of either case.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<BuildId> {
        if !text.len().is_multiple_of(2) || !text.is_ascii() {
            return None;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let bytes: Option<Vec<u8>> = text
            .as_bytes()
            .chunks_exact(2)
            .map(|pair| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok())
            .collect();
        BuildId::new(&bytes?)
    }

    /// The build-id of an ELF image or payload: from `.note.gnu.build-id`, else from the first
    /// note section or segment that holds one.
    ///
    /// # Errors
    /// [`LinkError::NotElf`] or [`LinkError::Malformed`] for a file that cannot be read,
    /// [`LinkError::NoBuildId`] for one without an id, [`LinkError::BuildIdLength`] for one with
    /// an id that is too long.
    pub fn of_image(path: &str, data: &[u8]) -> Result<BuildId, LinkError> {
        let malformed = |source| LinkError::Malformed {
            path: path.to_owned(),
            what: "build-id",
            source,
        };
        let header =
            FileHeader64::<LittleEndian>::parse(data).map_err(|source| LinkError::NotElf {
                path: path.to_owned(),
                source,
            })?;
        if !header.is_little_endian() {
            return Err(LinkError::NotABase {
                path: path.to_owned(),
                found: "an ELF file of another byte order".to_owned(),
            });
        }
        let sections = header.sections(LE, data).map_err(malformed)?;
        let mut other = None;
        let mut unusable = None;
        for section in sections.iter() {
            if section.sh_type(LE) != elf::SHT_NOTE {
                continue;
            }
            let bytes = section.data(LE, data).map_err(malformed)?;
            let Some(id) = find_build_id(bytes) else {
                unusable = unusable.or_else(|| unusable_length(bytes));
                continue;
            };
            let name = sections.section_name(LE, section).map_err(malformed)?;
            if name == xsplice_abi::section::BUILD_ID.as_bytes() {
                return Ok(BuildId(id.to_vec()));
            }
            other.get_or_insert(id);
        }
        if other.is_none() {
            for segment in header.program_headers(LE, data).map_err(malformed)? {
                if segment.p_type(LE) == elf::PT_NOTE {
                    let bytes = segment.data(LE, data).unwrap_or_default();
                    other = other.or_else(|| find_build_id(bytes));
                    unusable = unusable.or_else(|| unusable_length(bytes));
                }
            }
        }
        other.map(|id| BuildId(id.to_vec())).ok_or_else(|| {
            let path = path.to_owned();
            match unusable {
                Some(id_bytes) => LinkError::BuildIdLength { path, id_bytes },
                None => LinkError::NoBuildId { path },
            }
        })
    }

    /// The raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The ELF note that carries this id, padded to four bytes.
    #[must_use]
    pub fn to_note(&self) -> Vec<u8> {
        let header = note::Header::build_id(self.0.len())
            .expect("the constructors admit only lengths that a note can carry");
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(&self.0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for BuildId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "BuildId({self})")
    }
}

/// The id in the first GNU build-id note of a note section.
fn find_build_id(notes: &[u8]) -> Option<&[u8]> {
    each_note(notes).find_map(note::build_id)
}

/// The length in bytes of the id in the first note that is a GNU build-id by its owner and kind,
/// and none by its length.
fn unusable_length(notes: &[u8]) -> Option<u32> {
    each_note(notes).find_map(|one| {
        let (header, _) = note::Header::read_from_prefix(one).ok()?;
        let is_build_id = header.kind.get() == note::TYPE_BUILD_ID
            && header.name_bytes.get() == 4
            && header.owner == note::OWNER_GNU;
        let id_bytes = header.description_bytes.get();
        let is_usable =
            usize::try_from(id_bytes).is_ok_and(|it| note::Header::build_id(it).is_some());
        (is_build_id && !is_usable).then_some(id_bytes)
    })
}

/// What is left of a note section from each of its notes on.
fn each_note(notes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(notes), |notes| behind_first(notes))
}

fn behind_first(notes: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| {
        let bytes = notes.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let name_bytes = word(0)?.checked_next_multiple_of(4)?;
    let description_bytes = word(4)?.checked_next_multiple_of(4)?;
    let next = 12usize
        .checked_add(name_bytes)?
        .checked_add(description_bytes)?;
    notes.get(next..)
}

#[cfg(test)]
mod tests {
    use super::{BuildId, find_build_id, unusable_length};

    #[test]
    fn hexadecimal_of_either_case_is_read_and_printed_in_lower_case() {
        let id = BuildId::from_hex("00Ffa0").expect("three bytes");
        assert_eq!(id.as_bytes(), [0, 0xff, 0xa0]);
        assert_eq!(id.to_string(), "00ffa0");
    }

    #[test]
    fn odd_foreign_empty_and_overlong_digits_are_none() {
        for text in ["", "0", "0g", "ä0", &"00".repeat(65)] {
            assert_eq!(BuildId::from_hex(text), None, "{text}");
        }
    }

    #[test]
    fn the_id_is_found_behind_other_notes() {
        let id = BuildId::new(&[7; 20]).expect("twenty bytes");
        let mut notes = Vec::new();
        notes.extend_from_slice(&[4, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0]);
        notes.extend_from_slice(b"GNU\0abcde\0\0\0");
        assert_eq!(find_build_id(&notes), None);
        notes.extend_from_slice(&id.to_note());
        assert_eq!(find_build_id(&notes), Some(id.as_bytes()));
    }

    #[test]
    fn notes_of_every_length_are_padded_to_words() {
        for length in [1, 16, 20, 31, 64] {
            let id = BuildId::new(&vec![3; length]).expect("a legal length");
            let note = id.to_note();
            assert_eq!(note.len() % 4, 0);
            assert_eq!(find_build_id(&note), Some(id.as_bytes()));
        }
    }

    #[test]
    fn an_id_that_is_too_long_is_told_from_none() {
        let mut note = vec![4, 0, 0, 0, 65, 0, 0, 0, 3, 0, 0, 0];
        note.extend_from_slice(b"GNU\0");
        note.extend_from_slice(&[7; 68]);
        assert_eq!(find_build_id(&note), None);
        assert_eq!(unusable_length(&note), Some(65));
        // Another kind of note, and an id of a legal length.
        note[8] = 5;
        assert_eq!(unusable_length(&note), None);
        let id = BuildId::new(&[7; 64]).expect("a legal length");
        assert_eq!(unusable_length(&id.to_note()), None);
    }
}
