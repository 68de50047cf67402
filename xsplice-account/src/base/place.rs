//! Finds the place of everything of a build in the image that was linked from it: first by name,
//! then what stands in one section with that, then what leads to what was found.

use foldhash::HashSet;

use crate::base::search;
use crate::base::standing::Standing;
use crate::follow::{Follower, Pair, Place};
use crate::read::image::Image;
use crate::read::tree::{ItemId, Tree};

/// Of each name that several objects define, the object whose definition is in the image.
pub(crate) fn winners<'data>(follower: &Follower<'_, 'data>) -> Vec<(&'data str, usize)> {
    let shared = follower.tree.shared_names();
    let winner = |(name, items): (&'data str, Vec<ItemId>)| {
        let linked = items.into_iter().find(|&item| {
            addresses(follower, item).into_iter().any(|address| {
                let place = Place::Base(address);
                follower.is_plausible(Pair { item, place })
            })
        });
        linked.map(|item| (name, item.object))
    };
    shared.filter_map(winner).collect()
}

/// Names of data that are in the image, but not as the objects have them: something else was
/// linked, and of a section in which one name is of that kind, all: a linker takes it as a whole,
/// so that what looks like the rest of it is so by chance.
pub(crate) fn foreign<'data>(follower: &Follower<'_, 'data>) -> Vec<&'data str> {
    let tree = follower.tree;
    let section = |item: &ItemId| (item.object, tree.item(*item).section);
    let is_elsewhere = |items: &[ItemId]| {
        let mut places = items.iter().flat_map(|&item| {
            let places = addresses(follower, item).into_iter().map(Place::Base);
            places.map(move |place| Pair { item, place })
        });
        let mut all = places.by_ref().peekable();
        all.peek().is_some() && !all.any(|pair| follower.is_plausible(pair))
    };
    let names = || tree.data_names().filter(|(_, items)| !items.is_empty());
    let elsewhere = names().filter(|(_, items)| is_elsewhere(items));
    let not_linked: HashSet<_> = elsewhere
        .flat_map(|(_, items)| items.iter().map(section).collect::<Vec<_>>())
        .collect();
    names()
        .filter(|(_, items)| items.iter().all(|item| not_linked.contains(&section(item))))
        .map(|(name, _)| name)
        .collect()
}

/// A follower that has found the places of a build in the image that was linked from it.
pub(crate) fn placed<'run, 'data>(
    tree: &'run Tree<'data>,
    image: &'run Image<'data>,
) -> Standing<'run, 'data> {
    let mut standing = Standing::new(Follower::new(tree, image, None, None, &[]));
    place(&mut standing);
    standing
}

/// Each round finds what the round before refers to: entries, then the code that they lead to.
const ROUNDS_MAX: usize = 8;

/// Looks for the place of everything of the build.
fn place(standing: &mut Standing<'_, '_>) {
    let tree = standing.follower.tree;
    for item in tree.items() {
        for address in addresses(&standing.follower, item) {
            standing.follower.ask(Pair {
                item,
                place: Place::Base(address),
            });
        }
    }
    standing.run();
    ask_where_undecided(standing);
    let mut searched = search::Searched::default();
    for _ in 0..ROUNDS_MAX {
        let before = standing.follower.held();
        ask_rest_of_sections(standing);
        search::by_references(standing, &mut searched);
        if standing.follower.held() == before {
            break;
        }
    }
    search::in_order(standing);
    ask_rest_of_sections(standing);
}

/// Asks for the whole of a section wherever something of it was found, when that is at several
/// starts: another object's definition of a name may stand at the one that is wrong, and where the
/// section is, nothing may have that name.
fn ask_where_undecided(standing: &mut Standing<'_, '_>) {
    let tree = standing.follower.tree;
    let mut asked = Vec::new();
    for starts in standing.candidates().by_section() {
        let [first, _, ..] = starts else {
            continue;
        };
        let (object, section) = (first.object, first.section);
        let cut = &tree.objects[object];
        if cut.elf.section(section).is_mergeable() {
            continue;
        }
        for (start, item) in starts
            .iter()
            .flat_map(|one| cut.items_of(section).map(move |item| (one.start, item)))
        {
            asked.push(Pair {
                item: ItemId { object, item },
                place: Place::Base(start.wrapping_add(cut.items[item].range.start)),
            });
        }
    }
    for pair in asked {
        standing.follower.ask(pair);
    }
    standing.run();
}

/// A linker moves a section as a whole: where one item of it is, there are those without a name.
fn ask_rest_of_sections(standing: &mut Standing<'_, '_>) {
    let tree = standing.follower.tree;
    for (object, section, start) in standing.starts().iter() {
        let cut = &tree.objects[object];
        if cut.elf.section(section).is_mergeable() {
            continue;
        }
        for item in cut.items_of(section) {
            let content = &cut.items[item];
            if content.names.is_empty() {
                standing.follower.ask(Pair {
                    item: ItemId { object, item },
                    place: Place::Base(start.wrapping_add(content.range.start)),
                });
            }
        }
    }
    standing.run();
}

/// Addresses at which the image has one of the item's names.
pub(crate) fn addresses(follower: &Follower<'_, '_>, item: ItemId) -> Vec<u64> {
    let mut found = Vec::new();
    for symbol in follower.tree.names(item) {
        for other in follower.image.named_as(symbol) {
            if other.is_placed && !found.contains(&other.address) {
                found.push(other.address);
            }
        }
    }
    found
}
