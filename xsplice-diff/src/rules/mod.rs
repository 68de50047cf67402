//! One rule a file: each refuses a kind of change that a payload cannot contain, or that no
//! comparison of items shows.

pub(crate) mod begun_references;
pub(crate) mod boundary;
pub(crate) mod common_symbols;
pub(crate) mod definitions;
pub(crate) mod fall_through;
pub(crate) mod handed_out;
pub(crate) mod kept_alignment;
pub(crate) mod kept_place;
pub(crate) mod kind_changes;
pub(crate) mod left_behind_entries;
pub(crate) mod notes;
pub(crate) mod protection;
pub(crate) mod replaceable;
pub(crate) mod unknown_tables;
pub(crate) mod unowned_entries;
pub(crate) mod unreached_code;
pub(crate) mod unreferenced;
