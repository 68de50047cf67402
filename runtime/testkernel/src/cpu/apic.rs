//! The local APIC in xAPIC mode: timer, interprocessor interrupts, start-up of the other CPUs.
//!
//! Register offsets and encodings: Intel SDM volume 3, chapter "Advanced programmable interrupt
//! controller". QEMU's TCG has no x2APIC before 9.0, so the memory-mapped form it is.

use core::sync::atomic::{AtomicU32, Ordering};

use x86_64::instructions::port::Port;
use x86_64::registers::model_specific::Msr;

use crate::cpu::clock;
use crate::memory::DIRECT_MAP;

/// The timer's vector.
pub(crate) const VECTOR_TIMER: u8 = 0x20;
/// The vector that kicks a CPU towards its safe point.
pub(crate) const VECTOR_KICK: u8 = 0x21;
/// The vector that makes a CPU forget its translations.
pub(crate) const VECTOR_FLUSH: u8 = 0x22;
/// The spurious-interrupt vector.
pub(crate) const VECTOR_SPURIOUS: u8 = 0xff;

const BASE: u64 = 0xfee0_0000;
const MSR_APIC_BASE: u32 = 0x1b;
const APIC_BASE_ENABLE: u64 = 1 << 11;

/// Register offsets in bytes.
mod register {
    pub(super) const ID: u64 = 0x20;
    pub(super) const EOI: u64 = 0xb0;
    pub(super) const SPURIOUS: u64 = 0xf0;
    pub(super) const ICR_LOW: u64 = 0x300;
    pub(super) const ICR_HIGH: u64 = 0x310;
    pub(super) const LVT_TIMER: u64 = 0x320;
    pub(super) const TIMER_INITIAL: u64 = 0x380;
    pub(super) const TIMER_CURRENT: u64 = 0x390;
    pub(super) const TIMER_DIVIDE: u64 = 0x3e0;
}

const SPURIOUS_ENABLE: u32 = 1 << 8;
const DIVIDE_BY_1: u32 = 0b1011;
const TIMER_PERIODIC: u32 = 1 << 17;
const DELIVERY_NMI: u32 = 4 << 8;
const ICR_PENDING: u32 = 1 << 12;
const ICR_ASSERT: u32 = 1 << 14;
const ICR_ALL_BUT_SELF: u32 = 3 << 18;
const ICR_INIT: u32 = ICR_ALL_BUT_SELF | ICR_ASSERT | 5 << 8;
const ICR_STARTUP: u32 = ICR_ALL_BUT_SELF | ICR_ASSERT | 6 << 8;

/// The timer's input clock in Hz, measured once.
static TIMER_HZ: AtomicU32 = AtomicU32::new(0);

/// What the timer delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tick {
    /// [`VECTOR_TIMER`].
    Interrupt,
    /// An NMI. No processor manual promises this delivery mode for the timer, but QEMU does it, and
    /// it is how one CPU goes on sending NMIs while interrupts are off everywhere.
    Nmi,
}

fn read(register: u64) -> u32 {
    // SAFETY: the direct map covers the APIC's page, uncached; reading has no side effect on the
    // registers named in this file.
    unsafe { core::ptr::read_volatile((DIRECT_MAP + BASE + register) as *const u32) }
}

fn write(register: u64, value: u32) {
    // SAFETY: as in `read`; each CPU writes to its own APIC only.
    unsafe { core::ptr::write_volatile((DIRECT_MAP + BASE + register) as *mut u32, value) };
}

/// Switches this CPU's APIC on. Returns its id.
pub(crate) fn enable() -> u32 {
    let mut base = Msr::new(MSR_APIC_BASE);
    // SAFETY: every CPU with an APIC has this register.
    let value = unsafe { base.read() };
    // SAFETY: sets the enable bit alone; it is set already after reset.
    unsafe { base.write(value | APIC_BASE_ENABLE) };
    write(
        register::SPURIOUS,
        SPURIOUS_ENABLE | u32::from(VECTOR_SPURIOUS),
    );
    read(register::ID) >> 24
}

/// Masks both legacy interrupt controllers, where a machine has them.
pub(crate) fn mask_legacy() {
    for data in [0x21_u16, 0xa1] {
        // SAFETY: the mask registers of the two i8259; without them the writes are lost.
        unsafe { Port::<u8>::new(data).write(0xff) };
    }
}

/// Measures the timer's clock against the time-stamp counter. Called once, by the first CPU.
pub(crate) fn calibrate() {
    write(register::TIMER_DIVIDE, DIVIDE_BY_1);
    write(register::LVT_TIMER, 1 << 16);
    // As the clock's own rate: until two measurements agree.
    if let Some(hz) = clock::agreed(measure_hz) {
        TIMER_HZ.store(u32::try_from(hz).unwrap_or(u32::MAX), Ordering::Relaxed);
    }
}

/// One measurement of the timer's clock in Hz.
fn measure_hz() -> Option<u64> {
    let start_ns = clock::now_ns();
    write(register::TIMER_INITIAL, u32::MAX);
    clock::spin_ns(5_000_000);
    let ticks = u64::from(u32::MAX - read(register::TIMER_CURRENT));
    let elapsed_ns = clock::now_ns().saturating_sub(start_ns).max(1);
    write(register::TIMER_INITIAL, 0);
    Some(ticks.saturating_mul(1_000_000_000) / elapsed_ns)
}

/// Starts this CPU's periodic timer at `hz`; 0 stops it.
pub(crate) fn start_timer(hz: u32, tick: Tick) {
    let mode = match tick {
        Tick::Interrupt => u32::from(VECTOR_TIMER),
        Tick::Nmi => DELIVERY_NMI,
    };
    write(register::TIMER_DIVIDE, DIVIDE_BY_1);
    write(register::LVT_TIMER, TIMER_PERIODIC | mode);
    let count = TIMER_HZ
        .load(Ordering::Relaxed)
        .checked_div(hz)
        .unwrap_or(0);
    write(register::TIMER_INITIAL, count);
}

/// Ends the interrupt being handled.
pub(crate) fn end_of_interrupt() {
    write(register::EOI, 0);
}

fn send(high: u32, low: u32) {
    // A handler may send too, between the two writes of the code it interrupted: keep it out.
    x86_64::instructions::interrupts::without_interrupts(|| {
        while read(register::ICR_LOW) & ICR_PENDING != 0 {
            core::hint::spin_loop();
        }
        write(register::ICR_HIGH, high);
        write(register::ICR_LOW, low);
    });
}

/// Interrupts the CPU whose APIC has this id.
pub(crate) fn interrupt(apic_id: u32, vector: u8) {
    send(apic_id << 24, ICR_ASSERT | u32::from(vector));
}

/// Interrupts every other CPU.
pub(crate) fn interrupt_others(vector: u8) {
    send(0, ICR_ALL_BUT_SELF | ICR_ASSERT | u32::from(vector));
}

/// Sends an NMI to every other CPU. One register write, so that an NMI handler may do it.
pub(crate) fn nmi_others() {
    write(
        register::ICR_LOW,
        ICR_ALL_BUT_SELF | ICR_ASSERT | DELIVERY_NMI,
    );
}

/// Resets every other CPU: they then wait for [`start_others`].
pub(crate) fn reset_others() {
    send(0, ICR_INIT);
}

/// Starts every other CPU in real mode at `page` times 4 KiB.
pub(crate) fn start_others(page: u8) {
    send(0, ICR_STARTUP | u32::from(page));
}
