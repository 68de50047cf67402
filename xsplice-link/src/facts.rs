//! The contents of a payload: its ABI, ids, records, hooks, tables and symbols, for `inspect` to
//! print and `verify` to judge. Nothing is judged here; what cannot be read is `None`.

use object::elf;
use xsplice_abi::hook::{HookKind, POINTER_BYTES};
use xsplice_abi::machine::{Machine, OF_RUNTIME};
use xsplice_abi::profile::Expectations;
use xsplice_abi::record::{ExpectEntry, LivepatchExpect, RecordHead, offset};
use xsplice_abi::tables::{self, SpecialTable};
use xsplice_abi::{Profile, note, section};
use xsplice_runtime::check::sections::is_registered;
use xsplice_runtime::check::special::signs;
use xsplice_runtime::read::view::{Place, SectionId, Symbol, View};
use zerocopy::FromBytes as _;

use crate::base::{Base, QualifiedName};
use crate::build_id::BuildId;
use crate::merge::classify;
use crate::read::FieldIndex;

/// Facts about one payload.
#[derive(Debug)]
pub(crate) struct Facts<'view, 'data> {
    /// The payload's parts.
    pub view: &'view View<'data>,
    /// What it runs on; what is for no known machine breaks the loader's rules, and is read as if
    /// it were for the runtime's.
    pub machine: &'static Machine,
    /// Relocations by field.
    pub fields: FieldIndex,
    /// The ABI that it claims, or looks like.
    pub abi: &'static Profile,
    /// `.modinfo`, in order.
    pub metadata: Vec<(&'data str, &'data str)>,
    /// Its own build-id.
    pub build_id: Option<BuildId>,
    /// What it stacks on.
    pub depends: Option<BuildId>,
    /// The base that it is for.
    pub base_id: Option<BuildId>,
    /// Its records, in file order.
    pub records: Vec<RecordFacts<'data>>,
    /// Its hooks, in section order.
    pub hooks: Vec<HookFacts<'data>>,
    /// Tables that the loader walks.
    pub tables: Vec<TableFacts<'data>>,
    /// Tables that no loader walks: of an unknown kind, or of another system.
    pub unknown_tables: Vec<UnknownTable<'data>>,
}

/// The value that a relocated field will have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'data> {
    /// A place in the payload.
    Payload {
        /// The section.
        section: SectionId,
        /// Offset in it, in bytes.
        offset: u64,
    },
    /// A symbol of the base or of a payload below, and what is added to its address.
    Named(&'data str, i64),
    /// A number.
    Absolute(u64),
    /// A relocation that no loader takes.
    Unreadable,
}

/// One record.
#[derive(Clone, Debug)]
pub(crate) struct RecordFacts<'data> {
    /// Offset of the record in its section, in bytes.
    pub offset: u64,
    /// The name that its string says.
    pub name: Option<&'data str>,
    /// The new function.
    pub new: Value<'data>,
    /// Symbol that stands at the new function.
    pub new_symbol: Option<&'data str>,
    /// In bytes.
    pub new_size: u32,
    /// The old function.
    pub old: Value<'data>,
    /// In bytes.
    pub old_size: u32,
    /// What the old function must start with; empty for nothing.
    pub expect: Vec<u8>,
}

/// The hooks of one section.
#[derive(Clone, Debug)]
pub(crate) struct HookFacts<'data> {
    /// Which.
    pub kind: HookKind,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// What its pointers will hold.
    pub functions: Vec<Value<'data>>,
}

/// A table of fixed entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableFacts<'data> {
    /// What its entries are.
    pub kind: SpecialTable,
    /// The section's name.
    pub name: &'data str,
    /// The section.
    pub section: SectionId,
    /// Size of an entry in bytes.
    pub entry_bytes: u64,
    /// Size of the table in bytes.
    pub size_bytes: u64,
}

/// A loaded table whose entries are unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnknownTable<'data> {
    /// The section's name.
    pub name: &'data str,
    /// Its size in bytes.
    pub size_bytes: u64,
}

impl<'view, 'data> Facts<'view, 'data> {
    /// Collects the facts of a payload.
    #[must_use]
    pub(crate) fn new(view: &'view View<'data>) -> Facts<'view, 'data> {
        let metadata = metadata(view);
        let claimed = metadata
            .iter()
            .find(|(key, _)| *key == section::modinfo::ABI)
            .map(|&(_, name)| name);
        let abi = signs(view, claimed).nearest_profile();
        let machine = Machine::of(view.header.machine).unwrap_or(OF_RUNTIME);
        let mut facts = Facts {
            view,
            machine,
            fields: FieldIndex::new(view),
            abi,
            metadata,
            build_id: id(view, "", section::BUILD_ID),
            depends: id(view, abi.prefix, section::DEPENDS),
            base_id: id(view, abi.prefix, section::XEN_DEPENDS),
            records: Vec::new(),
            hooks: Vec::new(),
            tables: Vec::new(),
            unknown_tables: Vec::new(),
        };
        facts.records = facts.read_records();
        facts.hooks = facts.read_hooks();
        facts.tables = view
            .numbered()
            .filter_map(|(id, section)| {
                let kind = SpecialTable::of(section.name)?;
                Some(TableFacts {
                    kind,
                    name: section.name,
                    section: id,
                    entry_bytes: kind.entry_bytes(&abi.entries(machine)),
                    size_bytes: section.size,
                })
            })
            .collect();
        facts.unknown_tables = view
            .sections
            .iter()
            .filter(|section| section.is_allocated() && tables::is_walked_by_nobody(section.name))
            .map(|section| UnknownTable {
                name: section.name,
                size_bytes: section.size,
            })
            .collect();
        facts
    }

    /// The value of a `.modinfo` key, the first of several.
    #[must_use]
    pub(crate) fn metadata_value(&self, key: &str) -> Option<&'data str> {
        let found = self.metadata.iter().find(|(known, _)| *known == key)?;
        Some(found.1)
    }

    /// Symbols that are left to the loader, in table order.
    pub(crate) fn undefined(&self) -> impl Iterator<Item = &Symbol<'data>> {
        self.view
            .symbols
            .iter()
            .skip(1)
            .filter(|symbol| symbol.place == Place::Undefined)
    }

    /// Named symbols that the payload defines in memory and the loader registers, in table order.
    pub(crate) fn defined(&self) -> impl Iterator<Item = &Symbol<'data>> {
        self.view
            .symbols
            .iter()
            .filter(|symbol| is_registered(self.view, symbol))
    }

    /// The named symbol that stands at a place of the payload; a function before others.
    #[must_use]
    pub(crate) fn symbol_at(&self, section: SectionId, offset: u64) -> Option<&Symbol<'data>> {
        let mut found: Option<&Symbol<'data>> = None;
        for symbol in self.defined() {
            if symbol.place == Place::Section(section)
                && symbol.value == offset
                && found.is_none_or(|first| first.kind != elf::STT_FUNC.0)
            {
                found = Some(symbol);
            }
        }
        found
    }

    /// What the 8-byte field at `offset` of `section` will hold.
    #[must_use]
    pub(crate) fn value(&self, section: SectionId, offset: u64) -> Value<'data> {
        let Some(relocation) = self.fields.at(section, offset) else {
            return match self.word(section, offset) {
                Some(number) => Value::Absolute(number),
                None => Value::Unreadable,
            };
        };
        let Some(symbol) = self.view.symbol(relocation.symbol) else {
            return Value::Unreadable;
        };
        if relocation.kind != self.machine.word.number {
            return Value::Unreadable;
        }
        match symbol.place {
            Place::Undefined => Value::Named(symbol.name, relocation.addend),
            Place::Absolute => Value::Absolute(symbol.value.wrapping_add_signed(relocation.addend)),
            Place::Section(section) => Value::Payload {
                section,
                offset: symbol.value.wrapping_add_signed(relocation.addend),
            },
            Place::Common | Place::Reserved(_) => Value::Unreadable,
        }
    }

    /// The address of a record's old function in `base`.
    #[must_use]
    pub(crate) fn old_address(&self, record: &RecordFacts<'_>, base: &Base<'_>) -> Option<u64> {
        let find = |name| base.lookup(QualifiedName::parse(name)).found();
        match record.old {
            Value::Absolute(0) => Some(find(record.name?)?.address),
            Value::Absolute(address) => Some(address),
            Value::Named(name, addend) => Some(find(name)?.address.wrapping_add_signed(addend)),
            Value::Payload { .. } | Value::Unreadable => None,
        }
    }

    fn word(&self, section: SectionId, offset: u64) -> Option<u64> {
        let data = self.view.section(section)?.data;
        let bytes = data.get(usize::try_from(offset).ok()?..)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    }

    fn read_records(&self) -> Vec<RecordFacts<'data>> {
        let Some((id, funcs)) = self.view.named(self.abi.prefix, section::FUNCS) else {
            return Vec::new();
        };
        let expectations = self.view.named(self.abi.prefix, section::EXPECT);
        let mut records = Vec::new();
        for (index, bytes) in funcs.data.chunks_exact(self.abi.record_bytes).enumerate() {
            let start = (index * self.abi.record_bytes) as u64;
            let Ok((head, tail)) = RecordHead::ref_from_prefix(bytes) else {
                continue;
            };
            let new = self.value(id, start + offset::NEW_ADDR as u64);
            let expect = match (self.abi.expectations, expectations) {
                (Expectations::OwnSection, Some((_, section))) => {
                    own_expectation(section.data, index)
                }
                (Expectations::InRecord, _) => record_expectation(self.abi, tail),
                _ => Vec::new(),
            };
            records.push(RecordFacts {
                offset: start,
                name: self.string(self.value(id, start + offset::NAME as u64)),
                new,
                new_symbol: match new {
                    Value::Payload { section, offset } => {
                        self.symbol_at(section, offset).map(|symbol| symbol.name)
                    }
                    _ => None,
                },
                new_size: head.new_size.get(),
                old: self.value(id, start + offset::OLD_ADDR as u64),
                old_size: head.old_size.get(),
                expect,
            });
        }
        records
    }

    /// The NUL-terminated string at a place of the payload.
    fn string(&self, value: Value<'data>) -> Option<&'data str> {
        let Value::Payload { section, offset } = value else {
            return None;
        };
        let data = self.view.section(section)?.data;
        let tail = data.get(usize::try_from(offset).ok()?..)?;
        let end = tail.iter().position(|&byte| byte == 0)?;
        std::str::from_utf8(tail.get(..end)?).ok()
    }

    fn read_hooks(&self) -> Vec<HookFacts<'data>> {
        let mut hooks = Vec::new();
        for (id, section) in self.view.numbered() {
            let Some(kind) = classify::hook_of(section.name, self.abi) else {
                continue;
            };
            let count = section.data.len() as u64 / POINTER_BYTES;
            hooks.push(HookFacts {
                kind,
                size_bytes: section.size,
                functions: (0..count)
                    .map(|index| self.value(id, index * POINTER_BYTES))
                    .collect(),
            });
        }
        hooks
    }
}

fn metadata<'data>(view: &View<'data>) -> Vec<(&'data str, &'data str)> {
    let Some((_, section)) = view.named("", section::MODINFO) else {
        return Vec::new();
    };
    section
        .data
        .split(|&byte| byte == 0)
        .filter_map(|line| std::str::from_utf8(line).ok()?.split_once('='))
        .collect()
}

fn id(view: &View<'_>, prefix: &str, suffix: &str) -> Option<BuildId> {
    let (_, section) = view.named(prefix, suffix)?;
    BuildId::new(note::build_id(section.data)?)
}

fn own_expectation(data: &[u8], index: usize) -> Vec<u8> {
    let (entries, _) = <[ExpectEntry]>::ref_from_prefix(data).unwrap_or((&[], data));
    let Some(entry) = entries.get(index) else {
        return Vec::new();
    };
    let length = usize::from(entry.length).min(entry.data.len());
    entry.data[..length].to_vec()
}

fn record_expectation(abi: &Profile, tail: &[u8]) -> Vec<u8> {
    let expect = abi.tail.expectation(tail);
    let Some(expect) = expect.filter(LivepatchExpect::is_enabled) else {
        return Vec::new();
    };
    expect.data[..usize::from(expect.length()).min(expect.data.len())].to_vec()
}
