//! Reads an object once into checked indices: sections, symbols, relocations, the items that they
//! make up, and the entries of special sections.

pub(crate) mod empty_replacements;
pub mod error;
pub mod indices;
pub(crate) mod items;
pub(crate) mod labels;
pub mod names;
pub mod object;
pub(crate) mod object_entries;
pub(crate) mod padding;
pub(crate) mod relocation;
pub(crate) mod resolved_fields;
pub mod section_class;
pub mod side;
pub(crate) mod source_files;
pub(crate) mod special_pieces;
pub(crate) mod special_sections;
pub(crate) mod strings;
pub(crate) mod unused_messages;
mod uses;
pub(crate) mod walked;
