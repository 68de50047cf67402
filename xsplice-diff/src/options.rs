//! What the caller decides about a diff.

use std::collections::BTreeMap;
use std::sync::Arc;

use xsplice_abi::{Profile, profile};

/// Choices for one run. They are the same for every object of a tree.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which hook and acknowledgement sections to look for.
    pub abi: &'static Profile,
    /// What the author has dealt with: `WHAT:NAME` or `WHAT`.
    pub accept: Vec<String>,
    /// The weak symbols of the original tree, defined or not, by name, each with the objects that
    /// have it. Who compares objects that [`crate::ObjectDiff::unsettled_names`] says something
    /// about compares them again with this filled.
    pub weak_elsewhere: Arc<BTreeMap<String, Vec<String>>>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            abi: &profile::XSPLICE,
            accept: Vec::new(),
            weak_elsewhere: Arc::default(),
        }
    }
}
