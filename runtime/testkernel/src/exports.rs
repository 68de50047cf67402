//! What the kernel offers to payload code by name: shadow variables and the log. Payloads refer to
//! these as to any global of the base; runtime/include/xsplice.h declares the shadow variables.

use core::ffi::{CStr, c_char, c_int, c_ulong, c_void};
use core::ptr;

use xsplice_abi::errno::Errno;

use crate::debug_ports::debugcon::log;
use crate::platform::{self, KernelRuntime, Machine};

/// Payload code runs after the runtime was made.
fn runtime() -> &'static KernelRuntime {
    platform::runtime().expect("the boot makes the runtime before any payload is loaded")
}

fn pointer(address: Option<u64>) -> *mut c_void {
    address.map_or(ptr::null_mut(), |address| address as *mut c_void)
}

/// Address of the variable `number` of `object`, or null.
#[unsafe(no_mangle)]
extern "C" fn xsplice_shadow_get(object: *const c_void, number: c_ulong) -> *mut c_void {
    pointer(runtime().shadows().get(&Machine, object as u64, number))
}

/// Attaches a new variable of zeros; null when it is there already or there is no memory.
#[unsafe(no_mangle)]
extern "C" fn xsplice_shadow_attach(
    object: *const c_void,
    number: c_ulong,
    bytes: c_ulong,
) -> *mut c_void {
    let attached = runtime()
        .shadows()
        .attach(&Machine, object as u64, number, bytes);
    pointer(attached.ok())
}

/// Address of the variable, attached now if it was not there; null without memory.
#[unsafe(no_mangle)]
extern "C" fn xsplice_shadow_get_or_attach(
    object: *const c_void,
    number: c_ulong,
    bytes: c_ulong,
) -> *mut c_void {
    let variable = runtime()
        .shadows()
        .get_or_attach(&Machine, object as u64, number, bytes);
    pointer(variable.ok())
}

/// Frees the variable: 0, or -ENOENT.
#[unsafe(no_mangle)]
extern "C" fn xsplice_shadow_detach(object: *const c_void, number: c_ulong) -> c_int {
    let detached = runtime().shadows().detach(&Machine, object as u64, number);
    detached.map_or_else(Errno::negated, |()| 0)
}

/// Frees the variables of this number of all objects; returns how many there were.
#[unsafe(no_mangle)]
extern "C" fn xsplice_shadow_detach_all(number: c_ulong) -> c_ulong {
    runtime().shadows().detach_all(&Machine, number) as c_ulong
}

/// Writes a line to the log. Not for hooks that run inside the quiescent zone.
///
/// # Safety
/// `text` is NUL-terminated.
#[unsafe(no_mangle)]
unsafe extern "C" fn log_line(text: *const c_char) {
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(text) };
    log!("target: {}", text.to_str().unwrap_or("(not UTF-8)"));
}
