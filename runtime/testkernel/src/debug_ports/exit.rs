//! Ends the run with a status, through QEMU's `isa-debug-exit`.

use x86_64::instructions::port::Port;
use x86_64::instructions::{hlt, interrupts};

/// `isa-debug-exit`'s port, as `-device isa-debug-exit,iobase=0xf4` places it.
const PORT: u16 = 0xf4;

/// How a run ends. QEMU's exit status is `(value << 1) | 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Status {
    /// Asked for by a test: QEMU's status 33.
    Done = 0x10,
    /// A fault that no table covers: QEMU's status 35.
    Fault = 0x11,
    /// A Rust panic: QEMU's status 37.
    Panic = 0x12,
    /// The machine lacks what the kernel needs: QEMU's status 39.
    Unsupported = 0x13,
}

/// Ends the run.
pub(crate) fn exit(status: Status) -> ! {
    exit_with(status as u32)
}

/// Ends the run with a number of the caller's choice; QEMU's status is `(value << 1) | 1`.
pub(crate) fn exit_with(value: u32) -> ! {
    // SAFETY: the write ends the machine; with no device there it is lost.
    unsafe { Port::<u32>::new(PORT).write(value) };
    interrupts::disable();
    loop {
        hlt();
    }
}
