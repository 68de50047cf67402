//! Compares correlated items by their contents and by what they refer to.

pub(crate) mod build_stamp;
pub(crate) mod changes;
pub(crate) mod comparer;
pub(crate) mod constants;
pub(crate) mod constructors;
pub(crate) mod entry_differences;
mod gaps;
pub(crate) mod inclusion;
pub(crate) mod line_numbers;
pub(crate) mod log_call;
pub(crate) mod pieces;
pub(crate) mod placement;
pub(crate) mod reserved_space;
pub(crate) mod special_entries;
pub(crate) mod type_hash;
pub(crate) mod users;
