//! Memory: page tables, the pool for payloads, the heap.

pub(crate) mod heap;
pub(crate) mod pages;
pub(crate) mod paging;
pub(crate) mod words;

/// Start of the mapping of all physical memory below 4 GiB.
pub const DIRECT_MAP: u64 = 0xffff_8000_0000_0000;
/// What the direct map covers, in bytes.
pub const DIRECT_MAP_BYTES: u64 = 4 << 30;
