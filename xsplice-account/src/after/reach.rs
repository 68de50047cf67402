//! Which code of the base still runs once the payload is applied.
//!
//! A replaced function is left at its first instruction. Code without a name, such as that of
//! `.fixup`, runs only where something that still runs leads to it: by a branch, or by an entry of
//! a table whose owner still runs.

use foldhash::{HashMap, HashSet};

use crate::follow::claims::Claims;
use crate::read::classes::is_walked;
use crate::read::items::is_entry_table;
use crate::read::payload::Payload;
use crate::read::tree::{ItemId, Target, Tree};

/// Items of the original build whose code still runs.
pub(super) struct Running(HashSet<ItemId>);

impl Running {
    /// Follows the base, without the functions that `payload` replaces.
    pub(super) fn new(claims: &Claims<'_, '_>, payload: Option<&Payload<'_>>) -> Running {
        let tree = claims.tree;
        let is_replaced = |item: ItemId| {
            let records = payload.map(|payload| &payload.records);
            let address = claims.address(item);
            records
                .zip(address)
                .is_some_and(|(records, address)| records.contains_key(&address))
        };
        let mut open: Vec<ItemId> = tree
            .items()
            .filter(|&item| tree.is_code(item) && tree.names(item).next().is_some())
            .filter(|&item| !is_replaced(item))
            .collect();
        let entries = led_to_by_entries(tree);
        // A pointer in data may be followed by whoever has the data.
        let in_data = tree
            .items()
            .filter(|&item| !tree.is_code(item) && !is_entry_table(tree.section(item).name));
        let pointed_to = in_data.flat_map(|item| targets(tree, item));
        open.extend(pointed_to.filter(|&item| tree.is_code(item) && !is_replaced(item)));
        let mut running: HashSet<ItemId> = open.iter().copied().collect();
        while let Some(item) = open.pop() {
            let by_entries = entries.get(&item).into_iter().flatten().copied();
            for next in targets(tree, item).chain(by_entries) {
                let is_named = tree.names(next).next().is_some();
                if tree.is_code(next) && !is_named && running.insert(next) {
                    open.push(next);
                }
            }
        }
        Running(running)
    }

    /// Whether the item's code still runs.
    pub(super) fn has(&self, item: ItemId) -> bool {
        self.0.contains(&item)
    }
}

/// Owner of an entry → what the entry leads to besides.
fn led_to_by_entries(tree: &Tree<'_>) -> HashMap<ItemId, Vec<ItemId>> {
    let mut entries: HashMap<ItemId, Vec<ItemId>> = HashMap::default();
    for (object, cut) in tree.objects.iter().enumerate() {
        for (id, section) in cut.elf.sections() {
            if !is_entry_table(section.name) || !is_walked(tree, object, id) {
                continue;
            }
            for item in cut.items_of(id) {
                let mut all = targets(tree, ItemId { object, item });
                if let Some(owner) = all.next() {
                    entries.entry(owner).or_default().extend(all);
                }
            }
        }
    }
    entries
}

/// The items that an item's fields lead to.
fn targets<'tree>(tree: &'tree Tree<'_>, id: ItemId) -> impl Iterator<Item = ItemId> + 'tree {
    let (cut, item) = (&tree.objects[id.object], tree.item(id));
    let fields = cut.fields_of(item).iter();
    fields.filter_map(
        move |field| match tree.target(id.object, item.section, field) {
            Target::Item { item, .. } => Some(item),
            _ => None,
        },
    )
}
