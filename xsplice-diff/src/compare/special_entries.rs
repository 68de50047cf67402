//! The entries of the special sections of one build, each with the function that owns it.

use foldhash::{HashMap, HashMapExt as _, HashSet};

use crate::compare::pieces::{is_piece, reached, runs_into};
use crate::read::items::{ItemId, ItemKind};
use crate::read::object::SectionId;
use crate::read::section_class::SectionClass;
use crate::read::side::Build;
use crate::read::special_sections::{Table, entry_bytes};

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
    /// By the piece of special code that they are about, in table order: special code may have
    /// entries of its own.
    by_piece: HashMap<ItemId, Vec<Entry>>,
    /// Entries that name no function, and whole tables that cannot be cut into entries.
    pub unowned: Vec<Entry>,
    /// Pieces of special code that an entry, or a function, leads to the start of.
    entered: HashSet<ItemId>,
    /// Pieces of special code that are reached from those that are entered.
    reached: HashSet<ItemId>,
}

impl SpecialEntries {
    /// Reads the tables of `build`; `root` leads from an out-of-line part to its function.
    #[must_use]
    pub fn new(build: &Build<'_>, root: impl Fn(ItemId) -> ItemId) -> SpecialEntries {
        let mut entries = SpecialEntries::default();
        let mut about_pieces: Vec<(ItemId, Entry)> = Vec::new();
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
                        entries.entered.extend(entered_by(build, &entry));
                        entries.by_owner.entry(owner).or_default().push(entry);
                    }
                    Some((item, _)) if is_piece(build, item) => about_pieces.push((item, entry)),
                    _ => {
                        entries.entered.extend(entered_by(build, &entry));
                        entries.unowned.push(entry);
                    }
                }
            }
        }
        if build.items.classes.contains(&SectionClass::SpecialCode) {
            entries.reach(build, &about_pieces);
        }
        entries
    }

    /// Finds which special code is reached, and separates the entries that are about it.
    fn reach(&mut self, build: &Build<'_>, about_pieces: &[(ItemId, Entry)]) {
        build.each_reference(|source, _, target| {
            let is_code = matches!(
                build.items.item(source).kind,
                ItemKind::Function | ItemKind::Label
            );
            let piece = target
                .item()
                .filter(|item| is_code && is_piece(build, *item));
            self.entered.extend(piece);
        });
        let mut of_piece: HashMap<ItemId, Vec<Entry>> = HashMap::new();
        for (piece, entry) in about_pieces {
            of_piece.entry(*piece).or_default().push(*entry);
        }
        let first: Vec<ItemId> = self.entered.iter().copied().collect();
        for (_, entry) in about_pieces {
            self.entered.extend(entered_by(build, entry));
        }
        let is_entered = |item| self.entered.contains(&item);
        self.reached = reached(build, first, is_entered, |piece, open| {
            let own = of_piece.get(&piece).into_iter().flatten();
            open.extend(own.flat_map(|entry| entered_by(build, entry)));
        });
        for (piece, entry) in about_pieces {
            if self.reached.contains(piece) {
                self.by_piece.entry(*piece).or_default().push(*entry);
            } else {
                self.unowned.push(*entry);
            }
        }
    }

    /// The entries that belong to a function, in table order.
    #[must_use]
    pub fn of(&self, owner: ItemId) -> &[Entry] {
        self.by_owner.get(&owner).map_or(&[], Vec::as_slice)
    }

    /// The entries about a piece of special code that is reached, in table order.
    #[must_use]
    pub fn about(&self, piece: ItemId) -> &[Entry] {
        self.by_piece.get(&piece).map_or(&[], Vec::as_slice)
    }

    /// Whether an entry or a function leads to the start of a piece of special code.
    #[must_use]
    pub fn is_entered(&self, piece: ItemId) -> bool {
        self.entered.contains(&piece)
    }

    /// Whether a piece of special code is reached from an entry or a function.
    #[must_use]
    pub fn is_reached(&self, piece: ItemId) -> bool {
        self.reached.contains(&piece)
    }

    /// What a piece of special code falls through into.
    #[must_use]
    pub fn runs_into(&self, build: &Build<'_>, piece: ItemId) -> Option<ItemId> {
        runs_into(build, piece, |next| self.is_entered(next))
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

/// The pieces of special code that an entry leads to.
fn entered_by(build: &Build<'_>, entry: &Entry) -> impl Iterator<Item = ItemId> {
    let owner = entry.offset.saturating_add(entry.table.owner);
    entry
        .relocation_range(build)
        .filter(move |index| build.object.relocations[*index].offset != owner)
        .filter_map(|index| build.targets[index].item())
        .filter(|item| is_piece(build, *item))
}
