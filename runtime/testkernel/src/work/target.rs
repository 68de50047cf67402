//! The C functions of fixtures/target that the kernel calls: what payloads replace.

use core::ffi::{CStr, c_char, c_int};

unsafe extern "C" {
    safe fn extra_version() -> *const c_char;
    safe fn hot_mix(seed: u32) -> u32;
    safe fn run_operation(index: u32, value: u32) -> u32;
    safe fn take_ticket() -> u64;
    safe fn tickets_taken() -> u64;
    safe fn weigh(value: u32) -> u32;
    safe fn greeting(index: u32) -> *const c_char;
    safe fn always_zero() -> u32;
    safe fn check_range(value: u32) -> u32;
    safe fn check_depth(value: u32) -> u32;
    safe fn provoke_warning(value: u32) -> u32;
    fn read_word(address: *const u64, value: *mut u64) -> c_int;
    safe fn chosen_path() -> u32;
}

/// One thing that every worker does and checks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check {
    /// For messages.
    pub name: &'static str,
    /// Runs target functions on fixed arguments; gives the same value on every CPU.
    pub run: fn() -> u32,
}

/// What every worker does, over and over. The first is the hot function, whose value is shown.
pub(crate) const CHECKS: [Check; 7] = [
    Check {
        name: "hot_mix",
        run: || (0..8).fold(0, |sum: u32, seed| sum ^ hot_mix(seed)),
    },
    Check {
        name: "run_operation",
        run: || {
            (0..6).fold(0, |sum: u32, index| {
                sum.wrapping_add(run_operation(index, 0x0102_0304))
            })
        },
    },
    Check {
        name: "weigh",
        run: || weigh(0xf0f0_1234),
    },
    Check {
        name: "greeting",
        run: || {
            (0..4).fold(0, |sum: u32, index| {
                sum.wrapping_mul(31) ^ hash(text(greeting(index)))
            })
        },
    },
    Check {
        name: "extra_version",
        run: || hash(text(extra_version())),
    },
    Check {
        name: "always_zero",
        run: || always_zero(),
    },
    Check {
        name: "check",
        run: || check_range(123_456_789) ^ check_depth(987_654_321),
    },
];

/// A hash of a string (FNV-1a).
fn hash(text: &CStr) -> u32 {
    text.to_bytes()
        .iter()
        .fold(0x811c_9dc5, |hash: u32, &byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        })
}

fn text(address: *const c_char) -> &'static CStr {
    // SAFETY: the target's functions return NUL-terminated string literals, of the image or of a
    // payload that is applied and thus not unloaded while a caller may hold the string: callers
    // use it before their next safe point.
    unsafe { CStr::from_ptr(address) }
}

/// What `extra_version()` says at this moment.
pub(crate) fn version() -> &'static str {
    text(extra_version()).to_str().unwrap_or("(not UTF-8)")
}

/// Takes a ticket; the first CPU alone does so. Returns the number of the ticket.
pub(crate) fn ticket() -> u64 {
    take_ticket()
}

/// How many tickets were taken.
pub(crate) fn tickets() -> u64 {
    tickets_taken()
}

/// Runs into the warning for odd values.
pub(crate) fn warn(value: u32) -> u32 {
    provoke_warning(value)
}

/// Reads the word at `address` through the exception table: the error (0 or negative) and the word.
pub(crate) fn read(address: u64) -> (i32, u64) {
    let mut value = 0;
    // SAFETY: a fault at `address` is what the function's exception table entry is for; reading
    // mapped memory has no effect; `value` is ours.
    let error = unsafe { read_word(address as *const u64, &raw mut value) };
    (error, value)
}

/// Which alternative is in the code.
pub(crate) fn path() -> u32 {
    chosen_path()
}
