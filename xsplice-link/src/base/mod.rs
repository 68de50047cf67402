//! The base: the linked image that runs. It is parsed once, and lookups are fast.
//!
//! The linker asks four things: the address of a symbol, the bytes at an address, the build-id, and
//! which places the boot code rewrites. All answers borrow from the file; a lookup is a hash or a
//! binary search.

mod dwarf;
mod identity;
pub(crate) mod names;
mod sites;
mod toolchain;

use std::collections::HashMap;
use std::ops::Range;

use object::LittleEndian;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader as _, SectionHeader as _, SectionTable, Sym as _};

use xsplice_diff::machine::{Machine, MachineName};
use xsplice_runtime::read::deny::Named;

use crate::build_id::BuildId;
use crate::error::LinkError;
pub use names::{Lookup, QualifiedName, SymbolId};
pub use sites::PatchSite;
pub use toolchain::BaseToolchain;

type Header = FileHeader64<LittleEndian>;
type Sections<'data> = SectionTable<'data, Header>;
const LE: LittleEndian = LittleEndian;

/// What a base symbol names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolKind {
    /// `STT_FUNC`.
    Function,
    /// `STT_GNU_IFUNC`: what has the name is chosen at boot, by the code that stands here.
    Chooser,
    /// `STT_OBJECT`.
    Data,
    /// `STT_NOTYPE`: a label of assembler or of the linker script.
    Label,
}

/// Who sees a base symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Visible to every object by its bare name.
    Global,
    /// Weak, and otherwise like a global.
    Weak,
    /// Visible to every object by its bare name until the image was linked, and local in it:
    /// hidden, as some linkers leave it. Its own loader knows it as it does a local.
    Hidden,
    /// Known as `FILE#name`; without a `STT_FILE` before it by its bare name.
    Local,
}

/// One defined symbol of the base.
#[derive(Clone, Debug)]
pub struct BaseSymbol<'data> {
    /// Bare name.
    pub name: &'data str,
    /// Name of the `STT_FILE` symbol that a local follows.
    pub file: Option<&'data str>,
    /// Address in the running image.
    pub address: u64,
    /// Size in bytes; 0 where the symbol has none.
    pub size_bytes: u64,
    /// What it names.
    pub kind: SymbolKind,
    /// Global, weak or local.
    pub scope: Scope,
}

impl<'data> BaseSymbol<'data> {
    /// The name that the base's own loader knows this symbol by.
    #[must_use]
    pub fn qualified(&self) -> QualifiedName<'data> {
        QualifiedName {
            file: self.file,
            name: self.name,
        }
    }
}

/// An allocated section of the base.
#[derive(Clone, Debug)]
pub struct BaseSection<'data> {
    /// Its name.
    pub name: &'data str,
    /// Addresses it covers.
    pub range: Range<u64>,
    /// Its bytes; empty for NOBITS.
    pub data: &'data [u8],
    /// `SHF_*` bits.
    pub flags: u64,
}

impl BaseSection<'_> {
    /// Whether the base executes it.
    #[must_use]
    pub fn is_executable(&self) -> bool {
        self.flags & elf::SHF_EXECINSTR.0 != 0
    }
}

/// Start of the top 2 GiB: addresses from here on fit 32 sign-extended bits.
pub(crate) const TOP_WINDOW_START: u64 = 0xffff_ffff_8000_0000;

/// Whether the image runs at the addresses that it was linked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ImagePlacement {
    Fixed,
    Relocatable,
}

/// The base image.
#[derive(Debug)]
pub struct Base<'data> {
    path: String,
    machine: &'static Machine,
    bytes: &'data [u8],
    placement: ImagePlacement,
    compiler: Option<&'data str>,
    marks: toolchain::Marks<'data>,
    debug_info: dwarf::DebugInfo<'data>,
    /// Allocated, by address.
    sections: Vec<BaseSection<'data>>,
    /// In symbol-table order.
    symbols: Vec<BaseSymbol<'data>>,
    names: names::NameIndex<'data>,
    /// Every symbol, by address, then table order.
    by_address: Vec<SymbolId>,
    /// Words of a relocatable image that its boot code fills: the address, and the value for an
    /// image that runs at its link address.
    relocated: HashMap<u64, u64>,
    build_id: BuildId,
    sites: Vec<PatchSite>,
}

impl<'data> Base<'data> {
    /// Parses a linked image; `path` is what messages call it.
    ///
    /// # Errors
    /// [`LinkError`] when `data` is not a linked ELF image of a known machine or lacks what a
    /// payload needs of it: a symbol table and a build-id.
    pub fn parse(path: &str, data: &'data [u8]) -> Result<Base<'data>, LinkError> {
        let header = Header::parse(data).map_err(|source| LinkError::NotElf {
            path: path.to_owned(),
            source,
        })?;
        let malformed = |what| {
            move |source| LinkError::Malformed {
                path: path.to_owned(),
                what,
                source,
            }
        };
        let foreign = |found: String| LinkError::NotABase {
            path: path.to_owned(),
            found,
        };
        if !header.is_little_endian() {
            return Err(foreign("a big-endian ELF file".to_owned()));
        }
        let e_machine = header.e_machine.get(LE).0;
        let machine = Machine::of(e_machine)
            .ok_or_else(|| foreign(format!("an ELF file for {}", MachineName(e_machine))))?;
        let placement = match header.e_type(LE) {
            elf::ET_EXEC => ImagePlacement::Fixed,
            elf::ET_DYN => ImagePlacement::Relocatable,
            elf::ET_REL => return Err(foreign("a relocatable object".to_owned())),
            other => return Err(foreign(format!("an ELF file of type {}", other.0))),
        };
        let table = header
            .sections(LE, data)
            .map_err(malformed("section table"))?;
        let build_id = BuildId::of_image(path, data)?;
        let sections = allocated_sections(&table, data).map_err(malformed("sections"))?;
        let symbols = defined_symbols(&table, data).map_err(malformed("symbol table"))?;
        if symbols.is_empty() {
            return Err(LinkError::NoSymbols {
                path: path.to_owned(),
            });
        }
        let names = names::NameIndex::new(&symbols);
        let mut by_address: Vec<SymbolId> = (0..symbols.len()).map(SymbolId).collect();
        by_address.sort_by_key(|&SymbolId(index)| (symbols[index].address, index));
        let mut base = Base {
            path: path.to_owned(),
            machine,
            bytes: data,
            placement,
            compiler: compiler(&table, data),
            marks: toolchain::Marks::new(&table, data),
            debug_info: dwarf::DebugInfo::new(&table, data),
            sections,
            symbols,
            names,
            by_address,
            relocated: relocated_words(machine, &table, data),
            build_id,
            sites: Vec::new(),
        };
        base.sites = sites::boot_patched(&base)?;
        Ok(base)
    }

    /// What it runs on.
    #[must_use]
    pub fn machine(&self) -> &'static Machine {
        self.machine
    }

    /// What messages call this file.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The whole file.
    #[must_use]
    pub fn file_bytes(&self) -> &'data [u8] {
        self.bytes
    }

    /// Whether the image is relocated at boot, so that its runtime addresses differ from the linked
    /// ones.
    #[must_use]
    pub(crate) fn is_relocatable(&self) -> bool {
        self.placement == ImagePlacement::Relocatable
    }

    /// Whether it is a program of the build machine (it names a dynamic loader), such as the tools
    /// that a hypervisor's build leaves in its tree.
    #[must_use]
    pub fn is_hosted_program(&self) -> bool {
        self.sections
            .iter()
            .any(|section| section.name == ".interp")
    }

    /// The compiler that the image names in `.comment`, the first of several.
    #[must_use]
    pub fn compiler(&self) -> Option<&'data str> {
        self.compiler
    }

    /// The toolchain of the image. Reads the first entry of every unit of its debug information.
    #[must_use]
    pub fn toolchain(&self) -> BaseToolchain {
        self.marks.read(self.machine, &self.debug_info)
    }

    /// Size in bytes of the C structure `name`, from the image's debug information; `None` without
    /// one.
    #[must_use]
    pub fn structure_bytes(&self, name: &str) -> Option<u64> {
        self.debug_info.structure_bytes(name)
    }

    /// Its build-id.
    #[must_use]
    pub fn build_id(&self) -> &BuildId {
        &self.build_id
    }

    /// Whether the image lies in the top 2 GiB, where its loader then puts payloads too.
    #[must_use]
    pub(crate) fn is_in_top_window(&self) -> bool {
        let first = self.sections.first();
        first.is_some_and(|section| section.range.start >= TOP_WINDOW_START)
    }

    /// Allocated sections, by address.
    #[must_use]
    pub fn sections(&self) -> &[BaseSection<'data>] {
        &self.sections
    }

    /// Every defined symbol, in symbol-table order.
    #[must_use]
    pub fn symbols(&self) -> &[BaseSymbol<'data>] {
        &self.symbols
    }

    /// Looks a symbol up by the name that the base knows it by.
    #[must_use]
    pub fn lookup(&self, name: QualifiedName<'_>) -> Lookup<'_, 'data> {
        self.names.lookup(&self.symbols, name)
    }

    /// Whether the linker may have led references to `name` to a wrapper, since the image has one.
    #[must_use]
    pub(crate) fn may_be_wrapped(&self, name: &str) -> bool {
        self.names.may_be_wrapped(name)
    }

    /// What `name`, or `file#name` for a local, means in a deny list.
    #[must_use]
    pub fn named(&self, name: &str) -> Named {
        match self.lookup(QualifiedName::parse(name)) {
            Lookup::Found(symbol) => Named::Once {
                address: symbol.address,
                size: symbol.size_bytes,
            },
            Lookup::Ambiguous(_) => Named::Several,
            Lookup::Absent => Named::Nowhere,
        }
    }

    /// The symbols that stand exactly at `address`, in symbol-table order.
    pub fn symbols_at(&self, address: u64) -> impl Iterator<Item = &BaseSymbol<'data>> {
        let start = self
            .by_address
            .partition_point(|&SymbolId(index)| self.symbols[index].address < address);
        self.by_address[start..]
            .iter()
            .map(|&SymbolId(index)| &self.symbols[index])
            .take_while(move |symbol| symbol.address == address)
    }

    /// The last symbol that starts at or before `address`, and the distance from it.
    #[must_use]
    pub fn describe(&self, address: u64) -> Option<(&BaseSymbol<'data>, u64)> {
        let end = self
            .by_address
            .partition_point(|&SymbolId(index)| self.symbols[index].address <= address);
        let &SymbolId(last) = self.by_address.get(end.checked_sub(1)?)?;
        let found = self.symbols[last].address;
        let first = self.symbols_at(found).next()?;
        Some((first, address - found))
    }

    /// The allocated section that holds `address`.
    #[must_use]
    pub fn section_at(&self, address: u64) -> Option<&BaseSection<'data>> {
        let end = self
            .sections
            .partition_point(|section| section.range.start <= address);
        let section = self.sections.get(end.checked_sub(1)?)?;
        section.range.contains(&address).then_some(section)
    }

    /// Whether an address lies within the image around its code, between sections and at the end of
    /// the last too: `_etext` and `_end` name what is behind a section. Sections farther from the
    /// code than 32 bits reach, such as per-CPU data at address 0, are not near.
    #[must_use]
    pub(crate) fn is_near_code(&self, address: u64) -> bool {
        const REACH_BYTES: u64 = 1 << 31;
        // Linker scripts round the image to large pages and name both edges.
        const LARGE_PAGE_BYTES: u64 = 2 << 20;
        let code = self.sections.iter().find(|one| one.is_executable());
        let Some(code) = code.map(|section| section.range.start) else {
            return false;
        };
        let is_near = |place: u64| place.abs_diff(code) < REACH_BYTES;
        let near = || {
            let sections = self.sections.iter().map(|section| &section.range);
            sections.filter(|range| is_near(range.start) && is_near(range.end))
        };
        let start = near().map(|range| range.start - range.start % LARGE_PAGE_BYTES);
        let end = near().map(|range| {
            let end = range.end.checked_next_multiple_of(LARGE_PAGE_BYTES);
            end.unwrap_or(u64::MAX)
        });
        let (start, end) = (start.min(), end.max());
        start.is_some_and(|start| start <= address) && end.is_some_and(|end| address <= end)
    }

    /// The bytes from `address` to the end of its section, as linked. `None` outside the image
    /// and in NOBITS sections.
    #[must_use]
    pub fn bytes_from(&self, address: u64) -> Option<&'data [u8]> {
        let section = self.section_at(address)?;
        let offset = usize::try_from(address - section.range.start).ok()?;
        section.data.get(offset..).filter(|rest| !rest.is_empty())
    }

    /// `size_bytes` bytes at `address`, as linked. `None` when they are not all in one section of
    /// the image.
    #[must_use]
    pub fn bytes_at(&self, address: u64, size_bytes: u64) -> Option<&'data [u8]> {
        self.bytes_from(address)?
            .get(..usize::try_from(size_bytes).ok()?)
    }

    /// The 8-byte word at `address` as code reads it at runtime, for an image that runs at its link
    /// address. In a relocatable image the boot code may write it, so the bytes in the file need
    /// not be right.
    #[must_use]
    pub(crate) fn running_word_at(&self, address: u64) -> Option<u64> {
        let relocated = self.relocated.get(&address).copied();
        relocated.or_else(|| self.word_at(address))
    }

    /// The 8-byte word at `address`, as linked.
    #[must_use]
    pub(crate) fn word_at(&self, address: u64) -> Option<u64> {
        let bytes = self.bytes_from(address)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    }

    /// Places that the boot code rewrites, by address.
    #[must_use]
    pub(crate) fn boot_patched(&self) -> &[PatchSite] {
        &self.sites
    }

    /// The first boot-patched place that starts in `range` or reaches into it.
    #[must_use]
    pub(crate) fn first_patched_in(&self, range: &Range<u64>) -> Option<&PatchSite> {
        let start = self
            .sites
            .partition_point(|site| site.range.end <= range.start);
        self.sites[start..]
            .iter()
            .find(|site| site.range.end > range.start)
            .filter(|site| site.range.start < range.end)
    }
}

fn compiler<'data>(table: &Sections<'data>, data: &'data [u8]) -> Option<&'data str> {
    let (_, section) = table.section_by_name(LE, b".comment")?;
    let bytes = section.data(LE, data).ok()?;
    let first = bytes
        .split(|&byte| byte == 0)
        .find(|text| !text.is_empty())?;
    std::str::from_utf8(first).ok()
}

/// The dynamic relocations of words that move with the image; an image linked to a fixed address
/// has none.
fn relocated_words(machine: &Machine, table: &Sections<'_>, data: &[u8]) -> HashMap<u64, u64> {
    let mut words = HashMap::new();
    for header in table.iter() {
        let is_dynamic = header.sh_flags(LE).0 & elf::SHF_ALLOC.0 != 0;
        // An unreadable table is no error: the values are then unknown.
        let Some((entries, _)) = header.rela(LE, data).ok().flatten().filter(|_| is_dynamic) else {
            continue;
        };
        for entry in entries {
            if entry.r_type(LE, false).0 == machine.image_word {
                let value = entry.r_addend.get(LE).cast_unsigned();
                words.insert(entry.r_offset.get(LE), value);
            }
        }
    }
    words
}

fn allocated_sections<'data>(
    table: &Sections<'data>,
    data: &'data [u8],
) -> object::Result<Vec<BaseSection<'data>>> {
    let mut sections = Vec::new();
    for header in table.iter() {
        let flags = header.sh_flags(LE).0;
        let size_bytes = header.sh_size(LE);
        // Thread-local sections have no address of their own in a linked image.
        if flags & elf::SHF_ALLOC.0 == 0 || flags & elf::SHF_TLS.0 != 0 || size_bytes == 0 {
            continue;
        }
        let start = header.sh_addr(LE);
        let name = table.section_name(LE, header)?;
        sections.push(BaseSection {
            name: std::str::from_utf8(name).unwrap_or("?"),
            range: start..start.saturating_add(size_bytes),
            data: header.data(LE, data)?,
            flags,
        });
    }
    sections.sort_by_key(|section| section.range.start);
    Ok(sections)
}

fn defined_symbols<'data>(
    table: &Sections<'data>,
    data: &'data [u8],
) -> object::Result<Vec<BaseSymbol<'data>>> {
    let raw = table.symbols(LE, data, elf::SHT_SYMTAB)?;
    let mut symbols = Vec::with_capacity(raw.len());
    let mut file = None;
    for symbol in raw.iter() {
        // Names that are not UTF-8 cannot be referred to by an extract and are left out.
        let name = std::str::from_utf8(raw.symbol_name(LE, symbol)?).unwrap_or_default();
        let kind = match symbol.st_type() {
            elf::STT_FILE => {
                // The linker writes an empty one: the locals after it belong to no file.
                file = Some(name).filter(|name| !name.is_empty());
                continue;
            }
            elf::STT_FUNC => SymbolKind::Function,
            elf::STT_GNU_IFUNC => SymbolKind::Chooser,
            elf::STT_OBJECT => SymbolKind::Data,
            elf::STT_NOTYPE => SymbolKind::Label,
            _ => continue,
        };
        if name.is_empty() || symbol.is_undefined(LE) || symbol.is_common(LE) {
            continue;
        }
        let scope = match symbol.st_bind() {
            elf::STB_LOCAL => match symbol.st_visibility() {
                elf::STV_HIDDEN | elf::STV_INTERNAL => Scope::Hidden,
                _ => Scope::Local,
            },
            elf::STB_WEAK => Scope::Weak,
            _ => Scope::Global,
        };
        symbols.push(BaseSymbol {
            name,
            file: file.filter(|_| matches!(scope, Scope::Local | Scope::Hidden)),
            address: symbol.st_value(LE),
            size_bytes: symbol.st_size(LE),
            kind,
            scope,
        });
    }
    Ok(symbols)
}
