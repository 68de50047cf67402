//! The test kernel: boots by PVH on QEMU's microvm, brings up every CPU, and has all of them run
//! the C functions of fixtures/target over and over, so that payloads are applied under load.
//!
//! It decides nothing about payloads: the rules are `xsplice-runtime`'s, which reaches this
//! machine through [`xsplice_runtime::platform::Platform`]. Linked as an archive with the C
//! objects by fixtures/target/Makefile, the way a hypervisor's own build links its parts.

#![no_std]

extern crate alloc;

mod boot;
pub mod console;
mod cpu;
mod debug_ports;
mod exports;
mod fault;
mod image;
pub mod memory;
mod platform;
mod start;
mod work;
mod work_loop;

use core::arch::global_asm;
use core::panic::PanicInfo;

use crate::debug_ports::debugcon::log;
use crate::debug_ports::exit::{Status, exit};

global_asm!(include_str!("asm/boot.S"), options(att_syntax));
global_asm!(include_str!("asm/ap.S"), options(att_syntax));
global_asm!(include_str!("asm/entry.S"), options(att_syntax));
global_asm!(include_str!("asm/memory.S"), options(att_syntax));

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    log!("panic: {info}");
    exit(Status::Panic)
}

/// The prebuilt `alloc` refers to it, although nothing here unwinds.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    exit(Status::Panic)
}

/// As above.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
