//! Compares and writes a few bytes of memory that means nothing to the compiler, in as few
//! instructions as can be: what is done for every record while all CPUs stand still.
//!
//! Words overlap rather than be taken byte by byte: eight bytes or more are a word at each multiple
//! of eight and one at the end.

use core::ptr::{read_volatile, write_volatile};

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

/// Writes the number at `address`.
///
/// # Safety
/// Its bytes are mapped and writable, and nothing refers to them.
#[inline]
unsafe fn put<T: Copy>(address: u64, number: T) {
    // SAFETY: the caller's promise.
    unsafe { write_volatile(address as *mut At<T>, At(number)) };
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
    if let Some(last) = bytes.len().checked_sub(8) {
        let mut offset = 0;
        while offset < last {
            // SAFETY: within the bytes, as `last` is the start of the last eight.
            let there = unsafe { load::<u64>(address + offset as u64) };
            if Some(there) != word(bytes, offset) {
                return false;
            }
            offset += 8;
        }
        // SAFETY: the last eight.
        return Some(unsafe { load(address + last as u64) }) == word(bytes, last);
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
