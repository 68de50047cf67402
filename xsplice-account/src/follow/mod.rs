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

use std::ops::Range;

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
    /// Where in [`Follower::rests_on`] the claims are that must hold too.
    rests_on: Range<usize>,
    /// The claim that it fails with; itself where its own bytes or fields fail.
    fails_with: Option<usize>,
}

/// Which of the nodes from one on rest on each of them.
struct Above {
    first: usize,
    /// Where the users of each begin; one more than there are nodes.
    starts: Vec<usize>,
    users: Vec<usize>,
}

impl Above {
    fn of(nodes: &[Node], rests_on: &[usize], first: usize) -> Above {
        let mut starts = vec![0; nodes.len() + 1];
        let edges = || {
            let numbered = (first..).zip(nodes);
            numbered.flat_map(|(user, node)| {
                let below = rests_on[node.rests_on.clone()].iter();
                let below = below.filter_map(|below| below.checked_sub(first));
                below.map(move |below| (below, user))
            })
        };
        for (below, _) in edges() {
            starts[below + 1] += 1;
        }
        for below in 0..nodes.len() {
            starts[below + 1] += starts[below];
        }
        let mut ends = starts.clone();
        let mut users = vec![0; starts[nodes.len()]];
        for (below, user) in edges() {
            users[ends[below]] = user;
            ends[below] += 1;
        }
        Above {
            first,
            starts,
            users,
        }
    }

    fn of_node(&self, number: usize) -> &[usize] {
        let below = number - self.first;
        &self.users[self.starts[below]..self.starts[below + 1]]
    }
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
    /// Nodes that others rest on, by these.
    rests_on: Vec<usize>,
    /// How many nodes hold.
    held: usize,
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
            rests_on: Vec::new(),
            held: 0,
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
    /// holds of it leads to by their names, whose own places must then be asked for.
    ///
    /// What a claim rests on is asked with it, so that a claim of an earlier run rests on none of
    /// this one, and what became of it stays.
    pub(crate) fn run(&mut self) -> Vec<ItemId> {
        let first = self.nodes.len();
        let mut open: Vec<Vec<Pair>> = Vec::new();
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
                open.push(std::mem::take(&mut outcome.rests_on));
                self.nodes.push(Node {
                    pair,
                    outcome,
                    rests_on: 0..0,
                    fails_with: None,
                });
            }
        }
        for (node, pairs) in self.nodes[first..].iter_mut().zip(open) {
            let start = self.rests_on.len();
            let found = pairs
                .iter()
                .filter_map(|pair| self.index.get(pair).copied());
            self.rests_on.extend(found);
            node.rests_on = start..self.rests_on.len();
        }
        self.settle(first);
        let mut called = Vec::new();
        for node in &self.nodes[first..] {
            if node.fails_with.is_none() {
                self.held += 1;
                called.extend(&node.outcome.called);
            }
        }
        called.sort_unstable();
        called.dedup();
        called
    }

    /// Lets every failure of the nodes from `first` on, and of what they rest on, take along what
    /// rests on it.
    fn settle(&mut self, first: usize) {
        let above = Above::of(&self.nodes[first..], &self.rests_on, first);
        let mut failed = Vec::new();
        for (number, node) in (first..).zip(&mut self.nodes[first..]) {
            node.fails_with = node.outcome.failure.as_ref().map(|_| number);
            failed.extend(node.fails_with);
        }
        self.take_along(&above, failed);
        for number in first..self.nodes.len() {
            let node = &self.nodes[number];
            let mut earlier = self.rests_on[node.rests_on.clone()].iter();
            let with = earlier.find_map(|&below| self.nodes[below].fails_with);
            if node.fails_with.is_none() && with.is_some() {
                self.nodes[number].fails_with = with;
                self.take_along(&above, vec![number]);
            }
        }
    }

    fn take_along(&mut self, above: &Above, mut failed: Vec<usize>) {
        while let Some(number) = failed.pop() {
            for &user in above.of_node(number) {
                if self.nodes[user].fails_with.is_none() {
                    self.nodes[user].fails_with = self.nodes[number].fails_with;
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
                let below = &self.rests_on[self.nodes[node].rests_on.clone()];
                open.extend(below.iter().copied().filter(held));
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

    /// How many claims were looked at.
    #[must_use]
    pub(crate) fn looked_at(&self) -> usize {
        self.nodes.len()
    }

    /// How many of them hold.
    #[must_use]
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// All claims that hold, in the order in which they were asked.
    pub(crate) fn holding(&self) -> impl Iterator<Item = Holding<'_>> {
        self.holding_from(0)
    }

    /// Those of them that were not among the first `from` that were looked at.
    pub(crate) fn holding_from(&self, from: usize) -> impl Iterator<Item = Holding<'_>> {
        let nodes = self.nodes[from..].iter();
        let nodes = nodes.filter(|node| node.fails_with.is_none());
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
