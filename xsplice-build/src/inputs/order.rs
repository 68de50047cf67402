//! The order of the members of an archive, which is the order in which they are linked.
//!
//! Of several definitions of a name that are weak, or that an archive offers, the link takes the
//! first; and tables that code walks, such as those of constructors, are put together in the order
//! of the objects. The base goes on with the order in which it was linked, so another order in the
//! patched tree is refused where it can count.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use xsplice_diff::shared_names;
use xsplice_link::{Refusal, RefusalCode};

/// A member, by a name that it alone has there, and its bytes.
pub(crate) type Member<'m> = (&'m str, &'m [u8]);

/// What the order of members can count for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Matter {
    /// A name that several define.
    Name(String),
    /// Sections that code may walk. Linker scripts put sections of several names into one table.
    Walked,
}

/// Says which order counts, of an archive that both trees have, if any does.
pub(crate) fn compare(
    whole: &str,
    original: &[Member<'_>],
    patched: &[Member<'_>],
) -> Option<Refusal> {
    let both = |own: &[Member<'_>], other: &[Member<'_>]| -> Vec<String> {
        let others: BTreeSet<&str> = other.iter().map(|(name, _)| *name).collect();
        let names = own.iter().map(|(name, _)| *name);
        let both = names.filter(|name| others.contains(name));
        both.map(str::to_owned).collect()
    };
    let (ours, theirs) = (both(original, patched), both(patched, original));
    if ours == theirs {
        return None;
    }
    let (before, after) = (matters(original), matters(patched));
    before.iter().find_map(|(matter, members)| {
        let in_both = |own: &[String], other: &[String]| -> Vec<String> {
            own.iter()
                .filter(|name| other.contains(name))
                .cloned()
                .collect()
        };
        let others = after.get(matter)?;
        let (ours, theirs) = (in_both(members, others), in_both(others, members));
        let (here, there) = ours
            .iter()
            .zip(&theirs)
            .find(|(here, there)| here != there)?;
        let (what, problem) = match matter {
            Matter::Name(name) => (
                Some(name),
                "define this name, of which the link takes the first".to_owned(),
            ),
            Matter::Walked => (
                None,
                "have entries of tables that code walks in the order of the link".to_owned(),
            ),
        };
        let message = format!(
            "holds its objects in another order in the patched tree, {there} before {here}: both \
             {problem}; the base keeps the order in which it was linked, so put those of the \
             patched tree together in that order"
        );
        let refusal = Refusal::new(RefusalCode::OrderDiffers, whole, message);
        Some(match what {
            Some(name) => refusal.of(name),
            None => refusal,
        })
    })
}

/// What each of the members has a part in, with those members in their order.
fn matters(members: &[Member<'_>]) -> BTreeMap<Matter, Vec<String>> {
    let all: Vec<Vec<Matter>> = members
        .par_iter()
        .map(|(name, bytes)| {
            // An unreadable one is equal in both trees, and not part of the base.
            let found = shared_names(name, bytes).unwrap_or_default();
            let names = found.defined.into_iter();
            let mut own: Vec<Matter> = names.map(|name| Matter::Name(name.to_owned())).collect();
            own.extend((!found.walked.is_empty()).then_some(Matter::Walked));
            own.sort();
            own.dedup();
            own
        })
        .collect();
    let mut of: BTreeMap<Matter, Vec<String>> = BTreeMap::new();
    for ((name, _), own) in members.iter().zip(all) {
        for matter in own {
            of.entry(matter).or_default().push((*name).to_owned());
        }
    }
    of.retain(|_, members| members.len() > 1);
    of
}
