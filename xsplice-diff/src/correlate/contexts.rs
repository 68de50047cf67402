//! How code uses items whose names are no evidence: the instructions around each reference.
//!
//! The instruction that refers to an item, the one before and the one behind, with every field
//! blank that leads somewhere, tell `n += 1` from `n += 100` although both functions changed. The
//! more of it two items have in common, the more likely they are one; how likely does not matter,
//! only whether one candidate is better than all others from either side.

use std::hash::{BuildHasher as _, Hash};

use foldhash::fast::FixedState;
use foldhash::{HashMap, HashMapExt as _};

use crate::machine::walk;
use crate::read::items::{ItemId, ItemKind};
use crate::read::names;
use crate::read::side::Build;

/// What the shape of a reference counts: the more instructions around it are the same, the more.
const WEIGHTS: [u32; 5] = [8, 3, 3, 1, 2];

/// More pairs than these are not weighed: hundreds of variables of one name.
const PAIRS_MAX: usize = 1 << 16;

/// The shapes of all references to an item, each with what it counts.
type Shapes = HashMap<u64, (u32, u32)>;

/// The references to some items of a build.
#[derive(Debug, Default)]
pub(super) struct Contexts(HashMap<ItemId, Shapes>);

impl Contexts {
    /// Of the items that are `wanted`.
    pub(super) fn new(build: &Build<'_>, wanted: impl IntoIterator<Item = ItemId>) -> Contexts {
        let mut contexts = Contexts(HashMap::new());
        for item in wanted {
            contexts.0.entry(item).or_default();
        }
        if contexts.0.is_empty() {
            return contexts;
        }
        let mut uses: HashMap<ItemId, Vec<(u64, ItemId)>> = HashMap::new();
        build.each_reference(|source, index, target| {
            if let Some(item) = target.item()
                && item != source
                && contexts.0.contains_key(&item)
            {
                let offset = build.object.relocations[index].offset;
                uses.entry(source).or_default().push((offset, item));
            }
        });
        for (source, fields) in uses {
            let is_code = matches!(
                build.items.item(source).kind,
                ItemKind::Function | ItemKind::Label
            );
            if is_code {
                contexts.add_code(build, source, &fields);
            } else {
                contexts.add_data(build, source, &fields);
            }
        }
        contexts
    }

    fn add(&mut self, item: ItemId, shape: u64, weight: u32) {
        let shapes = self.0.entry(item).or_default();
        shapes.entry(shape).or_insert((0, weight)).0 += 1;
    }

    fn add_code(&mut self, build: &Build<'_>, source: ItemId, fields: &[(u64, ItemId)]) {
        let who = names::root(build.name(source));
        let instructions = instructions(build, source);
        for (offset, item) in fields {
            let behind = instructions.partition_point(|one| one.0 <= *offset);
            let Some(at) = behind.checked_sub(1) else {
                continue;
            };
            let shape = |at: Option<usize>| Some(instructions.get(at?)?.1);
            let (before, own, next) = (
                shape(at.checked_sub(1)),
                shape(Some(at)),
                shape(at.checked_add(1)),
            );
            let grams = [
                hash(&(0, who, before, own, next)),
                hash(&(1, who, own, next)),
                hash(&(2, who, before, own)),
                hash(&(3, who, own)),
                hash(&(4, before, own, next)),
            ];
            for (gram, weight) in grams.into_iter().zip(WEIGHTS) {
                self.add(*item, gram, weight);
            }
        }
    }

    /// A table is told by its name and the place in it.
    fn add_data(&mut self, build: &Build<'_>, source: ItemId, fields: &[(u64, ItemId)]) {
        let who = names::given(build.name(source));
        let start = build.items.item(source).offset;
        for (offset, item) in fields {
            self.add(*item, hash(&(5, who, offset - start)), WEIGHTS[0]);
            self.add(*item, hash(&(6, who)), WEIGHTS[3]);
        }
    }

    /// How much an item of this build is used as one of another is.
    pub(super) fn likeness(&self, own: ItemId, others: &Contexts, other: ItemId) -> u32 {
        let (Some(own), Some(other)) = (self.0.get(&own), others.0.get(&other)) else {
            return 0;
        };
        own.iter()
            .filter_map(|(shape, (count, weight))| Some(count.min(&other.get(shape)?.0) * weight))
            .sum()
    }
}

/// The pairs of which each is the better choice than any other, for both its sides.
pub(super) fn best_pairs(
    (olds, old): (&[ItemId], &Contexts),
    (news, new): (&[ItemId], &Contexts),
) -> Vec<(ItemId, ItemId)> {
    if olds.len().saturating_mul(news.len()) > PAIRS_MAX {
        return Vec::new();
    }
    let best = |of: ItemId, own: &Contexts, all: &[ItemId], others: &Contexts| {
        let mut found: Option<(u32, ItemId)> = None;
        let mut is_tied = false;
        for one in all {
            let likeness = own.likeness(of, others, *one);
            match found {
                Some((most, _)) if likeness < most => {}
                Some((most, _)) if likeness == most => is_tied = true,
                _ => {
                    found = Some((likeness, *one));
                    is_tied = false;
                }
            }
        }
        found
            .filter(|(likeness, _)| *likeness > 0 && !is_tied)
            .map(|(_, one)| one)
    };
    olds.iter()
        .filter_map(|o| Some((*o, best(*o, old, news, new)?)))
        .filter(|(o, p)| best(*p, new, olds, old) == Some(*o))
        .collect()
}

/// The instructions of a function: where each begins, and its shape.
fn instructions(build: &Build<'_>, source: ItemId) -> Vec<(u64, u64)> {
    let start = build.items.item(source).offset;
    let machine = build.object.machine;
    let fields: Vec<(u64, u64)> = build
        .relocations(source)
        .map(|(field, _)| (field.offset, machine.field_bytes(field.kind)))
        .collect();
    walk(machine, build.bytes(source), start)
        .filter(|one| one.filler.is_none())
        .map(|one| {
            let mut bytes = one.bytes.to_vec();
            let mut blank = |offset: u64, length: u64| {
                let from = usize::try_from(offset.saturating_sub(one.start)).unwrap_or(0);
                let to = from.saturating_add(usize::try_from(length).unwrap_or(0));
                let to = to.min(bytes.len());
                if let Some(field) = bytes.get_mut(from..to) {
                    field.fill(0);
                }
            };
            let first = fields.partition_point(|field| field.0 < one.start);
            let own = fields[first..].iter().take_while(|field| field.0 < one.end);
            for (offset, length) in own {
                blank(*offset, *length);
            }
            if let Some(lead) = one.lead {
                blank(lead.field.offset, lead.field.bytes);
            }
            (one.start, hash(&bytes))
        })
        .collect()
}

/// Equal for equal things, in this run.
fn hash(what: &impl Hash) -> u64 {
    FixedState::default().hash_one(what)
}
