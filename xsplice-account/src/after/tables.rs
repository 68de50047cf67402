//! Tables that the base walks: their membership and order must be as they were.
//!
//! The base may walk a section with an unusual name as a table. Such a section must be in the base
//! as a whole, byte for byte. Only tables whose entries belong to code may differ; they are
//! checked entry by entry: each entry is in the base's table, or in the payload's table of that
//! name.

use foldhash::HashSet;
use xsplice_diff::read::object::SectionId;

use super::Missing;
use super::reach::Running;
use crate::follow::{Follower, Pair, Place};
use crate::read::classes::is_walked;
use crate::read::items::is_entry_table;
use crate::read::names::is_of;
use crate::read::tree::{ItemId, Target, Tree};

/// A section that may be walked.
pub(super) struct Table {
    object: usize,
    section: SectionId,
    /// Every item at its place, when the whole section is as it was; nothing when it cannot be.
    whole: Vec<Pair>,
    is_whole_possible: bool,
}

/// An entry, with the claims of which one must hold.
pub(super) struct Entry {
    item: ItemId,
    claims: Vec<Pair>,
}

/// Asks for every table as a whole.
pub(super) fn ask(follower: &mut Follower<'_, '_>) -> Vec<Table> {
    let Some(claims) = follower.claims else {
        return Vec::new();
    };
    let mut tables = Vec::new();
    for (object, cut) in follower.tree.objects.iter().enumerate() {
        for (section, header) in cut.elf.sections() {
            if !is_walked(follower.tree, object, section) {
                continue;
            }
            let facing = claims.object(&cut.elf.name).and_then(|original| {
                let elf = &claims.tree.objects[original].elf;
                let mut all = elf
                    .sections()
                    .filter(|(_, other)| other.name == header.name);
                all.find(|(_, other)| other.size == header.size)
                    .map(|(id, _)| (original, id))
            });
            let original = facing.and_then(|(object, id)| claims.section(object, id));
            // What the link of the base left out, and what did not change, is left out again.
            let is_left_out = original.is_none()
                && facing.is_some_and(|(original, id)| {
                    let other = &claims.tree.objects[original];
                    other.is_same_section(id, cut, section)
                });
            if is_left_out {
                continue;
            }
            let whole = original.map_or_else(Vec::new, |start| {
                let items = cut.items_of(section);
                let pair = |item: usize| Pair {
                    item: ItemId { object, item },
                    place: Place::Base(start + cut.items[item].range.start),
                };
                items.map(pair).collect()
            });
            tables.push(Table {
                object,
                section,
                whole,
                is_whole_possible: original.is_some(),
            });
        }
    }
    for table in &tables {
        for &pair in &table.whole {
            follower.ask(pair);
        }
    }
    tables
}

fn stands_whole(follower: &Follower<'_, '_>, table: &Table) -> bool {
    table.is_whole_possible && table.whole.iter().all(|pair| follower.holds(*pair))
}

/// What holds of the tables and entries: of an entry, the first of its claims.
pub(super) fn holding(
    follower: &Follower<'_, '_>,
    tables: &[Table],
    entries: &[Entry],
) -> Vec<Pair> {
    let whole = tables.iter().flat_map(|table| table.whole.iter());
    let whole = whole.filter(|pair| follower.holds(**pair));
    let claims = entries.iter().filter_map(|entry| {
        let mut claims = entry.claims.iter();
        claims.find(|claim| follower.holds(**claim))
    });
    whole.chain(claims).copied().collect()
}

/// Whether each entry is looked for by itself. So are those of the tables whose entries travel,
/// and those of a table in which the author accepted one that came or went: it moves all behind
/// it.
fn goes_by_entries(follower: &Follower<'_, '_>, table: &Table) -> bool {
    let cut = &follower.tree.objects[table.object];
    let name = cut.elf.section(table.section).name;
    let mut items = cut.items_of(table.section);
    let accepts_one = items.any(|item| {
        follower.is_accepted(ItemId {
            object: table.object,
            item,
        })
    });
    is_entry_table(name) || accepts_one || accepts_that_one_went(follower, &cut.elf.name, name)
}

/// Whether the author accepted something about an entry of the original object's section.
fn accepts_that_one_went(follower: &Follower<'_, '_>, object: &str, section: &str) -> bool {
    let Some(claims) = follower.claims else {
        return false;
    };
    let Some(object) = claims.object(object) else {
        return false;
    };
    let cut = &claims.tree.objects[object];
    let mut sections = cut.elf.sections().filter(|(_, one)| one.name == section);
    sections.any(|(id, _)| {
        let mut items = cut.items_of(id);
        items.any(|item| {
            let mut names = claims.tree.names(ItemId { object, item });
            names.any(|symbol| follower.accepts(symbol.name))
        })
    })
}

/// Asks for the entries of the tables that are not in the base as a whole.
pub(super) fn ask_entries(follower: &mut Follower<'_, '_>, tables: &[Table]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let Some(claims) = follower.claims else {
        return entries;
    };
    for table in tables.iter().filter(|table| !stands_whole(follower, table)) {
        let cut = &follower.tree.objects[table.object];
        let header = cut.elf.section(table.section);
        if !goes_by_entries(follower, table) {
            continue;
        }
        let mut places = Vec::new();
        if let Some(original) = claims.object(&cut.elf.name) {
            let cut = &claims.tree.objects[original];
            for (id, other) in cut.elf.sections() {
                if let (true, Some(start)) =
                    (other.name == header.name, claims.section(original, id))
                {
                    let items = &cut.items[cut.items_of(id)];
                    places.extend(
                        items
                            .iter()
                            .map(|item| Place::Base(start + item.range.start)),
                    );
                }
            }
        }
        for item in cut.items_of(table.section) {
            let size = cut.items[item].size();
            let item = ItemId {
                object: table.object,
                item,
            };
            let mut all = places.clone();
            if let Some(payload) = follower.payload {
                for (id, other) in payload.elf.sections() {
                    if other.name == header.name && size != 0 {
                        let starts = (0..other.size / size).map(|index| index * size);
                        all.extend(starts.map(|start| Place::Payload(id, start)));
                    }
                }
            }
            let pair = |place| Pair { item, place };
            let claims: Vec<Pair> = all.into_iter().map(pair).collect();
            let claims = claims
                .into_iter()
                .filter(|pair| follower.is_plausible(*pair))
                .collect();
            entries.push(Entry { item, claims });
        }
    }
    for entry in &entries {
        for &claim in &entry.claims {
            follower.ask(claim);
        }
    }
    entries
}

/// Lists the entries without a place.
pub(super) fn judge(
    follower: &Follower<'_, '_>,
    tables: &[Table],
    entries: &[Entry],
    missing: &mut Vec<Missing>,
) {
    for table in tables.iter().filter(|table| !stands_whole(follower, table)) {
        let cut = &follower.tree.objects[table.object];
        let header = cut.elf.section(table.section);
        let items = cut.items_of(table.section);
        if goes_by_entries(follower, table) {
            continue;
        }
        // When code refers to each of these items by name, the section is no table.
        let is_used_by_name = !table.is_whole_possible
            && header.name.starts_with(".data.")
            && items.clone().all(|item| {
                follower.stands_somewhere(ItemId {
                    object: table.object,
                    item,
                })
            });
        if is_used_by_name {
            continue;
        }
        let item = ItemId {
            object: table.object,
            item: items.start,
        };
        let failing: Vec<Pair> = table
            .whole
            .iter()
            .copied()
            .filter(|pair| !follower.holds(*pair))
            .collect();
        missing.push(super::missing(follower, item, &failing));
    }
    let mut asked = None;
    for entry in entries {
        let holds = entry.claims.iter().any(|claim| follower.holds(*claim));
        let owner = owner(follower.tree, entry.item);
        let is_accepted = is_accepted_of_boot(follower, follower.tree, owner);
        if holds || is_accepted || follower.is_accepted(entry.item) {
            continue;
        }
        let asked = asked.get_or_insert_with(|| follower.asked_items());
        if has_owner(follower, entry.item, asked) {
            missing.push(super::missing(follower, entry.item, &entry.claims));
        }
    }
    gone(follower, missing);
}

/// Whether an entry's owner, which its first field names, was `asked` for anywhere. A function that
/// is new and that nothing leads to never runs, and is not in the payload either.
fn has_owner(follower: &Follower<'_, '_>, entry: ItemId, asked: &HashSet<ItemId>) -> bool {
    let tree = follower.tree;
    owner(tree, entry).is_none_or(|item| {
        !tree.is_code(item) || tree.names(item).next().is_none() || asked.contains(&item)
    })
}

/// The item that the first field of an entry leads to.
fn owner(tree: &Tree<'_>, entry: ItemId) -> Option<ItemId> {
    let (cut, item) = (&tree.objects[entry.object], tree.item(entry));
    let field = cut.fields_of(item).first()?;
    match tree.target(entry.object, item.section, field) {
        Target::Item { item, .. } => Some(item),
        _ => None,
    }
}

/// Whether the owner is code of the boot that the author accepted: it has run, and so have its
/// entries, those of either build. Entries of code that still runs are not accepted with it.
fn is_accepted_of_boot(
    follower: &Follower<'_, '_>,
    tree: &Tree<'_>,
    owner: Option<ItemId>,
) -> bool {
    owner.is_some_and(|owner| {
        let mut names = tree.names(owner);
        let is_accepted = names.any(|symbol| follower.accepts(symbol.name));
        is_accepted && tree.is_code(owner) && is_of(".init", tree.section(owner).name)
    })
}

/// Entries of the original build that the patched one does not have, though their code still runs.
fn gone(follower: &Follower<'_, '_>, missing: &mut Vec<Missing>) {
    let Some(claims) = follower.claims else {
        return;
    };
    let kept: HashSet<u64> = follower
        .holding()
        .filter_map(|found| match found.pair.place {
            Place::Base(address) => Some(address),
            Place::Payload(..) => None,
        })
        .collect();
    let mut running = None;
    let tree = claims.tree;
    for (object, cut) in tree.objects.iter().enumerate() {
        for (id, header) in cut.elf.sections() {
            let Some(start) = claims
                .section(object, id)
                .filter(|_| is_walked(tree, object, id))
            else {
                continue;
            };
            for item in cut.items_of(id) {
                let content = &cut.items[item];
                if kept.contains(&(start + content.range.start)) {
                    continue;
                }
                let running = running.get_or_insert_with(|| Running::new(claims, follower.payload));
                let owner = owner(tree, ItemId { object, item });
                let is_idle = owner.is_some_and(|owner| {
                    let address = claims.address(owner);
                    let is_kept = address.is_some_and(|address| kept.contains(&address));
                    !is_kept || !running.has(owner)
                });
                let mut names = tree.names(ItemId { object, item });
                if names.any(|symbol| follower.accepts(symbol.name))
                    || is_accepted_of_boot(follower, tree, owner)
                {
                    continue;
                }
                if !is_entry_table(header.name) || !is_idle {
                    missing.push(Missing {
                        object: cut.elf.name.clone(),
                        section: header.name.to_owned(),
                        item: tree.shown(ItemId { object, item }),
                        offset: 0,
                        what: "the patched build does not have it, and the base keeps it"
                            .to_owned(),
                    });
                }
            }
        }
    }
}
