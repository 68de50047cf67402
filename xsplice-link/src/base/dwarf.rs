//! Sizes of C structures, and compilers, from the base's debug information, where it has some.
//!
//! The base's debug information contains the record structure of its own loader. A payload with
//! records of another size would be misread, and the loader cannot notice: 64 and 104 bytes are
//! both multiples of 8.

use std::collections::BTreeSet;

use gimli::{Dwarf, EndianSlice, LittleEndian, SectionId, UnitRef};
use object::elf;
use object::read::elf::SectionHeader as _;

use super::{LE, Sections};

type Reader<'data> = EndianSlice<'data, LittleEndian>;

/// The debug sections of an image, found but not read.
#[derive(Debug)]
pub(super) struct DebugInfo<'data> {
    dwarf: Dwarf<Reader<'data>>,
    strings: &'data [u8],
    info: &'data [u8],
}

impl<'data> DebugInfo<'data> {
    pub(super) fn new(table: &Sections<'data>, data: &'data [u8]) -> DebugInfo<'data> {
        let section = |name: &str| -> &'data [u8] {
            table
                .section_by_name(LE, name.as_bytes())
                // Compressed sections are treated as absent: nothing here is essential.
                .filter(|(_, header)| header.sh_flags(LE).0 & elf::SHF_COMPRESSED.0 == 0)
                .and_then(|(_, header)| header.data(LE, data).ok())
                .unwrap_or_default()
        };
        let load = |id: SectionId| {
            Ok::<_, std::convert::Infallible>(EndianSlice::new(section(id.name()), LittleEndian))
        };
        let Ok(dwarf) = Dwarf::load(load);
        DebugInfo {
            dwarf,
            strings: section(SectionId::DebugStr.name()),
            info: section(SectionId::DebugInfo.name()),
        }
    }

    /// `DW_AT_producer` of each unit, each text once; those that cannot be read are left out.
    pub(super) fn producers(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut units = self.dwarf.units();
        while let Ok(Some(header)) = units.next() {
            all.extend(self.producer(header));
        }
        all
    }

    fn producer(&self, header: gimli::UnitHeader<Reader<'data>>) -> Option<String> {
        let unit = self.dwarf.unit(header).ok()?;
        let unit = UnitRef::new(&self.dwarf, &unit);
        let mut entries = unit.entries();
        let value = entries
            .next_dfs()
            .ok()??
            .attr_value(gimli::DW_AT_producer)?;
        let text = unit.attr_string(value).ok()?;
        str::from_utf8(text.slice()).ok().map(str::to_owned)
    }

    /// Size in bytes of the first complete structure of this name; `None` when there is none, or
    /// when the debug information cannot be read.
    pub(super) fn structure_bytes(&self, name: &str) -> Option<u64> {
        // Reading all units of an image is slow, and most images do not contain the name.
        let needle = [name.as_bytes(), b"\0"].concat();
        let holds = |text: &[u8]| text.windows(needle.len()).any(|window| window == needle);
        if !holds(self.strings) && !holds(self.info) {
            return None;
        }
        let mut units = self.dwarf.units();
        while let Some(header) = units.next().ok()? {
            let unit = self.dwarf.unit(header).ok()?;
            let found = structure_in(UnitRef::new(&self.dwarf, &unit), name).ok()?;
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

/// Looks at the outermost entries of a unit.
fn structure_in(unit: UnitRef<'_, Reader<'_>>, name: &str) -> gimli::Result<Option<u64>> {
    let mut entries = unit.entries();
    // The unit itself, then its first child; from there by siblings.
    if entries.next_dfs()?.is_none() {
        return Ok(None);
    }
    let mut next = entries.next_dfs()?;
    while let Some(entry) = next {
        if entry.tag() == gimli::DW_TAG_structure_type
            && let Some(found) = entry.attr_value(gimli::DW_AT_name)
            && let Some(bytes) = entry
                .attr_value(gimli::DW_AT_byte_size)
                .and_then(|value| value.udata_value())
            && unit.attr_string(found)?.slice() == name.as_bytes()
        {
            return Ok(Some(bytes));
        }
        next = entries.next_sibling()?;
    }
    Ok(None)
}
