//! The caller's choices for a diff.

use std::collections::BTreeSet;

use xsplice_abi::{Profile, profile};

/// Choices for one run. They are the same for every object of a tree.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which hook and accept sections to look for.
    pub abi: &'static Profile,
    /// What the author has dealt with: `WHAT:NAME` or `WHAT`.
    pub accept: Vec<String>,
}

/// Names of original items that the base does not have, locals with their file: each as the base
/// would know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dropped(pub BTreeSet<(String, Option<String>)>);

impl Default for Options {
    fn default() -> Self {
        Options {
            abi: &profile::XSPLICE,
            accept: Vec::new(),
        }
    }
}
