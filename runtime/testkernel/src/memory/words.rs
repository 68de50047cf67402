//! Compares and writes a few bytes of memory that means nothing to the compiler, in as few
//! instructions as can be: what is done for every record while all CPUs stand still.
//!
//! Words overlap rather than be taken byte by byte: eight bytes or more are a word at each multiple
//! of eight and one at the end.

use core::ptr::read_volatile;

/// A number at any address.
#[derive(Clone, Copy)]
#[repr(C, packed)]
struct At<T: Copy>(T);

/// The number at `address`.
///
/// # Safety
/// Its bytes are mapped.
#[inline]
unsafe fn load<T: Copy>(address: u64) -> T {
    // SAFETY: the caller's promise; x86 reads unaligned numbers, which `packed` makes of them.
    unsafe { read_volatile(address as *const At<T>).0 }
}

/// Writes the number at `address`. Not volatile, which goes by way of the stack for unaligned
/// numbers: no write to memory that the program did not make can be left out.
///
/// # Safety
/// Its bytes are mapped and writable, and nothing refers to them.
#[inline]
unsafe fn put<T: Copy>(address: u64, number: T) {
    // SAFETY: the caller's promise.
    unsafe { (address as *mut T).write_unaligned(number) };
}

/// The eight bytes from `offset` on.
#[inline]
fn word(bytes: &[u8], offset: usize) -> Option<u64> {
    let bytes = bytes.get(offset..)?.first_chunk()?;
    Some(u64::from_ne_bytes(*bytes))
}

#[inline]
fn half(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

/// Whether `bytes` stand at `address`.
///
/// # Safety
/// As many bytes are mapped there.
#[inline]
pub(crate) unsafe fn hold(address: u64, bytes: &[u8]) -> bool {
    let is_word = |offset: usize| {
        // SAFETY: asked below for words within the bytes alone.
        let there = unsafe { load::<u64>(address + offset as u64) };
        Some(there) == word(bytes, offset)
    };
    // Most records expect as many bytes as they can: four words, without a loop.
    if let 25..=32 = bytes.len() {
        return is_word(0) && is_word(8) && is_word(16) && is_word(bytes.len() - 8);
    }
    if let Some(last) = bytes.len().checked_sub(8) {
        return (0..last).step_by(8).all(is_word) && is_word(last);
    }
    if let Some(last) = bytes.len().checked_sub(4) {
        // SAFETY: four to seven bytes: the first four.
        let first_there = unsafe { load::<u32>(address) };
        // SAFETY: and the last four.
        let last_there = unsafe { load::<u32>(address + last as u64) };
        return Some(first_there) == half(bytes, 0) && Some(last_there) == half(bytes, last);
    }
    (address..).zip(bytes).all(|(at, byte)| {
        // SAFETY: one of the bytes.
        unsafe { load::<u8>(at) == *byte }
    })
}

/// Writes `bytes` at `address`.
///
/// # Safety
/// As many bytes are mapped there and writable, and nothing refers to or executes them.
#[inline]
pub(crate) unsafe fn store(address: u64, bytes: &[u8]) {
    // A jump has five bytes, and most writes are one.
    if let [a, b, c, d, e] = bytes {
        // SAFETY: the first four of five bytes.
        unsafe { put(address, u32::from_ne_bytes([*a, *b, *c, *d])) };
        // SAFETY: the fifth.
        unsafe { put(address + 4, *e) };
        return;
    }
    if let Some(last) = bytes.len().checked_sub(8) {
        for offset in (0..last).step_by(8).chain([last]) {
            if let Some(word) = word(bytes, offset) {
                // SAFETY: within the bytes, as `last` is the start of the last eight.
                unsafe { put(address + offset as u64, word) };
            }
        }
        return;
    }
    if let Some(last) = bytes.len().checked_sub(4)
        && let (Some(first_half), Some(last_half)) = (half(bytes, 0), half(bytes, last))
    {
        // SAFETY: four to seven bytes: the first four.
        unsafe { put(address, first_half) };
        // SAFETY: and the last four.
        unsafe { put(address + last as u64, last_half) };
        return;
    }
    for (at, byte) in (address..).zip(bytes) {
        // SAFETY: one of the bytes.
        unsafe { put(at, *byte) };
    }
}
