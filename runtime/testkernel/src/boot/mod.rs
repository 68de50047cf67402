//! What the boot protocol hands over: memory map, command line and the module, which is the
//! kernel's own ELF file for the sake of its symbol table.
//!
//! Layouts are those of PVH (Xen, public/arch-x86/hvm/start_info.h, version 1).

pub(crate) mod fw_cfg;
pub(crate) mod options;

use core::ops::Range;

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::memory::{DIRECT_MAP, DIRECT_MAP_BYTES};

const MAGIC: u32 = 0x336e_c578;
/// `XEN_HVM_MEMMAP_TYPE_RAM`.
const MEMORY_TYPE_RAM: u32 = 1;
/// Longest command line that is read.
const COMMAND_LINE_MAX: usize = 4096;

#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct StartInfo {
    magic: U32,
    version: U32,
    flags: U32,
    module_count: U32,
    modules: U64,
    command_line: U64,
    rsdp: U64,
    memory_map: U64,
    memory_map_entries: U32,
    reserved: U32,
}
const _: () = assert!(size_of::<StartInfo>() == 56);

#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct MemoryEntry {
    address: U64,
    bytes: U64,
    kind: U32,
    reserved: U32,
}
const _: () = assert!(size_of::<MemoryEntry>() == 24);

#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ModuleEntry {
    address: U64,
    bytes: U64,
    command_line: U64,
    reserved: U64,
}
const _: () = assert!(size_of::<ModuleEntry>() == 32);

/// What was handed over.
#[derive(Debug)]
pub(crate) struct BootInfo {
    /// The command line.
    pub command_line: &'static str,
    /// The first module's bytes and where they are.
    pub module: Option<&'static [u8]>,
    /// Physical memory that nothing occupies, all of it above the image.
    pub free: Range<u64>,
}

/// Why the boot cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BootError {
    /// The start info does not carry PVH's magic number.
    #[error("no PVH start info at {0:#x}; boot this image by `qemu -kernel`")]
    NoStartInfo(u64),
    /// Nothing usable behind the image.
    #[error("no memory above the image; give the machine at least 256 MiB")]
    NoMemory,
}

/// Reads the start info at physical address `start_info`. `image_end` is the physical end of the
/// image.
pub(crate) fn read(start_info: u64, image_end: u64) -> Result<BootInfo, BootError> {
    let info = physical::<StartInfo>(start_info).ok_or(BootError::NoStartInfo(start_info))?;
    if info.magic.get() != MAGIC {
        return Err(BootError::NoStartInfo(start_info));
    }
    let module = if info.module_count.get() > 0 {
        physical::<ModuleEntry>(info.modules.get())
            .and_then(|module| bytes(module.address.get(), module.bytes.get()))
            .filter(|bytes| !bytes.is_empty())
    } else {
        None
    };
    let free = (0..u64::from(info.memory_map_entries.get()))
        .filter_map(|index| {
            physical::<MemoryEntry>(info.memory_map.get() + index * size_of::<MemoryEntry>() as u64)
        })
        .filter(|entry| entry.kind.get() == MEMORY_TYPE_RAM)
        .map(|entry| entry.address.get()..entry.address.get() + entry.bytes.get())
        .find(|range| range.contains(&image_end))
        .ok_or(BootError::NoMemory)?;
    let mut free = image_end..free.end.min(DIRECT_MAP_BYTES);
    if let Some(module) = module {
        let start = module.as_ptr() as u64 - DIRECT_MAP;
        let end = start + module.len() as u64;
        if free.contains(&start) {
            // Keep the larger side of it.
            if start - free.start >= free.end.saturating_sub(end) {
                free.end = start;
            } else {
                free.start = end;
            }
        }
    }
    Ok(BootInfo {
        command_line: command_line(info.command_line.get()),
        module,
        free,
    })
}

/// The structure at a physical address.
fn physical<T: FromBytes + Immutable + KnownLayout + Unaligned>(
    address: u64,
) -> Option<&'static T> {
    T::ref_from_bytes(bytes(address, size_of::<T>() as u64)?).ok()
}

/// The bytes at a physical address, through the direct map.
fn bytes(address: u64, len: u64) -> Option<&'static [u8]> {
    let end = address.checked_add(len)?;
    if address == 0 || end > DIRECT_MAP_BYTES {
        return None;
    }
    let len = usize::try_from(len).ok()?;
    // SAFETY: (1) the direct map covers [0, 4 GiB) and is mapped readable from the first
    // instruction of `kernel_main` on; (2) the protocol's structures and the module are written
    // before the entry, and the frames that hold them are kept out of `BootInfo::free`.
    Some(unsafe { core::slice::from_raw_parts((DIRECT_MAP + address) as *const u8, len) })
}

fn command_line(address: u64) -> &'static str {
    let Some(text) = bytes(address, COMMAND_LINE_MAX as u64) else {
        return "";
    };
    let end = text.iter().position(|&byte| byte == 0).unwrap_or(0);
    core::str::from_utf8(&text[..end]).unwrap_or("")
}
