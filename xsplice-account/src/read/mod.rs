//! Reads the inputs of the account: the linked image, the two builds cut into items, the payload.

pub(crate) mod classes;
pub(crate) mod fields;
pub(crate) mod image;
pub(crate) mod items;
mod label_tables;
pub(crate) mod names;
pub(crate) mod payload;
pub(crate) mod tree;
