//! One rule a file: what no payload can carry, and what changes without any item changing.

pub mod boundary;
pub mod common_symbols;
pub mod definitions;
pub mod fall_through;
pub mod kept_place;
pub mod kind_changes;
pub mod notes;
pub mod ownerless_entries;
pub mod protection;
pub mod replaceable;
pub mod unknown_tables;
pub mod unowned_entries;
pub mod unreached_code;
pub mod unreferenced;
