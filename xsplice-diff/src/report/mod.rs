//! The result of comparing one object, and what is concluded from it.

pub mod build_stamp;
pub mod json;
pub mod object_diff;
pub mod ripple;
