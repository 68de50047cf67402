//! One rule a file: each refuses a kind of change that a payload cannot contain, or that no
//! comparison of items shows.

pub mod boundary;
pub mod common_symbols;
pub mod definitions;
pub mod fall_through;
pub mod kept_place;
pub mod kind_changes;
pub mod left_behind_entries;
pub mod notes;
pub mod protection;
pub mod replaceable;
pub mod unknown_tables;
pub mod unowned_entries;
pub mod unreached_code;
pub mod unreferenced;
