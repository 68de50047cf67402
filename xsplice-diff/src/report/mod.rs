//! The result for one object, and the step that judges all objects of a run.

pub mod build_stamps;
pub mod json;
pub mod judge;
pub mod lists;
pub mod object_diff;
pub mod ripple;
pub mod written;
