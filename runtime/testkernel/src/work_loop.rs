//! Every CPU's work loop: the safe point, what a test asks of the CPU, then the checks; the first
//! CPU serves the control channel besides.

use core::sync::atomic::Ordering;

use spin::Mutex;

use crate::boot::options;
use crate::console::channel::Channel;
use crate::cpu::apic;
use crate::cpu::clock;
use crate::cpu::delays;
use crate::cpu::nmi;
use crate::cpu::smp::{self, Stacks};
use crate::cpu::{self, Cpu, TimerSetting};
use crate::debug_ports::debugcon::log;
use crate::debug_ports::exit::{Status, exit};
use crate::platform;
use crate::work::{check_all, storm, target, wrong};

/// The control channel, which the first CPU serves.
static CHANNEL: Mutex<Option<Channel>> = Mutex::new(None);

/// Hands the control channel to the first CPU's loop.
pub(crate) fn serve(channel: Channel) {
    *CHANNEL.lock() = Some(channel);
}

/// The loop, for the rest of this CPU's life. Named in the deny list.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn work_loop() -> ! {
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
            cpu.halt();
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
        exit(Status::Done);
    }
}

/// Leaves the boot stack, which has no unmapped page below it, for the first CPU's work stack.
pub(crate) fn enter(stacks: Stacks) -> ! {
    // SAFETY: (1) the work stack is mapped and empty; its top is a multiple of 16, as the call
    // expects; (2) nothing on the stack that is left is used again.
    unsafe {
        core::arch::asm!(
            "mov rsp, {top}",
            "xor ebp, ebp",
            "call {work_loop}",
            "ud2",
            top = in(reg) stacks.work,
            work_loop = sym work_loop,
            options(noreturn)
        )
    }
}

/// Where asm/ap.S arrives, on its work stack.
#[unsafe(no_mangle)]
extern "C" fn ap_main(number: u32) -> ! {
    smp::arrive(number);
    work_loop()
}
