//! The log: lines of text written to QEMU's debug console, port 0xe9.
//!
//! One line leaves whole, whoever writes it: a CPU takes the console for a line, and a handler
//! that interrupts its own CPU in the middle of one writes regardless rather than wait for itself.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU32, Ordering};

use x86_64::instructions::port::Port;

use crate::cpu;
use crate::cpu::clock;

/// `isa-debugcon`'s port, as `-device isa-debugcon,iobase=0xe9` places it.
const PORT: u16 = 0xe9;
const FREE: u32 = u32::MAX;

static OWNER: AtomicU32 = AtomicU32::new(FREE);

/// Writes to the debug console, unbuffered.
struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut port = Port::<u8>::new(PORT);
        for byte in text.bytes() {
            // SAFETY: the debug console takes any byte; with no device there, the write is lost.
            unsafe { port.write(byte) };
        }
        Ok(())
    }
}

/// Writes one line, with the time since boot and the CPU before it.
pub(crate) fn line(text: fmt::Arguments<'_>) {
    let me = cpu::current_number();
    let mine = loop {
        match OWNER.compare_exchange_weak(FREE, me, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => break true,
            Err(owner) if owner == me => break false,
            Err(_) => core::hint::spin_loop(),
        }
    };
    let micros = clock::now_ns() / 1000;
    // Console never fails.
    let _ = writeln!(
        Console,
        "[{:5}.{:06}] cpu{me}: {text}",
        micros / 1_000_000,
        micros % 1_000_000
    );
    if mine {
        OWNER.store(FREE, Ordering::Release);
    }
}

/// Writes one line to the log.
macro_rules! log {
    ($($argument:tt)*) => { $crate::debug_ports::debugcon::line(format_args!($($argument)*)) };
}
pub(crate) use log;
