//! The tests of the linker: one program, so that the crate is linked once.

mod base;
mod commands;
mod damage;
mod linkers;
mod mutation;
mod outlook;
mod payload;
mod proof;
mod refusals;
mod relaxed;
mod sign;
mod support;
mod traps;
mod trees;
