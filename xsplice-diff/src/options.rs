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
    /// What becomes of dates and times that every build writes anew.
    pub stamps: Stamps,
}

/// What becomes of functions that differ in nothing but the date and time of the build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stamps {
    /// They are no change.
    #[default]
    LeftOut,
    /// They are replaced, so that the new date is told.
    Included,
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
            stamps: Stamps::LeftOut,
        }
    }
}
