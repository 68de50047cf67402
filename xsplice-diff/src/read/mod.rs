//! Reads an object once into checked indices: sections, symbols, relocations, the items that they
//! make up, and the entries of special sections.

pub mod error;
pub mod items;
pub mod names;
pub mod object;
pub mod object_entries;
pub mod padding;
pub mod relocation;
pub mod resolved_fields;
pub mod section_class;
pub mod side;
pub mod source_files;
pub mod special_pieces;
pub mod special_sections;
pub mod strings;
