//! One build of an object: what was read, cut into items, with every relocation resolved.

use std::ops::Range;
use std::sync::OnceLock;

use crate::read::indices::bytes_at;
use xsplice_abi::Profile;

use crate::machine::Machine;
use crate::read::empty_replacements;
use crate::read::error::DiffError;
use crate::read::items::{ItemId, ItemKind, Items};
use crate::read::names;
use crate::read::object::{ElfObject, Relocation, SectionId, Symbol, SymbolPlace};
use crate::read::relocation::{Target, resolve};
use crate::read::resolved_fields::{self, ResolvedField};
use crate::read::section_class::{
    SectionClass, holds_constants, is_descriptor_name, is_plain_code, is_usual,
};
use crate::read::unused_messages;
use crate::read::uses::Uses;

/// One of the two builds.
#[derive(Debug)]
pub struct Build<'data> {
    /// As read.
    pub object: ElfObject<'data>,
    /// Its items.
    pub items: Items,
    /// What each relocation points at, in the order of [`ElfObject::relocations`].
    pub targets: Vec<Target>,
    /// Fields that the assembler filled itself, in order; each has a relocation as if it had not.
    filled: Vec<Filled>,
    /// Symbols in sections by place; found when somebody asks.
    symbols_by_place: OnceLock<Vec<u32>>,
    /// How code uses the addresses in its fields, as far as somebody asked.
    pub(super) uses: Uses,
}

/// A field that the assembler filled.
#[derive(Debug)]
struct Filled {
    section: SectionId,
    /// In the section, in bytes.
    offset: u64,
    bytes: u64,
    is_branch: bool,
}

impl<'data> Build<'data> {
    /// Reads an object and cuts it into items.
    ///
    /// # Errors
    ///
    /// When it is not a well-formed relocatable object of a known machine.
    pub fn new(name: &str, bytes: &'data [u8], abi: &Profile) -> Result<Build<'data>, DiffError> {
        Ok(Build::of(ElfObject::parse(name, bytes)?, abi))
    }

    /// Cuts an object that was read into items, without asking where its relocations lead.
    pub(crate) fn cut(mut object: ElfObject<'data>, abi: &Profile) -> Build<'data> {
        let entry_sizes = abi.entries(object.machine);
        empty_replacements::forget(&mut object, &entry_sizes);
        unused_messages::forget(&mut object, &entry_sizes);
        Build {
            items: Items::new(&object, abi),
            object,
            targets: Vec::new(),
            filled: Vec::new(),
            symbols_by_place: OnceLock::new(),
            uses: Uses::default(),
        }
    }

    /// Cuts an object that was read into items.
    pub(crate) fn of(object: ElfObject<'data>, abi: &Profile) -> Build<'data> {
        let mut build = Build::cut(object, abi);
        build.targets = resolve(&build.object, &build.items);
        let fields = resolved_fields::find(&build.object, &build.items);
        if !fields.is_empty() {
            build.add_relocations(&fields);
        }
        build
    }

    /// Merges relocations that the assembler resolved into those that it left.
    fn add_relocations(&mut self, fields: &[ResolvedField]) {
        let count = self.object.relocations.len() + fields.len();
        let mut relocations = Vec::with_capacity(count);
        let mut targets = Vec::with_capacity(count);
        let mut fields_left = fields;
        for (id, section) in (0..).map(SectionId).zip(&mut self.object.sections) {
            let start = relocations.len();
            let own = fields_left.partition_point(|field| field.section <= id);
            let (own, rest) = fields_left.split_at(own);
            fields_left = rest;
            let mut own = own.iter().peekable();
            for index in section.relocations.clone() {
                let relocation = self.object.relocations[index];
                while let Some(field) = own.next_if(|one| one.relocation.offset < relocation.offset)
                {
                    relocations.push(field.relocation);
                    targets.push(field.target);
                }
                relocations.push(relocation);
                targets.push(self.targets[index]);
            }
            for field in own {
                relocations.push(field.relocation);
                targets.push(field.target);
            }
            section.relocations = start..relocations.len();
        }
        self.object.relocations = relocations;
        self.targets = targets;
        self.filled = fields
            .iter()
            .map(|field| Filled {
                section: field.section,
                offset: field.relocation.offset,
                bytes: field.bytes,
                is_branch: field.is_branch,
            })
            .collect();
    }

    /// Fields of an item that the assembler filled itself, as (offset in the section, length).
    pub fn filled(&self, item: ItemId) -> impl Iterator<Item = (u64, u64)> {
        let item = self.items.item(item);
        let (section, end) = (item.section, item.end());
        let from = self
            .filled
            .partition_point(|field| (field.section, field.offset) < (section, item.offset));
        self.filled[from..]
            .iter()
            .take_while(move |field| field.section == section && field.offset < end)
            .map(|field| (field.offset, field.bytes))
    }

    /// Whether the assembler resolved the field at an offset of a section.
    #[must_use]
    pub(crate) fn is_filled(&self, section: SectionId, offset: u64) -> bool {
        self.filled_at(section, offset).is_some()
    }

    /// Whether the assembler filled the field at an offset of a section, of a call or jump.
    pub(super) fn is_filled_branch(&self, section: SectionId, offset: u64) -> bool {
        self.filled_at(section, offset)
            .is_some_and(|field| field.is_branch)
    }

    fn filled_at(&self, section: SectionId, offset: u64) -> Option<&Filled> {
        let at = self
            .filled
            .binary_search_by_key(&(section, offset), |field| (field.section, field.offset));
        self.filled.get(at.ok()?)
    }

    /// An empty object: it stands for the original of an object that only the patched tree has.
    #[must_use]
    pub fn empty(name: &str, machine: &'static Machine) -> Build<'data> {
        let object = ElfObject::empty(name, machine);
        Build::cut(object, &xsplice_abi::profile::XSPLICE)
    }

    /// The symbol that names an item.
    #[must_use]
    pub fn symbol(&self, item: ItemId) -> Option<&Symbol<'data>> {
        let symbol = self.items.item(item).symbol?;
        Some(self.object.symbol(symbol))
    }

    /// The name of an item; empty for content and gaps.
    #[must_use]
    pub fn name(&self, item: ItemId) -> &'data str {
        self.symbol(item).map_or("", |symbol| symbol.name)
    }

    /// The symbol by which the item is found in a linked image. A weak name may be another
    /// object's there, so it is asked for only where the place has no other.
    #[must_use]
    pub(crate) fn place_symbol(&self, item: ItemId) -> Option<&Symbol<'data>> {
        let named = self.symbol(item)?;
        if !named.is_weak() {
            return Some(named);
        }
        let is_sure = |symbol: &&Symbol<'data>| {
            let is_named = !symbol.name.is_empty() && !symbol.name.starts_with(".L");
            is_named && !symbol.is_weak() && !symbol.is_section() && symbol.size == named.size
        };
        self.symbols_of(item).find(is_sure).or(Some(named))
    }

    /// The name by which the relocation of an index refers to something that its own object
    /// defines, where another object may define it too: a weak one. The linker decides which of
    /// them is meant.
    #[must_use]
    pub(crate) fn weak_name(&self, index: usize) -> Option<&'data str> {
        let symbol = self.object.symbol(self.object.relocations[index].symbol);
        let is_defined = matches!(symbol.place, SymbolPlace::Section(_));
        (is_defined && symbol.is_weak()).then_some(symbol.name)
    }

    /// Name of the item's section.
    #[must_use]
    pub fn section_name(&self, item: ItemId) -> &'data str {
        self.object.section(self.items.item(item).section).name
    }

    /// The item's bytes; empty where the file has none.
    #[must_use]
    pub fn bytes(&self, item: ItemId) -> &'data [u8] {
        let item = self.items.item(item);
        let data = self.object.section(item.section).data;
        bytes_at(data, item.offset..item.end())
    }

    /// Index range of the item's relocations.
    #[must_use]
    pub(crate) fn relocation_range(&self, item: ItemId) -> Range<usize> {
        let item = self.items.item(item);
        self.object
            .relocation_range(item.section, item.offset..item.end())
    }

    /// The item's relocations and what they point at, by offset. Offsets count from the start of
    /// the section.
    pub fn relocations(&self, item: ItemId) -> impl Iterator<Item = (&Relocation, Target)> {
        let range = self.relocation_range(item);
        self.object.relocations[range.clone()]
            .iter()
            .zip(self.targets[range].iter().copied())
    }

    /// Calls `each` with every reference: the item that holds it, the relocation's index, its
    /// target.
    pub(crate) fn each_reference(&self, mut each: impl FnMut(ItemId, usize, Target)) {
        for (section, header) in self.object.sections() {
            if header.relocations.is_empty() {
                continue;
            }
            let mut items = self.items.of_section(section).peekable();
            let Some(mut source) = items.peek().copied() else {
                continue;
            };
            for index in header.relocations.clone() {
                let offset = self.object.relocations[index].offset;
                while let Some(next) = items.peek()
                    && self.items.item(*next).offset <= offset
                {
                    source = *next;
                    items.next();
                }
                each(source, index, self.targets[index]);
            }
        }
    }

    /// Whether the base may copy, map or walk the section of a function or variable, by its name:
    /// it is neither one that compilers choose by default nor the item's own.
    #[must_use]
    pub(crate) fn is_in_unusual_section(&self, item: ItemId) -> bool {
        let place = self.items.item(item);
        let section = self.section_name(item);
        let is_code = matches!(place.kind, ItemKind::Function | ItemKind::Label);
        let fits = |symbol: &str| {
            if is_code {
                is_plain_code(section, symbol)
            } else {
                is_usual(section, symbol)
            }
        };
        // The section may be named by another name of the item.
        !fits(self.name(item)) && !self.symbols_of(item).any(|symbol| fits(symbol.name))
    }

    /// Whether an item is the hash of a function's type, which stands in front of the function.
    #[must_use]
    pub(crate) fn is_type_hash(&self, item: ItemId) -> bool {
        let place = self.items.item(item);
        names::hashed_function(self.name(item)).is_some_and(|function| {
            let mut behind = self.symbols_at(place.section, place.end());
            behind.any(|symbol| symbol.name == function && symbol.is_function())
        })
    }

    /// Whether an item is padding or a type hash, which belong to the function behind them.
    #[must_use]
    pub(crate) fn is_lead(&self, item: ItemId) -> bool {
        names::is_padding_name(self.name(item)) || self.is_type_hash(item)
    }

    /// The symbols at an item's start.
    pub(crate) fn symbols_of(&self, item: ItemId) -> impl Iterator<Item = &Symbol<'data>> {
        let place = self.items.item(item);
        self.symbols_at(place.section, place.offset)
    }

    /// The symbols at a place.
    fn symbols_at(&self, section: SectionId, offset: u64) -> impl Iterator<Item = &Symbol<'data>> {
        let symbols = &self.object.symbols;
        let place = |index: u32| {
            let symbol = &symbols[index as usize];
            match symbol.place {
                SymbolPlace::Section(section) => Some((section, symbol.value)),
                _ => None,
            }
        };
        let by_place = self.symbols_by_place.get_or_init(|| {
            let count = u32::try_from(symbols.len()).unwrap_or(u32::MAX);
            let mut all: Vec<u32> = (0..count).filter(|&index| place(index).is_some()).collect();
            all.sort_by_key(|&index| place(index));
            all
        });
        let wanted = Some((section, offset));
        let from = by_place.partition_point(|&index| place(index) < wanted);
        let to = from + by_place[from..].partition_point(|&index| place(index) == wanted);
        by_place[from..to]
            .iter()
            .map(|&index| &symbols[index as usize])
    }

    /// What a person calls the item.
    #[must_use]
    pub fn shown(&self, item: ItemId) -> String {
        let name = self.name(item);
        if name.is_empty() {
            let place = self.items.item(item);
            format!("{}+{:#x}", self.section_name(item), place.offset)
        } else {
            name.to_owned()
        }
    }
}

/// Whether an item has no identity: only its contents matter, and a copy serves as well. Strings,
/// constants, jump tables, and read-only objects with names that the compiler made up
/// (`__func__.0`, `CSWTCH.5`, `switch.table.f`). What lies in a section of an unusual name is none:
/// the base may find it by its section, and would not find the copy.
///
/// Shortcut S4: no code can tell a copy from the original but by an address that nobody gave a
/// name; what has a name of its author's is none.
#[must_use]
pub fn is_content(build: &Build<'_>, item: ItemId) -> bool {
    let class = build.items.class(item);
    match build.items.item(item).kind {
        ItemKind::Content => true,
        ItemKind::Gap => {
            class == SectionClass::SpecialCode
                || (class.is_constant() && holds_constants(build.section_name(item)))
                || is_descriptor(build, item)
        }
        ItemKind::Datum => {
            class.is_constant()
                && is_usual(build.section_name(item), build.name(item))
                && build
                    .symbol(item)
                    .is_some_and(|symbol| symbol.is_local() && symbol.name.contains('.'))
        }
        ItemKind::Function | ItemKind::Label | ItemKind::UnsizedDatum => false,
    }
}

/// Bytes of a sanitizer's descriptor that hold line and column, behind the pointer to the file's
/// name: `struct source_location` of its run-time library.
pub(crate) const LOCATION: Range<usize> = 8..16;

/// Whether an item is what a sanitizer tells its run-time library of one place of the source. The
/// compiler gives it a section of its own, and a name that no symbol has; the code at that place
/// alone leads to it.
///
/// Shortcut S5: only the run-time library of the sanitizer reads one, and line and column are what
/// it prints.
#[must_use]
pub(crate) fn is_descriptor(build: &Build<'_>, item: ItemId) -> bool {
    let is_data = matches!(
        build.items.class(item),
        SectionClass::Data | SectionClass::Rodata
    );
    is_data
        && build.items.item(item).kind == ItemKind::Gap
        && is_descriptor_name(build.section_name(item))
}

/// Whether a descriptor has line and column: it begins with the address of the file's name. What
/// describes a type holds the letters of its name there, and clang names both kinds alike.
#[must_use]
pub(crate) fn tells_location(build: &Build<'_>, item: ItemId) -> bool {
    let start = build.items.item(item).offset;
    let end = start + LOCATION.end as u64;
    let mut fields = build.relocations(item).map(|(field, _)| field.offset);
    is_descriptor(build, item) && fields.next() == Some(start) && fields.all(|at| at >= end)
}
