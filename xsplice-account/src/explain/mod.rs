//! Differences that prove to be none: the closed list.

pub mod lines;
