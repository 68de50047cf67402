//! The oracle: judges payloads by what the patched code does, for changes that nobody thought of
//! when writing a case.
//!
//! A program is made from a seed and edited; both versions are built by a line of a matrix. Every
//! function is called in three images: the original, the one linked from the patched tree, and the
//! original with the payload; cold, and after calls that made state. The last two must answer
//! alike; where no payload is made because nothing changed, the first two. The loader is C of its
//! own (`runner/`), and also executes what tables of entries say.

pub mod campaign;
mod compilers;
mod constructs;
mod fork_server;
pub mod judge;
pub mod machine;
pub mod matrix;
pub mod program;
mod workshop;

/// How many constructs programs for a machine are made of.
#[must_use]
pub fn constructs_of(machine: machine::Machine) -> usize {
    constructs::Kind::of(machine).count()
}
