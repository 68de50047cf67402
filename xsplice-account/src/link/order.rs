//! The order in which the linker put the sections that code may walk, and the names around them.

use std::collections::BTreeSet;

use xsplice_diff::read::object::SectionId;

use super::{Linked, difference, names};
use crate::after::Missing;
use crate::read::classes::is_walked;
use crate::read::items::is_entry_table;
use crate::read::tree::ItemId;

/// What stands in a row of sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Link<'name> {
    /// A name that the linker made.
    Name(&'name str),
    /// A section of an object; of several of one name the how manieth.
    Section(&'name str, &'name str, usize),
}

/// A link and the item that it begins with.
struct Step<'name> {
    link: Link<'name>,
    item: Option<ItemId>,
}

/// The first place at which the two rows differ, going by what both have: what only one of them
/// has is found where its items are looked for.
pub(super) fn differences(base: Linked<'_, '_>, patched: Linked<'_, '_>) -> Vec<Missing> {
    let (ours, theirs) = (row(base), row(patched));
    let links = |row: &[Step<'_>]| -> BTreeSet<String> {
        row.iter().map(|step| shown(step.link)).collect()
    };
    let (known, needed) = (links(&ours), links(&theirs));
    let common = |row: &[Step<'_>]| -> Vec<(String, Option<ItemId>)> {
        let both = row.iter().map(|step| (shown(step.link), step.item));
        both.filter(|(link, _)| known.contains(link) && needed.contains(link))
            .collect()
    };
    let (ours, theirs) = (common(&ours), common(&theirs));
    let mut pairs = ours.iter().zip(&theirs);
    let Some((here, there)) = pairs.find(|(here, there)| here.0 != there.0) else {
        return Vec::new();
    };
    let what = format!(
        "the patched image has {} where the base has {}: what walks them finds another order",
        there.0, here.0
    );
    let item = there.1.or_else(|| theirs.iter().find_map(|step| step.1));
    item.map(|item| difference(patched, item, what))
        .into_iter()
        .collect()
}

fn shown(link: Link<'_>) -> String {
    match link {
        Link::Name(name) => name.to_owned(),
        Link::Section(object, section, 0) => format!("{section} of {object}"),
        Link::Section(object, section, which) => format!("{section} ({which}) of {object}"),
    }
}

/// All walked sections by address, with the linker's names that touch them.
fn row<'run>(linked: Linked<'run, '_>) -> Vec<Step<'run>> {
    let tree = linked.claims.tree;
    let mut steps = Vec::new();
    let mut edges = BTreeSet::new();
    for (object, cut) in tree.objects.iter().enumerate() {
        let mut numbers: foldhash::HashMap<&str, usize> = foldhash::HashMap::default();
        for (id, section) in cut.elf.sections() {
            let number = numbers.entry(section.name).or_default();
            let which = *number;
            *number += 1;
            let is_row = is_walked(tree, object, id) && !is_entry_table(section.name);
            let Some(start) = linked.claims.section(object, id).filter(|_| is_row) else {
                continue;
            };
            edges.extend([start, start.saturating_add(section.size)]);
            let link = Link::Section(cut.elf.name.as_str(), section.name, which);
            steps.push((start, link, first_item(linked, object, id)));
        }
    }
    for name in names::of_the_linker(linked) {
        let named = linked.image.named(name).filter(|symbol| symbol.is_placed);
        for symbol in named.filter(|symbol| edges.contains(&symbol.address)) {
            steps.push((symbol.address, Link::Name(symbol.name), None));
        }
    }
    // A name at the start of a section comes before it.
    steps.sort_by_key(|(address, link, _)| (*address, *link));
    let steps = steps.into_iter();
    steps.map(|(_, link, item)| Step { link, item }).collect()
}

fn first_item(linked: Linked<'_, '_>, object: usize, section: SectionId) -> Option<ItemId> {
    let items = linked.claims.tree.objects[object].items_of(section);
    (!items.is_empty()).then_some(ItemId {
        object,
        item: items.start,
    })
}
