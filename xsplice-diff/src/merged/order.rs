//! In which order a merged object has its parts, as far as that says what runs.
//!
//! Code, variables and constants are reached by references, so their order is nobody's matter. What
//! the base may walk from one symbol to another is met in its order, and of weak definitions of one
//! name the first counts.

use std::collections::BTreeMap;

use foldhash::HashMap;
use object::elf;

use crate::merged::ObjectIndex;
use crate::merged::tiles::{Parts, Placement};
use crate::read::object::{ElfObject, SectionId, SymbolPlace};
use crate::read::walked::walked;

/// The order of one merged object's parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Of each section that may be walked, by its name and the how manieth it is of that name: the
    /// parts whose sections it consists of.
    pub walked: BTreeMap<(String, usize), Vec<ObjectIndex>>,
    /// Weak definitions by name, each with the part that it is of.
    pub weak: BTreeMap<String, ObjectIndex>,
}

impl Order {
    /// The order in which `rows` have the sections of `parts`.
    pub(super) fn of(
        merged: &ElfObject<'_>,
        parts: &Parts<'_, '_>,
        rows: &HashMap<SectionId, Vec<Placement>>,
    ) -> Order {
        let index = |one: &Placement| parts.objects[one.tile.part].index;
        let mut order = Order::default();
        let mut numbers: HashMap<&str, usize> = HashMap::default();
        let walked = walked(merged);
        for (id, section) in merged.sections() {
            let number = numbers.entry(section.name).or_default();
            let which = *number;
            *number += 1;
            if let Some(row) = rows.get(&id).filter(|_| walked.contains(&id)) {
                let key = (section.name.to_owned(), which);
                order.walked.insert(key, row.iter().map(index).collect());
            }
        }
        for symbol in &merged.symbols {
            let SymbolPlace::Section(id) = symbol.place else {
                continue;
            };
            let row = rows.get(&id).map_or(&[][..], Vec::as_slice);
            let behind = row.partition_point(|one| one.start <= symbol.value);
            let holder = row[..behind].last();
            if let Some(holder) = holder.filter(|_| symbol.binding == elf::STB_WEAK.0) {
                order.weak.insert(symbol.name.to_owned(), index(holder));
            }
        }
        order
    }

    /// The same of another list of objects; without those that it does not have.
    pub(super) fn mapped(&self, to: impl Fn(&ObjectIndex) -> Option<ObjectIndex>) -> Order {
        let walked = self.walked.iter();
        let weak = self.weak.iter();
        Order {
            walked: walked
                .map(|(key, row)| (key.clone(), row.iter().filter_map(&to).collect()))
                .collect(),
            weak: weak
                .filter_map(|(name, part)| Some((name.clone(), to(part)?)))
                .collect(),
        }
    }
}
