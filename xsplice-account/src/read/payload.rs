//! The payload, as its loader will see it: sections, relocations, records.

use foldhash::HashMap;
use xsplice_abi::profile;
use xsplice_abi::record::offset;
use xsplice_abi::section::FUNCS;
use xsplice_diff::machine::walk;
use xsplice_diff::read::object::{ElfObject, Relocation, SectionId, SymbolPlace};

use super::image::Image;
use crate::error::AccountError;

/// The payload.
#[derive(Debug)]
pub(crate) struct Payload<'data> {
    /// As it was read.
    pub elf: ElfObject<'data>,
    /// Old address → section and offset of the new code.
    pub records: HashMap<u64, (SectionId, u64)>,
    /// The multiple, in bytes, that an address in a register must be of for no instruction of it to
    /// fault.
    pub alignment_needed: u64,
}

impl<'data> Payload<'data> {
    /// Reads a payload.
    ///
    /// # Errors
    ///
    /// When it is no relocatable file, or a record has no new code.
    pub(crate) fn parse(
        bytes: &'data [u8],
        base: &Image<'_>,
    ) -> Result<Payload<'data>, AccountError> {
        let elf = ElfObject::parse("payload", bytes)?;
        let mut records = HashMap::default();
        for profile in profile::ALL {
            let name = format!("{}{FUNCS}", profile.prefix);
            let mut all = elf.sections();
            if let Some((id, section)) = all.find(|(_, section)| section.name == name) {
                let entries = section.data.chunks_exact(profile.record_bytes);
                for (start, record) in (0..).step_by(profile.record_bytes).zip(entries) {
                    let damaged = || AccountError::Payload {
                        what: "a record without an old address",
                    };
                    let old = record.get(offset::OLD_ADDR..offset::OLD_ADDR + 8);
                    let old = old
                        .and_then(|old| old.try_into().ok())
                        .ok_or_else(damaged)?;
                    // For a base that is moved when it boots a record has the name alone.
                    let by_name = relocation_at(&elf, id, start + offset::OLD_ADDR as u64);
                    let old = match by_name {
                        Some(by_name) => base
                            .address_of(elf.symbol(by_name.symbol).name)
                            .map(|address| address.wrapping_add_signed(by_name.addend))
                            .ok_or_else(damaged)?,
                        None => u64::from_le_bytes(old),
                    };
                    let field = start + offset::NEW_ADDR as u64;
                    let new = relocation_at(&elf, id, field).and_then(|new| {
                        let symbol = elf.symbol(new.symbol);
                        match symbol.place {
                            SymbolPlace::Section(section) => {
                                Some((section, symbol.value.wrapping_add_signed(new.addend)))
                            }
                            _ => None,
                        }
                    });
                    if let Some(new) = new {
                        records.insert(old, new);
                    }
                }
            }
        }
        let alignment_needed = alignment_needed(&elf);
        Ok(Payload {
            elf,
            records,
            alignment_needed,
        })
    }

    /// The relocation at this offset of a section.
    #[must_use]
    pub(crate) fn relocation_at(&self, section: SectionId, offset: u64) -> Option<&Relocation> {
        relocation_at(&self.elf, section, offset)
    }
}

/// What the code of an object needs of addresses that others hand to it.
fn alignment_needed(elf: &ElfObject<'_>) -> u64 {
    let sections = elf.sections().map(|(_, section)| section);
    let code = sections.filter(|section| section.is_executable());
    let all = code.flat_map(|section| walk(elf.machine, section.data, 0));
    let by_register = all.filter(|one| one.goes_by_register());
    let needs = by_register.map(|one| one.alignment_needed());
    needs.max().unwrap_or(1)
}

fn relocation_at<'elf>(
    elf: &'elf ElfObject<'_>,
    section: SectionId,
    offset: u64,
) -> Option<&'elf Relocation> {
    let relocations = elf.relocations_of(section);
    let found = relocations.binary_search_by_key(&offset, |relocation| relocation.offset);
    found.ok().map(|index| &relocations[index])
}
