//! Decides what a payload has to include, and cuts it out of the patched object.

pub(crate) mod carve;
pub(crate) mod described_size;
pub(crate) mod originals;
pub(crate) mod reach;
mod references;
