//! The object model: one relocatable ELF, read once and checked, with indices that are safe to
//! follow afterwards.
//!
//! Names and section data stay where they are in the file. Relocations are turned into one flat
//! array in section order, sorted by offset, for allocated sections alone: those of debug
//! information are read on request ([`ElfObject::debug_relocations`]).

use std::ops::Range;

use object::LittleEndian;
use object::elf;
use object::read::elf::{FileHeader as _, SectionHeader as _, Sym as _};

use crate::machine::{Machine, MachineName};
use crate::read::error::{DiffError, ObjectProblem, Part, Side};

pub use crate::read::object_entries::{
    Relocation, Section, SectionId, Symbol, SymbolId, SymbolPlace,
};

/// Longest symbol or section name that is accepted, in bytes. Names may overlap in the string
/// table, so reading them takes linear time only if none is long.
const NAME_BYTES_MAX: usize = 16 * 1024;

type Header = elf::FileHeader64<LittleEndian>;
type Rela = elf::Rela64<LittleEndian>;
pub(crate) const ENDIAN: LittleEndian = LittleEndian;

/// An object file.
#[derive(Debug)]
pub struct ElfObject<'data> {
    /// What messages call it.
    pub name: String,
    /// What its code runs on.
    pub machine: &'static Machine,
    /// Section headers, the null one first.
    pub sections: Vec<Section<'data>>,
    /// Symbols, the null one first.
    pub symbols: Vec<Symbol<'data>>,
    /// Relocations of allocated sections, by section and offset.
    pub relocations: Vec<Relocation>,
    /// Name of the source file when the object has exactly one.
    pub only_file: Option<&'data str>,
    /// Whether a `STT_FILE` symbol has no name. A linker makes a name up for an object that has no
    /// such symbol at all, but takes this one as it is: locals behind it are of no file.
    pub has_nameless_file: bool,
    debug: Vec<(SectionId, &'data [Rela])>,
}

impl<'data> ElfObject<'data> {
    /// Reads and checks an object. `name` is what messages call it.
    ///
    /// # Errors
    ///
    /// When it is not a well-formed relocatable object of a known machine.
    pub fn parse(name: &str, bytes: &'data [u8]) -> Result<ElfObject<'data>, DiffError> {
        parse(name, bytes).map_err(|problem| DiffError {
            object: name.to_owned(),
            problem,
            side: Side::Patched,
        })
    }

    /// An object without sections and symbols.
    #[must_use]
    pub fn empty(name: &str, machine: &'static Machine) -> ElfObject<'data> {
        ElfObject {
            name: name.to_owned(),
            machine,
            sections: Vec::new(),
            symbols: Vec::new(),
            relocations: Vec::new(),
            only_file: None,
            has_nameless_file: false,
            debug: Vec::new(),
        }
    }

    /// The section; the id must come from this object.
    #[must_use]
    pub fn section(&self, id: SectionId) -> &Section<'data> {
        &self.sections[id.0 as usize]
    }

    /// The symbol; the id must come from this object.
    #[must_use]
    pub fn symbol(&self, id: SymbolId) -> &Symbol<'data> {
        &self.symbols[id.0 as usize]
    }

    /// Sections with their ids, the null one left out.
    pub fn sections(&self) -> impl Iterator<Item = (SectionId, &Section<'data>)> {
        (0..).map(SectionId).zip(&self.sections).skip(1)
    }

    /// Relocations of an allocated section, by offset.
    #[must_use]
    pub fn relocations_of(&self, id: SectionId) -> &[Relocation] {
        &self.relocations[self.section(id).relocations.clone()]
    }

    /// Index range of the relocations of section `id` whose offsets lie in `offsets`.
    #[must_use]
    pub(crate) fn relocation_range(&self, id: SectionId, offsets: Range<u64>) -> Range<usize> {
        let range = self.section(id).relocations.clone();
        let all = &self.relocations[range.clone()];
        let from = all.partition_point(|relocation| relocation.offset < offsets.start);
        let to = all.partition_point(|relocation| relocation.offset < offsets.end);
        range.start + from..range.start + to.max(from)
    }

    /// Relocations of a section that is not allocated, in file order.
    pub fn debug_relocations(&self, id: SectionId) -> impl Iterator<Item = Relocation> {
        self.debug
            .iter()
            .filter(move |(section, _)| *section == id)
            .flat_map(|(_, entries)| entries.iter().map(relocation))
    }
}

/// Name of the source file when there is exactly one.
fn only_file<'data>(symbols: &[Symbol<'data>]) -> Option<&'data str> {
    let mut files = symbols
        .iter()
        .filter(|symbol| symbol.kind == elf::STT_FILE.0)
        .map(|symbol| symbol.name);
    let first = files.next()?;
    let is_sole = files.all(|other| other == first);
    // A FILE symbol without a name is as good as none.
    (is_sole && !first.is_empty()).then_some(first)
}

fn relocation(raw: &Rela) -> Relocation {
    Relocation {
        offset: raw.r_offset.get(ENDIAN),
        addend: raw.r_addend.get(ENDIAN),
        symbol: SymbolId(raw.r_sym(ENDIAN, false)),
        kind: raw.r_type(ENDIAN, false).0,
    }
}

pub(crate) fn malformed(part: Part) -> impl Fn(object::read::Error) -> ObjectProblem {
    move |error| ObjectProblem::Malformed {
        part,
        detail: error.to_string(),
    }
}

fn damaged(part: Part, detail: &str) -> ObjectProblem {
    ObjectProblem::Malformed {
        part,
        detail: detail.to_owned(),
    }
}

pub(crate) fn text(bytes: &[u8], part: Part) -> Result<&str, ObjectProblem> {
    if bytes.len() > NAME_BYTES_MAX {
        return Err(damaged(part, "a name is longer than 16 KiB"));
    }
    str::from_utf8(bytes).map_err(|_| damaged(part, "a name is not UTF-8"))
}

fn parse<'data>(name: &str, bytes: &'data [u8]) -> Result<ElfObject<'data>, ObjectProblem> {
    let (header, machine) = check_header(bytes)?;
    let table = header
        .sections(ENDIAN, bytes)
        .map_err(malformed(Part::SectionHeaders))?;
    let mut sections = Vec::with_capacity(table.len());
    let mut symtab = None;
    let mut relas: Vec<(usize, usize, &'data [Rela])> = Vec::new();
    for (index, raw) in table.enumerate() {
        let name = text(
            table
                .section_name(ENDIAN, raw)
                .map_err(malformed(Part::SectionNames))?,
            Part::SectionNames,
        )?;
        let kind = raw.sh_type(ENDIAN);
        let data = if index.0 == 0 || kind == elf::SHT_NULL {
            &[]
        } else {
            raw.data(ENDIAN, bytes)
                .map_err(malformed(Part::SectionData))?
        };
        let section = Section {
            name,
            kind: kind.0,
            flags: raw.sh_flags(ENDIAN).0,
            alignment: raw.sh_addralign(ENDIAN).max(1),
            entry_size: raw.sh_entsize(ENDIAN),
            size: if index.0 == 0 { 0 } else { raw.sh_size(ENDIAN) },
            data,
            relocations: 0..0,
        };
        if section.is_allocated() {
            check_allocated(&section)?;
        }
        if kind == elf::SHT_SYMTAB && symtab.replace(index).is_some() {
            return Err(damaged(Part::SymbolTable, "there are two"));
        }
        if let Some((entries, link)) = raw
            .rela(ENDIAN, bytes)
            .map_err(malformed(Part::Relocations))?
        {
            relas.push((raw.sh_info(ENDIAN) as usize, link.0, entries));
        }
        sections.push(section);
    }
    for raw in table.iter() {
        let kind = raw.sh_type(ENDIAN);
        if (kind == elf::SHT_REL || kind == elf::SHT_CREL)
            && sections
                .get(raw.sh_info(ENDIAN) as usize)
                .is_some_and(Section::is_allocated)
        {
            return Err(damaged(
                Part::Relocations,
                &format!(
                    "it is of type REL or CREL, and {} code uses RELA",
                    machine.name
                ),
            ));
        }
    }
    let symbols = match symtab {
        Some(index) => read_symbols(bytes, &table, index, (machine, &sections))?,
        None => Vec::new(),
    };
    let mut object = ElfObject {
        name: name.to_owned(),
        machine,
        sections,
        only_file: only_file(&symbols),
        has_nameless_file: symbols
            .iter()
            .any(|symbol| symbol.kind == elf::STT_FILE.0 && symbol.name.is_empty()),
        symbols,
        relocations: Vec::new(),
        debug: Vec::new(),
    };
    read_relocations(&mut object, relas, symtab.map_or(0, |index| index.0))?;
    Ok(object)
}

/// The header of an object for a machine that is known, and the machine.
pub(crate) fn check_header(bytes: &[u8]) -> Result<(&Header, &'static Machine), ObjectProblem> {
    let ident = bytes.get(..16).ok_or(ObjectProblem::NotElf)?;
    if ident[..4] != elf::ELFMAG {
        if ident.starts_with(b"BC\xc0\xde") {
            return Err(ObjectProblem::Bitcode {
                section: "the whole file".to_owned(),
            });
        }
        return Err(ObjectProblem::NotElf);
    }
    if ident[4] != elf::ELFCLASS64.0 || ident[5] != elf::ELFDATA2LSB.0 {
        return Err(ObjectProblem::WrongClass);
    }
    if u32::try_from(bytes.len()).is_err() {
        return Err(damaged(Part::Header, "the file is larger than 4 GiB"));
    }
    let header = Header::parse(bytes).map_err(malformed(Part::Header))?;
    let e_machine = header.e_machine(ENDIAN).0;
    let machine =
        Machine::of(e_machine).ok_or(ObjectProblem::WrongMachine(MachineName(e_machine)))?;
    let kind = header.e_type(ENDIAN).0;
    if kind != elf::ET_REL.0 {
        return Err(ObjectProblem::NotRelocatable(kind));
    }
    Ok((header, machine))
}

/// What an ELF file of 64 bits is for, whether that is known or not.
pub(crate) fn machine_of(bytes: &[u8]) -> Option<MachineName> {
    let header = Header::parse(bytes).ok()?;
    let is_little = header.is_little_endian();
    is_little.then(|| MachineName(header.e_machine(ENDIAN).0))
}

fn check_allocated(section: &Section<'_>) -> Result<(), ObjectProblem> {
    if !section.alignment.is_power_of_two() {
        return Err(damaged(
            Part::SectionHeaders,
            &format!("the alignment of {} is no power of two", section.name),
        ));
    }
    if !section.is_nobits() && section.data.len() as u64 != section.size {
        return Err(damaged(
            Part::SectionHeaders,
            &format!("{} has a size and no type", section.name),
        ));
    }
    if section.size > i64::MAX as u64 {
        return Err(damaged(
            Part::SectionHeaders,
            &format!("the size of {} is beyond all memory", section.name),
        ));
    }
    if section.name.starts_with(".gnu.lto_") {
        return Err(ObjectProblem::Bitcode {
            section: section.name.to_owned(),
        });
    }
    Ok(())
}

type Table<'data> = object::read::elf::SectionTable<'data, Header>;

fn read_symbols<'data>(
    bytes: &'data [u8],
    table: &Table<'data>,
    index: object::SectionIndex,
    (machine, sections): (&Machine, &[Section<'data>]),
) -> Result<Vec<Symbol<'data>>, ObjectProblem> {
    let fail = malformed(Part::SymbolTable);
    let raw_table = table.section(index).map_err(&fail)?;
    let Some(raw_symbols) = raw_table
        .symbols(ENDIAN, bytes, table, index)
        .map_err(&fail)?
    else {
        return Ok(Vec::new());
    };
    let mut file = None;
    let mut symbols = Vec::with_capacity(raw_symbols.len());
    for (index, raw) in raw_symbols.enumerate() {
        let name = text(
            raw_symbols
                .symbol_name(ENDIAN, raw)
                .map_err(malformed(Part::SymbolNames))?,
            Part::SymbolNames,
        )?;
        let shndx = raw.st_shndx(ENDIAN);
        let place = if shndx == elf::SHN_ABS {
            SymbolPlace::Absolute
        } else if shndx == elf::SHN_COMMON {
            SymbolPlace::Common
        } else {
            match raw_symbols
                .symbol_section(ENDIAN, raw, index)
                .map_err(&fail)?
            {
                Some(id) if id.0 == 0 => SymbolPlace::Undefined,
                Some(id) => SymbolPlace::Section(SectionId(
                    u32::try_from(id.0)
                        .ok()
                        .filter(|_| id.0 < sections.len())
                        .ok_or_else(|| {
                            damaged(Part::SymbolTable, "a symbol's section does not exist")
                        })?,
                )),
                None if shndx == elf::SHN_UNDEF => SymbolPlace::Undefined,
                None => {
                    return Err(damaged(
                        Part::SymbolTable,
                        "a symbol has a reserved section index",
                    ));
                }
            }
        };
        let mut symbol = Symbol {
            name,
            place,
            value: raw.st_value(ENDIAN),
            size: raw.st_size(ENDIAN),
            kind: raw.st_type().0,
            binding: raw.st_bind().0,
            file: None,
        };
        // They say what bytes are, and name nothing.
        if symbol.is_local() && machine.is_mapping_symbol(name) {
            symbol.name = "";
        }
        if symbol.kind == elf::STT_FILE.0 {
            file = Some(name);
        } else if symbol.is_local() {
            symbol.file = file.filter(|name| !name.is_empty());
        }
        check_symbol(&symbol, sections)?;
        symbols.push(symbol);
    }
    Ok(symbols)
}

fn check_symbol(symbol: &Symbol<'_>, sections: &[Section<'_>]) -> Result<(), ObjectProblem> {
    if symbol.name == "__gnu_lto_slim" {
        return Err(ObjectProblem::Bitcode {
            section: "__gnu_lto_slim".to_owned(),
        });
    }
    let SymbolPlace::Section(id) = symbol.place else {
        return Ok(());
    };
    let section = &sections[id.0 as usize];
    let inside = symbol
        .value
        .checked_add(symbol.size)
        .is_some_and(|end| end <= section.size);
    if inside || !section.is_allocated() {
        return Ok(());
    }
    Err(ObjectProblem::SymbolOutside {
        section: section.name.to_owned(),
        symbol: symbol.name.to_owned(),
        offset: symbol.value,
        size: section.size,
    })
}

fn read_relocations<'data>(
    object: &mut ElfObject<'data>,
    mut relas: Vec<(usize, usize, &'data [Rela])>,
    symtab: usize,
) -> Result<(), ObjectProblem> {
    relas.sort_by_key(|(target, _, _)| *target);
    let (machine, symbols) = (object.machine, object.symbols.len());
    for group in relas.chunk_by(|a, b| a.0 == b.0) {
        let target = group[0].0;
        let section = object
            .sections
            .get_mut(target)
            .filter(|_| target != 0)
            .ok_or_else(|| damaged(Part::Relocations, "its target section does not exist"))?;
        if !section.is_allocated() {
            let id =
                SectionId(u32::try_from(target).map_err(|_| {
                    damaged(Part::Relocations, "its target section does not exist")
                })?);
            object
                .debug
                .extend(group.iter().map(|(_, _, entries)| (id, *entries)));
            continue;
        }
        let start = object.relocations.len();
        for (_, link, entries) in group {
            if *link != symtab {
                return Err(damaged(
                    Part::Relocations,
                    "it does not belong to the symbol table",
                ));
            }
            for raw in *entries {
                let one = relocation(raw);
                if is_nothing(one.kind) {
                    continue;
                }
                check_relocation(machine, &one, section, symbols)?;
                object.relocations.push(one);
            }
        }
        let added = &mut object.relocations[start..];
        if !added.is_sorted_by_key(|one| one.offset) {
            added.sort_by_key(|one| one.offset);
        }
        section.relocations = start..object.relocations.len();
    }
    Ok(())
}

/// Whether a relocation of this type means nothing; 0 is that type on every machine.
fn is_nothing(kind: u32) -> bool {
    kind == 0
}

fn check_relocation(
    machine: &Machine,
    relocation: &Relocation,
    section: &Section<'_>,
    symbols: usize,
) -> Result<(), ObjectProblem> {
    let inside = relocation
        .offset
        .checked_add(machine.field_bytes(relocation.kind))
        .is_some_and(|end| end <= section.size);
    if !inside {
        return Err(ObjectProblem::RelocationOutside {
            section: section.name.to_owned(),
            offset: relocation.offset,
            size: section.size,
        });
    }
    if relocation.symbol.0 as usize >= symbols {
        return Err(ObjectProblem::RelocationSymbol {
            section: section.name.to_owned(),
            offset: relocation.offset,
            symbol: relocation.symbol.0,
            count: symbols,
        });
    }
    Ok(())
}
