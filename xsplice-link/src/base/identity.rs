//! Which build an image or a payload is: finds the note with its build-id.

use object::LittleEndian;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _};
use xsplice_abi::note;
use zerocopy::FromBytes as _;

use crate::build_id::BuildId;
use crate::error::LinkError;

const LE: LittleEndian = LittleEndian;

impl BuildId {
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
                return Ok(id);
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
        other.ok_or_else(|| {
            let path = path.to_owned();
            match unusable {
                Some(id_bytes) => LinkError::BuildIdLength { path, id_bytes },
                None => LinkError::NoBuildId { path },
            }
        })
    }
}

/// The id in the first GNU build-id note of a note section.
fn find_build_id(notes: &[u8]) -> Option<BuildId> {
    each_note(notes).find_map(|note| BuildId::new(note::build_id(note)?))
}

/// The length in bytes of the first GNU build-id whose length is not allowed.
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

/// The rest of a note section from each of its notes on.
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
    use super::{find_build_id, unusable_length};
    use crate::build_id::BuildId;

    #[test]
    fn the_id_is_found_behind_other_notes() {
        let id = BuildId::new(&[7; 20]).expect("twenty bytes");
        let mut notes = Vec::new();
        notes.extend_from_slice(&[4, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0]);
        notes.extend_from_slice(b"GNU\0abcde\0\0\0");
        assert_eq!(find_build_id(&notes), None);
        notes.extend_from_slice(&id.to_note());
        assert_eq!(find_build_id(&notes), Some(id));
    }

    #[test]
    fn notes_of_every_length_are_padded_to_words() {
        for length in [1, 16, 20, 31, 64] {
            let id = BuildId::new(&vec![3; length]).expect("a legal length");
            let note = id.to_note();
            assert_eq!(note.len() % 4, 0);
            assert_eq!(find_build_id(&note), Some(id));
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
