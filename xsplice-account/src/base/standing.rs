//! What was found of a build in its image so far. What holds goes on holding, so each round adds
//! what it found to what is known from those before.

use std::ops::Range;

use crate::follow::sections::{self, Candidates, Starts};
use crate::follow::{Follower, Place};
use crate::ranges::join;

/// A follower of a build in its own image, and what it has found.
#[derive(Debug)]
pub(crate) struct Standing<'run, 'data> {
    /// What was asked.
    pub follower: Follower<'run, 'data>,
    candidates: Candidates,
    covered: Vec<Range<u64>>,
    /// How many of the follower's claims are among these.
    added: usize,
}

impl<'run, 'data> Standing<'run, 'data> {
    /// Nothing found yet.
    pub(super) fn new(follower: Follower<'run, 'data>) -> Standing<'run, 'data> {
        Standing {
            follower,
            candidates: Candidates::default(),
            covered: Vec::new(),
            added: 0,
        }
    }

    /// Compares everything that was asked.
    pub(super) fn run(&mut self) {
        self.follower.run();
        let tree = self.follower.tree;
        let new = || self.follower.holding_from(self.added);
        self.candidates.add(tree, new());
        for found in new() {
            let size = tree.item(found.pair.item).size();
            let contents = found.contents.iter().copied();
            for (place, size) in contents.chain([(found.pair.place, size)]) {
                if let Place::Base(address) = place {
                    self.covered.push(address..address.saturating_add(size));
                }
            }
        }
        self.covered = join(std::mem::take(&mut self.covered));
        self.added = self.follower.looked_at();
    }

    /// Where everything may begin that was found.
    pub(super) fn candidates(&self) -> &Candidates {
        &self.candidates
    }

    /// Where each section begins of which something was found.
    pub(crate) fn starts(&self) -> Starts {
        sections::starts(self.follower.tree, &self.candidates)
    }

    /// What was found, by address, without overlaps.
    pub(super) fn covered(&self) -> &[Range<u64>] {
        &self.covered
    }
}
