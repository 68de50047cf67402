//! Which calls of an object its compiler made, as its debug information tells.
//!
//! Compilers that optimise describe each call that they make by the address behind it, and say of a
//! function when all of its calls are described (DWARF 5, 3.3.1.3 and 3.4; before, extensions of
//! GCC). What else calls is inline assembler, and keeps no convention.

use foldhash::HashSet;
use gimli::{Dwarf, EndianSlice, LittleEndian, UnitHeader};

use crate::debug_info::debug_sections::address;
use crate::debug_info::types::read::TypeSections;
use crate::read::object::SectionId;

type Slice<'d> = EndianSlice<'d, LittleEndian>;

/// Who made a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    /// The compiler: it keeps the convention.
    Compiler,
    /// Inline assembler.
    Assembler,
    /// Nothing tells.
    Unknown,
}

/// The calls of one object.
#[derive(Debug, Default)]
pub(crate) struct CallSites {
    /// Addresses behind calls, and of jumps that end a function.
    described: HashSet<u64>,
    /// Where the functions begin, and their parts, of which all calls are described.
    complete: HashSet<u64>,
    /// Where all described functions begin, and their parts.
    functions: HashSet<u64>,
    /// Whether any unit of the object could be read.
    has_units: bool,
}

impl CallSites {
    /// Reads them. A unit that cannot be read tells nothing.
    #[must_use]
    pub(crate) fn read(sections: &TypeSections) -> CallSites {
        let mut found = CallSites::default();
        let dwarf = sections.dwarf();
        let mut units = dwarf.units();
        while let Ok(Some(header)) = units.next() {
            let mut own = CallSites::default();
            if own.read_unit(&dwarf, header).is_ok() {
                found.described.extend(own.described);
                found.complete.extend(own.complete);
                found.functions.extend(own.functions);
                found.has_units = true;
            }
        }
        found
    }

    fn read_unit(
        &mut self,
        dwarf: &Dwarf<Slice<'_>>,
        header: UnitHeader<Slice<'_>>,
    ) -> gimli::Result<()> {
        let unit = dwarf.unit(header)?;
        let unit = unit.unit_ref(dwarf);
        let mut cursor = unit.entries_raw(None)?;
        // Assemblers describe functions too.
        let mut is_compiled = true;
        while !cursor.is_empty() {
            let Some(form) = cursor.read_abbreviation()? else {
                continue;
            };
            let is_site = matches!(
                form.tag(),
                gimli::DW_TAG_call_site | gimli::DW_TAG_GNU_call_site
            );
            let is_function = form.tag() == gimli::DW_TAG_subprogram;
            let mut addresses = Vec::new();
            let mut is_complete = false;
            for attribute in form.attributes() {
                let attribute = cursor.read_attribute_inline(*attribute)?;
                let value = attribute.value();
                match attribute.name() {
                    gimli::DW_AT_call_return_pc | gimli::DW_AT_call_pc | gimli::DW_AT_low_pc => {
                        addresses.extend(unit.attr_address(value)?);
                    }
                    gimli::DW_AT_language => {
                        is_compiled =
                            value != gimli::AttributeValue::Language(gimli::DW_LANG_Mips_Assembler);
                    }
                    gimli::DW_AT_ranges if is_function => {
                        if let Some(mut ranges) = unit.attr_ranges(value)? {
                            while let Some(range) = ranges.next()? {
                                addresses.push(range.begin);
                            }
                        }
                    }
                    gimli::DW_AT_call_all_calls
                    | gimli::DW_AT_call_all_source_calls
                    | gimli::DW_AT_GNU_all_call_sites
                    | gimli::DW_AT_GNU_all_source_call_sites => {
                        is_complete |= value == gimli::AttributeValue::Flag(true);
                    }
                    _ => {}
                }
            }
            if is_site {
                self.described.extend(addresses);
            } else if is_function && is_compiled {
                self.functions.extend(&addresses);
                if is_complete {
                    self.complete.extend(addresses);
                }
            }
        }
        Ok(())
    }

    /// Whether the function that begins there is none of a compiler's, which describe each of
    /// theirs.
    #[must_use]
    pub(crate) fn is_assembler(&self, section: SectionId, function: u64) -> bool {
        let is_described =
            address(section, function).is_some_and(|address| self.functions.contains(&address));
        self.has_units && !is_described
    }

    /// Who made the call from `start` to `end` in a section, in the function that begins at
    /// `function` there.
    #[must_use]
    pub(crate) fn maker(
        &self,
        section: SectionId,
        function: u64,
        (start, end): (u64, u64),
    ) -> Maker {
        let is_in = |all: &HashSet<u64>, offset| {
            address(section, offset).is_some_and(|address| all.contains(&address))
        };
        if is_in(&self.described, end) || is_in(&self.described, start) {
            Maker::Compiler
        } else if is_in(&self.complete, function) || self.is_assembler(section, function) {
            Maker::Assembler
        } else {
            Maker::Unknown
        }
    }
}
