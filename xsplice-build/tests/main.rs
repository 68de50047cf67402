//! The tests of the driver: one program, so that the crate is linked once.

mod aarch64;
mod addresses;
mod alternatives;
mod archives;
mod callers;
mod code_pages;
mod hunks;
mod lost_hunks;
mod many;
mod member_order;
mod merged;
mod messages;
mod source;
mod store;
mod support;
mod tables;
