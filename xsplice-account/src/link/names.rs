//! What the names mean that the linker makes: ends of sections, sizes, names of a linker script.

use std::collections::BTreeSet;

use xsplice_diff::read::object::SymbolPlace;

use super::{Linked, difference};
use crate::after::Missing;
use crate::read::fields::Leads;
use crate::read::tree::ItemId;

/// Names that the objects use and none of them defines.
pub(super) fn of_the_linker<'data>(linked: Linked<'_, 'data>) -> BTreeSet<&'data str> {
    let tree = linked.claims.tree;
    let symbols = tree.objects.iter().flat_map(|object| &object.elf.symbols);
    symbols
        .filter(|symbol| symbol.place == SymbolPlace::Undefined && !symbol.name.is_empty())
        .map(|symbol| symbol.name)
        .filter(|name| tree.definitions_of(name) == 0)
        .collect()
}

/// Where a name stands among the items.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// At no place: a number.
    Number(u64),
    /// Within an item, at an offset.
    Inside(String, u64),
    /// Behind an item and before another one.
    Between(Option<String>, Option<String>),
}

/// Names that mean something else in the patched image.
pub(super) fn differences(base: Linked<'_, '_>, patched: Linked<'_, '_>) -> Vec<Missing> {
    let mut found = Vec::new();
    for name in of_the_linker(patched) {
        let (Some(here), Some(there)) = (standing(base, name), standing(patched, name)) else {
            // One that the base does not have is missed where it is used.
            continue;
        };
        if !is_same(&here, &there)
            && let Some(item) = user(patched, name)
        {
            let what = format!(
                "it uses {name}, which is {} in the patched image and {} in the base",
                shown(&there),
                shown(&here)
            );
            found.push(difference(patched, item, what));
        }
    }
    found
}

fn is_same(here: &Standing, there: &Standing) -> bool {
    match (here, there) {
        // What stands on one side may have come or gone with the change.
        (Standing::Between(before, behind), Standing::Between(others_before, others_behind)) => {
            before == others_before || behind == others_behind
        }
        _ => here == there,
    }
}

fn shown(standing: &Standing) -> String {
    let or_edge = |item: &Option<String>| item.clone().unwrap_or_else(|| "the edge".to_owned());
    match standing {
        Standing::Number(number) => format!("{number:#x}"),
        Standing::Inside(item, offset) => format!("{item}+{offset:#x}"),
        Standing::Between(before, behind) => {
            format!("between {} and {}", or_edge(before), or_edge(behind))
        }
    }
}

fn standing(linked: Linked<'_, '_>, name: &str) -> Option<Standing> {
    let symbol = linked.image.named(name).next()?;
    let claims = linked.claims;
    let is_inside = linked.image.spans(symbol.address);
    if !symbol.is_placed && !is_inside {
        return Some(Standing::Number(symbol.address));
    }
    let inside = claims
        .at(symbol.address)
        .find(|&(start, _)| start < symbol.address);
    Some(match inside {
        Some((start, item)) => Standing::Inside(identity(linked, item), symbol.address - start),
        None => Standing::Between(
            claims
                .before(symbol.address)
                .map(|item| identity(linked, item)),
            claims
                .behind(symbol.address)
                .map(|item| identity(linked, item)),
        ),
    })
}

/// What an item is called in both builds.
fn identity(linked: Linked<'_, '_>, item: ItemId) -> String {
    let tree = linked.claims.tree;
    let object = &tree.objects[item.object].elf.name;
    let name = tree.names(item).next().map(|symbol| symbol.name);
    format!("{} of {object}", name.unwrap_or(tree.section(item).name))
}

/// An item that uses a name.
fn user(linked: Linked<'_, '_>, name: &str) -> Option<ItemId> {
    let tree = linked.claims.tree;
    let mut all = tree.items();
    all.find(|&id| {
        let object = &tree.objects[id.object];
        object
            .fields_of(tree.item(id))
            .iter()
            .any(|field| match field.leads {
                Leads::Symbol { symbol, .. } => object.elf.symbol(symbol).name == name,
                Leads::Within { .. } | Leads::Nowhere => false,
            })
    })
}
