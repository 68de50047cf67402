//! State: a variable of the patched build has one place, and a place has one variable.
//!
//! Each reference by itself may lead to a place that looks like its target: two variables that are
//! zero are alike, and so are two that a compiler numbered. What tells them apart is that all
//! references to one variable lead to one place. A copy in the payload is of something new only if
//! the base's variable of that name is another one of the build: compilers number local names
//! anew.

use std::collections::{BTreeMap, BTreeSet};

use super::Missing;
use crate::base::addresses;
use crate::follow::{Follower, Pair, Place};
use crate::read::items::is_entry_table;
use crate::read::tree::ItemId;

/// Lists the variables that `roots`, and what they rest on, have at two places, and the places at
/// which they have two variables.
pub(super) fn judge(follower: &mut Follower<'_, '_>, roots: &[Pair], missing: &mut Vec<Missing>) {
    let tree = follower.tree;
    let mut places: BTreeMap<ItemId, Place> = BTreeMap::new();
    let mut variables: BTreeMap<(usize, Place), ItemId> = BTreeMap::new();
    let mut copies = Vec::new();
    for Pair { item, place } in follower.reached(roots) {
        // What has no name is no variable of an author's: descriptors of a sanitizer, and a copy
        // of one serves as well.
        let is_variable = tree.is_writable(item)
            && !tree.is_code(item)
            && tree.names(item).next().is_some()
            && tree.item(item).size() != 0
            && !is_entry_table(tree.section(item).name);
        if !is_variable || follower.is_accepted(item) {
            continue;
        }
        let is_copy = matches!(place, Place::Payload(..)) && follower.is_second_copy(item);
        if is_copy {
            copies.push(item);
        }
        let mut tell = |what: String| missing.push(about(follower, item, what));
        let first = *places.entry(item).or_insert(place);
        if first != place {
            let (one, other) = (follower.shown(first), follower.shown(place));
            tell(format!(
                "some code has it at {one}, and other code at {other}"
            ));
        }
        let other = *variables.entry((item.object, place)).or_insert(item);
        if other != item {
            let (shown, there) = (tree.shown(other), follower.shown(place));
            tell(format!("it and {shown} are both at {there}"));
        }
    }
    if copies.is_empty() {
        return;
    }
    let mut others: BTreeSet<(usize, Place, ItemId)> = BTreeSet::new();
    others.extend(
        variables
            .iter()
            .map(|(&(object, place), &item)| (object, place, item)),
    );
    let idle = idle_code(follower);
    for Pair { item, place } in follower.reached(&idle) {
        others.insert((item.object, place, item));
    }
    for item in copies {
        let olds = follower.alike_in_base(item);
        let is_another = |address: &u64| {
            let there = (item.object, Place::Base(*address));
            let mut all = others.iter().filter(|other| (other.0, other.1) == there);
            all.any(|other| other.2 != item && follower.tree.is_writable(other.2))
        };
        if let Some(old) = olds.iter().find(|address| !is_another(address)) {
            let what = format!("the payload has a second copy of it; the base has it at {old:#x}");
            missing.push(about(follower, item, what));
        }
    }
}

/// Asks for functions that nothing leads to, which a compiler keeps when it does not optimise:
/// they too say which variable is which. Returns where they are in the base.
fn idle_code(follower: &mut Follower<'_, '_>) -> Vec<Pair> {
    let (tree, asked) = (follower.tree, follower.asked_items());
    let idle: Vec<ItemId> = tree
        .items()
        .filter(|&item| tree.is_code(item) && !tree.is_left_out(item))
        .filter(|&item| tree.names(item).next().is_some() && !asked.contains(&item))
        .collect();
    let mut found = Vec::new();
    for item in idle {
        let places = addresses(follower, item).into_iter().map(Place::Base);
        found.extend(places.map(|place| Pair { item, place }));
    }
    for &pair in &found {
        follower.ask(pair);
    }
    follower.run();
    found
}

fn about(follower: &Follower<'_, '_>, item: ItemId, what: String) -> Missing {
    let tree = follower.tree;
    Missing {
        object: tree.objects[item.object].elf.name.clone(),
        section: tree.section(item).name.to_owned(),
        item: tree.shown(item),
        offset: 0,
        what,
    }
}
