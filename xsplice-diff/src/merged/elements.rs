//! Sections whose equal elements a linker may keep once: strings and constants of one size.
//!
//! GNU ld puts such sections behind each other like all others when it merges objects; lld and gold
//! keep one of several equal elements.

use foldhash::{HashMap, HashSet};

use crate::read::object::{ElfObject, Section, SectionId};

/// The elements of a mergeable section. `None` where it is cut into none.
pub(super) fn elements<'data>(section: &Section<'data>) -> Option<Vec<&'data [u8]>> {
    let width = width(section)?;
    if !section.holds_strings() {
        return Some(section.data.chunks(width).collect());
    }
    let mut found = Vec::new();
    let mut rest = section.data;
    while !rest.is_empty() {
        let (element, behind) = rest.split_at_checked(string_bytes(rest, width)?)?;
        found.push(element);
        rest = behind;
    }
    Some(found)
}

/// What stands at an offset of a mergeable section: the rest of a string, or a constant and how far
/// into it the offset leads.
pub(super) fn element_at<'data>(
    section: &Section<'data>,
    offset: u64,
) -> Option<(&'data [u8], usize)> {
    let width = width(section)?;
    let offset = usize::try_from(offset).ok()?;
    if section.holds_strings() {
        let rest = section.data.get(offset..)?;
        return Some((rest.get(..string_bytes(rest, width)?)?, 0));
    }
    let start = offset - offset % width;
    Some((section.data.get(start..start + width)?, offset - start))
}

/// Size of a character or constant.
fn width(section: &Section<'_>) -> Option<usize> {
    let width = usize::try_from(section.entry_size).ok()?;
    (section.is_mergeable() && width > 0 && section.relocations.is_empty()).then_some(width)
}

/// Size of the string at the start, its end included.
fn string_bytes(bytes: &[u8], width: usize) -> Option<usize> {
    let characters = bytes.chunks_exact(width);
    let end = characters
        .into_iter()
        .position(|character| character.iter().all(|byte| *byte == 0))?;
    Some((end + 1) * width)
}

/// The elements that mergeable sections of some objects hold, by name of the section.
#[derive(Debug, Default)]
pub(super) struct Elements<'data> {
    by_section: HashMap<&'data str, HashSet<&'data [u8]>>,
}

impl<'data> Elements<'data> {
    pub(super) fn of<'o>(objects: impl Iterator<Item = &'o ElfObject<'data>>) -> Elements<'data>
    where
        'data: 'o,
    {
        let mut found = Elements::default();
        for object in objects {
            for (_, section) in object.sections() {
                let Some(elements) = section.is_allocated().then(|| elements(section)).flatten()
                else {
                    continue;
                };
                let known = found.by_section.entry(section.name).or_default();
                known.extend(elements);
            }
        }
        found
    }

    /// Whether each element of a section is known, or padding.
    pub(super) fn hold(&self, object: &ElfObject<'data>, section: SectionId) -> bool {
        let section = object.section(section);
        let (Some(known), Some(elements)) = (self.by_section.get(section.name), elements(section))
        else {
            return false;
        };
        elements
            .iter()
            .all(|element| known.contains(element) || element.iter().all(|byte| *byte == 0))
    }
}
