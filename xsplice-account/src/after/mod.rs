//! After the patch: checks that every item of the patched build is in the base or in the payload.

mod reach;
mod state;
mod tables;

use serde::Serialize;

use crate::base::addresses;
use crate::follow::{Failure, Follower, Pair, Place};
use crate::read::tree::ItemId;

/// What became of the patched build's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AfterAccount {
    /// Bytes that are in the base.
    pub in_base: u64,
    /// Bytes that are in the payload.
    pub in_payload: u64,
    /// Bytes that differ from the base in line numbers alone.
    pub explained: u64,
    /// Bytes of texts that differ from the base's in the time of the build alone.
    #[serde(skip_serializing_if = "is_none")]
    pub stamps: u64,
    /// Bytes of items that the author accepted.
    pub accepted: u64,
    /// Bytes that nothing that runs refers to.
    pub unused: u64,
    /// What has no place.
    pub missing: Vec<Missing>,
}

/// An item that has no place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// Its object.
    pub object: String,
    /// Its section.
    pub section: String,
    /// Its name, or its place where it has none.
    pub item: String,
    /// Where it differs, in bytes from the start of the item.
    pub offset: u64,
    /// What differs.
    pub what: String,
}

/// Hardly any build has such texts.
fn is_none(bytes: &u64) -> bool {
    *bytes == 0
}

/// A demand: one of several claims must hold.
struct Root {
    item: ItemId,
    claims: Vec<Pair>,
    /// Where the base has the item's names.
    addresses: Vec<u64>,
}

/// Follows the whole patched build.
pub(crate) fn account(follower: &mut Follower<'_, '_>) -> AfterAccount {
    let mut roots = Vec::new();
    let mut seen = foldhash::HashSet::default();
    let globals: Vec<ItemId> = follower
        .tree
        .items()
        .filter(|&item| {
            follower.tree.is_code(item)
                && !follower.tree.is_left_out(item)
                && follower.tree.names(item).any(|symbol| !symbol.is_local())
        })
        .collect();
    for item in globals {
        add_root(follower, item, &mut roots, &mut seen);
    }
    let tables = tables::ask(follower);
    loop {
        let before = seen.len();
        for item in follower.run() {
            add_root(follower, item, &mut roots, &mut seen);
        }
        if seen.len() == before {
            break;
        }
    }
    let entries = tables::ask_entries(follower, &tables);
    follower.run();

    let mut account = AfterAccount::default();
    let mut kept = tables::holding(follower, &tables, &entries);
    for root in &roots {
        let holding = root.claims.iter().find(|claim| follower.holds(**claim));
        kept.extend(holding);
        if holding.is_some() || follower.is_accepted(root.item) {
            continue;
        }
        let mut lost = missing(follower, root.item, &root.claims);
        match chosen_instead(follower, root.item) {
            Some(other) => {
                lost.what = format!(
                    "the patched image was linked with this definition, and the base with that of \
                     {other}; {}",
                    lost.what
                );
            }
            None if is_superseded(follower, root) => continue,
            None => {}
        }
        account.missing.push(lost);
    }
    tables::judge(follower, &tables, &entries, &mut account.missing);
    state::judge(follower, &kept, &mut account.missing);
    count(follower, &mut account);
    account
}

/// Asks for a function's own place: where the base has its name, or the code of its record.
fn add_root(
    follower: &mut Follower<'_, '_>,
    item: ItemId,
    roots: &mut Vec<Root>,
    seen: &mut foldhash::HashSet<ItemId>,
) {
    if !seen.insert(item) {
        return;
    }
    let mut claims = Vec::new();
    let addresses = addresses(follower, item);
    for &address in &addresses {
        // A record leads every caller to the new code, so only that code runs.
        let record = follower
            .payload
            .and_then(|payload| payload.records.get(&address));
        let place = match record {
            Some(&(section, offset)) => Place::Payload(section, offset),
            None => Place::Base(address),
        };
        claims.push(Pair { item, place });
    }
    if claims.is_empty() {
        return;
    }
    for &claim in &claims {
        follower.ask(claim);
    }
    roots.push(Root {
        item,
        claims,
        addresses,
    });
}

/// The object whose definition the base has where the patched build's own image has this one.
fn chosen_instead<'run>(follower: &Follower<'run, '_>, item: ItemId) -> Option<&'run str> {
    let (tree, claims) = (follower.tree, follower.claims?);
    let own = &tree.objects[item.object].elf.name;
    let mut names = tree.names(item);
    names.find_map(|symbol| {
        let is_own = tree.linked(symbol.name) == Some(own);
        let before = claims.tree.linked(symbol.name);
        before.filter(|before| is_own && before != own)
    })
}

/// Whether another object's definition of the same name is the one that is linked.
///
/// Shortcut S32: the base holds another object's definition at every address of that name, as the
/// link chose it.
fn is_superseded(follower: &Follower<'_, '_>, root: &Root) -> bool {
    let Some(claims) = follower.claims else {
        return false;
    };
    let tree = follower.tree;
    let object = &tree.objects[root.item.object].elf.name;
    let is_shared = tree
        .names(root.item)
        .any(|symbol| tree.definitions_of(symbol.name) > 1);
    let own = claims.object(object);
    is_shared
        && root.addresses.iter().all(|&address| {
            let mut owners = claims
                .at(address)
                .map(|(_, item)| Some(item.object))
                .peekable();
            owners.peek().is_some() && owners.all(|owner| owner != own)
        })
}

/// Why none of the claims holds; of several, the one whose comparison got furthest.
fn missing(follower: &Follower<'_, '_>, item: ItemId, claims: &[Pair]) -> Missing {
    let mut best: Option<(Pair, &Failure)> = None;
    for &claim in claims {
        let Some(why) = follower.why(claim) else {
            continue;
        };
        // A wrong item in the payload is more telling than the old one in the base.
        let is_carried = matches!(claim.place, Place::Payload(..));
        let is_further = best.is_none_or(|(_, failure)| failure.offset <= why.1.offset);
        if is_carried || is_further {
            best = Some(why);
        }
        if is_carried {
            break;
        }
    }
    let tree = follower.tree;
    let (at, failure) = match best {
        Some((pair, failure)) => (pair.item, Some(failure)),
        None => (item, None),
    };
    let offset = failure.map_or(0, |failure| failure.offset);
    let mut what = failure.map_or_else(|| "it stands nowhere".to_owned(), Failure::sentence);
    if at != item {
        what = format!("it rests on {}, and there {what}", tree.shown(at));
    }
    Missing {
        object: tree.objects[item.object].elf.name.clone(),
        section: tree.section(item).name.to_owned(),
        item: tree.shown(item),
        offset,
        what,
    }
}

fn count(follower: &Follower<'_, '_>, account: &mut AfterAccount) {
    let mut seen = foldhash::HashSet::default();
    let mut add = |item: ItemId, sum: &mut u64| {
        if seen.insert(item) {
            *sum += follower.tree.item(item).size();
        }
    };
    for found in follower.holding() {
        if follower.is_accepted(found.pair.item) {
            add(found.pair.item, &mut account.accepted);
            continue;
        }
        match found.pair.place {
            Place::Base(_) => {
                account.explained += found.explained;
                account.stamps += found.stamps;
                add(found.pair.item, &mut account.in_base);
            }
            Place::Payload(..) => add(found.pair.item, &mut account.in_payload),
        }
    }
    // Entries of merged sections are no items: they are wherever their contents are.
    let mut contents = foldhash::HashSet::default();
    for found in follower.holding() {
        for &(place, length) in found.contents {
            if matches!(place, Place::Base(_)) && contents.insert(place) {
                account.in_base += length;
            }
        }
    }
    let tree = follower.tree;
    for item in tree
        .items()
        .filter(|&item| !tree.section(item).is_mergeable())
    {
        add(item, &mut account.unused);
    }
}
