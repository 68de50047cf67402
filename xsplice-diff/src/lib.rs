//! Compares two builds of one object and extracts what changed.
//!
//! [`diff_objects`] does it all: it reads both objects, correlates their items, compares them,
//! decides what to include and what to refuse, and cuts the [`extract`] for the linker out of the
//! patched object.
#![forbid(unsafe_code)]

#[cfg(feature = "command")]
pub mod command;
pub(crate) mod compare;
pub mod correlate;
pub mod debug_info;
mod diff;
pub mod extract;
pub mod html;
pub(crate) mod include;
pub mod layouts;
pub mod machine;
pub mod merged;
pub mod options;
pub mod read;
pub mod report;
pub(crate) mod rules;
pub mod tell;
pub mod verdict;

pub use extract::{Extract, OriginalItem};
pub use include::originals::Originals;
pub use options::Options;
pub use read::error::{DiffError, ExtractError};
pub use read::source_files::source_files;
pub use report::object_diff::{ObjectDiff, Verdict};
pub use rules::definitions::SharedNames;

pub use diff::{
    defined_names, diff_builds, diff_objects, drop_whole, gather, gather_without, local_variables,
    originals, refuse_foreign, shared_names, take_whole,
};
