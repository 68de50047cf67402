//! The closed list of differences that are proven not to matter.

pub mod lines;
