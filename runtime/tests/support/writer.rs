//! Writes the object of a payload, for either machine.

use std::collections::BTreeMap;

use object::write::{Object, Relocation, SectionId, Symbol, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionFlags, SectionKind,
    SymbolFlags, SymbolKind, SymbolScope, elf,
};
use xsplice_abi::machine::{Architecture as Runs, Machine};

/// An object in the making.
pub(crate) struct Writer<'a> {
    pub object: Object<'a>,
    symbols: BTreeMap<String, SymbolId>,
}

impl Writer<'_> {
    pub(crate) fn new(machine: &Machine) -> Self {
        let architecture = match machine.architecture {
            Runs::X86_64 => Architecture::X86_64,
            Runs::AArch64 => Architecture::Aarch64,
        };
        Writer {
            object: Object::new(BinaryFormat::Elf, architecture, Endianness::Little),
            symbols: BTreeMap::new(),
        }
    }

    pub(crate) fn section(
        &mut self,
        name: &str,
        kind: SectionKind,
        flags: u64,
        data: &[u8],
        alignment: u64,
    ) -> SectionId {
        let id = self
            .object
            .add_section(Vec::new(), name.as_bytes().to_vec(), kind);
        self.object.section_mut(id).flags = SectionFlags::Elf {
            sh_type: elf::SectionType(if kind == SectionKind::UninitializedData {
                8
            } else {
                1
            }),
            sh_flags: elf::SectionFlags(flags),
        };
        if !data.is_empty() {
            self.object.append_section_data(id, data, alignment);
        }
        id
    }

    pub(crate) fn define(
        &mut self,
        name: &str,
        section: SectionId,
        value: u64,
        size: usize,
        global: bool,
    ) {
        let is_label = name.contains(' ');
        let is_data = is_label || name.starts_with('<');
        let id = self.object.add_symbol(Symbol {
            name: if is_label {
                Vec::new()
            } else {
                name.as_bytes().to_vec()
            },
            value,
            size: u64::try_from(size).expect("small"),
            kind: if is_data {
                SymbolKind::Data
            } else {
                SymbolKind::Text
            },
            scope: if global {
                SymbolScope::Dynamic
            } else {
                SymbolScope::Compilation
            },
            weak: false,
            section: SymbolSection::Section(section),
            flags: SymbolFlags::None,
        });
        self.symbols.insert(name.to_owned(), id);
    }

    pub(crate) fn relocate(
        &mut self,
        section: SectionId,
        offset: u64,
        kind: u32,
        name: &str,
        addend: i64,
    ) {
        let symbol = match self.symbols.get(name) {
            Some(symbol) => *symbol,
            None => {
                let id = self.object.add_symbol(Symbol {
                    name: name.as_bytes().to_vec(),
                    value: 0,
                    size: 0,
                    kind: SymbolKind::Unknown,
                    scope: SymbolScope::Unknown,
                    weak: false,
                    section: SymbolSection::Undefined,
                    flags: SymbolFlags::None,
                });
                self.symbols.insert(name.to_owned(), id);
                id
            }
        };
        self.relocate_symbol(section, offset, kind, symbol, addend);
    }

    pub(crate) fn relocate_symbol(
        &mut self,
        section: SectionId,
        offset: u64,
        kind: u32,
        symbol: SymbolId,
        addend: i64,
    ) {
        self.object
            .add_relocation(
                section,
                Relocation {
                    offset,
                    symbol,
                    addend,
                    flags: RelocationFlags::Elf {
                        r_type: elf::RelocationType(kind),
                    },
                },
            )
            .expect("the test's relocation can be written");
    }
}
