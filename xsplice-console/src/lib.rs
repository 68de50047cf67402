//! What the commands share: printing, atomic output files, inputs by path, the exit status, and the
//! `main` of a command.
//!
//! It is a crate of its own so that the libraries behind the commands do not depend on crates that
//! only a command line needs.
#![deny(unsafe_code)]

pub mod json;
pub(crate) mod mapped;
pub mod output;
pub mod process;
pub mod terminal;
pub mod tree;

pub use mapped::MappedFile;
pub use process::ExitStatus;
