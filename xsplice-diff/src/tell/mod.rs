//! Reports for people: lines of text, disassembly, explanations.

pub mod code_page;
pub mod disassembly;
pub mod explain;
pub mod function_code;
pub mod referrers;
pub mod text;
pub mod wording;
