//! Starts the other CPUs and gives every CPU its stacks.
//!
//! No ACPI: the number of CPUs comes from QEMU's fw_cfg, all of them are reset and started by
//! broadcast, and each takes the next number as it arrives.

use core::sync::atomic::Ordering;

use x86_64::instructions::interrupts;
use x86_64::instructions::port::Port;

use crate::boot::options;
use crate::cpu::apic;
use crate::cpu::clock;
use crate::cpu::gates::{self, InterruptStacks};
use crate::cpu::{self, CPUS_MAX};
use crate::memory::DIRECT_MAP;
use crate::memory::paging::{self, Frames, PAGE, STACK_WINDOW};

/// Where the start-up code is copied: the page that the start-up IPI names. asm/ap.S knows it.
const AP_START: u64 = 0x8000;
/// How long the other CPUs may take, in nanoseconds: 64 of them on two cores take under a second.
const START_TIMEOUT_NS: u64 = 30_000_000_000;
/// Between reset and start-up (SDM volume 3, "MP initialization").
const RESET_NS: u64 = 10_000_000;

/// Sizes in bytes, from the lowest address up; an unmapped page lies below each.
const WORK_STACK: u64 = 64 << 10;
const INTERRUPT_STACK: u64 = 16 << 10;
const NMI_STACK: u64 = 8 << 10;
const FAULT_STACK: u64 = 32 << 10;
const DOUBLE_FAULT_STACK: u64 = 16 << 10;
/// What one CPU's stacks take of the window.
const STRIDE: u64 = 256 << 10;
const _: () = assert!(
    WORK_STACK + INTERRUPT_STACK + NMI_STACK + FAULT_STACK + DOUBLE_FAULT_STACK + 5 * PAGE
        <= STRIDE
);

const FW_CFG_SELECTOR: u16 = 0x510;
const FW_CFG_DATA: u16 = 0x511;
/// `FW_CFG_NB_CPUS`.
const FW_CFG_CPUS: u16 = 5;

unsafe extern "C" {
    static ap_blob: u8;
    static ap_blob_end: u8;
    static mut ap_cr3: u64;
    static mut ap_stacks: [u64; CPUS_MAX];
}

/// One CPU's stacks: the tops.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stacks {
    /// Where its work loop runs.
    pub work: u64,
    /// Where it takes interrupts.
    pub interrupts: InterruptStacks,
}

/// Why a CPU is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StartError {
    /// More CPUs than the kernel has room for.
    #[error("{0} CPUs, but the kernel takes at most {CPUS_MAX}; lower -smp")]
    TooMany(u32),
    /// No memory for the stacks of this CPU.
    #[error("no memory for the stacks of CPU {0}; give the machine more")]
    NoMemory(u32),
    /// Some did not arrive in time.
    #[error("only {arrived} of {expected} CPUs came up")]
    Missing {
        /// CPUs that are online.
        arrived: u32,
        /// CPUs that the machine has.
        expected: u32,
    },
}

/// How many CPUs the machine has, by fw_cfg.
pub(crate) fn count() -> Result<u32, StartError> {
    // SAFETY: selecting an item has no effect but on the next reads.
    unsafe { Port::<u16>::new(FW_CFG_SELECTOR).write(FW_CFG_CPUS) };
    let mut data = Port::<u8>::new(FW_CFG_DATA);
    // SAFETY: reads the selected item's first byte.
    let low = unsafe { data.read() };
    // SAFETY: and its second.
    let high = unsafe { data.read() };
    match u32::from(u16::from_le_bytes([low, high])) {
        0 => Ok(1),
        count if count as usize > CPUS_MAX => Err(StartError::TooMany(count)),
        count => Ok(count),
    }
}

/// Maps the stacks of CPU `number`.
pub(crate) fn map_stacks(frames: &mut Frames, number: u32) -> Result<Stacks, StartError> {
    let mut next = STACK_WINDOW + u64::from(number) * STRIDE;
    let mut stack = |bytes: u64| {
        let bottom = next + PAGE;
        next = bottom + bytes;
        paging::map_stack(frames, bottom, bytes)
            .map(|()| bottom + bytes)
            .map_err(|_| StartError::NoMemory(number))
    };
    Ok(Stacks {
        work: stack(WORK_STACK)?,
        interrupts: InterruptStacks {
            interrupts: stack(INTERRUPT_STACK)?,
            nmi: stack(NMI_STACK)?,
            faults: stack(FAULT_STACK)?,
            double_fault: stack(DOUBLE_FAULT_STACK)?,
        },
    })
}

/// Starts all other CPUs on the tables at `root` and waits for them.
pub(crate) fn start_others(root: u64, stacks: &'static [Stacks]) -> Result<(), StartError> {
    STACKS.call_once(|| stacks);
    if cpu::count() == 1 {
        return Ok(());
    }
    let blob = (&raw const ap_blob).cast::<u8>();
    let length = (&raw const ap_blob_end) as usize - blob as usize;
    let start = (DIRECT_MAP + AP_START) as *mut u8;
    // SAFETY: (1) the blob is read-only data of `length` bytes, less than a page; (2) the page at
    // AP_START is RAM below the image that the kernel uses for nothing else, writable through the
    // direct map.
    unsafe { core::ptr::copy_nonoverlapping(blob, start, length) };
    // SAFETY: no other CPU runs yet.
    unsafe { (&raw mut ap_cr3).write(root) };
    let tops = (&raw mut ap_stacks).cast::<u64>();
    for (index, stacks) in stacks.iter().enumerate() {
        // SAFETY: `stacks` has at most CPUS_MAX entries, as the array has; no other CPU runs yet.
        unsafe { tops.add(index).write(stacks.work) };
    }
    apic::reset_others();
    clock::spin_ns(RESET_NS);
    apic::start_others((AP_START / PAGE) as u8);

    let give_up = clock::now_ns() + START_TIMEOUT_NS;
    loop {
        let arrived = cpu::all()
            .filter(|(_, cpu)| cpu.online.load(Ordering::Acquire))
            .count();
        if arrived == cpu::count() as usize {
            return Ok(());
        }
        if clock::now_ns() > give_up {
            return Err(StartError::Missing {
                arrived: arrived as u32,
                expected: cpu::count(),
            });
        }
        core::hint::spin_loop();
    }
}

static STACKS: spin::Once<&'static [Stacks]> = spin::Once::new();

/// What every CPU does about itself before it takes interrupts.
pub(crate) fn come_online(stacks: Stacks) {
    gates::install(stacks.interrupts);
    let cpu = cpu::current();
    cpu.apic_id.store(apic::enable(), Ordering::Relaxed);
    cpu.set_timer(cpu::TimerSetting::Interrupt {
        hz: options::get().timer_hz,
    });
    cpu.online.store(true, Ordering::Release);
    interrupts::enable();
}

/// What a CPU that [`start_others`] started does about itself, on its work stack.
pub(crate) fn arrive(number: u32) {
    cpu::adopt(number);
    let stacks = STACKS.get().and_then(|stacks| stacks.get(number as usize));
    come_online(*stacks.expect("start_others() gave every CPU its stacks"));
}
