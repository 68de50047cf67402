//! Time since boot, from the time-stamp counter measured against the interval timer (i8254).
//!
//! QEMU's counters of all CPUs run together, so one scale serves every CPU.

use core::arch::x86_64::_rdtsc;
use core::sync::atomic::{AtomicU64, Ordering};

use x86_64::instructions::port::Port;

/// The i8254's input clock in Hz.
const PIT_HZ: u64 = 1_193_182;
/// How long to measure, in ticks of the i8254: 10 ms.
const PIT_TICKS: u64 = PIT_HZ / 100;
const PIT_COMMAND: u16 = 0x43;
const PIT_CHANNEL_0: u16 = 0x40;
/// Channel 0, both bytes, mode 0 (count down once).
const PIT_MODE_ONCE: u8 = 0x30;
/// Latch channel 0's count.
const PIT_LATCH: u8 = 0x00;
/// Taken when the i8254 does not count: the scale is then unknown but the clock still runs.
const TSC_HZ_FALLBACK: u64 = 1_000_000_000;

static TSC_START: AtomicU64 = AtomicU64::new(0);
static TSC_HZ: AtomicU64 = AtomicU64::new(TSC_HZ_FALLBACK);

/// The time-stamp counter.
pub(crate) fn tsc() -> u64 {
    // SAFETY: every x86-64 CPU has the counter, and CR4.TSD is clear.
    unsafe { _rdtsc() }
}

/// Measures the time-stamp counter's rate. Called once, by the first CPU.
///
/// A host that takes the CPU away in the middle makes a measurement wrong, so it is repeated until
/// two agree.
pub(crate) fn calibrate() {
    TSC_START.store(tsc(), Ordering::Relaxed);
    if let Some(hz) = agreed(measure_hz) {
        TSC_HZ.store(hz, Ordering::Relaxed);
    }
}

/// How often a measurement is repeated at most.
const MEASUREMENTS_MAX: usize = 50;
/// Two measurements agree that differ by less than one part in so many.
const AGREEMENT: u64 = 100;

/// The first result of `measure` that the one before agrees with, else the last one; `None` when
/// there is none.
pub(crate) fn agreed(mut measure: impl FnMut() -> Option<u64>) -> Option<u64> {
    let mut before = measure()?;
    for _ in 1..MEASUREMENTS_MAX {
        let now = measure()?;
        if now.abs_diff(before) <= now / AGREEMENT {
            return Some(now);
        }
        before = now;
    }
    Some(before)
}

/// One measurement of the time-stamp counter's rate in Hz; `None` when the i8254 does not count.
fn measure_hz() -> Option<u64> {
    arm_pit(u16::MAX);
    let (first, tsc_first) = (pit_count(), tsc());
    // A stopped timer must not stop the boot.
    let give_up = tsc_first.wrapping_add(2_000_000_000);
    loop {
        let elapsed = u64::from(first.wrapping_sub(pit_count()));
        let now = tsc();
        if elapsed >= PIT_TICKS {
            let ticks = u128::from(now.wrapping_sub(tsc_first));
            return u64::try_from(ticks * u128::from(PIT_HZ) / u128::from(elapsed)).ok();
        }
        if now > give_up {
            return None;
        }
    }
}

/// The measured rate of the time-stamp counter, in Hz.
pub(crate) fn tsc_hz() -> u64 {
    TSC_HZ.load(Ordering::Relaxed)
}

/// Nanoseconds since boot.
pub(crate) fn now_ns() -> u64 {
    let ticks = tsc().wrapping_sub(TSC_START.load(Ordering::Relaxed));
    let ns = u128::from(ticks) * 1_000_000_000 / u128::from(tsc_hz().max(1));
    u64::try_from(ns).unwrap_or(u64::MAX)
}

/// Spins for `ns` nanoseconds.
pub(crate) fn spin_ns(ns: u64) {
    let until = now_ns().saturating_add(ns);
    while now_ns() < until {
        core::hint::spin_loop();
    }
}

/// Starts channel 0 counting down from `count`.
fn arm_pit(count: u16) {
    let [low, high] = count.to_le_bytes();
    let mut data = Port::<u8>::new(PIT_CHANNEL_0);
    // SAFETY: channel 0 is nobody else's, and its interrupt is masked in the controller.
    unsafe { Port::<u8>::new(PIT_COMMAND).write(PIT_MODE_ONCE) };
    // SAFETY: as above; low byte first.
    unsafe { data.write(low) };
    // SAFETY: as above.
    unsafe { data.write(high) };
}

/// Reads channel 0's count.
fn pit_count() -> u16 {
    let mut data = Port::<u8>::new(PIT_CHANNEL_0);
    // SAFETY: latching has no effect but on the next two reads.
    unsafe { Port::<u8>::new(PIT_COMMAND).write(PIT_LATCH) };
    // SAFETY: first read of a latched count: the low byte.
    let low = unsafe { data.read() };
    // SAFETY: second read: the high byte.
    let high = unsafe { data.read() };
    u16::from_le_bytes([low, high])
}
