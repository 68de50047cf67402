//! CPU features by the number that alternatives use: word * 32 + bit, as Xen numbers them.

use core::arch::x86_64::{__cpuid, __cpuid_count};

/// Bit that turns the question round.
const NOT: u16 = 0x8000;

/// Whether this machine has the feature; numbers of words that the kernel does not know are
/// features that it does not have.
pub(crate) fn has(feature: u16) -> bool {
    let number = feature & !NOT;
    let word = match number / 32 {
        0 => __cpuid(1).edx,
        1 => __cpuid(1).ecx,
        5 => __cpuid_count(7, 0).ebx,
        _ => 0,
    };
    (word >> (number % 32) & 1 != 0) != (feature & NOT != 0)
}
