//! The proof by identity, run by `make identity`: what is the same must come out as the same.
//!
//! Real projects are fetched from the Debian archive and built twice, in two folders and at two
//! times. Then, with the command itself:
//!
//! * every object against itself, and against itself with a byte appended, so that nothing is
//!   skipped for being equal, is no functional change, and nothing is reported or ignored;
//! * of the two builds, what is reported is what another program finds different, and every item
//!   of it is known by name, with the reason why two builds of one source differ there.
//!
//! ```text
//! project ── archive ──> build ── two trees ──> judge ──> table
//! ```
//!
//! Nothing outside the cache folder is written.

pub mod build;
pub mod judge;
pub mod project;
pub mod run;
