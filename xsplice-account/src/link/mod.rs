//! What only the link decides: the patched image is compared with the base in what no object says.
//!
//! Objects say what their sections hold. The linker says in which order sections stand between the
//! names that it makes itself, which output section they are in, and what those names mean. The
//! base goes on with what its own link decided, so the link of the patched build must have decided
//! the same.

mod names;
mod order;

use serde::Serialize;

use crate::after::Missing;
use crate::base::ImageAccount;
use crate::follow::claims::Claims;
use crate::follow::{Follower, Place};
use crate::read::image::Image;
use crate::read::tree::ItemId;

/// What became of the patched build's own image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkAccount {
    /// The bytes of the patched image.
    pub image: ImageAccount,
    /// What its link decided in another way than that of the base.
    pub differences: Vec<Missing>,
}

/// One build as it is linked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linked<'run, 'data> {
    /// Where its objects are in its image.
    pub claims: &'run Claims<'run, 'data>,
    /// The image.
    pub image: &'run Image<'data>,
}

/// Compares both links. `after` has followed the patched build.
pub(crate) fn differences(
    base: Linked<'_, '_>,
    patched: Linked<'_, '_>,
    after: &Follower<'_, '_>,
) -> Vec<Missing> {
    let mut found = order::differences(base, patched);
    found.extend(names::differences(base, patched));
    found.extend(moved(base, patched, after));
    found
}

/// Items that the base has as they should be, but in another output section.
fn moved(base: Linked<'_, '_>, patched: Linked<'_, '_>, after: &Follower<'_, '_>) -> Vec<Missing> {
    let mut seen = foldhash::HashSet::default();
    let mut found = Vec::new();
    for held in after.holding() {
        let (item, Place::Base(address)) = (held.pair.item, held.pair.place) else {
            continue;
        };
        let section = after.tree.item(item).section;
        let here = base.image.section_at(address).map(|section| section.name);
        let there = patched
            .claims
            .address(item)
            .and_then(|address| patched.image.section_at(address))
            .map(|section| section.name);
        if let (Some(here), Some(there)) = (here, there)
            && here != there
            && seen.insert((item.object, section))
        {
            let what =
                format!("it is in {there} of the patched image, and the base has it in {here}");
            found.push(difference(patched, item, what));
        }
    }
    found
}

fn difference(linked: Linked<'_, '_>, item: ItemId, what: String) -> Missing {
    let tree = linked.claims.tree;
    Missing {
        object: tree.objects[item.object].elf.name.clone(),
        section: tree.section(item).name.to_owned(),
        item: tree.shown(item),
        offset: 0,
        what,
    }
}
