//! From two builds to a payload: pairs the objects of both trees, runs the differ on every pair and
//! the linker on the extracts, and reports to people and pipelines.
//!
//! No rule about ELF lives here; this crate decides only what is read, what is written, and in
//! which order.
#![forbid(unsafe_code)]

pub(crate) mod account;
pub(crate) mod budget;
pub mod command;
pub mod compare;
pub mod hunks;
pub mod inputs;
pub(crate) mod many;
pub(crate) mod payload;
pub mod run;
pub(crate) mod source;
pub(crate) mod store;
pub mod tell;

pub use command::arguments::Arguments;
pub use run::run;
pub use xsplice_console::ExitStatus;
