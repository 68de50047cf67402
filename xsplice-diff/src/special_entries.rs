//! The entries of the special sections of one build, each with the function that owns it.

use foldhash::{HashMap, HashMapExt as _};

use crate::build::Build;
use crate::items::{ItemId, ItemKind};
use crate::object::SectionId;
use crate::section_class::SectionClass;
use crate::special_sections::{Table, entry_bytes};

/// An entry.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its section.
    pub section: SectionId,
    /// Offset in the section, in bytes.
    pub offset: u64,
    /// In bytes.
    pub size: u64,
    /// What kind of table it is in.
    pub table: &'static Table,
}

/// All entries of one build.
#[derive(Debug, Default)]
pub struct SpecialEntries {
    /// By the function that owns them, in table order.
    by_owner: HashMap<ItemId, Vec<Entry>>,
    /// Those that name no function; whole tables that cannot be cut into entries.
    pub unowned: Vec<Entry>,
}

impl SpecialEntries {
    /// Reads the tables of `build`; `root` leads from an out-of-line part to its function.
    #[must_use]
    pub fn new(build: &Build<'_>, root: impl Fn(ItemId) -> ItemId) -> SpecialEntries {
        let mut entries = SpecialEntries::default();
        let mut in_special_code = Vec::new();
        let mut owner_of_code: HashMap<ItemId, ItemId> = HashMap::new();
        for (section, header) in build.object.sections() {
            let SectionClass::Special(table) = build.items.class_of(section) else {
                continue;
            };
            if header.size == 0 || header.is_nobits() {
                continue;
            }
            let Some(size) = entry_bytes(&build.object, section, table) else {
                entries.unowned.push(Entry {
                    section,
                    offset: 0,
                    size: header.size,
                    table,
                });
                continue;
            };
            for index in 0..header.size / size {
                let entry = Entry {
                    section,
                    offset: index * size,
                    size,
                    table,
                };
                let owner = owner(build, &entry);
                match owner.map(|item| (item, build.items.item(item).kind)) {
                    Some((item, ItemKind::Function | ItemKind::Label)) => {
                        let owner = root(item);
                        for code in special_code(build, &entry) {
                            owner_of_code.entry(code).or_insert(owner);
                        }
                        entries.by_owner.entry(owner).or_default().push(entry);
                    }
                    Some((item, _)) if build.items.class(item) == SectionClass::SpecialCode => {
                        in_special_code.push((entry, item));
                    }
                    _ => entries.unowned.push(entry),
                }
            }
        }
        for (entry, item) in in_special_code {
            match owner_of_code.get(&item) {
                Some(owner) => entries.by_owner.entry(*owner).or_default().push(entry),
                None => entries.unowned.push(entry),
            }
        }
        entries
    }

    /// The entries that belong to a function, in table order.
    #[must_use]
    pub fn of(&self, owner: ItemId) -> &[Entry] {
        self.by_owner.get(&owner).map_or(&[], Vec::as_slice)
    }
}

impl Entry {
    /// Indices of the entry's relocations.
    #[must_use]
    pub fn relocation_range(&self, build: &Build<'_>) -> std::ops::Range<usize> {
        build
            .object
            .relocation_range(self.section, self.offset..self.offset + self.size)
    }

    /// The entry's bytes.
    #[must_use]
    pub fn bytes<'data>(&self, build: &Build<'data>) -> &'data [u8] {
        let range = usize::try_from(self.offset)
            .ok()
            .zip(usize::try_from(self.offset + self.size).ok());
        let data = build.object.section(self.section).data;
        range
            .and_then(|(from, to)| data.get(from..to))
            .unwrap_or_default()
    }
}

fn owner(build: &Build<'_>, entry: &Entry) -> Option<ItemId> {
    let field = entry.offset + entry.table.owner;
    let index = entry
        .relocation_range(build)
        .find(|index| build.object.relocations[*index].offset == field)?;
    build.targets[index].item()
}

fn special_code(build: &Build<'_>, entry: &Entry) -> impl Iterator<Item = ItemId> {
    entry
        .relocation_range(build)
        .filter_map(|index| build.targets[index].item())
        .filter(|item| build.items.class(*item) == SectionClass::SpecialCode)
}
