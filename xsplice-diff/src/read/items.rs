//! Cuts every allocated section into items: functions, data, strings, constants, and the gaps
//! between them. An item is the unit that is correlated, compared and included.
//!
//! Items never overlap, and cover everything that is referred to. A symbol with a size gives an
//! item its extent; a symbol without one reaches to the next symbol; sections of strings are cut at
//! terminators. What remains is cut where references lead into it, so that each function has its
//! own jump tables and constants.

use std::ops::Range;

use object::elf;
use xsplice_abi::Profile;
use xsplice_abi::tables::EntrySizes;

use crate::machine;
use crate::read::indices::bytes_at;
use crate::read::names;
use crate::read::object::{ElfObject, SectionId, Symbol, SymbolId, SymbolPlace};
use crate::read::section_class::{SectionClass, classify_all};
use crate::read::special_pieces;
use crate::read::strings;

/// Index of an item of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemId(pub u32);

impl ItemId {
    /// As an index into a vector with one element for each item.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemKind {
    /// A function: its symbol says so and has a size.
    Function,
    /// Code from a symbol without a size to the next symbol.
    Label,
    /// A named datum with a size.
    Datum,
    /// Data from a symbol without a size to the next symbol.
    UnsizedDatum,
    /// A string or a constant of a section that the linker may merge.
    Content,
    /// A range without a symbol.
    Gap,
}

/// A part of a section.
#[derive(Clone, Copy, Debug)]
pub struct Item {
    /// Its section.
    pub section: SectionId,
    /// Offset in the section, in bytes.
    pub offset: u64,
    /// In bytes.
    pub size: u64,
    /// How many of these bytes lie behind the end of the symbol: code that the function put there
    /// (`.subsection`), in a section of its own.
    pub tail: u64,
    /// The symbol that names it; `None` for content and gaps.
    pub symbol: Option<SymbolId>,
    /// What it is.
    pub kind: ItemKind,
}

impl Item {
    /// First offset behind it, in bytes.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset + self.size
    }

    /// What the symbol says of its size, in bytes: this is what a base knows the function by.
    #[must_use]
    pub fn named_size(&self) -> u64 {
        self.size - self.tail
    }
}

/// The items of one object.
#[derive(Debug)]
pub struct Items {
    /// By section and offset.
    pub all: Vec<Item>,
    /// What each section is for, by section.
    pub classes: Vec<SectionClass>,
    /// How large an entry of a table is that the loader of the ABI walks.
    pub entry_sizes: EntrySizes,
    /// Items of each section.
    of_section: Vec<Range<u32>>,
    /// The item that each symbol lies in, by symbol.
    of_symbol: Vec<Option<ItemId>>,
    /// Places in gaps that something refers to, by section and offset.
    referenced: Vec<(SectionId, u64)>,
    /// For every item: the last one before it in its section that has a symbol.
    named_before: Vec<Option<ItemId>>,
}

/// A range of a section that a symbol names, before gaps are filled.
#[derive(Clone, Copy)]
struct Extent {
    offset: u64,
    end: u64,
    /// Bytes before the end that no symbol names.
    tail: u64,
    symbol: SymbolId,
    sized: bool,
}

/// A reference into a section by its section symbol: the target, and which extent or gap it
/// comes from.
#[derive(Clone, Copy)]
pub(crate) struct GapReference {
    /// Target section.
    pub section: SectionId,
    /// Offset in the target section.
    pub offset: u64,
    /// Offset behind what is read there at once; `offset` where the address alone is taken.
    pub end: u64,
    /// A key that is equal for all references from one function.
    pub from: (SectionId, u64),
}

impl Items {
    /// Cuts `object` into items.
    #[must_use]
    pub fn new(object: &ElfObject<'_>, abi: &Profile) -> Items {
        let classes = classify_all(object, abi);
        let entry_sizes = abi.entries(object.machine);
        let extents = Extents::new(object, &classes);
        let references =
            crate::read::relocation::gap_references(object, &classes, &extents, &entry_sizes);
        let cuts = special_pieces::cut(object, &classes, &extents, references);
        let mut items = Items {
            all: Vec::with_capacity(extents.all.len() + extents.all.len() / 2),
            classes,
            entry_sizes,
            of_section: Vec::with_capacity(object.sections.len()),
            of_symbol: vec![None; object.symbols.len()],
            referenced: cuts.iter().map(|cut| (cut.section, cut.offset)).collect(),
            named_before: Vec::new(),
        };
        items.referenced.dedup();
        let mut cuts = cuts.as_slice();
        items.of_section.push(0..0);
        for (id, _) in object.sections() {
            let start = items.all.len();
            let own = cuts.partition_point(|cut| cut.section <= id);
            let (own_cuts, rest) = cuts.split_at(own);
            cuts = rest;
            items.cut_section(object, id, extents.of(id), own_cuts);
            items.of_section.push(index(start)..index(items.all.len()));
        }
        items.name_symbols(object);
        items.find_named_before();
        items
    }

    fn cut_section(
        &mut self,
        object: &ElfObject<'_>,
        id: SectionId,
        extents: &[Extent],
        cuts: &[GapReference],
    ) {
        let section = object.section(id);
        match self.classes[id.0 as usize] {
            SectionClass::Ignored(_) => {}
            SectionClass::Content => {
                let pieces = strings::pieces(section);
                self.all.extend(pieces.map(|range| Item {
                    section: id,
                    offset: range.start,
                    size: range.end - range.start,
                    tail: 0,
                    symbol: None,
                    kind: ItemKind::Content,
                }));
            }
            // Alternatives with an empty replacement still refer to a place for it.
            SectionClass::SpecialCode if section.size == 0 => self.all.push(Item {
                section: id,
                offset: 0,
                size: 0,
                tail: 0,
                symbol: None,
                kind: ItemKind::Gap,
            }),
            _ => {
                let mut cuts = cuts;
                let mut position = 0;
                for extent in extents {
                    cuts = self.fill_gap(id, position..extent.offset, cuts);
                    let kind = match (section.is_executable(), extent.sized) {
                        (true, true) => ItemKind::Function,
                        (true, false) => ItemKind::Label,
                        (false, true) => ItemKind::Datum,
                        (false, false) => ItemKind::UnsizedDatum,
                    };
                    self.all.push(Item {
                        section: id,
                        offset: extent.offset,
                        size: extent.end - extent.offset,
                        tail: extent.tail,
                        symbol: Some(extent.symbol),
                        kind,
                    });
                    position = extent.end;
                }
                self.fill_gap(id, position..section.size, cuts);
            }
        }
    }

    /// Cuts a gap where the referring function changes from one reference to the next, but not
    /// within what one instruction reads.
    fn fill_gap<'cut>(
        &mut self,
        id: SectionId,
        gap: Range<u64>,
        cuts: &'cut [GapReference],
    ) -> &'cut [GapReference] {
        let skip = cuts.partition_point(|cut| cut.offset < gap.start);
        let take = cuts.partition_point(|cut| cut.offset < gap.end);
        let (_, cuts_from_gap) = cuts.split_at(skip);
        let (inside, rest) = cuts_from_gap.split_at(take.max(skip) - skip);
        if gap.is_empty() {
            return rest;
        }
        let mut start = gap.start;
        let mut push = |from: u64, to: u64| {
            if from < to {
                self.all.push(Item {
                    section: id,
                    offset: from,
                    size: to - from,
                    tail: 0,
                    symbol: None,
                    kind: ItemKind::Gap,
                });
            }
        };
        let mut last: Option<(SectionId, u64)> = None;
        let mut read_to = 0;
        for group in inside.chunk_by(|a, b| a.offset == b.offset) {
            let shared = group.iter().any(|cut| cut.from != group[0].from);
            let is_inside = group[0].offset < read_to;
            read_to = group.iter().map(|cut| cut.end).fold(read_to, u64::max);
            if is_inside {
                last = None;
                continue;
            }
            if shared || last != Some(group[0].from) {
                push(start, group[0].offset);
                start = group[0].offset;
            }
            last = (!shared).then_some(group[0].from);
        }
        push(start, gap.end);
        rest
    }

    fn name_symbols(&mut self, object: &ElfObject<'_>) {
        for (index, symbol) in object.symbols.iter().enumerate() {
            if symbol.is_section() || symbol.kind == elf::STT_FILE.0 {
                continue;
            }
            if let SymbolPlace::Section(section) = symbol.place {
                self.of_symbol[index] = self.at(section, symbol.value);
            }
        }
    }

    fn find_named_before(&mut self) {
        let mut last: Option<(SectionId, ItemId)> = None;
        let named_before = self.ids().zip(&self.all).map(|(id, item)| {
            let before = last.filter(|(section, _)| *section == item.section);
            if item.symbol.is_some() {
                last = Some((item.section, id));
            }
            before.map(|(_, id)| id)
        });
        self.named_before = named_before.collect();
    }

    /// The last item before this one in its section that has a symbol.
    #[must_use]
    pub(crate) fn named_before(&self, id: ItemId) -> Option<ItemId> {
        self.named_before[id.index()]
    }

    /// The item.
    #[must_use]
    pub fn item(&self, id: ItemId) -> &Item {
        &self.all[id.index()]
    }

    /// What the item's section is for.
    #[must_use]
    pub fn class(&self, id: ItemId) -> SectionClass {
        self.class_of(self.item(id).section)
    }

    /// What a section is for.
    #[must_use]
    pub(crate) fn class_of(&self, section: SectionId) -> SectionClass {
        self.classes[section.0 as usize]
    }

    /// All ids.
    pub fn ids(&self) -> impl Iterator<Item = ItemId> + use<> {
        (0..index(self.all.len())).map(ItemId)
    }

    /// Ids of the items of a section, by offset.
    pub fn of_section(&self, section: SectionId) -> impl Iterator<Item = ItemId> + use<> {
        self.of_section[section.0 as usize].clone().map(ItemId)
    }

    /// The item that a symbol lies in.
    #[must_use]
    pub(crate) fn of_symbol(&self, symbol: SymbolId) -> Option<ItemId> {
        self.of_symbol[symbol.0 as usize]
    }

    /// The item at an offset of a section: the one that holds it, the one that ends there where
    /// nothing begins, the first or last for offsets outside. `None`: the section has none.
    #[must_use]
    pub fn at(&self, section: SectionId, offset: u64) -> Option<ItemId> {
        let range = self.of_section[section.0 as usize].clone();
        let own = &self.all[range.start as usize..range.end as usize];
        if own.is_empty() {
            return None;
        }
        let behind = own.partition_point(|item| item.offset <= offset);
        Some(ItemId(range.start + index(behind.saturating_sub(1))))
    }

    /// The last place in a section at or below `offset` that something refers to by way of the
    /// section's symbol: where a jump table begins.
    #[must_use]
    pub(crate) fn referenced_at_or_below(&self, section: SectionId, offset: u64) -> Option<u64> {
        let behind = self
            .referenced
            .partition_point(|place| *place <= (section, offset));
        self.referenced[..behind]
            .last()
            .filter(|place| place.0 == section)
            .map(|place| place.1)
    }
}

fn index(value: usize) -> u32 {
    u32::try_from(value).expect("an item takes more than one byte of a file below 4 GiB")
}

/// The symbols that `section_of` gives a section for, by section and in the order of the table;
/// and the range that each section's have. Counting takes one pass where sorting takes many.
fn by_section<'data>(
    object: &ElfObject<'data>,
    section_of: impl Fn(&Symbol<'data>) -> Option<SectionId>,
) -> (Vec<SymbolId>, Vec<Range<usize>>) {
    let mut counts = vec![0_usize; object.sections.len()];
    for section in object.symbols.iter().filter_map(&section_of) {
        counts[section.0 as usize] += 1;
    }
    let mut end = 0;
    let mut ranges: Vec<Range<usize>> = counts
        .into_iter()
        .map(|count| {
            let start = end;
            end += count;
            start..start
        })
        .collect();
    let mut sorted = vec![SymbolId(0); end];
    for (id, symbol) in (0..).map(SymbolId).zip(&object.symbols) {
        if let Some(section) = section_of(symbol) {
            let range = &mut ranges[section.0 as usize];
            sorted[range.end] = id;
            range.end += 1;
        }
    }
    (sorted, ranges)
}

/// The extents of all sections.
pub(crate) struct Extents {
    all: Vec<Extent>,
    of_section: Vec<Range<usize>>,
}

impl Extents {
    fn new(object: &ElfObject<'_>, classes: &[SectionClass]) -> Extents {
        let is_named = |symbol: &Symbol<'_>| {
            let section = match symbol.place {
                SymbolPlace::Section(section) => Some(section),
                _ => None,
            };
            section.filter(|section| {
                !symbol.is_section()
                    && symbol.kind != elf::STT_FILE.0
                    && !symbol.name.is_empty()
                    && !matches!(
                        classes[section.0 as usize],
                        SectionClass::Ignored(_) | SectionClass::Content
                    )
            })
        };
        let (mut named, ranges) = by_section(object, is_named);
        // The symbol that names an item comes first. At one offset: the larger symbol, then
        // functions before labels, globals before weak ones before locals, then by name.
        let key = |id: SymbolId| {
            let symbol = object.symbol(id);
            (
                symbol.value,
                std::cmp::Reverse(symbol.size),
                !symbol.is_function(),
                match elf::SymbolBind(symbol.binding) {
                    elf::STB_GLOBAL => 0,
                    elf::STB_WEAK => 1,
                    _ => 2,
                },
                symbol.name,
                id,
            )
        };
        let mut extents = Extents {
            all: Vec::with_capacity(named.len()),
            of_section: vec![0..0; object.sections.len()],
        };
        for (section, range) in (0..).map(SectionId).zip(ranges) {
            let group = &mut named[range];
            group.sort_unstable_by(|a, b| key(*a).cmp(&key(*b)));
            let start = extents.all.len();
            extents.cut(object, section, group);
            if matches!(
                classes[section.0 as usize],
                SectionClass::Code | SectionClass::Init
            ) {
                extents.claim_tail(object, section, start);
            }
            extents.of_section[section.0 as usize] = start..extents.all.len();
        }
        extents
    }

    fn cut(&mut self, object: &ElfObject<'_>, section: SectionId, named: &[SymbolId]) {
        let first = self.all.len();
        for id in named {
            let symbol = object.symbol(*id);
            let end = symbol.value.saturating_add(symbol.size);
            if let Some(last) = self.all.get_mut(first..).and_then(<[Extent]>::last_mut) {
                if last.sized && symbol.value < last.end {
                    // A symbol inside the extent is an alias or an entry label. One that ends
                    // behind it extends it.
                    last.end = last.end.max(end);
                    continue;
                }
                if !last.sized {
                    if symbol.value == last.offset {
                        continue;
                    }
                    last.end = symbol.value;
                }
            }
            let size = object.section(section).size;
            let at_end = symbol.value >= size && symbol.size == 0 && size > 0;
            if at_end || (symbol.size == 0 && symbol.name.starts_with(".L")) {
                continue;
            }
            self.all.push(Extent {
                offset: symbol.value,
                end,
                tail: 0,
                symbol: *id,
                sized: symbol.size > 0,
            });
        }
        if let Some(last) = self.all.get_mut(first..).and_then(<[Extent]>::last_mut)
            && !last.sized
        {
            last.end = object.section(section).size;
        }
    }

    /// In a function's own section, code behind the end of its symbol is the function's: nothing
    /// else can have put it there. Assembler code in C does so (`.subsection 1`) to move what
    /// hardly ever runs out of the way. In a section that several share, nothing tells whose it is.
    fn claim_tail(&mut self, object: &ElfObject<'_>, id: SectionId, first: usize) {
        let section = object.section(id);
        let own = self.all.get(first..).unwrap_or_default();
        let is_function =
            |extent: &Extent| extent.sized && object.symbol(extent.symbol).is_function();
        let is_lead = |extent: &Extent| {
            let name = object.symbol(extent.symbol).name;
            names::is_padding_name(name)
                || names::hashed_function(name).is_some_and(|function| {
                    let is_it = |other: &Extent| {
                        other.offset == extent.end && object.symbol(other.symbol).name == function
                    };
                    own.iter().any(is_it)
                })
        };
        let Some(at) = own.iter().position(|extent| !is_lead(extent)) else {
            return;
        };
        let Some((function, behind)) = own.get(at..).and_then(<[_]>::split_first) else {
            return;
        };
        // Compilers and assemblers leave no padding at the end of a section that is named after
        // its function, and begin nothing else there; what is there, somebody asked for.
        let is_named_after_it = section
            .name
            .strip_suffix(object.symbol(function.symbol).name)
            .is_some_and(|rest| rest.ends_with('.'));
        let is_label = |extent: &Extent| {
            let symbol = object.symbol(extent.symbol);
            !extent.sized && symbol.is_local() && symbol.kind == elf::STT_NOTYPE.0
        };
        let is_alone = behind.is_empty() || (is_named_after_it && behind.iter().all(is_label));
        let end = function.end;
        if !section.is_executable() || !is_function(function) || !is_alone || end >= section.size {
            return;
        }
        let bytes = bytes_at(section.data, end..section.size);
        let is_padding = object.relocation_range(id, end..section.size).is_empty()
            && (bytes.iter().all(|byte| *byte == 0) || machine::is_padding(object.machine, bytes));
        if is_named_after_it || !is_padding {
            self.all.truncate(first + at + 1);
            if let Some(function) = self.all.last_mut() {
                function.tail = section.size - end;
                function.end = section.size;
            }
        }
    }

    fn of(&self, section: SectionId) -> &[Extent] {
        &self.all[self.of_section[section.0 as usize].clone()]
    }

    /// Whether extents cover the section from end to end.
    pub(crate) fn cover(&self, object: &ElfObject<'_>, section: SectionId) -> bool {
        let mut position = 0;
        for extent in self.of(section) {
            if extent.offset > position {
                return false;
            }
            position = extent.end;
        }
        position >= object.section(section).size
    }

    /// Where the extent that holds `offset` begins, else 0.
    pub(crate) fn start_of(&self, section: SectionId, offset: u64) -> u64 {
        self.holding(section, offset)
            .map_or(0, |extent| extent.start)
    }

    /// The extent that holds `offset`.
    pub(crate) fn holding(&self, section: SectionId, offset: u64) -> Option<Range<u64>> {
        let own = self.of(section);
        let behind = own.partition_point(|extent| extent.offset <= offset);
        own[..behind]
            .last()
            .filter(|extent| offset < extent.end)
            .map(|extent| extent.offset..extent.end)
    }

    /// The extents of a section, by offset.
    pub(crate) fn ranges(&self, section: SectionId) -> impl Iterator<Item = Range<u64>> {
        self.of(section)
            .iter()
            .map(|extent| extent.offset..extent.end)
    }
}
