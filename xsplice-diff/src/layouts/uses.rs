//! Which functions use a type: the walk of [`super::reach`] taken backwards, once for all
//! functions.

use std::collections::BTreeSet;

use super::{Held, Side, User};
use crate::debug_info::debug_sections;
use crate::debug_info::types::{EntryId, Types, is_pointer, is_transparent, kind};
use crate::read::items::{ItemId, ItemKind};
use crate::read::section_class::SectionClass;
use crate::read::side::Build;

/// How a type leads to another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    /// It is that type under another name, or an array of it.
    Same,
    /// It holds one.
    Member,
    /// It points to one.
    Pointer,
    /// It is a function type that takes or gives one.
    Function,
}

/// For every entry of a type: the entries that lead to it.
pub(super) struct Edges {
    /// One more than there are entries.
    starts: Vec<usize>,
    from: Vec<(EntryId, Edge)>,
}

impl Edges {
    /// Collects them.
    pub(super) fn new(types: &Types<'_>) -> Edges {
        let mut all: Vec<(EntryId, EntryId, Edge)> = Vec::new();
        for id in types.ids() {
            let tag = types.entry(id).tag;
            let through_children = if kind(tag).is_some() {
                Some(Edge::Member)
            } else if tag == gimli::DW_TAG_subroutine_type {
                Some(Edge::Function)
            } else {
                None
            };
            if let Some(edge) = through_children {
                let children = types.children(id).filter_map(|child| types.type_of(child));
                all.extend(children.map(|to| (to, id, edge)));
            }
            let own = match tag {
                _ if is_transparent(tag) => Edge::Same,
                gimli::DW_TAG_array_type => Edge::Same,
                _ if is_pointer(tag) => Edge::Pointer,
                gimli::DW_TAG_subroutine_type => Edge::Function,
                _ => continue,
            };
            all.extend(types.type_of(id).map(|to| (to, id, own)));
        }
        // Those from one entry come one behind the other, and entries in their order.
        let mut starts = vec![0_usize; types.ids().len() + 1];
        for (to, ..) in &all {
            starts[to.0 as usize + 1] += 1;
        }
        for index in 1..starts.len() {
            starts[index] += starts[index - 1];
        }
        let mut ends = starts.clone();
        let mut from = vec![(EntryId(0), Edge::Same); all.len()];
        for (to, id, edge) in all {
            let end = &mut ends[to.0 as usize];
            from[*end] = (id, edge);
            *end += 1;
        }
        Edges { starts, from }
    }

    fn to(&self, id: EntryId) -> &[(EntryId, Edge)] {
        let index = id.0 as usize;
        &self.from[self.starts[index]..self.starts[index + 1]]
    }
}

/// How a function uses a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Use {
    /// Not at all.
    None,
    /// Through members and pointers of others.
    Distant,
    /// It has something of the type, something that contains one, or a pointer to one.
    Direct,
}

/// Which types lead to some.
pub(super) struct Uses<'a, 'd> {
    types: &'a Types<'d>,
    uses: Vec<Use>,
}

impl<'a, 'd> Uses<'a, 'd> {
    /// Walks back from `targets`.
    pub(super) fn new(types: &'a Types<'d>, edges: &Edges, targets: &[EntryId]) -> Uses<'a, 'd> {
        let mut uses = vec![Use::None; types.ids().count()];
        walk(edges, targets, &mut uses, Use::Distant, |_| true);
        // First types that contain one by value, then pointers to those.
        let mut direct = vec![Use::None; uses.len()];
        let holds = |edge| matches!(edge, Edge::Same | Edge::Member);
        let holders = walk(edges, targets, &mut direct, Use::Direct, holds);
        let mut pointed = vec![Use::None; uses.len()];
        let points = |edge| matches!(edge, Edge::Same | Edge::Pointer);
        let pointers = walk(edges, &holders, &mut pointed, Use::Direct, points);
        for id in pointers {
            uses[id.0 as usize] = Use::Direct;
        }
        Uses { types, uses }
    }

    /// How an entry uses its type.
    fn of(&self, entry: EntryId) -> Use {
        self.types
            .type_of(entry)
            .map_or(Use::None, |id| self.uses[id.0 as usize])
    }

    /// How a function with these roots uses the type directly; `None` when it does not.
    pub(super) fn held(&self, roots: &[EntryId]) -> Option<Held> {
        let direct = roots.iter().filter(|root| self.of(**root) == Use::Direct);
        let points = |root: &EntryId| {
            self.types
                .type_of(*root)
                .and_then(|id| self.types.stripped(id))
                .is_some_and(|id| is_pointer(self.types.entry(id).tag))
        };
        direct
            .map(|root| {
                if points(root) {
                    Held::ByPointer
                } else {
                    Held::ByValue
                }
            })
            .min()
    }

    /// Those of `functions` that use it directly, and how many others can reach it.
    pub(super) fn users(&self, object: &str, functions: &[Function<'_>]) -> (Vec<User>, usize) {
        let mut direct = BTreeSet::new();
        let mut distant = BTreeSet::new();
        for function in functions {
            let most = function.roots.iter().map(|root| self.of(*root)).max();
            match most.unwrap_or(Use::None) {
                Use::Direct => {
                    direct.insert(function.name);
                }
                Use::Distant => {
                    distant.insert(function.name);
                }
                Use::None => {}
            }
        }
        let users = direct.iter().map(|name| User {
            object: object.to_owned(),
            name: (*name).to_owned(),
        });
        (users.collect(), distant.difference(&direct).count())
    }
}

/// A function, with everything in it that has a type.
pub(super) struct Function<'d> {
    /// The name that the author gave it.
    name: &'d str,
    roots: Vec<EntryId>,
}

/// Marks what leads to `targets` by edges that are followed; returns all of it.
fn walk(
    edges: &Edges,
    targets: &[EntryId],
    marks: &mut [Use],
    mark: Use,
    is_followed: impl Fn(Edge) -> bool,
) -> Vec<EntryId> {
    let mut found: Vec<EntryId> = Vec::new();
    let mut open: Vec<EntryId> = targets.to_vec();
    while let Some(id) = open.pop() {
        let slot = &mut marks[id.0 as usize];
        if *slot == mark {
            continue;
        }
        *slot = mark;
        found.push(id);
        open.extend(
            edges
                .to(id)
                .iter()
                .filter(|(_, edge)| is_followed(*edge))
                .map(|(from, _)| *from),
        );
    }
    found
}

/// Those functions of a build that debug information knows, that run after the boot, and that
/// `is_wanted` takes.
pub(super) fn functions<'d>(
    side: &Side<'d, '_>,
    is_wanted: impl Fn(ItemId, &str) -> bool,
) -> Vec<Function<'d>> {
    let of = |item| {
        let place = side.build.items.item(item);
        if place.kind != ItemKind::Function || !runs(side.build, item) {
            return None;
        }
        let address = debug_sections::address(place.section, place.offset)?;
        let entry = side.types.function_at(address)?;
        let name = side.types.name_of(entry);
        is_wanted(item, name).then(|| Function {
            name,
            roots: side.roots(item, entry),
        })
    };
    side.build.items.ids().filter_map(of).collect()
}

/// Whether an item still exists after boot and is more than an annotation.
pub(super) fn runs(build: &Build<'_>, item: ItemId) -> bool {
    !matches!(
        build.items.class(item),
        SectionClass::Init | SectionClass::Ignored(_) | SectionClass::Special(_)
    )
}
