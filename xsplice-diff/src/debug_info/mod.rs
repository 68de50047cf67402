//! Reads debug information: line tables, types, the compiler and its options.

pub mod debug_sections;
pub mod line_table;
pub mod source_lines;
pub mod toolchain;
pub mod types;
