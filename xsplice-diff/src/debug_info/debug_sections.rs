//! The contents of an object's debug sections, as they would be after linking.
//!
//! An object is not linked: the addresses and offsets in its debug information are relocations.
//! Here each section with code or data gets its own address range; debug sections of one name (each
//! type unit has one) are concatenated, as a linker would do; and the relocations are applied to a
//! copy. Compressed sections are unpacked first.

use std::collections::{BTreeMap, HashMap};

use object::elf;
use object::read::{CompressedData, CompressionFormat};

use crate::read::object::{ElfObject, Section, SectionId, SymbolPlace};

/// Distance between the address ranges of two sections; no section is larger than 4 GiB.
const STRETCH_BITS: u32 = 32;

/// Largest debug section that is unpacked, in bytes: a header may promise any size.
const UNPACKED_BYTES_MAX: u64 = 1 << 30;

/// The highest compression ratio that zlib and zstd reach on real sections; a header that claims
/// more is not believed.
const UNPACKED_TIMES_MAX: u64 = 1100;

/// The address that an offset of an allocated section has in the debug information.
#[must_use]
pub(crate) fn address(section: SectionId, offset: u64) -> Option<u64> {
    ((u64::from(section.0) + 1) << STRETCH_BITS).checked_add(offset)
}

/// The section and the offset in it that an address of the debug information means.
#[must_use]
pub(crate) fn place(address: u64) -> Option<(SectionId, u64)> {
    let section = u32::try_from(address >> STRETCH_BITS)
        .ok()?
        .checked_sub(1)?;
    Some((SectionId(section), address & ((1 << STRETCH_BITS) - 1)))
}

/// The debug sections of one object.
#[derive(Debug)]
pub(crate) struct DebugSections<'o, 'data> {
    object: &'o ElfObject<'data>,
    /// Sections of a name, in file order.
    by_name: BTreeMap<&'data str, Vec<SectionId>>,
    /// Where each section begins among those of its name, in bytes; of an allocated one its
    /// address.
    starts: Vec<u64>,
}

impl<'o, 'data> DebugSections<'o, 'data> {
    /// Finds them.
    #[must_use]
    pub(crate) fn new(object: &'o ElfObject<'data>) -> DebugSections<'o, 'data> {
        let mut by_name: BTreeMap<&'data str, Vec<SectionId>> = BTreeMap::new();
        let mut starts = vec![0; object.sections.len()];
        let mut ends: HashMap<&'data str, u64> = HashMap::new();
        for (id, section) in object.sections() {
            let start = &mut starts[id.0 as usize];
            if section.is_allocated() {
                *start = address(id, 0).unwrap_or_default();
            }
            if section.is_allocated() || !section.name.starts_with(".debug_") {
                continue;
            }
            let end = ends.entry(section.name).or_default();
            *start = *end;
            *end = end.saturating_add(unpacked_bytes(section));
            by_name.entry(section.name).or_default().push(id);
        }
        DebugSections {
            object,
            by_name,
            starts,
        }
    }

    /// Whether there is a section of this name.
    #[must_use]
    pub(crate) fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The contents of all sections of a name; `None` when there is none, or one that cannot be
    /// unpacked.
    #[must_use]
    pub(crate) fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let mut all = Vec::new();
        for id in self.by_name.get(name)? {
            let mut bytes = unpack(self.object.section(*id))?;
            self.relocate(*id, &mut bytes);
            all.append(&mut bytes);
        }
        Some(all)
    }

    fn relocate(&self, id: SectionId, bytes: &mut [u8]) {
        // Narrower fields hold neither addresses nor offsets.
        fn fill<const BYTES: usize>(bytes: &mut [u8], at: u64, value: u64) -> Option<()> {
            let rest = bytes.get_mut(usize::try_from(at).ok()?..)?;
            let field = rest.first_chunk_mut::<BYTES>()?;
            field.copy_from_slice(&value.to_le_bytes()[..BYTES]);
            Some(())
        }
        for relocation in self.object.debug_relocations(id) {
            let Some(symbol) = usize::try_from(relocation.symbol.0)
                .ok()
                .and_then(|symbol| self.object.symbols.get(symbol))
            else {
                continue;
            };
            let start = match symbol.place {
                SymbolPlace::Section(section) => self.starts[section.0 as usize],
                _ => 0,
            };
            let value = start
                .wrapping_add(symbol.value)
                .wrapping_add_signed(relocation.addend);
            let _ = match self.object.machine.field_bytes(relocation.kind) {
                4 => fill::<4>(bytes, relocation.offset, value),
                8 => fill::<8>(bytes, relocation.offset, value),
                _ => None,
            };
        }
    }
}

/// Whether a section is packed.
pub(crate) fn is_compressed(section: &Section<'_>) -> bool {
    section.flags & elf::SHF_COMPRESSED.0 != 0
}

/// The header of a compressed section (`Elf64_Chdr` of the gABI) and what follows it.
struct Packed<'data> {
    format: u32,
    unpacked_bytes: u64,
    data: &'data [u8],
}

impl<'data> Packed<'data> {
    fn new(section: &Section<'data>) -> Option<Packed<'data>> {
        // ch_type, ch_reserved (4 bytes each), ch_size, ch_addralign (8 bytes each).
        let (format, rest) = section.data.split_first_chunk::<4>()?;
        let (_, rest) = rest.split_first_chunk::<4>()?;
        let (size, rest) = rest.split_first_chunk::<8>()?;
        let (_, data) = rest.split_first_chunk::<8>()?;
        let unpacked_bytes = u64::from_le_bytes(*size);
        let packed_bytes = u64::try_from(data.len()).ok()?;
        let is_plausible = unpacked_bytes <= UNPACKED_BYTES_MAX
            && unpacked_bytes <= packed_bytes.saturating_mul(UNPACKED_TIMES_MAX);
        is_plausible.then_some(Packed {
            format: u32::from_le_bytes(*format),
            unpacked_bytes,
            data,
        })
    }
}

fn unpacked_bytes(section: &Section<'_>) -> u64 {
    if is_compressed(section) {
        Packed::new(section).map_or(0, |packed| packed.unpacked_bytes)
    } else {
        section.size
    }
}

fn unpack(section: &Section<'_>) -> Option<Vec<u8>> {
    if !is_compressed(section) {
        return Some(section.data.to_vec());
    }
    let packed = Packed::new(section)?;
    let format = match elf::CompressionType(packed.format) {
        elf::ELFCOMPRESS_ZLIB => CompressionFormat::Zlib,
        elf::ELFCOMPRESS_ZSTD => CompressionFormat::Zstandard,
        _ => return None,
    };
    let compressed = CompressedData {
        format,
        data: packed.data,
        uncompressed_size: packed.unpacked_bytes,
    };
    compressed
        .decompress()
        .ok()
        .map(std::borrow::Cow::into_owned)
}
