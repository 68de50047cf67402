//! The tests of `xsplice-ctl`: one program, so that the crate is linked once.

mod listing;
mod runtime;
mod server;
#[path = "../../tests/support/mod.rs"]
mod support;
mod tool;
