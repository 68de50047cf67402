//! Reads the inputs of the account: the linked image, the two builds cut into items, the payload.

pub mod fields;
pub mod image;
pub mod items;
pub mod payload;
pub mod tree;
