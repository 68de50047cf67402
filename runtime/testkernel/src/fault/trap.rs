//! What the kernel does about each vector: counts interrupts, holds NMIs, continues at fix-ups,
//! reports bug frames, and ends the run with the registers on anything else.

use x86_64::registers::control::Cr2;

use crate::cpu;
use crate::cpu::apic;
use crate::cpu::gates::vector;
use crate::cpu::nmi;
use crate::cpu::tlb;
use crate::debug_ports::debugcon::log;
use crate::debug_ports::exit::{Status, exit};
use crate::fault::location;
use crate::fault::tables;

/// Registers as asm/entry.S pushes them, then what the processor pushed.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Frame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rax: u64,
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}
const _: () = assert!(size_of::<Frame>() == 22 * 8);

const TIMER: u64 = apic::VECTOR_TIMER as u64;
const KICK: u64 = apic::VECTOR_KICK as u64;
const FLUSH: u64 = apic::VECTOR_FLUSH as u64;
const SPURIOUS: u64 = apic::VECTOR_SPURIOUS as u64;

/// Called by asm/entry.S with interrupts off, on the vector's own stack.
#[unsafe(no_mangle)]
extern "C" fn trap_entry(frame: &mut Frame) {
    // Copied, as two of the arms change the frame in their guards.
    let vector = frame.vector;
    match vector {
        vector::NMI => nmi::nmi_arrived(),
        TIMER => {
            bump(&cpu::current().timers);
            apic::end_of_interrupt();
        }
        // The interrupt itself is the message: it ends a halt, and the CPU's next safe point looks.
        KICK => {
            bump(&cpu::current().kicks);
            apic::end_of_interrupt();
        }
        FLUSH => {
            tlb::flushed(cpu::current_number());
            apic::end_of_interrupt();
        }
        SPURIOUS => {}
        vector::INVALID_OPCODE if tables::report_bug(frame) => {}
        vector::PROTECTION | vector::PAGE_FAULT if tables::fix_up(frame) => {}
        _ => fatal(frame),
    }
}

/// Adds one to a counter that only this CPU writes.
fn bump(counter: &core::sync::atomic::AtomicU64) {
    use core::sync::atomic::Ordering::Relaxed;
    counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
}

/// Prints the registers and where they point, and ends the run.
fn fatal(frame: &Frame) -> ! {
    let cr2 = Cr2::read_raw();
    log!(
        "fatal: vector {} error {:#x} at {:#018x}{}",
        frame.vector,
        frame.error,
        frame.rip,
        location::Location(frame.rip)
    );
    log!(
        "  rax={:016x} rbx={:016x} rcx={:016x}",
        frame.rax,
        frame.rbx,
        frame.rcx
    );
    log!(
        "  rdx={:016x} rsi={:016x} rdi={:016x}",
        frame.rdx,
        frame.rsi,
        frame.rdi
    );
    log!(
        "  rbp={:016x} rsp={:016x}  r8={:016x}",
        frame.rbp,
        frame.rsp,
        frame.r8
    );
    log!(
        "   r9={:016x} r10={:016x} r11={:016x}",
        frame.r9,
        frame.r10,
        frame.r11
    );
    log!(
        "  r12={:016x} r13={:016x} r14={:016x}",
        frame.r12,
        frame.r13,
        frame.r14
    );
    log!(
        "  r15={:016x} rfl={:016x} cr2={cr2:016x}",
        frame.r15,
        frame.rflags
    );
    exit(Status::Fault)
}
