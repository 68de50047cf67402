//! Writes a [`Layout`] as a relocatable ELF file in the form that every profile's loader takes: no
//! program headers, only allocated sections with their relocations, one symbol table, and a
//! build-id that is the SHA-1 of everything else.

use std::collections::HashSet;

use object::elf;
use object::write::StringId;
use object::write::elf::{FileHeader, Rel, SectionHeader, SectionIndex, Sym, Writer};
use sha1::{Digest as _, Sha1};
use xsplice_abi::note::{self, BUILD_ID_BYTES};

use crate::build_id::BuildId;
use crate::error::LinkError;
use crate::layout::{Content, Kind, Layout, Memory, OutSymbol, Place, Section, Symbol, Visibility};

/// Bytes of `Elf64_Rela` and `Elf64_Sym`, which are the same.
const RELA_BYTES: u64 = 24;
/// Alignment of relocation and symbol tables in the file.
const TABLE_ALIGNMENT: u64 = 8;

/// A finished payload file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The file.
    pub bytes: Vec<u8>,
    /// Its own build-id.
    pub build_id: BuildId,
}

/// Writes `layout`, which must hold a `.note.gnu.build-id` section of a SHA-1 id whose content is
/// still zero.
///
/// # Errors
/// [`LinkError::Layout`] when a table outgrows the format.
pub fn write(layout: &Layout) -> Result<Written, LinkError> {
    let (order, indices) = symbol_order(layout);
    let rela_names: Vec<Vec<u8>> = layout
        .sections
        .iter()
        .map(|section| [b".rela", section.name.as_bytes()].concat())
        .collect();

    let mut bytes = Vec::new();
    let mut writer = Writer::new(object::Endianness::Little, true, &mut bytes);
    let names = reserve_names(&mut writer, layout, &rela_names, &order);
    let offsets = reserve_contents(&mut writer, layout)?;
    writer.write_file_header(&FileHeader {
        e_type: elf::ET_REL,
        e_machine: elf::EM_X86_64,
        ..FileHeader::default()
    })?;
    write_contents(&mut writer, layout, &offsets, &indices);
    write_symbols(&mut writer, layout, &names, &order);
    write_section_headers(&mut writer, layout, &names, &offsets);
    // The tables of symbols and strings, whose headers come last.
    let private = order
        .iter()
        .filter(|&&OutSymbol(index)| layout.symbols[index].visibility == Visibility::Private)
        .count();
    // The null symbol is local too, and `header_index` adds it.
    writer.write_symtab_section_header(header_index(private));
    writer.write_strtab_section_header();
    writer.write_shstrtab_section_header();

    let build_id = stamp(layout, &offsets.sections, &mut bytes);
    Ok(Written { bytes, build_id })
}

/// Names in the string tables, each list in the order of the layout.
struct Names {
    sections: Vec<StringId>,
    /// `None` for a section without relocations.
    relocations: Vec<Option<StringId>>,
    /// In the order of the file; `None` for a symbol without a name.
    symbols: Vec<Option<StringId>>,
}

/// Where things lie in the file, each list in the order of the layout.
struct Offsets {
    sections: Vec<u64>,
    /// 0 for a section without relocations.
    relocations: Vec<u64>,
}

/// Reserves the indices and names of sections and symbols: all of them before any file range.
fn reserve_names<'a>(
    writer: &mut Writer<'a>,
    layout: &'a Layout,
    rela_names: &'a [Vec<u8>],
    order: &[OutSymbol],
) -> Names {
    let mut reserve_section = |name: &'a [u8]| {
        writer.reserve_section_index();
        writer.add_section_name(name)
    };
    let all = layout.sections.iter();
    let sections = all.map(|section| reserve_section(section.name.as_bytes()));
    let sections = sections.collect();
    let all = layout.sections.iter().zip(rela_names);
    let relocations =
        all.map(|(section, name)| (!section.relocations.is_empty()).then(|| reserve_section(name)));
    let relocations = relocations.collect();
    let symbols = order.iter().map(|&OutSymbol(index)| {
        let symbol = &layout.symbols[index];
        writer.reserve_symbol_index(section_index(symbol));
        (!symbol.name.is_empty()).then(|| writer.add_string(symbol.name.as_bytes()))
    });
    let symbols = symbols.collect();
    writer.reserve_symtab_section_index();
    writer.reserve_strtab_section_index();
    writer.reserve_shstrtab_section_index();
    Names {
        sections,
        relocations,
        symbols,
    }
}

/// Reserves file ranges, in the order of writing.
fn reserve_contents(writer: &mut Writer<'_>, layout: &Layout) -> Result<Offsets, LinkError> {
    let size = |length: usize| u64::try_from(length).expect("a usize fits 64 bits");
    writer.reserve_file_header();
    let mut sections = Vec::with_capacity(layout.sections.len());
    for section in &layout.sections {
        let length = size(section.content.bytes().len());
        sections.push(writer.reserve(length, section.alignment));
    }
    let mut relocations = Vec::with_capacity(layout.sections.len());
    for section in &layout.sections {
        relocations.push(match size(section.relocations.len()) {
            0 => 0,
            count => writer.reserve(count * RELA_BYTES, TABLE_ALIGNMENT),
        });
    }
    if writer.symbol_count() == 0 {
        writer.reserve_null_symbol_index();
    }
    writer.reserve_symtab();
    writer.reserve_strtab()?;
    writer.reserve_shstrtab()?;
    writer.reserve_section_headers();
    Ok(Offsets {
        sections,
        relocations,
    })
}

/// Writes what sections hold, and their relocations. `indices` are those of symbols in the file.
fn write_contents(writer: &mut Writer<'_>, layout: &Layout, offsets: &Offsets, indices: &[u32]) {
    for (section, &offset) in layout.sections.iter().zip(&offsets.sections) {
        writer.pad_until(offset);
        writer.write(section.content.bytes());
    }
    for (section, &offset) in layout.sections.iter().zip(&offsets.relocations) {
        if section.relocations.is_empty() {
            continue;
        }
        writer.pad_until(offset);
        for relocation in &section.relocations {
            let OutSymbol(target) = relocation.symbol;
            writer.write_relocation(
                true,
                &Rel {
                    r_offset: relocation.offset,
                    r_sym: indices[target],
                    r_type: elf::RelocationType(relocation.kind),
                    r_addend: relocation.addend,
                },
            );
        }
    }
}

/// Writes the symbols and the strings behind them.
fn write_symbols(writer: &mut Writer<'_>, layout: &Layout, names: &Names, order: &[OutSymbol]) {
    writer.write_null_symbol();
    for (&OutSymbol(index), name) in order.iter().zip(&names.symbols) {
        let symbol = &layout.symbols[index];
        let entry = elf_symbol(symbol, writer.string_offset(*name));
        writer.write_symbol(&entry);
    }
    writer.write_strtab();
    writer.write_shstrtab();
}

/// Writes the headers of sections, then those of their relocations.
fn write_section_headers(
    writer: &mut Writer<'_>,
    layout: &Layout,
    names: &Names,
    offsets: &Offsets,
) {
    writer.write_null_section_header();
    let sections = layout.sections.iter().zip(&names.sections);
    for ((section, &name), &offset) in sections.zip(&offsets.sections) {
        let header = section_header(section, writer.section_name_offset(Some(name)), offset);
        writer.write_section_header(&header);
    }
    let symtab = writer.symtab_index();
    for (index, (section, name)) in layout.sections.iter().zip(&names.relocations).enumerate() {
        let Some(name) = *name else { continue };
        let target = SectionIndex(header_index(index));
        let sh_name = writer.section_name_offset(Some(name));
        let count = u64::try_from(section.relocations.len()).expect("a usize fits 64 bits");
        writer.write_section_header(&SectionHeader {
            sh_name,
            sh_type: elf::SHT_RELA,
            sh_flags: elf::SHF_INFO_LINK,
            sh_addr: 0,
            sh_offset: offsets.relocations[index],
            sh_size: count * RELA_BYTES,
            sh_link: symtab.0,
            sh_info: target.0,
            sh_addralign: TABLE_ALIGNMENT,
            sh_entsize: RELA_BYTES,
        });
    }
}

/// Private symbols before globals, as the gABI demands, each kind in layout order; and the ELF
/// index of every layout symbol.
fn symbol_order(layout: &Layout) -> (Vec<OutSymbol>, Vec<u32>) {
    let mut order: Vec<OutSymbol> = (0..layout.symbols.len()).map(OutSymbol).collect();
    order.sort_by_key(|&OutSymbol(index)| layout.symbols[index].visibility);
    let mut indices = vec![0; order.len()];
    for (position, &OutSymbol(index)) in order.iter().enumerate() {
        indices[index] = header_index(position);
    }
    (order, indices)
}

/// ELF tables start with a null entry.
fn header_index(position: usize) -> u32 {
    u32::try_from(position + 1).expect("a payload of two MiB has no 2^32 entries of anything")
}

fn section_index(symbol: &Symbol) -> Option<SectionIndex> {
    match symbol.place {
        Place::Section(section, _) => Some(SectionIndex(header_index(section.0))),
        Place::Undefined | Place::Absolute(_) => None,
    }
}

fn elf_symbol(symbol: &Symbol, st_name: u32) -> Sym {
    let binding = match symbol.visibility {
        Visibility::Private => elf::STB_LOCAL,
        Visibility::Global => elf::STB_GLOBAL,
    };
    let kind = match symbol.kind {
        Kind::Function => elf::STT_FUNC,
        Kind::Data => elf::STT_OBJECT,
        Kind::Label => elf::STT_NOTYPE,
        Kind::Section => elf::STT_SECTION,
    };
    let (st_shndx, st_value) = match symbol.place {
        // The writer fills the index in from `section`.
        Place::Section(_, value) => (elf::SHN_UNDEF, value),
        Place::Undefined => (elf::SHN_UNDEF, 0),
        Place::Absolute(address) => (elf::SHN_ABS, address),
    };
    Sym {
        section: section_index(symbol).map(|index| index.0),
        st_name,
        st_info: elf::SymbolInfo::new(binding, kind),
        st_other: elf::SymbolOther::default(),
        st_shndx,
        st_value,
        st_size: symbol.size_bytes,
    }
}

fn section_header(section: &Section, sh_name: u32, sh_offset: u64) -> SectionHeader {
    let sh_type = match section.content {
        Content::Bytes(_) => elf::SHT_PROGBITS,
        Content::Note(_) => elf::SHT_NOTE,
        Content::Zero(_) => elf::SHT_NOBITS,
    };
    let sh_flags = match section.memory {
        Memory::Text => elf::SHF_ALLOC | elf::SHF_EXECINSTR,
        Memory::ReadOnly => elf::SHF_ALLOC,
        Memory::Writable => elf::SHF_ALLOC | elf::SHF_WRITE,
    };
    SectionHeader {
        sh_name,
        sh_type,
        sh_flags,
        sh_addr: 0,
        sh_offset,
        sh_size: section.content.size_bytes(),
        sh_link: 0,
        sh_info: 0,
        sh_addralign: section.alignment,
        sh_entsize: section.entry_bytes,
    }
}

/// Hashes the file with a zero id and writes the hash into the build-id note.
fn stamp(layout: &Layout, offsets: &[u64], bytes: &mut [u8]) -> BuildId {
    let hash: [u8; BUILD_ID_BYTES] = Sha1::digest(&*bytes).into();
    let position = layout
        .section_named(xsplice_abi::section::BUILD_ID)
        .and_then(|section| usize::try_from(offsets[section.0]).ok())
        .map(|offset| offset + size_of::<note::Header>());
    if let Some(field) = position.and_then(|start| bytes.get_mut(start..start + BUILD_ID_BYTES)) {
        field.copy_from_slice(&hash);
    }
    BuildId::new(&hash).expect("a SHA-1 hash has a legal length")
}

/// Removes undefined symbols that no relocation uses, because a loader would look them up anyway.
pub fn drop_unused_undefined(layout: &mut Layout) {
    let used: HashSet<OutSymbol> = layout
        .sections
        .iter()
        .flat_map(|section| &section.relocations)
        .map(|relocation| relocation.symbol)
        .collect();
    let mut moved = Vec::with_capacity(layout.symbols.len());
    let mut kept = Vec::new();
    for (index, symbol) in layout.symbols.drain(..).enumerate() {
        moved.push(OutSymbol(kept.len()));
        let in_payload = matches!(symbol.place, Place::Section(..)) && symbol.kind != Kind::Section;
        if in_payload || used.contains(&OutSymbol(index)) {
            kept.push(symbol);
        }
    }
    layout.symbols = kept;
    for section in &mut layout.sections {
        for relocation in &mut section.relocations {
            relocation.symbol = moved[relocation.symbol.0];
        }
    }
}
