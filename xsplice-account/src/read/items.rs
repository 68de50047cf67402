//! Cuts an object into items: what lies between the places that something names.
//!
//! A symbol begins an item, and its size ends it. Where no symbol is, the places that something of
//! the object leads to begin one. An item is the smallest thing that the account speaks of.

use std::ops::Range;

use object::elf;
use xsplice_abi::tables::{EntrySizes, SpecialTable};
use xsplice_diff::machine::Machine;
use xsplice_diff::read::object::{ElfObject, Section, SectionId, SymbolId, SymbolPlace};

use crate::ranges::join;
use crate::read::fields::{Field, Leads, fields};
use crate::read::label_tables;

/// A range of one section.
#[derive(Debug)]
pub(crate) struct Item {
    /// Its section.
    pub section: SectionId,
    /// Offsets in the section.
    pub range: Range<u64>,
    /// Symbols that begin it, but not those of the assembler's own.
    pub names: Vec<SymbolId>,
    /// Which of the section's fields it has.
    fields: Range<usize>,
}

impl Item {
    /// In bytes.
    #[must_use]
    pub(crate) fn size(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// One object, cut.
#[derive(Debug)]
pub(crate) struct Object<'data> {
    /// The file.
    pub file: &'data [u8],
    /// As it was read.
    pub elf: ElfObject<'data>,
    /// Its items, by section and offset.
    pub items: Vec<Item>,
    /// Fields, by section.
    pub fields: Vec<Vec<Field>>,
    of_section: Vec<Range<usize>>,
}

impl<'data> Object<'data> {
    /// Cuts `elf`, which was read from `file`.
    #[must_use]
    pub(crate) fn new(elf: ElfObject<'data>, file: &'data [u8]) -> Object<'data> {
        let count = elf.sections.len();
        let mut cuts: Vec<Vec<u64>> = vec![Vec::new(); count];
        let mut sized: Vec<Vec<Range<u64>>> = vec![Vec::new(); count];
        for symbol in elf.symbols.iter().filter(|symbol| is_name(symbol)) {
            let SymbolPlace::Section(id) = symbol.place else {
                continue;
            };
            let index = id.0 as usize;
            cuts[index].push(symbol.value);
            if symbol.size != 0 {
                let end = symbol.value + symbol.size;
                cuts[index].push(end);
                sized[index].push(symbol.value..end);
            }
        }
        let mut all_fields = Vec::with_capacity(count);
        for (index, (section, cuts)) in elf.sections.iter().zip(&mut cuts).enumerate() {
            cuts.push(0);
            cuts.sort_unstable();
            cuts.dedup();
            let is_read = index != 0 && section.is_allocated();
            all_fields.push(match u32::try_from(index) {
                Ok(id) if is_read => fields(&elf, SectionId(id), cuts),
                _ => Vec::new(),
            });
        }
        for ranges in &mut sized {
            ranges.sort_unstable_by_key(|range| (range.start, range.end));
        }
        let covered: Vec<Vec<Range<u64>>> = sized.iter().cloned().map(join).collect();
        let is_code = |index: usize| elf.sections[index].is_executable();
        cut_where_led(&elf, &all_fields, &mut cuts, &covered, &is_code);
        label_tables::find(&elf, &mut all_fields, &mut cuts, &sized);
        cut_where_led(&elf, &all_fields, &mut cuts, &covered, &|index| {
            !is_code(index)
        });
        let mut object = Object {
            file,
            elf,
            items: Vec::new(),
            fields: all_fields,
            of_section: vec![0..0; count],
        };
        for (index, cuts) in cuts.iter_mut().enumerate() {
            object.add_items(index, cuts);
        }
        object.name_items();
        object
    }

    fn add_items(&mut self, index: usize, cuts: &mut Vec<u64>) {
        let start = self.items.len();
        let section = &self.elf.sections[index];
        if let (true, Ok(id)) = (index != 0 && section.is_allocated(), u32::try_from(index)) {
            if let Some(period) = period(self.elf.machine, section, &self.fields[index]) {
                cuts.extend((0..section.size).step_by(period));
            }
            cuts.sort_unstable();
            cuts.dedup();
            cuts.retain(|&cut| cut < section.size);
            let fields = &self.fields[index];
            let mut first = 0;
            for (position, &cut) in cuts.iter().enumerate() {
                let end = cuts.get(position + 1).copied().unwrap_or(section.size);
                let own = fields[first..].partition_point(|field| field.offset < end);
                self.items.push(Item {
                    section: SectionId(id),
                    range: cut..end,
                    names: Vec::new(),
                    fields: first..first + own,
                });
                first += own;
            }
        }
        self.of_section[index] = start..self.items.len();
    }

    fn name_items(&mut self) {
        for (index, symbol) in (0..).zip(&self.elf.symbols) {
            let SymbolPlace::Section(id) = symbol.place else {
                continue;
            };
            if !is_name(symbol) {
                continue;
            }
            let range = self.of_section[id.0 as usize].clone();
            let found = self.items[range.clone()]
                .binary_search_by_key(&symbol.value, |item| item.range.start);
            if let Ok(position) = found {
                self.items[range.start + position]
                    .names
                    .push(SymbolId(index));
            }
        }
    }

    /// Whether a section of this object and one of another build's hold the same, fields included.
    #[must_use]
    pub(crate) fn is_same_section(
        &self,
        own: SectionId,
        other: &Object<'_>,
        theirs: SectionId,
    ) -> bool {
        let leads = |object: &Object<'_>, field: &Field| match field.leads {
            Leads::Nowhere => (String::new(), None, 0),
            Leads::Within { offset } => (String::new(), None, offset),
            Leads::Symbol { symbol, addend } => {
                let symbol = object.elf.symbol(symbol);
                let section = match symbol.place {
                    SymbolPlace::Section(id) => object.elf.section(id).name,
                    _ => "",
                };
                let shown = format!("{} {section}", symbol.name);
                (shown, Some(symbol.value), addend)
            }
        };
        let (ours, others) = (
            &self.fields[own.0 as usize],
            &other.fields[theirs.0 as usize],
        );
        let mut facing = ours.iter().zip(others);
        self.elf.section(own).data == other.elf.section(theirs).data
            && ours.len() == others.len()
            && facing.all(|(one, two)| {
                (one.offset, one.kind, one.form) == (two.offset, two.kind, two.form)
                    && leads(self, one) == leads(other, two)
            })
    }

    /// Indices of the items of a section.
    #[must_use]
    pub(crate) fn items_of(&self, id: SectionId) -> Range<usize> {
        self.of_section[id.0 as usize].clone()
    }

    /// The item at `offset` of a section; the last one for its end.
    #[must_use]
    pub(crate) fn item_at(&self, id: SectionId, offset: u64) -> Option<usize> {
        let range = self.items_of(id);
        let items = &self.items[range.clone()];
        let position = items
            .partition_point(|item| item.range.start <= offset)
            .checked_sub(1)?;
        (offset <= items[position].range.end).then_some(range.start + position)
    }

    /// Fields of an item, by offset.
    #[must_use]
    pub(crate) fn fields_of(&self, item: &Item) -> &[Field] {
        &self.fields[item.section.0 as usize][item.fields.clone()]
    }
}

/// Begins an item wherever fields of the sections `from` lead, but not inside what has a size:
/// `covered`, by section. Nor inside a field: bytes that are read for another machine's, such as
/// code that runs before the switch to 64 bits, seem to branch anywhere. Without that cut the item
/// is a longer one, which has to be there as a whole.
fn cut_where_led(
    elf: &ElfObject<'_>,
    fields: &[Vec<Field>],
    cuts: &mut [Vec<u64>],
    covered: &[Vec<Range<u64>>],
    from: &dyn Fn(usize) -> bool,
) {
    let all = fields.iter().enumerate().filter(|(index, _)| from(*index));
    let all = all.flat_map(|(index, fields)| fields.iter().map(move |field| (index, field)));
    for (index, offset) in all.filter_map(|(index, field)| target_offset(elf, index, field)) {
        let at = covered[index].partition_point(|range| range.end <= offset);
        let is_covered = covered[index]
            .get(at)
            .is_some_and(|range| range.start <= offset);
        if !is_covered && !is_inside_field(&fields[index], offset) {
            cuts[index].push(offset);
        }
    }
}

fn is_inside_field(fields: &[Field], offset: u64) -> bool {
    let behind = fields.partition_point(|field| field.offset < offset);
    let last = behind.checked_sub(1).map(|last| &fields[last]);
    last.is_some_and(|field| offset < field.end())
}

/// Tables of other systems whose entries belong to code, each by itself; their order means nothing.
/// With the fields that an entry has at least.
const ENTRY_TABLES: [(&str, u64); 13] = [
    ("__ex_table", 2),
    ("__bug_table", 1),
    ("__jump_table", 3),
    ("__mcount_loc", 1),
    ("__patchable_function_entries", 1),
    (".static_call_sites", 2),
    (".parainstructions", 1),
    (".smp_locks", 1),
    (".retpoline_sites", 1),
    (".return_sites", 1),
    (".call_sites", 1),
    (".orc_unwind", 1),
    (".orc_unwind_ip", 1),
];

/// Whether a section is a table whose entries belong to code.
#[must_use]
pub(crate) fn is_entry_table(name: &str) -> bool {
    SpecialTable::of(name).is_some() || least_fields(name).is_some()
}

/// The fields that an entry has at least, of a table of another system.
fn least_fields(name: &str) -> Option<u64> {
    let known = ENTRY_TABLES.iter().find(|(table, _)| *table == name);
    known.map(|&(_, fields)| fields)
}

/// Bytes of an entry: of a table that our loaders walk what they read, of another one the least
/// distance at which its fields repeat. Zeros behind the last entry fill the section up.
fn period(machine: &Machine, section: &Section<'_>, fields: &[Field]) -> Option<usize> {
    if let Some(table) = SpecialTable::of(section.name) {
        let bytes = table.entry_bytes(&EntrySizes::of(machine));
        let entries = section.size.checked_div(bytes)?;
        let is_whole = is_padding(section, entries.checked_mul(bytes)?, bytes, fields);
        return is_whole.then(|| usize::try_from(bytes).ok()).flatten();
    }
    let least = least_fields(section.name)?;
    let all = fields.len() as u64;
    (1..=all / least)
        .rev()
        .filter(|count| all.is_multiple_of(*count))
        .find_map(|count| {
            let each = usize::try_from(all / count).ok()?;
            let length = match fields.get(each) {
                Some(next) => next.offset.checked_sub(fields[0].offset)?,
                None => section.size,
            };
            let used = length.checked_mul(count)?;
            let repeats = fields
                .iter()
                .zip(fields.iter().skip(each))
                .all(|(one, next)| next.offset == one.offset + length && next.form == one.form);
            let fits = fields[..each].iter().all(|field| field.end() <= length);
            (repeats && fits && is_padding(section, used, length, fields))
                .then(|| usize::try_from(length).ok())
                .flatten()
        })
}

/// Whether nothing is behind `used` bytes of a table but zeros, fewer than an entry of `length`
/// bytes has or than align the section.
fn is_padding(section: &Section<'_>, used: u64, length: u64, fields: &[Field]) -> bool {
    let Some(rest) = section.size.checked_sub(used) else {
        return false;
    };
    let behind = usize::try_from(used)
        .ok()
        .and_then(|used| section.data.get(used..));
    rest == 0
        || (rest < length || rest < section.alignment)
            && fields.last().is_none_or(|field| field.end() <= used)
            && behind.is_some_and(|behind| behind.iter().all(|byte| *byte == 0))
}

fn is_name(symbol: &xsplice_diff::read::object::Symbol<'_>) -> bool {
    !symbol.is_section()
        && symbol.kind != elf::STT_FILE.0
        && !symbol.name.is_empty()
        && !symbol.name.starts_with(".L")
}

/// The section and offset that a field leads to by a section's symbol or a label.
pub(super) fn target_offset(
    elf: &ElfObject<'_>,
    index: usize,
    field: &Field,
) -> Option<(usize, u64)> {
    let trailing = field.counts_from();
    let (section, offset) = match field.leads {
        Leads::Nowhere => return None,
        Leads::Within { offset } => (index, offset.checked_add(trailing)?),
        Leads::Symbol { symbol, addend } => {
            let symbol = elf.symbol(symbol);
            let SymbolPlace::Section(id) = symbol.place else {
                return None;
            };
            if is_name(symbol) {
                return None;
            }
            let value = i64::try_from(symbol.value).ok()?;
            (
                id.0 as usize,
                value.checked_add(addend)?.checked_add(trailing)?,
            )
        }
    };
    let offset = u64::try_from(offset).ok()?;
    (offset < elf.sections[section].size).then_some((section, offset))
}
