//! Every CPU's work loop: the safe point, then calls of target functions whose results are checked.
//!
//! The runtime's epoch changes while all CPUs stand at their safe points, with each action. Within
//! one epoch a function has one value: the first CPU to get one writes it down, all others must get
//! the same. A call during which the epoch changes cannot happen and is counted as wrong too.

pub(crate) mod delays;
pub(crate) mod storm;
pub(crate) mod target;

use core::sync::atomic::{AtomicU64, Ordering};

use spin::Mutex;

use crate::boot::options;
use crate::console::channel::Channel;
use crate::console::debugcon::log;
use crate::cpu::apic;
use crate::cpu::clock;
use crate::cpu::nmi;
use crate::cpu::{self, Cpu, TimerSetting};
use crate::platform::{self, KernelRuntime};
use crate::work::target::CHECKS;

/// Results that did not agree.
static WRONG: AtomicU64 = AtomicU64::new(0);
/// What each check gives in the present epoch: one more than the epoch in the upper half (0: none
/// yet), the value in the lower.
static VALUES: [AtomicU64; CHECKS.len()] = [const { AtomicU64::new(0) }; CHECKS.len()];
/// So many wrong results are logged one by one.
const WRONG_LOGGED: u64 = 20;

/// The control channel, which the first CPU serves.
static CHANNEL: Mutex<Option<Channel>> = Mutex::new(None);

/// Hands the control channel to the first CPU's loop.
pub fn serve(channel: Channel) {
    *CHANNEL.lock() = Some(channel);
}

/// Results that did not agree, on all CPUs since boot.
pub fn wrong() -> u64 {
    WRONG.load(Ordering::Relaxed)
}

/// The loop, for the rest of this CPU's life. Named in the deny list.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn work_loop() -> ! {
    let cpu = cpu::current();
    let number = cpu::current_number();
    let runtime = platform::runtime().expect("the boot makes the runtime before any CPU works");
    let options = options::get();
    let is_worker = number < options.workers;
    let mut turns: u32 = 0;
    loop {
        turns = turns.wrapping_add(1);
        runtime.safe_point(platform::id(number));
        cpu.safe_points.store(
            cpu.safe_points.load(Ordering::Relaxed) + 1,
            Ordering::Relaxed,
        );
        obey(cpu);
        storm::turn(runtime, number);
        if is_worker {
            check_all(runtime, cpu);
        }
        if number == 0 {
            if is_worker {
                target::ticket();
            }
            if let Some(channel) = &mut *CHANNEL.lock() {
                channel.poll();
            }
            end_when_asked();
        } else if !is_worker || turns.checked_rem(options.burst) == Some(0) {
            // Until the next interrupt: a tick, or the kick that an action begins with.
            x86_64::instructions::hlt();
        }
    }
}

/// Does what a test has asked this CPU to.
fn obey(cpu: &Cpu) {
    match cpu.timer_to_set() {
        None => {}
        Some(TimerSetting::Interrupt { hz }) => {
            nmi::stop_sending();
            apic::start_timer(hz, apic::Tick::Interrupt);
        }
        Some(TimerSetting::Nmi { hz }) => nmi::start_sending(hz),
    }
    if cpu.hang_ns.load(Ordering::Relaxed) != 0 {
        x86_64::instructions::interrupts::without_interrupts(|| delays::spend(&cpu.hang_ns));
    }
}

/// Ends the run when `exit_after_ms=` is over.
fn end_when_asked() {
    let limit_ms = options::get().exit_after_ms;
    if limit_ms != 0 && clock::now_ns() / 1_000_000 >= limit_ms {
        for (number, cpu) in cpu::all() {
            log!(
                "cpu={number} calls={} timers={} nmis={} last_value={:#010x}",
                cpu.calls.load(Ordering::Relaxed),
                cpu.timers.load(Ordering::Relaxed),
                cpu.nmis.load(Ordering::Relaxed),
                cpu.last_value.load(Ordering::Relaxed)
            );
        }
        log!("wrong={}", wrong());
        crate::console::exit::exit(crate::console::exit::Status::Done);
    }
}

fn check_all(runtime: &KernelRuntime, cpu: &Cpu) {
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
