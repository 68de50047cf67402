//! One build: its objects, and which definition each name stands for.

use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use object::elf;
use rayon::prelude::*;
use xsplice_diff::read::object::{ElfObject, SectionId, SymbolId, SymbolPlace};

use crate::read::fields::{Field, Form, LINE_SHIFT, Leads};
use crate::read::items::{Item, Object};
use crate::read::names::is_of;

/// An item of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ItemId {
    /// Index of the object.
    pub object: usize,
    /// Index of the item in it.
    pub item: usize,
}

/// What a field leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target<'data> {
    /// A place in the build.
    Item {
        /// The item.
        item: ItemId,
        /// Of the place that the field's value means, from the start of the item.
        delta: i64,
    },
    /// An entry of a section whose equal entries the linker makes one.
    Content {
        /// Its bytes.
        bytes: &'data [u8],
        /// Of the place that the field's value means, from the start of those bytes.
        delta: i64,
    },
    /// A name that no object defines: the linker's own, or common.
    Name {
        /// The name.
        name: &'data str,
        /// Added to its address.
        delta: i64,
        /// Whether it may be missing, and is 0 then.
        is_weak: bool,
    },
    /// A number.
    Number(u64),
    /// A place in a section of no size: nothing is read there, but its address may tell something.
    Empty {
        /// The object.
        object: usize,
        /// Its section.
        section: SectionId,
        /// Of the place that the field's value means, from the start of the section.
        delta: i64,
    },
    /// None: the field's relocation has no symbol.
    Nothing,
    /// No place that can be told.
    Unclear,
}

#[derive(Clone, Copy, Debug)]
struct Definition {
    object: usize,
    symbol: SymbolId,
    is_weak: bool,
}

/// One build.
#[derive(Debug)]
pub(crate) struct Tree<'data> {
    /// Its objects.
    pub objects: Vec<Arc<Object<'data>>>,
    /// Index of the first that was left out.
    left_out_from: usize,
    definitions: HashMap<&'data str, Vec<Definition>>,
    /// Of names that several objects define, the object whose definition the build's own image has.
    linked: HashMap<&'data str, usize>,
    /// Sections, by object, in whose place something else was linked.
    not_linked: HashSet<(usize, SectionId)>,
}

impl<'data> Tree<'data> {
    /// Reads objects, by name and bytes, and behind them those that were left out. Those that are
    /// the same file in another build that was `cut` before are not cut again.
    pub(crate) fn read(
        objects: &[(&str, &'data [u8])],
        left_out: &[(&str, &'data [u8])],
        cut: Option<&Tree<'data>>,
    ) -> Tree<'data> {
        let cut = cut.map_or(&[][..], |tree| &tree.objects).iter();
        let cut: HashMap<&str, &Arc<Object<'data>>> = cut
            .map(|object| (object.elf.name.as_str(), object))
            .collect();
        // What cannot be read, such as objects of 32 bits for the boot, is no part of the tree: if
        // the base holds anything of it, that is found to be in no object.
        // Nearly all are one file for both builds, and then need not be read to be equal.
        let is_same = |one: &[u8], other: &[u8]| std::ptr::eq(one, other) || one == other;
        let parse = |&(name, file): &(&str, &'data [u8])| match cut.get(name) {
            Some(same) if is_same(same.file, file) => Some(Arc::clone(same)),
            _ => {
                let elf = ElfObject::parse(name, file).ok()?;
                Some(Arc::new(Object::new(elf, file)))
            }
        };
        let read = |objects: &[(&str, &'data [u8])]| -> Vec<Arc<Object<'data>>> {
            objects.par_iter().filter_map(parse).collect()
        };
        let mut objects = read(objects);
        let left_out_from = objects.len();
        objects.extend(read(left_out));
        let mut definitions: HashMap<&str, Vec<Definition>> = HashMap::default();
        for (index, object) in objects.iter().enumerate() {
            for (id, symbol) in (0..).map(SymbolId).zip(&object.elf.symbols) {
                let is_defined = matches!(
                    symbol.place,
                    SymbolPlace::Section(_) | SymbolPlace::Absolute
                );
                if is_defined && !symbol.is_local() && !symbol.name.is_empty() {
                    definitions
                        .entry(symbol.name)
                        .or_default()
                        .push(Definition {
                            object: index,
                            symbol: id,
                            is_weak: symbol.binding == elf::STB_WEAK.0,
                        });
                }
            }
        }
        for found in definitions.values_mut() {
            found.sort_by_key(|definition| definition.is_weak);
        }
        Tree {
            objects,
            left_out_from,
            definitions,
            linked: HashMap::default(),
            not_linked: HashSet::default(),
        }
    }

    /// The item.
    #[must_use]
    pub(crate) fn item(&self, id: ItemId) -> &Item {
        &self.objects[id.object].items[id.item]
    }

    /// All items.
    pub(crate) fn items(&self) -> impl Iterator<Item = ItemId> {
        self.objects
            .iter()
            .enumerate()
            .flat_map(|(object, cut)| (0..cut.items.len()).map(move |item| ItemId { object, item }))
    }

    /// Whether the item may change while the system runs. What is written only while it starts is
    /// marked writable too, by the name that compilers give it.
    #[must_use]
    pub(crate) fn is_writable(&self, id: ItemId) -> bool {
        let section = self.section(id);
        section.is_writable() && !is_of(".data.rel.ro", section.name)
    }

    /// Whether its object was left out by name. What is in it may be in another one, too.
    #[must_use]
    pub(crate) fn is_left_out(&self, id: ItemId) -> bool {
        id.object >= self.left_out_from
    }

    /// Whether it is code.
    #[must_use]
    pub(crate) fn is_code(&self, id: ItemId) -> bool {
        self.section(id).is_executable()
    }

    /// The item's section.
    #[must_use]
    pub(crate) fn section(&self, id: ItemId) -> &xsplice_diff::read::object::Section<'data> {
        self.objects[id.object].elf.section(self.item(id).section)
    }

    /// The item's symbols.
    pub(crate) fn names(
        &self,
        id: ItemId,
    ) -> impl Iterator<Item = &xsplice_diff::read::object::Symbol<'data>> {
        let object = &self.objects[id.object];
        let item = &object.items[id.item];
        item.names.iter().map(|&symbol| object.elf.symbol(symbol))
    }

    /// Names of all symbols of the item's section.
    pub(crate) fn names_of_section(&self, id: ItemId) -> impl Iterator<Item = &'data str> {
        let object = &self.objects[id.object];
        let items = &object.items[object.items_of(self.item(id).section)];
        let symbols = items.iter().flat_map(|item| &item.names);
        symbols.map(|&symbol| object.elf.symbol(symbol).name)
    }

    /// How messages call an item: its first name, else where it is.
    #[must_use]
    pub(crate) fn shown(&self, id: ItemId) -> String {
        match self.names(id).next() {
            Some(symbol) => symbol.name.to_owned(),
            None => format!("{}+{:#x}", self.section(id).name, self.item(id).range.start),
        }
    }

    /// Names that several objects define, each with the items that define it.
    pub(crate) fn shared_names(&self) -> impl Iterator<Item = (&'data str, Vec<ItemId>)> + '_ {
        let shared = self.definitions.iter().filter(|(_, found)| found.len() > 1);
        shared.map(|(name, found)| (*name, self.defining(found)))
    }

    /// Names of data that one or several objects define, each with the items that define it.
    pub(crate) fn data_names(&self) -> impl Iterator<Item = (&'data str, Vec<ItemId>)> + '_ {
        let all = self.definitions.iter();
        let named = all.map(|(name, found)| (*name, self.defining(found)));
        named.filter(|(_, items)| !items.iter().any(|&item| self.is_code(item)))
    }

    fn defining(&self, found: &[Definition]) -> Vec<ItemId> {
        let items = found.iter().filter_map(|definition| {
            let cut = &self.objects[definition.object];
            let symbol = cut.elf.symbol(definition.symbol);
            let SymbolPlace::Section(section) = symbol.place else {
                return None;
            };
            let item = cut.item_at(section, symbol.value)?;
            Some(ItemId {
                object: definition.object,
                item,
            })
        });
        items.collect()
    }

    /// Lets a name stand for something that no object defines: what the objects have of that name
    /// was not linked.
    pub(crate) fn forget(&mut self, name: &str) {
        let found = self.definitions.remove(name).unwrap_or_default();
        let items = self.defining(&found).into_iter();
        let sections: Vec<_> = items
            .map(|item| (item.object, self.item(item).section))
            .collect();
        self.not_linked.extend(sections);
    }

    /// Whether something else was linked in the place of the item's section.
    #[must_use]
    pub(crate) fn is_replaced_by_link(&self, id: ItemId) -> bool {
        self.not_linked
            .contains(&(id.object, self.item(id).section))
    }

    /// Lets a name stand for the definition of one object, which the link chose.
    pub(crate) fn choose(&mut self, name: &str, object: usize) {
        if let Some(found) = self.definitions.get_mut(name) {
            found.sort_by_key(|definition| definition.object != object);
        }
    }

    /// The same, as the build's own image shows it.
    pub(crate) fn choose_linked(&mut self, name: &'data str, object: usize) {
        self.choose(name, object);
        self.linked.insert(name, object);
    }

    /// The name of the object whose definition of a global name the build's own image has, where
    /// several objects define it.
    #[must_use]
    pub(crate) fn linked(&self, name: &str) -> Option<&str> {
        let object = *self.linked.get(name)?;
        Some(&self.objects[object].elf.name)
    }

    /// The object whose definition of a global name is linked.
    #[must_use]
    pub(crate) fn chosen(&self, name: &str) -> Option<usize> {
        let found = self.definitions.get(name)?;
        found.first().map(|definition| definition.object)
    }

    /// Whether an item's definition of one of its names is weak, and the link chose another's.
    #[must_use]
    pub(crate) fn gave_way(
        &self,
        item: ItemId,
        name: &xsplice_diff::read::object::Symbol<'_>,
    ) -> bool {
        let is_others = |chosen| chosen != item.object;
        name.binding == elf::STB_WEAK.0 && self.chosen(name.name).is_some_and(is_others)
    }

    /// The object of this name.
    #[must_use]
    pub(crate) fn object(&self, name: &str) -> Option<usize> {
        let mut all = self.objects.iter();
        all.position(|object| object.elf.name == name)
    }

    /// Whether every definition of a name gives way to others.
    #[must_use]
    pub(crate) fn is_weak(&self, name: &str) -> bool {
        let found = self.definitions.get(name);
        found.is_some_and(|found| found.iter().all(|definition| definition.is_weak))
    }

    /// How many objects define a global name.
    #[must_use]
    pub(crate) fn definitions_of(&self, name: &str) -> usize {
        self.definitions.get(name).map_or(0, Vec::len)
    }

    /// Where a field of the section `section` of an object leads. A name that several objects
    /// define stands for `preferred`'s, where that is one of them, else for the strong one.
    #[must_use]
    pub(crate) fn target(&self, object: usize, section: SectionId, field: &Field) -> Target<'data> {
        let trailing = field.counts_from();
        match field.leads {
            Leads::Nowhere => Target::Nothing,
            Leads::Within { offset } => self.place(object, section, offset, trailing),
            Leads::Symbol { symbol, addend } => {
                let addend = match field.form {
                    Form::RelativeWithLine => without_line(addend),
                    _ => addend,
                };
                self.symbol_target(object, symbol, addend, trailing)
            }
        }
    }

    fn symbol_target(
        &self,
        object: usize,
        id: SymbolId,
        addend: i64,
        trailing: i64,
    ) -> Target<'data> {
        let symbol = self.objects[object].elf.symbol(id);
        let own = Definition {
            object,
            symbol: id,
            is_weak: symbol.binding == elf::STB_WEAK.0,
        };
        let is_name = !symbol.is_local() && !symbol.name.is_empty();
        let elsewhere = self.definitions.get(symbol.name).filter(|_| is_name);
        let definition = match (symbol.place, elsewhere) {
            (SymbolPlace::Undefined | SymbolPlace::Common, None) => {
                return Target::Name {
                    name: symbol.name,
                    delta: addend,
                    is_weak: own.is_weak,
                };
            }
            (SymbolPlace::Undefined | SymbolPlace::Common, Some(found)) => found[0],
            (_, Some(found)) if own.is_weak => found[0],
            _ => own,
        };
        let elf = &self.objects[definition.object].elf;
        let symbol = elf.symbol(definition.symbol);
        match symbol.place {
            SymbolPlace::Absolute => Target::Number(symbol.value.wrapping_add_signed(addend)),
            SymbolPlace::Section(section) => {
                let Ok(value) = i64::try_from(symbol.value) else {
                    return Target::Unclear;
                };
                let target = self.objects[definition.object].item_at(section, symbol.value);
                let header = elf.section(section);
                let has_fields =
                    !self.objects[definition.object].fields[section.0 as usize].is_empty();
                let is_content = header.is_mergeable();
                // A label leads to its own entry, however far the addend is from it; an offset of
                // the section to the entry that it lies in.
                if is_content && !has_fields && !symbol.is_section() {
                    return match entry(header, symbol.value) {
                        Some((start, bytes)) => Target::Content {
                            bytes,
                            delta: addend + value - start.cast_signed(),
                        },
                        None => Target::Unclear,
                    };
                }
                match target {
                    Some(item) if !symbol.is_section() && !is_content => {
                        let item = ItemId {
                            object: definition.object,
                            item,
                        };
                        let start = self.item(item).range.start.cast_signed();
                        Target::Item {
                            item,
                            delta: value + addend - start,
                        }
                    }
                    _ => self.place(definition.object, section, value + addend, trailing),
                }
            }
            SymbolPlace::Undefined | SymbolPlace::Common => Target::Unclear,
        }
    }

    /// The place at `offset` (+ `trailing`, to what the field counts from) of a section.
    fn place(
        &self,
        object: usize,
        section: SectionId,
        offset: i64,
        trailing: i64,
    ) -> Target<'data> {
        let cut = &self.objects[object];
        let meant = offset
            .checked_add(trailing)
            .and_then(|meant| u64::try_from(meant).ok());
        let header = cut.elf.section(section);
        let has_fields = !cut.fields[section.0 as usize].is_empty();
        if header.is_mergeable() && !has_fields {
            let Some((start, bytes)) = meant.and_then(|meant| entry(header, meant)) else {
                return Target::Unclear;
            };
            return Target::Content {
                bytes,
                delta: offset - start.cast_signed(),
            };
        }
        let items = cut.items_of(section);
        // An offset outside the section counts from its start, as for a table that is indexed from
        // one: the section moves as a whole.
        let item = meant
            .and_then(|meant| cut.item_at(section, meant))
            .or((!items.is_empty()).then_some(items.start));
        match item {
            Some(item) => Target::Item {
                item: ItemId { object, item },
                delta: offset.wrapping_sub(cut.items[item].range.start.cast_signed()),
            },
            None if header.size == 0 => Target::Empty {
                object,
                section,
                delta: offset,
            },
            None => Target::Unclear,
        }
    }
}

/// The displacement in a bug frame's addend, above which part of a line stands.
fn without_line(addend: i64) -> i64 {
    let range = 1_i64 << LINE_SHIFT;
    let low = addend & (range - 1);
    if low >= range / 2 { low - range } else { low }
}

/// The entry of a mergeable section at `offset`: the rest of a string, or a whole constant.
fn entry<'data>(
    section: &xsplice_diff::read::object::Section<'data>,
    offset: u64,
) -> Option<(u64, &'data [u8])> {
    let width = usize::try_from(section.entry_size.max(1)).ok()?;
    let at = usize::try_from(offset).ok()?;
    if !section.holds_strings() {
        let start = at - at % width;
        return Some((start as u64, section.data.get(start..start + width)?));
    }
    let rest = section.data.get(at..)?;
    let units = rest.chunks_exact(width);
    let length = units
        .take_while(|unit| unit.iter().any(|&byte| byte != 0))
        .count();
    Some((offset, rest.get(..(length + 1) * width)?))
}
