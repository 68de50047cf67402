//! What lies open between the places that were found, for sections that nothing leads to.

use std::ops::Range;

use foldhash::HashMap;
use object::elf;
use xsplice_diff::read::object::Section;

use crate::read::image::{Bytes, Image, ImageSection};

/// How many of a section's first bytes are looked for, if it has as many. Notes begin with some
/// that all have; the smallest sections are single letters and numbers, and fit into every gap.
pub(super) const HEAD_BYTES: [u64; 4] = [16, 4, 2, 1];

/// Gaps by the first bytes that stand in them.
type ByHead<'data> = HashMap<&'data [u8], Vec<usize>>;

/// What lies open in one section of the image, by address.
pub(super) struct Room<'image, 'data> {
    output: &'image ImageSection<'data>,
    gaps: Vec<Range<u64>>,
    /// Indices of the gaps by what stands where they are aligned so, for an alignment and a number
    /// of bytes. Of a gap that was filled in part, what stood there before may be told too.
    by_head: HashMap<(u64, u64), ByHead<'data>>,
}

impl<'data> Room<'_, 'data> {
    /// Whether a linker may put the input section here.
    pub(super) fn takes(&self, section: &Section<'_>) -> bool {
        let is_code = self.output.flags & elf::SHF_EXECINSTR.0 != 0;
        is_code == section.is_executable()
            && (is_code
                || self.output.name == ".rodata"
                || section.name.starts_with(self.output.name))
    }

    /// Takes the first gap in which the section is, by `is_it`; returns where. `head` is what it
    /// surely begins with.
    pub(super) fn fill(
        &mut self,
        image: &Image<'data>,
        section: &Section<'_>,
        head: Option<&[u8]>,
        is_it: &dyn Fn(u64) -> bool,
    ) -> Option<u64> {
        let alignment = section.alignment;
        let found = |index: usize| {
            let gap = &self.gaps[index];
            let start = gap.start.checked_next_multiple_of(alignment)?;
            let end = start.checked_add(section.size)?;
            (end <= gap.end && is_it(start)).then_some((index, start, end))
        };
        let (index, start, end) = match head {
            Some(head) => {
                let gaps = &self.gaps;
                let kind = (alignment, head.len() as u64);
                let index = || index(image, gaps, kind);
                let by_head = self.by_head.entry(kind).or_insert_with(index);
                by_head.get(head)?.iter().copied().find_map(found)
            }
            None => (0..self.gaps.len()).find_map(found),
        }?;
        self.gaps[index].start = end;
        for (&kind, by_head) in &mut self.by_head {
            if let Some(head) = head_of(image, &self.gaps[index], kind) {
                let all = by_head.entry(head).or_default();
                if let Err(at) = all.binary_search(&index) {
                    all.insert(at, index);
                }
            }
        }
        Some(start)
    }
}

/// Indices of the gaps by what stands where each is aligned.
fn index<'data>(image: &Image<'data>, gaps: &[Range<u64>], kind: (u64, u64)) -> ByHead<'data> {
    let mut by_head = ByHead::default();
    for (index, gap) in gaps.iter().enumerate() {
        if let Some(head) = head_of(image, gap, kind) {
            by_head.entry(head).or_default().push(index);
        }
    }
    by_head
}

/// What stands in a gap where it is aligned; `None` where that are fewer bytes.
fn head_of<'data>(
    image: &Image<'data>,
    gap: &Range<u64>,
    (alignment, length): (u64, u64),
) -> Option<&'data [u8]> {
    const ZEROS: [u8; 16] = [0; 16];
    let start = gap.start.checked_next_multiple_of(alignment)?;
    if start.checked_add(length)? > gap.end {
        return None;
    }
    match image.bytes(start, length)? {
        Bytes::Present(bytes) => Some(bytes),
        Bytes::Zero => ZEROS.get(..usize::try_from(length).ok()?),
    }
}

/// The gaps, by the section of the image that they lie in.
pub(super) fn rooms<'image, 'data>(
    image: &'image Image<'data>,
    gaps: Vec<Range<u64>>,
) -> Vec<Room<'image, 'data>> {
    let mut rooms: Vec<Room<'_, '_>> = Vec::new();
    for gap in gaps {
        let Some(output) = image.section_at(gap.start) else {
            continue;
        };
        match rooms.last_mut() {
            Some(last) if std::ptr::eq(last.output, output) => last.gaps.push(gap),
            _ => rooms.push(Room {
                output,
                gaps: vec![gap],
                by_head: HashMap::default(),
            }),
        }
    }
    rooms
}
