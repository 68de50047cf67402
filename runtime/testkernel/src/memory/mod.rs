//! Memory: page tables, the pool for payloads, the heap.

pub(crate) mod heap;
pub(crate) mod pages;
pub(crate) mod paging;
pub(crate) mod words;
