//! From two builds to a payload: pairs the trees, runs the differ on every pair and the linker
//! on what came out, and tells people and pipelines what was done.
//!
//! No rule about ELF lives here; this crate decides only what is read, what is written, and in
//! which order.
#![forbid(unsafe_code)]

pub mod archives;
pub mod arguments;
pub mod base;
pub mod budget;
pub mod callers;
pub mod compare;
pub mod dependencies;
pub mod html;
pub mod hunks;
pub mod inputs;
pub mod layouts;
pub mod manual;
pub mod merged;
pub mod name;
pub mod pair;
pub mod patch_file;
pub mod payload;
pub mod progress;
pub mod proof;
pub mod report;
pub mod run;
pub mod source;
pub mod story;
pub mod toolchain;
pub mod voice;

pub use arguments::Arguments;
pub use run::{ExitStatus, run};
