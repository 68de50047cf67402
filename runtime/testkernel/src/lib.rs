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
mod exports;
pub mod memory;
mod platform;
mod work;

use alloc::vec::Vec;
use core::arch::global_asm;
use core::panic::PanicInfo;

use crate::boot::fw_cfg;
use crate::boot::image;
use crate::boot::options;
use crate::boot::tables;
use crate::console::channel::Channel;
use crate::console::debugcon::log;
use crate::console::exit::{Status, exit};
use crate::console::serial::Serial;
use crate::cpu::apic;
use crate::cpu::clock;
use crate::cpu::smp;
use crate::cpu::smp::Stacks;
use crate::memory::heap;
use crate::memory::pages;
use crate::memory::paging;
use crate::memory::paging::{Frames, PAYLOAD_WINDOW_BYTES};
use crate::work::target;

global_asm!(include_str!("asm/boot.S"), options(att_syntax));
global_asm!(include_str!("asm/ap.S"), options(att_syntax));
global_asm!(include_str!("asm/entry.S"), options(att_syntax));
global_asm!(include_str!("asm/memory.S"), options(att_syntax));

/// Size of the heap in bytes: an upload of the largest payload is there as a frame, as the
/// caller's area and as the loader's copy at once, on both ports.
const HEAP_BYTES: u64 = 64 << 20;
/// Who must have signed payloads: `-fw_cfg name=opt/xsplice/certificate,file=CERT.pem`. Without it
/// signatures are not looked at.
const CERTIFICATE: &str = "opt/xsplice/certificate";
/// 2 MiB: the pool is cut out of the direct map, which consists of such pages.
const POOL_ALIGN: u64 = 2 << 20;

/// Where asm/boot.S arrives: first CPU, boot page tables, boot stack, interrupts off.
#[unsafe(no_mangle)]
extern "C" fn kernel_main(start_info: u32) -> ! {
    cpu::adopt(0);
    clock::calibrate();
    let image_end = image::physical().end;
    let info = boot::read(u64::from(start_info), image_end).unwrap_or_else(|error| stop(&error));
    let alternatives = tables::apply_alternatives();

    let mut frames = Frames::new(info.free);
    let mut take = |bytes, align| {
        frames
            .take(bytes, align)
            .unwrap_or_else(|| stop(&boot::BootError::NoMemory))
    };
    let pool = take(PAYLOAD_WINDOW_BYTES, POOL_ALIGN);
    let heap = take(HEAP_BYTES, paging::PAGE);
    let pool = pool..pool + PAYLOAD_WINDOW_BYTES;
    pages::init(pool.start);
    let root =
        paging::build(&mut frames, pool).unwrap_or_else(|_| stop(&boot::BootError::NoMemory));
    heap::init((boot::DIRECT_MAP + heap) as *mut u8, HEAP_BYTES as usize);

    let count = smp::count().unwrap_or_else(|error| stop(&error));
    cpu::set_count(count);
    options::set(info.command_line, count);
    let stacks: Vec<Stacks> = (0..count)
        .map(|number| smp::map_stacks(&mut frames, number).unwrap_or_else(|error| stop(&error)))
        .collect();
    let stacks = &*stacks.leak();
    apic::mask_legacy();
    apic::enable();
    apic::calibrate();
    smp::come_online(stacks[0]);
    log!("build-id {}", image::BuildId);
    log!(
        "{count} CPUs, {} MiB left, counter {} MHz, {alternatives} alternatives, module {} bytes",
        frames.left_bytes() >> 20,
        clock::tsc_hz() / 1_000_000,
        info.module.map_or(0, <[u8]>::len)
    );
    let certificate = fw_cfg::file(CERTIFICATE)
        .unwrap_or_else(|error| stop(&format_args!("{CERTIFICATE}: {error}")));
    if let Err(error) = platform::set_up(info.module, certificate.as_deref()) {
        stop(&error);
    }
    match (Serial::find(), platform::runtime()) {
        (Ok(serial), Some(runtime)) => work::serve(Channel::new(serial, runtime)),
        (Ok(_), None) => {}
        // Without it the kernel runs, and can be watched by its log.
        (Err(error), _) => log!("no control channel: {error}"),
    }
    if let Err(error) = smp::start_others(root, stacks) {
        stop(&error);
    }
    log!("all CPUs are up; extra version {:?}", target::version());
    smp::enter_work_loop(stacks[0])
}

/// The boot cannot go on.
fn stop(reason: &dyn core::fmt::Display) -> ! {
    log!("cannot boot: {reason}");
    exit(Status::Unsupported)
}

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
