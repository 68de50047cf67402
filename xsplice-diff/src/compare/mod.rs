//! Compares correlated items by their contents and by what they refer to.

pub mod build_stamp;
pub mod changes;
pub mod comparer;
pub mod constructors;
pub mod entry_differences;
pub mod inclusion;
pub mod line_numbers;
pub mod log_call;
pub mod pieces;
pub mod reserved_space;
pub mod special_entries;
pub mod users;
