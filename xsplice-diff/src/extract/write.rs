//! Writes an extract as a relocatable ELF.

use std::borrow::Cow;

use object::elf;
use object::write::StringId;
use object::write::elf::{FileHeader, Rel, SectionHeader, SectionIndex as ElfSection, Sym, Writer};

use super::description::{
    ConstantDescription, DESCRIPTION, Description, ORIGINALS, REPORT, RecordDescription, VERSION,
};
use super::{Extract, Place, Symbol};

/// The ELF form of `extract`; the same extract gives the same bytes.
#[must_use]
pub fn write(extract: &Extract<'_>) -> Vec<u8> {
    write_parts(extract, None)
}

/// A section to be written, allocated or not.
struct Out<'e> {
    name: &'e str,
    kind: u32,
    flags: u64,
    alignment: u64,
    entry_size: u64,
    size: u64,
    data: Cow<'e, [u8]>,
    relocations: &'e [super::Relocation],
}

/// Where a section or its relocations ended up.
#[derive(Clone, Copy)]
struct Reserved {
    name: StringId,
    index: ElfSection,
    offset: u64,
}

/// Where everything ended up.
struct Plan {
    /// Of each section.
    places: Vec<Reserved>,
    /// Name of each symbol, by its index in the extract; `None` without one.
    strings: Vec<Option<StringId>>,
    /// Of the relocations of each section that has some.
    relocation_places: Vec<Reserved>,
}

/// With a report in it, where there is one.
pub(crate) fn write_parts(extract: &Extract<'_>, report: Option<Vec<u8>>) -> Vec<u8> {
    let order = symbol_order(&extract.symbols);
    let names: Vec<Cow<'_, str>> = extract.symbols.iter().map(elf_name).collect();
    let outs = sections(extract, &order, report);
    let relocation_names: Vec<String> = with_relocations(&outs)
        .map(|(_, out)| format!(".rela{}", out.name))
        .collect();
    let mut buffer = Vec::new();
    let mut writer = Writer::new(object::Endianness::Little, true, &mut buffer);
    let plan = reserve(
        &mut writer,
        extract,
        &order,
        &outs,
        (&names, &relocation_names),
    );
    write_contents(&mut writer, extract, &order, &outs, &plan);
    write_section_headers(&mut writer, extract, &outs, &plan);
    buffer
}

/// The sections that have relocations, with their indices.
fn with_relocations<'o, 'e>(outs: &'o [Out<'e>]) -> impl Iterator<Item = (usize, &'o Out<'e>)> {
    let all = outs.iter().enumerate();
    all.filter(|(_, out)| !out.relocations.is_empty())
}

/// Reserves indices, names and file ranges, in the order of writing. The names are those of
/// symbols and of sections of relocations.
fn reserve<'a>(
    writer: &mut Writer<'a>,
    extract: &Extract<'_>,
    order: &[usize],
    outs: &'a [Out<'a>],
    (names, relocation_names): (&'a [Cow<'a, str>], &'a [String]),
) -> Plan {
    writer.reserve_file_header();
    writer.reserve_null_section_index();
    let mut places = Vec::with_capacity(outs.len());
    for out in outs {
        places.push(Reserved {
            name: writer.add_section_name(out.name.as_bytes()),
            index: writer.reserve_section_index(),
            offset: writer.reserve(out.data.len() as u64, file_alignment(out.alignment)),
        });
    }
    writer.reserve_null_symbol_index();
    let mut strings = vec![None; names.len()];
    for symbol in order {
        let section = match extract.symbols[*symbol].place {
            Place::Section { section, .. } => Some(places[section.0].index),
            _ => None,
        };
        if !names[*symbol].is_empty() {
            strings[*symbol] = Some(writer.add_string(names[*symbol].as_bytes()));
        }
        writer.reserve_symbol_index(section);
    }
    writer.reserve_symtab_section_index();
    writer.reserve_symtab();
    if writer.symtab_shndx_needed() {
        writer.reserve_symtab_shndx_section_index();
        writer.reserve_symtab_shndx();
    }
    writer.reserve_strtab_section_index();
    writer.require_strtab();
    writer
        .reserve_strtab()
        .expect("names of an extract are far below 4 GiB");
    let mut relocation_places = Vec::with_capacity(relocation_names.len());
    for ((_, out), name) in with_relocations(outs).zip(relocation_names) {
        relocation_places.push(Reserved {
            name: writer.add_section_name(name.as_bytes()),
            index: writer.reserve_section_index(),
            offset: writer.reserve_relocations(out.relocations.len(), true),
        });
    }
    writer.reserve_shstrtab_section_index();
    writer
        .reserve_shstrtab()
        .expect("names of an extract are far below 4 GiB");
    writer.reserve_section_headers();
    Plan {
        places,
        strings,
        relocation_places,
    }
}

/// Writes the file's header, what sections hold, symbols, strings and relocations.
fn write_contents(
    writer: &mut Writer<'_>,
    extract: &Extract<'_>,
    order: &[usize],
    outs: &[Out<'_>],
    plan: &Plan,
) {
    writer
        .write_file_header(&FileHeader {
            os_abi: elf::ELFOSABI_NONE,
            abi_version: 0,
            e_type: elf::ET_REL,
            e_machine: elf::Machine(extract.machine.e_machine),
            e_entry: 0,
            e_flags: elf::FileFlags(0),
        })
        .expect("everything was reserved");
    for out in outs {
        writer.write_align(file_alignment(out.alignment));
        writer.write(&out.data);
    }
    writer.write_null_symbol();
    for symbol in order {
        let name = writer.string_offset(plan.strings[*symbol]);
        writer.write_symbol(&elf_symbol(&extract.symbols[*symbol], name, &plan.places));
    }
    writer.write_symtab_shndx();
    writer.write_strtab();
    let elf_index = inverse(order);
    for (_, out) in with_relocations(outs) {
        writer.write_align_relocation();
        for relocation in out.relocations {
            writer.write_relocation(
                true,
                &Rel {
                    r_offset: relocation.offset,
                    r_sym: elf_index[relocation.symbol.0],
                    r_type: elf::RelocationType(relocation.kind),
                    r_addend: relocation.addend,
                },
            );
        }
    }
    writer.write_shstrtab();
}

/// Writes the headers of sections, of the symbols and strings, and of relocations.
fn write_section_headers(
    writer: &mut Writer<'_>,
    extract: &Extract<'_>,
    outs: &[Out<'_>],
    plan: &Plan,
) {
    writer.write_null_section_header();
    for (out, place) in outs.iter().zip(&plan.places) {
        let sh_name = writer.section_name_offset(Some(place.name));
        writer.write_section_header(&SectionHeader {
            sh_name,
            sh_type: elf::SectionType(out.kind),
            sh_flags: elf::SectionFlags(out.flags),
            sh_addr: 0,
            sh_offset: place.offset,
            sh_size: out.size,
            sh_link: 0,
            sh_info: 0,
            sh_addralign: out.alignment,
            sh_entsize: out.entry_size,
        });
    }
    let locals = extract.symbols.iter().filter(|symbol| is_elf_local(symbol));
    writer.write_symtab_section_header(elf_count(locals.count() + 1));
    writer.write_symtab_shndx_section_header();
    writer.write_strtab_section_header();
    let symtab = writer.symtab_index();
    for ((target, out), place) in with_relocations(outs).zip(&plan.relocation_places) {
        writer.write_relocation_section_header(
            place.name,
            plan.places[target].index,
            symtab,
            place.offset,
            out.relocations.len(),
            true,
        );
    }
    writer.write_shstrtab_section_header();
}

fn elf_count(count: usize) -> u32 {
    u32::try_from(count).expect("an extract has fewer symbols than its object, which has 32 bits")
}

fn is_elf_local(symbol: &Symbol) -> bool {
    symbol.binding == elf::STB_LOCAL.0 && matches!(symbol.place, Place::Section { .. })
}

/// Extract symbols in the order of the ELF's table: locals first.
fn symbol_order(symbols: &[Symbol]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..symbols.len()).collect();
    order.sort_by_key(|symbol| !is_elf_local(&symbols[*symbol]));
    order
}

/// For each extract symbol its index in the ELF's table.
fn inverse(order: &[usize]) -> Vec<u32> {
    let mut inverse = vec![0; order.len()];
    for (position, symbol) in order.iter().enumerate() {
        inverse[*symbol] = elf_count(position + 1);
    }
    inverse
}

/// A local of the base is written with its file, so that two of one name can be told apart.
fn elf_name(symbol: &Symbol) -> Cow<'_, str> {
    match (&symbol.file, symbol.place) {
        (Some(file), Place::Base) => Cow::Owned(format!("{file}#{}", symbol.name)),
        _ => Cow::Borrowed(&symbol.name),
    }
}

fn elf_symbol(symbol: &Symbol, name: u32, places: &[Reserved]) -> Sym {
    let binding = if symbol.binding == elf::STB_LOCAL.0 && !is_elf_local(symbol) {
        elf::STB_GLOBAL
    } else {
        elf::SymbolBind(symbol.binding)
    };
    let (section, shndx, value) = match symbol.place {
        Place::Section { section, value } => {
            (Some(places[section.0].index.0), elf::SHN_UNDEF, value)
        }
        Place::Absolute(value) => (None, elf::SHN_ABS, value),
        Place::Base | Place::Undefined => (None, elf::SHN_UNDEF, 0),
    };
    Sym {
        section,
        st_name: name,
        st_info: elf::SymbolInfo::new(binding, elf::SymbolType(symbol.kind)),
        st_other: elf::SymbolOther(0),
        st_shndx: shndx,
        st_value: value,
        st_size: symbol.size,
    }
}

fn sections<'e>(
    extract: &'e Extract<'_>,
    order: &[usize],
    report: Option<Vec<u8>>,
) -> Vec<Out<'e>> {
    let mut outs: Vec<Out<'e>> = extract
        .sections
        .iter()
        .map(|section| Out {
            name: &section.name,
            kind: section.kind,
            flags: section.flags,
            alignment: section.alignment,
            entry_size: section.entry_size,
            size: section.size,
            data: Cow::Borrowed(&section.data),
            relocations: &section.relocations,
        })
        .collect();
    let mut originals = Vec::new();
    let records = extract
        .records
        .iter()
        .map(|record| {
            let at = originals.len() as u64;
            originals.extend_from_slice(&record.original.bytes);
            RecordDescription {
                name: record.name.clone(),
                file: record.file.clone(),
                binding: record.binding,
                symbol: record.symbol,
                old_size: record.old_size,
                new_size: record.new_size,
                address_taken: record.address_taken,
                aliases: record.aliases.clone(),
                original: record.original.clone(),
                bytes: (at, record.original.bytes.len() as u64),
            }
        })
        .collect();
    let constants = extract.constants.iter();
    let constants = constants
        .map(|constant| ConstantDescription {
            symbol: constant.symbol,
            original: constant.original.clone(),
            bytes: constant.original.bytes.clone(),
        })
        .collect();
    let description = Description {
        version: VERSION,
        object: extract.object.clone(),
        abi: extract.abi.name.to_owned(),
        accepted: extract.accepted.clone(),
        compiled_by: extract.compiled_by.clone(),
        symbols: extract.symbols.clone(),
        elf_symbols: inverse(order),
        records,
        constants,
    };
    let description =
        serde_json::to_vec_pretty(&description).expect("a description has string keys alone");
    let mut own = |name, data: Vec<u8>| {
        outs.push(Out {
            name,
            kind: elf::SHT_PROGBITS.0,
            flags: 0,
            alignment: 1,
            entry_size: 0,
            size: data.len() as u64,
            data: Cow::Owned(data),
            relocations: &[],
        });
    };
    own(DESCRIPTION, description);
    own(ORIGINALS, originals);
    if let Some(report) = report {
        own(REPORT, report);
    }
    outs
}

/// How a section is aligned within the file, in bytes: an extract is not mapped, so an object that
/// asks for an alignment of gibibytes need not make a file of that size.
fn file_alignment(memory_alignment: u64) -> u64 {
    const FILE_ALIGNMENT_MAX: u64 = 16;
    memory_alignment.min(FILE_ALIGNMENT_MAX)
}
