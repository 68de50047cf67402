//! Limits and defaults of the loader, which the tools respect.

/// Largest payload file, and largest NOBITS section, in bytes (Xen's `LIVEPATCH_MAX_SIZE`).
pub const PAYLOAD_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Longest payload name in bytes, its NUL included (`XEN_LIVEPATCH_NAME_SIZE`).
pub const NAME_BYTES_MAX: usize = 128;

/// Longest symbol name in bytes without its NUL (`KSYM_NAME_LEN`).
pub const SYMBOL_NAME_BYTES_MAX: usize = 127;

/// Most entries that one LIST call may ask for.
pub const LIST_ENTRIES_MAX: u32 = 1024;

/// A loader refuses payloads with this many section headers or more.
pub const SECTIONS_MAX: usize = 1024;

/// How long an action waits for the other CPUs when its timeout is 0, in nanoseconds.
pub const TIMEOUT_DEFAULT_NS: u32 = 30_000_000;

/// Page size of the payload's regions, in bytes.
pub const PAGE_BYTES: u64 = 4096;

/// Most bytes of an expectation, and of a NOP-only record (`LIVEPATCH_OPAQUE_SIZE`).
pub const EXPECT_BYTES_MAX: usize = 31;
