//! Assigns every allocated section its address: code, writable data and constants in three regions
//! of whole pages, so that nothing is both writable and executable.

use alloc::vec::Vec;

use xsplice_abi::limits::{PAGE_BYTES, SYMBOL_NAME_BYTES_MAX};

use crate::check::{CheckError, Fault};
use crate::platform::{Access, Region};
use crate::read::view::{Section, SectionId, View};

/// The three kinds of region, in the order in which they are kept.
pub const ACCESSES: [Access; 3] = [Access::ReadExecute, Access::ReadWrite, Access::ReadOnly];

/// Largest region in bytes: a file of the largest size and as much again in zeroes, several times
/// over. Without a bound a small file could ask for gigabytes of zeroes.
const REGION_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Where the sections of a payload lie within their regions.
#[derive(Debug)]
pub struct Layout {
    /// By section: its region and the offset in it; `None` for sections that are not loaded.
    sections: Vec<Option<(Access, u64)>>,
    /// Bytes in use, by region.
    used_bytes: [u64; 3],
}

fn slot(access: Access) -> usize {
    match access {
        Access::ReadExecute => 0,
        Access::ReadWrite => 1,
        Access::ReadOnly => 2,
    }
}

/// The region that a section belongs to.
#[must_use]
pub fn access(section: &Section<'_>) -> Access {
    if section.is_executable() {
        Access::ReadExecute
    } else if section.is_writable() {
        Access::ReadWrite
    } else {
        Access::ReadOnly
    }
}

/// Lays out the sections in file order, each aligned as it asks.
///
/// # Errors
/// [`Fault::OutOfMemory`], also when sizes or alignments add up beyond any memory.
pub fn lay_out<'data>(view: &View<'data>) -> Result<Layout, CheckError<'data>> {
    let mut sections = Vec::new();
    sections
        .try_reserve_exact(view.sections.len())
        .map_err(|_| Fault::OutOfMemory.of_file())?;
    let mut used_bytes = [0_u64; 3];
    for section in &view.sections {
        if !section.is_allocated() {
            sections.push(None);
            continue;
        }
        let too_much = Fault::OutOfMemory.at(section.name, 0);
        // Regions are page-aligned, so a larger alignment is impossible.
        if section.alignment > PAGE_BYTES {
            let alignment = section.alignment;
            return Err(Fault::Alignment { alignment }.at(section.name, 0));
        }
        let access = access(section);
        let used = &mut used_bytes[slot(access)];
        let start = used
            .checked_next_multiple_of(section.alignment.max(1))
            .ok_or(too_much)?;
        *used = start
            .checked_add(section.size)
            .filter(|used| *used <= REGION_BYTES_MAX)
            .ok_or(too_much)?;
        sections.push(Some((access, start)));
    }
    Ok(Layout {
        sections,
        used_bytes,
    })
}

impl Layout {
    /// Bytes in use in the region of this kind.
    #[must_use]
    pub fn used_bytes(&self, access: Access) -> u64 {
        self.used_bytes[slot(access)]
    }

    /// Size of the region of this kind in bytes, whole pages; 0 when nothing goes there.
    #[must_use]
    pub fn region_bytes(&self, access: Access) -> u64 {
        self.used_bytes(access)
            .checked_next_multiple_of(PAGE_BYTES)
            .unwrap_or(u64::MAX)
    }

    /// Region and offset of a section.
    #[must_use]
    pub fn place(&self, section: SectionId) -> Option<(Access, u64)> {
        self.sections.get(section.index()).copied().flatten()
    }
}

/// A payload's memory before it is copied: contents of the regions at their addresses.
#[derive(Debug)]
pub struct Image {
    layout: Layout,
    regions: [Option<Region>; 3],
    contents: [Vec<u8>; 3],
}

impl Image {
    /// Copies the sections' contents to where `layout` puts them; `regions` holds for each of
    /// [`ACCESSES`] where it begins.
    ///
    /// # Errors
    /// [`Fault::OutOfMemory`].
    pub fn new<'data>(
        view: &View<'data>,
        layout: Layout,
        regions: [Option<Region>; 3],
    ) -> Result<Image, CheckError<'data>> {
        let mut contents = [Vec::new(), Vec::new(), Vec::new()];
        for (content, bytes) in contents.iter_mut().zip(layout.used_bytes) {
            let bytes = usize::try_from(bytes).map_err(|_| Fault::OutOfMemory.of_file())?;
            content
                .try_reserve_exact(bytes)
                .map_err(|_| Fault::OutOfMemory.of_file())?;
            content.resize(bytes, 0);
        }
        let mut image = Image {
            layout,
            regions,
            contents,
        };
        for (id, section) in view.numbered() {
            if let Some(bytes) = image.section_mut(id, section)
                && let Some(bytes) = bytes.get_mut(..section.data.len())
            {
                bytes.copy_from_slice(section.data);
            }
        }
        Ok(image)
    }

    /// The region of this kind, if the payload has one.
    #[must_use]
    pub fn region(&self, access: Access) -> Option<Region> {
        self.regions[slot(access)]
    }

    /// Contents of the region of this kind, without the rest of its last page.
    #[must_use]
    pub fn contents(&self, access: Access) -> &[u8] {
        &self.contents[slot(access)]
    }

    /// Address of a loaded section.
    #[must_use]
    pub fn address(&self, section: SectionId) -> Option<u64> {
        let (access, offset) = self.layout.place(section)?;
        self.region(access)?.address.checked_add(offset)
    }

    /// Contents of a loaded section.
    #[must_use]
    pub fn section(&self, id: SectionId, section: &Section<'_>) -> Option<&[u8]> {
        let (access, offset) = self.layout.place(id)?;
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(usize::try_from(section.size).ok()?)?;
        self.contents[slot(access)].get(start..end)
    }

    /// Contents of a loaded section, to be changed.
    pub fn section_mut(&mut self, id: SectionId, section: &Section<'_>) -> Option<&mut [u8]> {
        let (access, offset) = self.layout.place(id)?;
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(usize::try_from(section.size).ok()?)?;
        self.contents[slot(access)].get_mut(start..end)
    }

    /// The bytes from `address` to the end of what is in use of its region.
    #[must_use]
    pub fn bytes_from(&self, address: u64) -> Option<&[u8]> {
        ACCESSES.into_iter().find_map(|access| {
            let offset = address.checked_sub(self.region(access)?.address)?;
            let bytes = self.contents(access).get(usize::try_from(offset).ok()?..)?;
            // The end of one region may be the start of the next.
            (!bytes.is_empty()).then_some(bytes)
        })
    }

    /// `bytes` bytes of code from `address`, to be changed; `None` when they are not code of this
    /// payload.
    pub fn code_mut(&mut self, address: u64, bytes: usize) -> Option<&mut [u8]> {
        let region = self.region(Access::ReadExecute)?;
        let start = usize::try_from(address.checked_sub(region.address)?).ok()?;
        self.contents[slot(Access::ReadExecute)].get_mut(start..start.checked_add(bytes)?)
    }

    /// Whether `bytes` bytes from `address` are code of this payload.
    #[must_use]
    pub fn is_code(&self, address: u64, bytes: u64) -> bool {
        self.region(Access::ReadExecute).is_some_and(|region| {
            address
                .checked_sub(region.address)
                .and_then(|offset| offset.checked_add(bytes))
                .is_some_and(|end| end <= self.layout.used_bytes(Access::ReadExecute))
        })
    }

    /// The NUL-terminated UTF-8 string at `address`, no longer than a symbol's name may be and
    /// without control characters.
    #[must_use]
    pub fn string(&self, address: u64) -> Option<&str> {
        let bytes = self.bytes_from(address)?;
        let bytes = bytes.get(..=SYMBOL_NAME_BYTES_MAX).unwrap_or(bytes);
        let end = bytes.iter().position(|byte| *byte == 0)?;
        let string = core::str::from_utf8(bytes.get(..end)?).ok()?;
        (!string.chars().any(char::is_control)).then_some(string)
    }
}
