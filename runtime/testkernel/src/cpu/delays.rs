//! Delays that a test asks of a CPU: to be away, or to be slow at one of the places where others
//! wait for it. Each ends after its time, or as soon as the test says so.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::cpu;
use crate::cpu::clock;

/// Spends the time that `wanted` asks for, in nanoseconds, if it does; it is then asked for no
/// more.
pub(crate) fn spend(wanted: &AtomicU64) {
    let ns = wanted.swap(0, Ordering::Relaxed);
    if ns == 0 {
        return;
    }
    let cpu = cpu::current();
    let until = clock::now_ns().saturating_add(ns);
    cpu.is_delayed.store(true, Ordering::SeqCst);
    while clock::now_ns() < until && !cpu.delay_ends.load(Ordering::SeqCst) {
        core::hint::spin_loop();
    }
    cpu.is_delayed.store(false, Ordering::SeqCst);
}

/// Asks for a delay of `ns` nanoseconds.
pub(crate) fn ask(cpu: &cpu::Cpu, wanted: &AtomicU64, ns: u64) {
    cpu.delay_ends.store(false, Ordering::SeqCst);
    wanted.store(ns, Ordering::SeqCst);
}

/// Ends the delays of `cpu`: the one that it spends and those that it has not begun.
pub(crate) fn end(cpu: &cpu::Cpu) {
    for wanted in [
        &cpu.hang_ns,
        &cpu.slow_stop_ns,
        &cpu.slow_leave_ns,
        &cpu.slow_send_ns,
    ] {
        wanted.store(0, Ordering::SeqCst);
    }
    cpu.delay_ends.store(true, Ordering::SeqCst);
}
