//! Compares items with the places where they should be, and decides which of them are really there.
//!
//! An item is at a place when its bytes are there and every field leads to a place where the
//! field's target is. So a claim depends on other claims, often in circles. Each claim is compared
//! once, by itself; then every claim that depends on a failed one fails too. The remaining claims
//! are consistent as a whole.

mod alignment;
pub(crate) mod claims;
mod compare;
mod constants;
mod contents;
mod copies;
mod failure;
pub(crate) mod lines;
mod parts;
pub(crate) mod sections;
mod slot;
mod stamps;
mod texts;
mod wording;

use foldhash::HashMap;
use rayon::prelude::*;
use xsplice_diff::read::object::SectionId;

use crate::follow::claims::Claims;
use crate::follow::lines::LineTables;
use crate::read::image::Image;
use crate::read::payload::Payload;
use crate::read::tree::{ItemId, Tree};
use compare::Outcome;
pub(crate) use failure::Failure;

/// A place at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Place {
    /// In the base, at an address.
    Base(u64),
    /// In the payload, at an offset of a section.
    Payload(SectionId, u64),
}

/// The claim that an item is at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pair {
    /// The item.
    pub item: ItemId,
    /// The place.
    pub place: Place,
}

/// A claim that was looked at.
#[derive(Debug)]
struct Node {
    pair: Pair,
    outcome: Outcome,
    rests_on: Vec<usize>,
    /// The claim that it fails with; itself where its own bytes or fields fail.
    fails_with: Option<usize>,
}

/// What is followed, and against what.
#[derive(Debug)]
pub(crate) struct Follower<'run, 'data> {
    /// The build whose items are followed.
    pub tree: &'run Tree<'data>,
    /// The base.
    pub image: &'run Image<'data>,
    /// The payload, where there is one.
    pub payload: Option<&'run Payload<'data>>,
    /// Where items of the original build are in the base; absent while that is being computed.
    pub claims: Option<&'run Claims<'run, 'data>>,
    /// Line tables of the followed build.
    pub lines: LineTables,
    /// Line tables of the original build.
    pub original_lines: LineTables,
    /// Names of variables that may be in the payload although the base has them.
    pub copied: Vec<String>,
    nodes: Vec<Node>,
    index: HashMap<Pair, usize>,
    asked: Vec<Pair>,
    accepted: Vec<String>,
}

impl<'run, 'data> Follower<'run, 'data> {
    /// Nothing asked yet. `accepted` are names that may differ.
    #[must_use]
    pub(crate) fn new(
        tree: &'run Tree<'data>,
        image: &'run Image<'data>,
        payload: Option<&'run Payload<'data>>,
        claims: Option<&'run Claims<'run, 'data>>,
        accepted: &[String],
    ) -> Follower<'run, 'data> {
        Follower {
            tree,
            image,
            payload,
            claims,
            lines: LineTables::new(tree.objects.len()),
            original_lines: LineTables::new(claims.map_or(0, |claims| claims.tree.objects.len())),
            copied: Vec::new(),
            nodes: Vec::new(),
            index: HashMap::default(),
            asked: Vec::new(),
            accepted: accepted.to_vec(),
        }
    }

    /// Asks whether an item is at a place.
    pub(crate) fn ask(&mut self, pair: Pair) {
        if !self.index.contains_key(&pair) {
            self.asked.push(pair);
        }
    }

    /// Compares everything that was asked, and what that rests on; returns the functions that what
    /// holds leads to by their names, whose own places must then be asked for.
    pub(crate) fn run(&mut self) -> Vec<ItemId> {
        let mut open: Vec<(usize, Vec<Pair>)> = Vec::new();
        while !self.asked.is_empty() {
            let mut round = std::mem::take(&mut self.asked);
            round.retain(|pair| !self.index.contains_key(pair));
            let mut seen = foldhash::HashSet::default();
            round.retain(|pair| seen.insert(*pair));
            let outcomes: Vec<Outcome> = {
                let this = &*self;
                round.par_iter().map(|pair| this.compare(*pair)).collect()
            };
            for (pair, mut outcome) in round.into_iter().zip(outcomes) {
                let node = self.nodes.len();
                self.index.insert(pair, node);
                self.asked.extend(outcome.rests_on.iter().copied());
                open.push((node, std::mem::take(&mut outcome.rests_on)));
                self.nodes.push(Node {
                    pair,
                    outcome,
                    rests_on: Vec::new(),
                    fails_with: None,
                });
            }
        }
        for (node, pairs) in open {
            let found = pairs
                .iter()
                .filter_map(|pair| self.index.get(pair).copied());
            self.nodes[node].rests_on = found.collect();
        }
        self.settle();
        let holding = self.nodes.iter().filter(|node| node.fails_with.is_none());
        let mut called: Vec<ItemId> = holding
            .flat_map(|node| node.outcome.called.iter().copied())
            .collect();
        called.sort_unstable();
        called.dedup();
        called
    }

    /// Lets every failure take along what rests on it.
    fn settle(&mut self) {
        let mut above: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        let mut failed = Vec::new();
        for (node, content) in self.nodes.iter_mut().enumerate() {
            for &below in &content.rests_on {
                above[below].push(node);
            }
            content.fails_with = content.outcome.failure.as_ref().map(|_| node);
            if content.fails_with.is_some() {
                failed.push(node);
            }
        }
        while let Some(node) = failed.pop() {
            for &user in &above[node] {
                if self.nodes[user].fails_with.is_none() {
                    self.nodes[user].fails_with = self.nodes[node].fails_with;
                    failed.push(user);
                }
            }
        }
    }

    /// Whether a claim may hold, going by the item's own bytes and fields.
    #[must_use]
    pub(crate) fn is_plausible(&self, pair: Pair) -> bool {
        self.compare(pair).failure.is_none()
    }

    /// Whether a claim was asked and holds.
    #[must_use]
    pub(crate) fn holds(&self, pair: Pair) -> bool {
        let node = self.index.get(&pair);
        node.is_some_and(|&node| self.nodes[node].fails_with.is_none())
    }

    /// The claims that hold among these, and everything that they rest on.
    pub(crate) fn reached(&self, roots: &[Pair]) -> Vec<Pair> {
        let mut seen = vec![false; self.nodes.len()];
        let mut found = Vec::new();
        let held = |node: &usize| self.nodes[*node].fails_with.is_none();
        let roots = roots
            .iter()
            .filter_map(|pair| self.index.get(pair).copied());
        let mut open: Vec<usize> = roots.filter(held).collect();
        while let Some(node) = open.pop() {
            if !std::mem::replace(&mut seen[node], true) {
                found.push(self.nodes[node].pair);
                open.extend(self.nodes[node].rests_on.iter().copied().filter(held));
            }
        }
        found
    }

    /// Whether an item was asked for and has a place.
    #[must_use]
    pub(crate) fn stands_somewhere(&self, item: ItemId) -> bool {
        let mut holding = self.nodes.iter().filter(|node| node.fails_with.is_none());
        holding.any(|node| node.pair.item == item)
    }

    /// The items that were asked for anywhere.
    #[must_use]
    pub(crate) fn asked_items(&self) -> foldhash::HashSet<ItemId> {
        self.nodes.iter().map(|node| node.pair.item).collect()
    }

    /// Why a claim does not hold: the claim that it comes down to, and what differs there.
    #[must_use]
    pub(crate) fn why(&self, pair: Pair) -> Option<(Pair, &Failure)> {
        let root = self.nodes[*self.index.get(&pair)?].fails_with?;
        let node = &self.nodes[root];
        Some((node.pair, node.outcome.failure.as_ref()?))
    }

    /// All claims that hold, in the order in which they were asked.
    pub(crate) fn holding(&self) -> impl Iterator<Item = Holding<'_>> {
        let nodes = self.nodes.iter().filter(|node| node.fails_with.is_none());
        nodes.map(|node| Holding {
            pair: node.pair,
            explained: node.outcome.explained,
            stamps: node.outcome.stamps,
            contents: &node.outcome.contents,
            slots: &node.outcome.slots,
        })
    }

    /// Whether only what the payload holds is looked at. Then a name of the base stands for
    /// whatever the base has of that name: whether that is as the build has it is the other half.
    fn is_of_payload_alone(&self) -> bool {
        self.payload.is_some() && self.claims.is_none()
    }

    /// Whether the author accepted that the payload has a copy of this variable.
    fn may_be_copied(&self, item: ItemId) -> bool {
        let mut names = self.tree.names(item);
        names.any(|symbol| self.copied.iter().any(|name| name == symbol.name))
    }

    /// Whether the author accepted that this item differs.
    #[must_use]
    pub(crate) fn is_accepted(&self, item: ItemId) -> bool {
        let names = self.tree.names(item);
        names.into_iter().any(|symbol| self.accepts(symbol.name))
    }

    /// Whether an accepted item may stand there in the place of the one that the base keeps: where
    /// that is, and not wherever something else leads. One that is new stands nowhere else.
    fn is_where_kept(&self, pair: Pair) -> bool {
        let (Some(claims), Place::Base(address)) = (self.claims, pair.place) else {
            return true;
        };
        let names = || self.tree.names(pair.item).map(|symbol| symbol.name);
        let has_name = |item: ItemId| {
            let mut theirs = claims.tree.names(item);
            theirs.any(|symbol| names().any(|name| name == symbol.name))
        };
        let mut there = claims.at(address).filter(|(start, _)| *start == address);
        there.any(|(_, item)| has_name(item)) || !claims.tree.items().any(has_name)
    }

    /// Whether the author accepted that something of this name differs.
    #[must_use]
    pub(crate) fn accepts(&self, name: &str) -> bool {
        self.accepted.iter().any(|accepted| accepted == name)
    }
}

/// A claim that holds.
#[derive(Debug)]
pub(crate) struct Holding<'follower> {
    /// The claim.
    pub pair: Pair,
    /// Bytes that differ and are proven to be line numbers.
    pub explained: u64,
    /// Bytes of texts that tell another time of the build.
    pub stamps: u64,
    /// Entries of merged sections that it leads to: place and length.
    pub contents: &'follower [(Place, u64)],
    /// Slots that hold the address of something that it leads to.
    pub slots: &'follower [Place],
}
