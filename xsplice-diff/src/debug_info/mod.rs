//! Reads debug information: line tables, types, the compiler and its options.

pub(crate) mod call_sites;
pub(crate) mod debug_sections;
pub mod line_table;
pub mod source_lines;
pub mod toolchain;
pub(crate) mod types;
