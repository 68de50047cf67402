//! Makes every CPU flush its TLB, and tracks which CPUs have done so.

use core::sync::atomic::{AtomicU64, Ordering};

use spin::Mutex;

use crate::cpu;
use crate::cpu::apic;
use crate::cpu::clock;
use crate::memory::paging;

/// How long to wait for the other CPUs. A CPU that spins with interrupts off does not answer; with
/// many more CPUs than the host has cores, all others do so in a second or two.
const TIMEOUT_NS: u64 = 10_000_000_000;

/// Stands for the flush that is wanted; each CPU's [`DONE`] follows it.
static WANTED: AtomicU64 = AtomicU64::new(0);
static DONE: [AtomicU64; cpu::CPUS_MAX] = [const { AtomicU64::new(0) }; cpu::CPUS_MAX];
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// This CPU, number `number`, flushes for whoever asked.
pub fn flushed(number: u32) {
    let wanted = WANTED.load(Ordering::SeqCst);
    paging::flush_all();
    if let Some(done) = usize::try_from(number)
        .ok()
        .and_then(|index| DONE.get(index))
    {
        done.store(wanted, Ordering::SeqCst);
    }
}

/// Has every online CPU flush. Calls `late` with the number of each CPU that did not answer in
/// time.
pub fn flush_everywhere(mut late: impl FnMut(u32)) {
    let _guard = ONE_AT_A_TIME.lock();
    let wanted = WANTED.fetch_add(1, Ordering::SeqCst) + 1;
    flushed(cpu::current_number());
    apic::interrupt_others(apic::VECTOR_FLUSH);
    let give_up = clock::now_ns().saturating_add(TIMEOUT_NS);
    for ((number, cpu), done) in cpu::all().zip(&DONE) {
        while cpu.online.load(Ordering::Acquire) && done.load(Ordering::SeqCst) < wanted {
            if clock::now_ns() > give_up {
                late(number);
                break;
            }
            core::hint::spin_loop();
        }
    }
}
