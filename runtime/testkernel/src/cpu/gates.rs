//! Descriptor tables: one code segment, one task segment a CPU, and gates that all switch stacks.
//!
//! Every vector has an interrupt stack, because compiled code keeps values in the 128 bytes below
//! its stack pointer (the red zone) and the prebuilt libraries were compiled that way: a handler
//! that pushed there would change them.

use alloc::boxed::Box;

use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, SS, Segment};
use x86_64::instructions::tables::{lidt, load_tss};
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use x86_64::structures::tss::TaskStateSegment;

/// Tops of the stacks that one CPU takes its interrupts on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InterruptStacks {
    /// Timer and interprocessor interrupts.
    pub interrupts: u64,
    /// NMIs.
    pub nmi: u64,
    /// Faults.
    pub faults: u64,
    /// Double faults.
    pub double_fault: u64,
}

const IST_INTERRUPTS: u8 = 1;
const IST_NMI: u8 = 2;
const IST_FAULTS: u8 = 3;
const IST_DOUBLE_FAULT: u8 = 4;

/// Vector numbers of the architecture (SDM volume 3, table 6-1).
pub(crate) mod vector {
    /// NMI.
    pub(crate) const NMI: u64 = 2;
    /// Invalid opcode.
    pub(crate) const INVALID_OPCODE: u64 = 6;
    /// Double fault.
    pub(crate) const DOUBLE_FAULT: u64 = 8;
    /// General protection.
    pub(crate) const PROTECTION: u64 = 13;
    /// Page fault.
    pub(crate) const PAGE_FAULT: u64 = 14;
    /// First vector that is not the processor's own.
    pub(crate) const FIRST_INTERRUPT: u64 = 32;
}

/// Present, privilege level 0, 64-bit interrupt gate: interrupts stay off in the handler.
const GATE_ATTRIBUTES: u8 = 0x8e;

/// A gate of the interrupt descriptor table (SDM volume 3, figure 6-8).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Gate {
    offset_low: u16,
    selector: u16,
    stack: u8,
    attributes: u8,
    offset_middle: u16,
    offset_high: u32,
    reserved: u32,
}
const _: () = assert!(size_of::<Gate>() == 16);

static GATES: Once<[Gate; 256]> = Once::new();

unsafe extern "C" {
    /// Addresses of the 256 stubs of asm/entry.S.
    static trap_stubs: [u64; 256];
}

/// Loads this CPU's descriptor tables. `stacks` are its own.
pub(crate) fn install(stacks: InterruptStacks) {
    let task = Box::leak(Box::new(TaskStateSegment::new()));
    for (index, top) in [
        (IST_INTERRUPTS, stacks.interrupts),
        (IST_NMI, stacks.nmi),
        (IST_FAULTS, stacks.faults),
        (IST_DOUBLE_FAULT, stacks.double_fault),
    ] {
        task.interrupt_stack_table[usize::from(index - 1)] = VirtAddr::new(top);
    }
    let segments = Box::leak(Box::new(GlobalDescriptorTable::new()));
    let code = segments.append(Descriptor::kernel_code_segment());
    let task = segments.append(Descriptor::tss_segment(task));
    segments.load();
    // SAFETY: `code` is the 64-bit code segment of the table just loaded.
    unsafe { CS::set_reg(code) };
    // SAFETY: in 64-bit mode at privilege level 0 the stack segment may be null.
    unsafe { SS::set_reg(SegmentSelector::NULL) };
    // SAFETY: `task` is a task segment of that table, loaded for the first time.
    unsafe { load_tss(task) };

    let gates = GATES.call_once(|| core::array::from_fn(|vector| gate(vector, code)));
    let pointer = DescriptorTablePointer {
        limit: u16::try_from(size_of_val(gates) - 1).expect("256 gates of 16 bytes"),
        base: VirtAddr::from_ptr(gates),
    };
    // SAFETY: the gates are static and complete, each leads to a stub of asm/entry.S, and the
    // stacks that they switch to are in the task segment just loaded.
    unsafe { lidt(&pointer) };
}

fn gate(vector: usize, code: SegmentSelector) -> Gate {
    // SAFETY: read-only data of the image, complete at link time.
    let stub = unsafe { trap_stubs[vector] };
    let stack = match vector as u64 {
        vector::NMI => IST_NMI,
        vector::DOUBLE_FAULT => IST_DOUBLE_FAULT,
        vector::FIRST_INTERRUPT.. => IST_INTERRUPTS,
        _ => IST_FAULTS,
    };
    Gate {
        offset_low: (stub & 0xffff) as u16,
        selector: code.0,
        stack,
        attributes: GATE_ATTRIBUTES,
        offset_middle: (stub >> 16 & 0xffff) as u16,
        offset_high: (stub >> 32) as u32,
        reserved: 0,
    }
}
