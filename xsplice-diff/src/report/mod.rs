//! The result of comparing one object, and what is concluded from it.

pub mod build_stamps;
pub mod json;
pub mod judge;
pub mod lists;
pub mod object_diff;
pub mod ripple;
pub mod written;
