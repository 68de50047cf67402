//! The runtime's [`Platform`] on this host: a linked base mapped at its link address in this very
//! process, so that a test can apply a payload and *call* what it patched.
//!
//! Every piece of memory is mapped twice from one memory file: at its address with the rights it
//! has in a kernel (text is never writable there), and at an alias of the kernel's choice that is
//! writable. The runtime's writes go through the alias, as those of a kernel must.

use std::cell::Cell;
use std::fmt;
use std::ptr;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use goblin::elf::Elf;
use goblin::elf::program_header::PT_LOAD;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mprotect, munmap};
use xsplice_abi::hook::HookArgument;
use xsplice_abi::limits::PAGE_BYTES;
use xsplice_runtime::platform::{
    Access, Interrupts, Level, MemoryFault, Platform, Region, RegionsExhausted,
};
use xsplice_runtime::rendezvous::Quiesced;
use xsplice_runtime::rendezvous::cpu::{CpuId, CpuSet};

thread_local! {
    static CPU: Cell<CpuId> = const { Cell::new(CpuId(0)) };
    static INTERRUPTS: Cell<Interrupts> = const { Cell::new(Interrupts::On) };
}

/// Makes the calling thread act as `cpu` from now on.
pub fn become_cpu(cpu: CpuId) {
    CPU.with(|own| own.set(cpu));
}

/// A piece of memory and its writable alias.
#[derive(Debug)]
struct Mapping {
    region: Region,
    /// Address of the alias; its provenance is exposed.
    alias: usize,
}

/// A base image in this process, and payload regions near it.
#[derive(Debug)]
pub struct HostPlatform {
    mappings: Mutex<Vec<Mapping>>,
    /// Where the next payload region may start.
    free: Mutex<u64>,
    limit: u64,
    cpus: CpuSet,
    started: Instant,
    log: Mutex<Vec<String>>,
}

/// Bytes of address space behind the base that payload regions come from.
const WINDOW_BYTES: u64 = 64 << 20;

impl HostPlatform {
    /// Maps the loadable segments of `base` where it was linked to, and acts as `cpus` CPUs.
    ///
    /// # Errors
    /// When the image cannot be read, or its addresses are taken in this process.
    pub fn new(base: &[u8], cpus: u16) -> Result<HostPlatform> {
        let elf = Elf::parse(base)?;
        let mut mappings = Vec::new();
        let mut end = 0;
        for segment in elf
            .program_headers
            .iter()
            .filter(|header| header.p_type == PT_LOAD)
        {
            let start = segment.p_vaddr / PAGE_BYTES * PAGE_BYTES;
            let segment_end = segment
                .p_vaddr
                .checked_add(segment.p_memsz)
                .and_then(|end| end.checked_next_multiple_of(PAGE_BYTES))
                .context("a segment wraps around")?;
            let mapping = Mapping::new(Region {
                address: start,
                bytes: segment_end - start,
            })?;
            let offset = usize::try_from(segment.p_offset)?;
            let bytes = usize::try_from(segment.p_filesz)?;
            let contents = base
                .get(offset..offset.saturating_add(bytes))
                .context("a segment ends outside the file")?;
            ensure!(
                mapping.write(segment.p_vaddr, contents),
                "a segment does not fit its pages"
            );
            mapping.protect(match (segment.is_write(), segment.is_executable()) {
                (true, true) => anyhow::bail!("a segment is writable and executable"),
                (true, false) => Access::ReadWrite,
                (false, true) => Access::ReadExecute,
                (false, false) => Access::ReadOnly,
            })?;
            end = end.max(segment_end);
            mappings.push(mapping);
        }
        ensure!(!mappings.is_empty(), "the base has nothing to load");
        // One page of nothing between the base and the payloads.
        let free = end + PAGE_BYTES;
        Ok(HostPlatform {
            mappings: Mutex::new(mappings),
            free: Mutex::new(free),
            limit: free + WINDOW_BYTES,
            cpus: CpuSet::first(cpus),
            started: Instant::now(),
            log: Mutex::new(Vec::new()),
        })
    }

    /// All memory there is now, by address: to be compared with a later reading.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(u64, Vec<u8>)> {
        let mappings = self.mappings.lock().expect("no holder panics");
        let mut pieces: Vec<_> = mappings
            .iter()
            .map(|mapping| (mapping.region.address, mapping.bytes()))
            .collect();
        pieces.sort();
        pieces
    }

    /// What was logged so far, one line each.
    #[must_use]
    pub fn log_lines(&self) -> Vec<String> {
        self.log.lock().expect("no holder panics").clone()
    }

    /// Calls the function at `address` with two integers and returns its integer result.
    ///
    /// # Safety
    /// A function of the mapped base (or a payload) starts there, follows the C calling
    /// convention, takes at most two integers or pointers that are valid for it, and no thread
    /// patches it meanwhile.
    #[must_use]
    pub unsafe fn call(&self, address: u64, first: i64, second: i64) -> i64 {
        let address = usize::try_from(address).expect("addresses have 64 bits here");
        let code = ptr::with_exposed_provenance::<()>(address);
        // SAFETY: the caller vouches for the function; the calling convention is that of C, in
        // which more integer arguments than the callee reads do no harm.
        let function: extern "C" fn(i64, i64) -> i64 = unsafe { std::mem::transmute(code) };
        function(first, second)
    }

    fn with<T>(&self, address: u64, bytes: usize, act: impl FnOnce(&Mapping) -> T) -> Option<T> {
        let mappings = self.mappings.lock().expect("no holder panics");
        mappings
            .iter()
            .find(|mapping| mapping.offset(address, bytes).is_some())
            .map(act)
    }
}

impl Mapping {
    /// Fresh zeroed pages, writable through the alias alone.
    fn new(region: Region) -> Result<Mapping> {
        let bytes = usize::try_from(region.bytes)?;
        let file = memfd_create("xsplice-host", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, region.bytes)?;
        // SAFETY: no address is demanded, so nothing that exists is mapped over.
        let alias = unsafe {
            mmap(
                ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &file,
                0,
            )
        }?;
        let wanted = ptr::with_exposed_provenance_mut(usize::try_from(region.address)?);
        // SAFETY: NOREPLACE makes the kernel refuse when anything is mapped there already.
        let mapped = unsafe {
            mmap(
                wanted,
                bytes,
                ProtFlags::empty(),
                MapFlags::SHARED | MapFlags::FIXED_NOREPLACE,
                &file,
                0,
            )
        };
        mapped.with_context(|| format!("{:#x} is taken in this process", region.address))?;
        Ok(Mapping {
            region,
            alias: alias.expose_provenance(),
        })
    }

    /// Offset of `address` when `bytes` from there lie inside.
    fn offset(&self, address: u64, bytes: usize) -> Option<usize> {
        let offset = address.checked_sub(self.region.address)?;
        let end = offset.checked_add(u64::try_from(bytes).ok()?)?;
        (end <= self.region.bytes).then_some(usize::try_from(offset).ok()?)
    }

    fn write(&self, address: u64, from: &[u8]) -> bool {
        let Some(offset) = self.offset(address, from.len()) else {
            return false;
        };
        let target = ptr::with_exposed_provenance_mut::<u8>(self.alias + offset);
        // SAFETY: the alias maps `region.bytes` writable bytes for as long as self lives, and the
        // range was found to lie inside; `from` is Rust memory, which the alias never is.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), target, from.len()) };
        true
    }

    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        let Some(offset) = self.offset(address, into.len()) else {
            return false;
        };
        let source = ptr::with_exposed_provenance::<u8>(self.alias + offset);
        // SAFETY: as in `write`, with the directions exchanged.
        unsafe { ptr::copy_nonoverlapping(source, into.as_mut_ptr(), into.len()) };
        true
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.region.bytes).expect("it was mapped")];
        assert!(
            self.read(self.region.address, &mut bytes),
            "a mapping holds itself"
        );
        bytes
    }

    fn protect(&self, access: Access) -> Result<()> {
        let rights = match access {
            Access::ReadExecute => MprotectFlags::READ | MprotectFlags::EXEC,
            Access::ReadWrite => MprotectFlags::READ | MprotectFlags::WRITE,
            Access::ReadOnly => MprotectFlags::READ,
        };
        let address = ptr::with_exposed_provenance_mut(usize::try_from(self.region.address)?);
        // SAFETY: the range is exactly one that `new` mapped, and no Rust object lies in it.
        unsafe { mprotect(address, usize::try_from(self.region.bytes)?, rights) }?;
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let bytes = usize::try_from(self.region.bytes).expect("it was mapped");
        let address = usize::try_from(self.region.address).expect("it was mapped");
        for start in [address, self.alias] {
            // SAFETY: both ranges were mapped by `new`, belong to self alone, and no Rust
            // reference into them was ever made.
            let unmapped = unsafe { munmap(ptr::with_exposed_provenance_mut(start), bytes) };
            assert!(unmapped.is_ok(), "what was mapped can be unmapped");
        }
    }
}

impl Platform for HostPlatform {
    fn cpus(&self) -> usize {
        self.cpus.len().into()
    }

    fn freeze_online(&self) -> Option<CpuSet> {
        Some(self.cpus)
    }

    fn thaw_online(&self) {}

    fn kick(&self, _cpus: &CpuSet) {}

    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn relax(&self, _interrupts: Interrupts) {
        thread::yield_now();
    }

    fn interrupts(&self) -> Interrupts {
        INTERRUPTS.with(Cell::get)
    }

    fn interrupts_off(&self) -> Interrupts {
        INTERRUPTS.with(|own| own.replace(Interrupts::Off))
    }

    fn interrupts_restore(&self, before: Interrupts) {
        INTERRUPTS.with(|own| own.set(before));
    }

    fn mask_nmis(&self) {}

    fn unmask_nmis(&self) {}

    fn serialise(&self) {
        let _ = std::arch::x86_64::__cpuid(0);
    }

    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), MemoryFault> {
        match self.with(address, into.len(), |mapping| mapping.read(address, into)) {
            Some(true) => Ok(()),
            _ => Err(MemoryFault { address }),
        }
    }

    fn write_text(&self, _quiesced: &Quiesced, address: u64, bytes: &[u8]) {
        let written = self.with(address, bytes.len(), |mapping| {
            mapping.write(address, bytes)
        });
        assert_eq!(written, Some(true), "text at {address:#x} was read before");
    }

    fn write_word(&self, _quiesced: &Quiesced, address: u64, value: u64) {
        let bytes = value.to_le_bytes();
        let written = self.with(address, bytes.len(), |mapping| {
            mapping.write(address, &bytes)
        });
        assert_eq!(
            written,
            Some(true),
            "the word at {address:#x} was read before"
        );
    }

    fn allocate(&self, bytes: u64) -> Result<Region, RegionsExhausted> {
        let exhausted = RegionsExhausted { bytes };
        let mut free = self.free.lock().expect("no holder panics");
        let end = free
            .checked_add(bytes)
            .filter(|end| *end <= self.limit)
            .ok_or(exhausted)?;
        let region = Region {
            address: *free,
            bytes,
        };
        let mapping = Mapping::new(region).map_err(|_| exhausted)?;
        // A page of nothing behind each region catches what runs over its end.
        *free = end + PAGE_BYTES;
        self.mappings
            .lock()
            .expect("no holder panics")
            .push(mapping);
        Ok(region)
    }

    fn fill(&self, region: Region, bytes: &[u8]) {
        let written = self.with(region.address, bytes.len(), |mapping| {
            mapping.write(region.address, bytes)
        });
        assert_eq!(written, Some(true), "the bytes fit the region");
    }

    fn protect(&self, region: Region, access: Access) {
        let done = self.with(region.address, 0, |mapping| mapping.protect(access).is_ok());
        assert_eq!(done, Some(true), "a region can be protected");
    }

    fn unmap(&self, region: Region) {
        // Dropped here: there is one address space and no other TLB that could still know it.
        self.mappings
            .lock()
            .expect("no holder panics")
            .retain(|mapping| mapping.region != region);
    }

    fn flush_tlbs(&self) -> Result<(), CpuSet> {
        Ok(())
    }

    fn release(&self, _region: Region) {}

    fn call_hook(&self, address: u64, argument: Option<&HookArgument>) -> i32 {
        let code = ptr::with_exposed_provenance::<()>(
            usize::try_from(address).expect("addresses have 64 bits here"),
        );
        let Some(argument) = argument else {
            // SAFETY: the runtime found the address in a hook section of a payload that it
            // loaded, so that a function without arguments starts there.
            let hook: extern "C" fn() = unsafe { std::mem::transmute(code) };
            hook();
            return 0;
        };
        // SAFETY: as above; hooks of these kinds take a pointer that they only read.
        let hook: extern "C" fn(*const HookArgument) -> i32 = unsafe { std::mem::transmute(code) };
        hook(argument)
    }

    fn has_feature(&self, _feature: u16) -> bool {
        false
    }

    fn current_cpu(&self) -> CpuId {
        CPU.with(Cell::get)
    }

    fn log(&self, _level: Level, line: fmt::Arguments<'_>) {
        self.log
            .lock()
            .expect("no holder panics")
            .push(line.to_string());
    }
}
