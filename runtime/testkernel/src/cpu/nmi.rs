//! NMIs: counted, held while text is being changed, delivered afterwards.
//!
//! Nothing can mask an NMI, so "held" means that the handler notes it and returns at once. The
//! handler's path calls no function that a payload may replace (they are in the deny list).

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::cpu::apic::{self, Tick};
use crate::cpu::{self, Cpu};

static HOLD: AtomicBool = AtomicBool::new(false);
/// The CPU that held them last.
static HOLDER: AtomicU32 = AtomicU32::new(NOBODY);
static HELD_EVER: AtomicU64 = AtomicU64::new(0);
/// The CPU that sends NMIs to all others, or [`NOBODY`].
static SENDER: AtomicU32 = AtomicU32::new(NOBODY);
const NOBODY: u32 = u32::MAX;

/// From now on NMIs are noted, not handled.
pub(crate) fn hold() {
    HOLDER.store(cpu::current_number(), Ordering::SeqCst);
    HOLD.store(true, Ordering::SeqCst);
}

/// The CPU that has NMIs held at this moment: the master of a rendezvous.
pub(crate) fn holder() -> Option<u32> {
    HOLD.load(Ordering::SeqCst)
        .then(|| HOLDER.load(Ordering::SeqCst))
}

/// NMIs are handled again; those noted meanwhile are delivered.
pub(crate) fn release() {
    HOLD.store(false, Ordering::SeqCst);
    for (_, cpu) in cpu::all() {
        deliver_held(cpu);
    }
}

/// How many NMIs were noted instead of handled at once, since boot.
pub(crate) fn held_ever() -> u64 {
    HELD_EVER.load(Ordering::Relaxed)
}

/// The handler. Named in the deny list.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nmi_arrived() {
    let cpu = cpu::current();
    cpu.nmis.fetch_add(1, Ordering::Relaxed);
    if SENDER.load(Ordering::Relaxed) == cpu::current_number() {
        apic::nmi_others();
    }
    if HOLD.load(Ordering::SeqCst) {
        cpu.nmis_held.fetch_add(1, Ordering::SeqCst);
        HELD_EVER.fetch_add(1, Ordering::Relaxed);
        // Noted after `release` came by: nobody else will look again.
        if !HOLD.load(Ordering::SeqCst) {
            deliver_held(cpu);
        }
    } else {
        deliver(cpu);
    }
}

fn deliver_held(cpu: &Cpu) {
    for _ in 0..cpu.nmis_held.swap(0, Ordering::SeqCst) {
        deliver(cpu);
    }
}

fn deliver(cpu: &Cpu) {
    cpu.nmis_delivered.fetch_add(1, Ordering::Relaxed);
}

/// Makes this CPU send NMIs to all others, and take one itself, `hz` times a second, whatever it
/// does and whether interrupts are on or not.
pub(crate) fn start_sending(hz: u32) {
    SENDER.store(cpu::current_number(), Ordering::Relaxed);
    apic::start_timer(hz, Tick::Nmi);
}

/// This CPU, if it was the one, sends no more; its timer may be set to something else.
pub(crate) fn stop_sending() {
    let me = cpu::current_number();
    // Another CPU's sending is not ours to end.
    let _ = SENDER.compare_exchange(me, NOBODY, Ordering::Relaxed, Ordering::Relaxed);
}
