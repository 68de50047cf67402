//! What the commands share: printing, outputs that appear whole or not at all, inputs by path,
//! the exit status, and how a command begins and ends.
//!
//! It exists so that the libraries behind the commands need none of the crates that only a
//! command line needs.
#![deny(unsafe_code)]

pub mod json;
pub mod mapped;
pub mod output;
pub mod process;
pub mod terminal;

pub use mapped::MappedFile;
pub use process::ExitStatus;
