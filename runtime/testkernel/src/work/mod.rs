//! What workers do: calls of target functions whose results are checked, and what a test asks for
//! besides.
//!
//! The runtime's epoch changes while all CPUs stand at their safe points, with each action. Within
//! one epoch a function has one value: the first CPU to get one writes it down, all others must get
//! the same. A call during which the epoch changes cannot happen and is counted as wrong too.

pub(crate) mod storm;
pub(crate) mod target;

use core::sync::atomic::{AtomicU64, Ordering};

use crate::cpu::Cpu;
use crate::debug_ports::debugcon::log;
use crate::platform::KernelRuntime;
use crate::work::target::CHECKS;

/// Results that did not agree.
static WRONG: AtomicU64 = AtomicU64::new(0);
/// What each check gives in the present epoch: one more than the epoch in the upper half (0: none
/// yet), the value in the lower.
static VALUES: [AtomicU64; CHECKS.len()] = [const { AtomicU64::new(0) }; CHECKS.len()];
/// So many wrong results are logged one by one.
const WRONG_LOGGED: u64 = 20;

/// Results that did not agree, on all CPUs since boot.
pub(crate) fn wrong() -> u64 {
    WRONG.load(Ordering::Relaxed)
}

/// Runs every check on this CPU.
pub(crate) fn check_all(runtime: &KernelRuntime, cpu: &Cpu) {
    for (index, (check, slot)) in CHECKS.iter().zip(&VALUES).enumerate() {
        let before = runtime.epoch();
        let value = (check.run)();
        let after = runtime.epoch();
        if before != after {
            WRONG.fetch_add(1, Ordering::Relaxed);
            log!(
                "wrong: {}: text changed during the call, epoch {before} to {after}",
                check.name
            );
        } else if let Err(expected) = agree(slot, before, value)
            && WRONG.fetch_add(1, Ordering::Relaxed) < WRONG_LOGGED
        {
            log!(
                "wrong: {}: {value:#x}, but epoch {before} has {:#x} of epoch {}",
                check.name,
                expected & u64::from(u32::MAX),
                (expected >> 32).wrapping_sub(1)
            );
        }
        if index == 0 {
            cpu.last_value.store(value, Ordering::Relaxed);
        }
    }
    let calls = cpu.calls.load(Ordering::Relaxed) + CHECKS.len() as u64;
    cpu.calls.store(calls, Ordering::Relaxed);
}

/// Compares with what `slot` says for this epoch, or writes it down as the first.
fn agree(slot: &AtomicU64, epoch: u64, value: u32) -> Result<(), u64> {
    let mine = (epoch + 1) << 32 | u64::from(value);
    let mut present = slot.load(Ordering::SeqCst);
    loop {
        if present == mine {
            return Ok(());
        }
        // Another value of this epoch, or one of a later epoch that this CPU did not take part in.
        if present >> 32 > epoch {
            return Err(present);
        }
        match slot.compare_exchange(present, mine, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return Ok(()),
            Err(now) => present = now,
        }
    }
}
