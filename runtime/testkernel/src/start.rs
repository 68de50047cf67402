//! From the boot loader to the work loops: the first CPU's way, in order.

use alloc::vec::Vec;

use crate::boot::{self, fw_cfg, options};
use crate::console::channel::Channel;
use crate::console::serial::Serial;
use crate::cpu::smp::{self, Stacks};
use crate::cpu::{self, apic, clock};
use crate::debug_ports::debugcon::log;
use crate::debug_ports::exit::{Status, exit};
use crate::fault::tables;
use crate::image;
use crate::memory::paging::{self, Frames, PAYLOAD_WINDOW_BYTES};
use crate::memory::{DIRECT_MAP, heap, pages};
use crate::platform;
use crate::work::target;
use crate::work_loop;

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
    heap::init((DIRECT_MAP + heap) as *mut u8, HEAP_BYTES as usize);

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
    if cfg!(debug_assertions) {
        log!("debug assertions are on");
    }
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
        (Ok(serial), Some(runtime)) => work_loop::serve(Channel::new(serial, runtime)),
        (Ok(_), None) => {}
        // Without it the kernel runs, and can be watched by its log.
        (Err(error), _) => log!("no control channel: {error}"),
    }
    if let Err(error) = smp::start_others(root, stacks) {
        stop(&error);
    }
    log!("all CPUs are up; extra version {:?}", target::version());
    work_loop::enter(stacks[0])
}

/// The boot cannot go on.
fn stop(reason: &dyn core::fmt::Display) -> ! {
    log!("cannot boot: {reason}");
    exit(Status::Unsupported)
}
