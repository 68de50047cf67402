//! What relocations point at.
//!
//! An assembler may write the same target in several ways: by its symbol, or by the symbol of its
//! section and a distance; and the addend of a PC-relative field counts from the field while the
//! processor counts from the end of the instruction. Here every relocation is resolved once, to the
//! item that is meant. Later phases compare neither symbols nor addends.

use xsplice_abi::machine::EntryForm;
use xsplice_abi::tables::{BugFrame, EntrySizes};

use crate::machine::cursor::Cursor;
use crate::machine::{Instruction, Use};
use crate::read::items::{Extents, GapReference, ItemId, Items};
use crate::read::object::{ElfObject, Relocation, SectionId, SymbolId, SymbolPlace};
use crate::read::section_class::SectionClass;
use crate::read::special_sections::{OWNER_AT, Origin, Table, cut};

/// What a relocation points at. Offsets keep the addend as written (without line numbers): for a
/// PC-relative field, `offset + bias` is the byte that is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// An item of this object.
    Item {
        /// The item.
        item: ItemId,
        /// From the item's start, in bytes.
        offset: i64,
        /// What to add to reach the byte that is meant.
        bias: i32,
    },
    /// A symbol that is not defined in a section of this object.
    Symbol {
        /// The symbol.
        symbol: SymbolId,
        /// Added to its value.
        addend: i64,
    },
    /// A section without items.
    Section {
        /// The section.
        section: SectionId,
        /// From its start, in bytes.
        offset: i64,
    },
}

impl Target {
    /// The item, if it is one.
    #[must_use]
    pub fn item(self) -> Option<ItemId> {
        match self {
            Target::Item { item, .. } => Some(item),
            _ => None,
        }
    }

    /// Offset in the item of the byte that is meant; 0 for what is no item.
    #[must_use]
    pub fn meant(self) -> i64 {
        match self {
            Target::Item { offset, bias, .. } => offset.saturating_add(i64::from(bias)),
            _ => 0,
        }
    }
}

/// Resolves every relocation of `object`, in the order of [`ElfObject::relocations`].
#[must_use]
pub(crate) fn resolve(object: &ElfObject<'_>, items: &Items) -> Vec<Target> {
    let mut targets = Vec::with_capacity(object.relocations.len());
    let mut reader = BiasReader::new(object);
    for (id, section) in by_place(object) {
        let class = items.class_of(id);
        let table = TableFields::new(object, id, class, &items.entry_sizes);
        for relocation in &object.relocations[section.relocations.clone()] {
            targets.push(resolve_one(
                object,
                items,
                id,
                table.as_ref(),
                relocation,
                &mut reader,
            ));
        }
    }
    targets
}

/// Sections that have relocations, in the order of the flat array.
fn by_place<'o, 'data>(
    object: &'o ElfObject<'data>,
) -> impl Iterator<Item = (SectionId, &'o crate::read::object::Section<'data>)> {
    object
        .sections()
        .filter(|(_, section)| !section.relocations.is_empty())
}

fn resolve_one(
    object: &ElfObject<'_>,
    items: &Items,
    source: SectionId,
    table: Option<&TableFields>,
    relocation: &Relocation,
    reader: &mut BiasReader<'_, '_>,
) -> Target {
    let symbol = object.symbol(relocation.symbol);
    let addend = table.map_or(relocation.addend, |table| table.addend(relocation));
    let SymbolPlace::Section(section) = symbol.place else {
        return Target::Symbol {
            symbol: relocation.symbol,
            addend,
        };
    };
    let value = value(symbol.value).saturating_add(addend);
    let named = (!symbol.is_section())
        .then(|| items.of_symbol(relocation.symbol))
        .flatten();
    let bias = if !object.machine.is_relative(relocation.kind) {
        0
    } else if let Some(table) = table {
        table.bias(relocation)
    } else if object.section(source).is_executable() {
        if named.is_some() {
            // Which item is meant the name says; where in it is asked of functions, to which no
            // instruction stores a number.
            let field_bytes = object.machine.field_bytes(relocation.kind);
            i32::try_from(object.machine.distance_bias(field_bytes)).unwrap_or(0)
        } else {
            let start = items
                .at(source, relocation.offset)
                .map_or(0, |item| items.item(item).offset);
            reader.bias(source, start, relocation)
        }
    } else {
        let start = items.referenced_at_or_below(source, relocation.offset);
        let start = start.filter(|_| items.class_of(source).is_constant());
        start.map_or(0, |start| {
            i32::try_from(relocation.offset - start).map_or(0, |distance| -distance)
        })
    };
    let item = named.or_else(|| {
        let meant = value.saturating_add(i64::from(bias));
        items.at(section, u64::try_from(meant).unwrap_or(0))
    });
    match item {
        Some(item) => Target::Item {
            item,
            offset: value.saturating_sub(self::value(items.item(item).offset)),
            bias,
        },
        None => Target::Section {
            section,
            offset: value,
        },
    }
}

/// An offset in a section; sections of allocated sections are below `i64::MAX` by the object
/// reader's check, symbols lie inside.
fn value(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

/// References into sections that symbols do not cover from end to end, by section and offset.
pub(crate) fn gap_references(
    object: &ElfObject<'_>,
    classes: &[SectionClass],
    extents: &Extents,
    sizes: &EntrySizes,
) -> Vec<GapReference> {
    let has_gaps: Vec<bool> = object
        .sections
        .iter()
        .zip(0..)
        .map(|(section, id)| {
            section.is_allocated()
                && !matches!(
                    classes[id as usize],
                    SectionClass::Content | SectionClass::Ignored(_)
                )
                && !extents.cover(object, SectionId(id))
        })
        .collect();
    let mut references = Vec::new();
    let mut reader = BiasReader::new(object);
    for (source, section) in by_place(object) {
        let class = classes[source.0 as usize];
        if matches!(class, SectionClass::Ignored(_)) {
            continue;
        }
        let table = TableFields::new(object, source, class, sizes);
        for relocation in &object.relocations[section.relocations.clone()] {
            let symbol = object.symbol(relocation.symbol);
            let SymbolPlace::Section(target) = symbol.place else {
                continue;
            };
            let unnamed = symbol.is_section() || symbol.name.starts_with(".L");
            if !unnamed || !has_gaps[target.0 as usize] {
                continue;
            }
            // Jump tables lead into functions, and the start of the functions' own tables is not
            // known yet.
            if table.is_none()
                && object.machine.is_relative(relocation.kind)
                && !section.is_executable()
                && object.section(target).is_executable()
            {
                continue;
            }
            let start = match &table {
                Some(table) => relocation.offset - relocation.offset % table.entry_bytes,
                None => extents.start_of(source, relocation.offset),
            };
            let addend = table
                .as_ref()
                .map_or(relocation.addend, |table| table.addend(relocation));
            let bias = match &table {
                _ if !object.machine.is_relative(relocation.kind) => 0,
                Some(table) => table.bias(relocation),
                None if section.is_executable() => reader.bias(source, start, relocation),
                None => 0,
            };
            let meant = value(symbol.value)
                .saturating_add(addend)
                .saturating_add(i64::from(bias));
            if let Ok(offset) = u64::try_from(meant)
                && offset < object.section(target).size
            {
                let from = table
                    .as_ref()
                    .and_then(|table| table.owner(object, classes, extents, source, relocation))
                    .unwrap_or_else(|| match table {
                        Some(_) => (source, start),
                        None => referrer(classes, extents, source, relocation.offset),
                    });
                // Of a slot the address is read.
                let is_slot = object.machine.goes_through_slot(relocation.kind);
                let bytes = match section.is_executable() && !is_slot {
                    true => reader.read_at_once(source, start, relocation),
                    false => 0,
                };
                references.push(GapReference {
                    section: target,
                    offset,
                    end: offset.saturating_add(bytes),
                    from,
                });
            }
        }
    }
    references.sort_unstable_by_key(|one| (one.section, one.offset, one.from));
    // Of equal ones the one that reads furthest says so for all.
    references.dedup_by(|one, kept| {
        let is_same = (one.section, one.offset, one.from) == (kept.section, kept.offset, kept.from);
        if is_same {
            kept.end = kept.end.max(one.end);
        }
        is_same
    });
    references
}

/// A key that is equal for all references from one function: the offset at which the function
/// begins. Special code without a symbol is not cut into pieces yet, so there each place is its own
/// key.
fn referrer(
    classes: &[SectionClass],
    extents: &Extents,
    section: SectionId,
    offset: u64,
) -> (SectionId, u64) {
    let is_special = classes[section.0 as usize] == SectionClass::SpecialCode;
    if is_special && extents.holding(section, offset).is_none() {
        return (section, offset);
    }
    (section, extents.start_of(section, offset))
}

/// How the fields of a special section are to be read.
struct TableFields {
    table: Table,
    form: EntryForm,
    entry_bytes: u64,
}

impl TableFields {
    fn new(
        object: &ElfObject<'_>,
        section: SectionId,
        class: SectionClass,
        sizes: &EntrySizes,
    ) -> Option<TableFields> {
        let SectionClass::Special(table) = class else {
            return None;
        };
        Some(TableFields {
            table,
            form: sizes.form,
            // Of a table that cannot be cut, each field stands for itself.
            entry_bytes: cut(object, section, table, sizes).map_or(1, |cut| cut.entry_bytes),
        })
    }

    /// The start of the function that the entry around `relocation` is for. Two entries of one
    /// function must not cut its special code in two; entries of two functions must.
    fn owner(
        &self,
        object: &ElfObject<'_>,
        classes: &[SectionClass],
        extents: &Extents,
        source: SectionId,
        relocation: &Relocation,
    ) -> Option<(SectionId, u64)> {
        let entry = relocation.offset - relocation.offset % self.entry_bytes;
        let field = entry.checked_add(OWNER_AT)?;
        let range = object.relocation_range(source, field..field.checked_add(1)?);
        let owner = object.relocations.get(range)?.first()?;
        let symbol = object.symbol(owner.symbol);
        let SymbolPlace::Section(section) = symbol.place else {
            return None;
        };
        let at = value(symbol.value)
            .saturating_add(self.addend(owner))
            .saturating_add(i64::from(self.bias(owner)));
        let offset = u64::try_from(at).ok()?;
        Some(referrer(classes, extents, section, offset))
    }

    /// The addend without the line number that some tables hide in it.
    fn addend(&self, relocation: &Relocation) -> i64 {
        let at = relocation.offset % self.entry_bytes;
        let has_lines = self.table.has_lines_in_addends(self.form);
        if has_lines && at < BugFrame::LINE_FIELDS_BYTES {
            BugFrame::part_addend(self.form, relocation.addend).0
        } else {
            relocation.addend
        }
    }

    fn bias(&self, relocation: &Relocation) -> i32 {
        match self.table.origin() {
            Origin::Field => 0,
            Origin::Entry => {
                i32::try_from(relocation.offset % self.entry_bytes).map_or(0, |offset| -offset)
            }
        }
    }
}

/// Reads how far a relative field lies from the end of its instruction. Fields of one function are
/// asked for by offset, so that each function is decoded at most once.
struct BiasReader<'o, 'data> {
    object: &'o ElfObject<'data>,
    cursor: Cursor<'data>,
}

impl<'o, 'data> BiasReader<'o, 'data> {
    fn new(object: &'o ElfObject<'data>) -> BiasReader<'o, 'data> {
        BiasReader {
            object,
            cursor: Cursor::default(),
        }
    }

    /// For a relocation in code that begins at `start`. A field that no instruction has is taken
    /// to end one.
    fn bias(&mut self, section: SectionId, start: u64, relocation: &Relocation) -> i32 {
        let (machine, field) = (self.object.machine, relocation.offset);
        let behind = self
            .holding(section, start, field)
            .and_then(|instruction| instruction.behind(field))
            .unwrap_or_else(|| machine.distance_bias(machine.field_bytes(relocation.kind)));
        i32::try_from(behind).unwrap_or(0)
    }

    /// How many bytes the instruction reads where the relocation's field leads: all that follow
    /// where its operands do not tell, none where it takes the address.
    fn read_at_once(&mut self, section: SectionId, start: u64, relocation: &Relocation) -> u64 {
        let Some(instruction) = self.holding(section, start, relocation.offset) else {
            return 0;
        };
        match instruction.use_of(relocation.offset) {
            Some(Use::Access) => instruction.extent(relocation.offset).unwrap_or(u64::MAX),
            _ => 0,
        }
    }

    fn holding(
        &mut self,
        section: SectionId,
        start: u64,
        field: u64,
    ) -> Option<Instruction<'data>> {
        let data = self.object.section(section).data;
        let code = usize::try_from(start)
            .ok()
            .and_then(|from| data.get(from..))
            .unwrap_or_default();
        self.cursor.holding(self.object.machine, code, start, field)
    }
}
