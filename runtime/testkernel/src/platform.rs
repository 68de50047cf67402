//! The runtime's `Platform` trait on this kernel.

use alloc::boxed::Box;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use spin::Once;
use x86_64::instructions::interrupts;
use x86_64::registers::control::{Cr0, Cr0Flags};
use xsplice_abi::hook::HookArgument;
use xsplice_runtime::Base;
use xsplice_runtime::Policy;
use xsplice_runtime::Runtime;
use xsplice_runtime::platform::{
    Access, Interrupts, Level, MemoryFault, Platform, Region, RegionsExhausted,
};
use xsplice_runtime::read::deny;
use xsplice_runtime::read::signature::Verifier;
use xsplice_runtime::read::symbols::{Symbols, SymbolsError};
use xsplice_runtime::read::trusted_key::{KeyError, TrustedKey};
use xsplice_runtime::rendezvous::Quiesced;
use xsplice_runtime::rendezvous::cpu::{CpuId, CpuSet};

use crate::cpu;
use crate::cpu::apic;
use crate::cpu::clock;
use crate::cpu::delays;
use crate::cpu::features;
use crate::cpu::nmi;
use crate::cpu::tlb;
use crate::debug_ports::debugcon::log;
use crate::image;
use crate::memory::pages;
use crate::memory::paging::{self, PAGE};
use crate::memory::words;

/// The test kernel's runtime.
pub(crate) type KernelRuntime = Runtime<'static, Machine>;

/// What no payload may replace.
const DENY: &[u8] = include_bytes!("../../../fixtures/target/deny.list");

static RUNTIME: Once<KernelRuntime> = Once::new();

/// Why there is no runtime.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    /// The module is not there.
    #[error("no module: pass the kernel itself as -initrd, for its symbols")]
    NoModule,
    /// The module does not hold the build-id of the running image.
    #[error("the module is not this kernel: its build-id is not in it; pass the same file twice")]
    OtherKernel,
    /// Its symbols cannot be read.
    #[error("{0}")]
    Symbols(SymbolsError),
    /// What should be trusted is no certificate.
    #[error("the certificate {0}")]
    Certificate(KeyError),
    /// The deny list that was compiled in is none.
    #[error("fixtures/target/deny.list:{0}")]
    DenyList(deny::ListError),
    /// The runtime does not start.
    #[error("{0}")]
    Runtime(xsplice_runtime::SetupError<'static>),
}

/// Makes the runtime. `module` is the kernel's own ELF file; `certificate`, in PEM form, is whose
/// signature every payload must carry.
pub(crate) fn set_up(
    module: Option<&'static [u8]>,
    certificate: Option<&[u8]>,
) -> Result<(), SetupError> {
    let module = module.ok_or(SetupError::NoModule)?;
    let note = image::bytes(image::build_id_note());
    if !module.windows(note.len()).any(|window| window == note) {
        return Err(SetupError::OtherKernel);
    }
    let base = Base {
        symbols: Symbols::from_elf(module).map_err(SetupError::Symbols)?,
        build_id: image::build_id(),
        text: image::text(),
    };
    let deny = deny::parse(DENY).map_err(SetupError::DenyList)?;
    let policy = Policy {
        deny: deny.leak(),
        verifier: certificate.map(trust).transpose()?,
    };
    let runtime = Runtime::new(Machine, base, policy).map_err(SetupError::Runtime)?;
    RUNTIME.call_once(|| runtime);
    Ok(())
}

fn trust(certificate: &[u8]) -> Result<&'static dyn Verifier, SetupError> {
    let key = TrustedKey::from_certificate(certificate).map_err(SetupError::Certificate)?;
    log!("payloads must be signed by {}", key.name());
    Ok(Box::leak(Box::new(key)))
}

/// The runtime; `None` before [`set_up`].
pub(crate) fn runtime() -> Option<&'static KernelRuntime> {
    RUNTIME.get()
}

/// Time-stamp counter when NMIs were last masked.
static ZONE_START: AtomicU64 = AtomicU64::new(0);
/// How long they were masked the last time.
static ZONE_TICKS: AtomicU64 = AtomicU64::new(0);

/// For how many ticks of the time-stamp counter NMIs were masked in the last action: the quiescent
/// zone. Under QEMU's `-icount shift=0` a tick is a guest instruction.
pub(crate) fn zone_ticks() -> u64 {
    ZONE_TICKS.load(Ordering::Relaxed)
}

/// Whether this CPU follows in a rendezvous that has come as far as to mask NMIs.
fn follows() -> bool {
    nmi::holder().is_some_and(|master| master != cpu::current_number())
}

/// The machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine;

impl Platform for Machine {
    fn cpus(&self) -> usize {
        usize::try_from(cpu::count()).unwrap_or(usize::MAX)
    }

    /// CPUs neither come nor go once the boot is over.
    fn freeze_online(&self) -> Option<CpuSet> {
        let mut online = CpuSet::EMPTY;
        for (number, cpu) in cpu::all() {
            if cpu.online.load(Ordering::Acquire) {
                online.insert(id(number));
            }
        }
        Some(online)
    }

    fn thaw_online(&self) {}

    fn kick(&self, cpus: &CpuSet) {
        let me = cpu::current_number();
        for (number, cpu) in cpu::all() {
            if number != me && cpus.contains(id(number)) {
                apic::interrupt(cpu.apic_id.load(Ordering::Relaxed), apic::VECTOR_KICK);
            }
        }
    }

    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }

    fn relax(&self, interrupts: Interrupts) {
        match interrupts {
            // The next tick or kick ends it. Many CPUs that spin keep the few that the host has
            // from running the one that everybody waits for.
            Interrupts::On if cpu::current().timer_ticks() => cpu::current().halt(),
            Interrupts::On | Interrupts::Off => core::hint::spin_loop(),
        }
    }

    fn interrupts(&self) -> Interrupts {
        if interrupts::are_enabled() {
            Interrupts::On
        } else {
            Interrupts::Off
        }
    }

    fn interrupts_off(&self) -> Interrupts {
        if follows() {
            delays::spend(&cpu::current().slow_stop_ns);
        }
        let before = self.interrupts();
        interrupts::disable();
        before
    }

    fn interrupts_restore(&self, before: Interrupts) {
        match before {
            Interrupts::On => interrupts::enable(),
            Interrupts::Off => interrupts::disable(),
        }
    }

    fn mask_nmis(&self) {
        ZONE_START.store(clock::tsc(), Ordering::Relaxed);
        nmi::hold();
    }

    fn unmask_nmis(&self) {
        nmi::release();
        let ticks = clock::tsc().wrapping_sub(ZONE_START.load(Ordering::Relaxed));
        ZONE_TICKS.store(ticks, Ordering::Relaxed);
    }

    fn serialise(&self) {
        if follows() {
            delays::spend(&cpu::current().slow_leave_ns);
        }
        let _ = core::arch::x86_64::__cpuid(0);
    }

    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), MemoryFault> {
        if !is_mapped(address, into.len()) {
            return Err(MemoryFault { address });
        }
        for (byte, address) in into.iter_mut().zip(address..) {
            // SAFETY: the byte is mapped (checked above); volatile, as others may write to data
            // and the contents mean nothing to the compiler.
            *byte = unsafe { core::ptr::read_volatile(address as *const u8) };
        }
        Ok(())
    }

    /// Compares in place, in the largest steps: this is asked of every record while all CPUs stand
    /// still.
    #[inline]
    fn holds(&self, address: u64, bytes: &[u8]) -> bool {
        // SAFETY: the bytes were read before (`read` has judged them), and what the image and the
        // payloads in use have is not unmapped.
        unsafe { words::hold(address, bytes) }
    }

    fn open_text(&self, _quiesced: &Quiesced) {
        // SAFETY: clears write protection alone; `close_text` puts it back. Interrupts are off and
        // NMIs held, so that no other code of this CPU writes meanwhile.
        unsafe { Cr0::update(|flags| flags.remove(Cr0Flags::WRITE_PROTECT)) };
    }

    fn close_text(&self, _quiesced: &Quiesced) {
        // SAFETY: sets write protection, as it is everywhere outside of `open_text`.
        unsafe { Cr0::update(|flags| flags.insert(Cr0Flags::WRITE_PROTECT)) };
    }

    #[inline]
    fn write_text(&self, _quiesced: &Quiesced, address: u64, bytes: &[u8]) {
        // SAFETY: (1) the bytes were read before (`read` has judged them), and text is open, else
        // the fault ends the run; (2) no reference covers text; (3) every other CPU stands at its
        // safe point.
        unsafe { words::store(address, bytes) };
    }

    fn write_word(&self, _quiesced: &Quiesced, address: u64, value: u64) {
        assert!(address.is_multiple_of(8), "words are aligned");
        // SAFETY: (1) the word was read before, so it is mapped, and text is open; (2) it is
        // aligned (checked); (3) every other CPU stands at its safe point.
        unsafe { core::ptr::write_volatile(address as *mut u64, value) };
    }

    fn allocate(&self, bytes: u64) -> Result<Region, RegionsExhausted> {
        let exhausted = RegionsExhausted { bytes };
        let pages = usize::try_from(bytes / PAGE).map_err(|_| exhausted)?;
        let address = pages::allocate(pages).ok_or(exhausted)?;
        for page in (address..address + bytes).step_by(PAGE as usize) {
            write_protected(page, &[0; PAGE as usize]);
        }
        Ok(Region { address, bytes })
    }

    fn fill(&self, region: Region, bytes: &[u8]) {
        assert!(
            bytes.len() as u64 <= region.bytes,
            "the bytes fit the region"
        );
        // A page at a time, so that interrupts are off for moments only.
        for (part, address) in bytes
            .chunks(PAGE as usize)
            .zip((region.address..).step_by(PAGE as usize))
        {
            write_protected(address, part);
        }
    }

    fn protect(&self, region: Region, access: Access) {
        let access = match access {
            Access::ReadExecute => paging::Access::ReadExecute,
            Access::ReadWrite => paging::Access::ReadWrite,
            Access::ReadOnly => paging::Access::Read,
        };
        pages::protect(region.address, page_count(region), access);
    }

    fn unmap(&self, region: Region) {
        pages::unmap(region.address, page_count(region));
    }

    fn flush_tlbs(&self) -> Result<(), CpuSet> {
        let mut late = CpuSet::EMPTY;
        tlb::flush_everywhere(|number| late.insert(id(number)));
        if late.is_empty() { Ok(()) } else { Err(late) }
    }

    fn release(&self, region: Region) {
        pages::release(region.address, page_count(region));
    }

    fn call_hook(&self, address: u64, argument: Option<&HookArgument>) -> i32 {
        match argument {
            None => {
                // SAFETY: the runtime passes the address of a function of this type, in a payload
                // that is loaded and mapped executable.
                let hook = unsafe { core::mem::transmute::<u64, extern "C" fn()>(address) };
                hook();
                0
            }
            Some(argument) => {
                // SAFETY: as above.
                let hook = unsafe {
                    core::mem::transmute::<u64, extern "C" fn(*const HookArgument) -> i32>(address)
                };
                hook(argument)
            }
        }
    }

    fn has_feature(&self, feature: u16) -> bool {
        features::has(feature)
    }

    fn current_cpu(&self) -> CpuId {
        id(cpu::current_number())
    }

    fn log(&self, level: Level, line: fmt::Arguments<'_>) {
        match level {
            Level::Info => log!("xsplice: {line}"),
            Level::Error => log!("xsplice: error: {line}"),
        }
    }
}

/// The runtime's number of a CPU.
pub(crate) fn id(number: u32) -> CpuId {
    CpuId(u16::try_from(number).unwrap_or(u16::MAX))
}

fn page_count(region: Region) -> usize {
    usize::try_from(region.bytes / PAGE).expect("regions fit the window")
}

/// While it lives, this CPU may write to the read-only pages of a region that is being filled, and
/// takes no interrupt.
struct OpenText {
    flags: Cr0Flags,
    interrupts: bool,
}

impl OpenText {
    fn new() -> OpenText {
        let interrupts = interrupts::are_enabled();
        interrupts::disable();
        let flags = Cr0::read();
        // SAFETY: clears write protection alone; `drop` puts it back on every way out.
        unsafe { Cr0::write(flags - Cr0Flags::WRITE_PROTECT) };
        OpenText { flags, interrupts }
    }
}

impl Drop for OpenText {
    fn drop(&mut self) {
        // SAFETY: puts back what `new` found.
        unsafe { Cr0::write(self.flags | Cr0Flags::WRITE_PROTECT) };
        if self.interrupts {
            interrupts::enable();
        }
    }
}

/// Whether the image or payloads' regions have all of these bytes.
fn is_mapped(address: u64, bytes: usize) -> bool {
    let Some(end) = address.checked_add(bytes as u64) else {
        return false;
    };
    let whole = image::text().start..image::data().end;
    let in_image = whole.start <= address && end <= whole.end;
    in_image || pages::is_mapped(address, bytes as u64)
}

/// Writes to a region that is not in use yet.
fn write_protected(address: u64, bytes: &[u8]) {
    assert!(
        pages::is_mapped(address, bytes.len() as u64),
        "{address:#x} is not in a payload's region"
    );
    let _open = OpenText::new();
    // SAFETY: (1) mapped (checked above), writable while `_open` lives; (2) no reference covers a
    // region that is not protected yet.
    unsafe { words::store(address, bytes) };
}
