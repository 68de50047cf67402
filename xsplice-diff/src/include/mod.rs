//! Decides what a payload has to include, and cuts it out of the patched object.

pub mod carve;
pub mod described_size;
pub mod originals;
pub mod reach;
