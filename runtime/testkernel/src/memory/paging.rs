//! The page tables that the kernel runs on: nothing is both writable and executable, by any
//! mapping.
//!
//! | where | what | how |
//! |---|---|---|
//! | `DIRECT_MAP` | physical memory below 4 GiB | writable, not executable, 2 MiB pages; the
//! image's text and read-only data read-only, 4 KiB pages; the payload pool left out |
//! | image, -2 GiB | the kernel | 4 KiB pages: text RX, rodata R, data RW |
//! | [`PAYLOAD_WINDOW`] | payload regions | 4 KiB pages: RW while a payload is loaded, then RX, R
//! or RW |
//! | [`STACK_WINDOW`] | stacks | 4 KiB pages: RW, an unmapped page below each |
//!
//! Page 0 and the whole lower half are unmapped, so that a null pointer faults.

use core::ops::Range;

use spin::Mutex;
use x86_64::registers::control::{Cr3, Cr3Flags};
use x86_64::structures::paging::mapper::MapToError;
use x86_64::structures::paging::{
    FrameAllocator, Mapper, OffsetPageTable, Page, PageTable, PageTableFlags as Flags, PhysFrame,
    Size2MiB, Size4KiB,
};
use x86_64::{PhysAddr, VirtAddr};

use crate::image;
use crate::memory::{DIRECT_MAP, DIRECT_MAP_BYTES};

/// Page size in bytes.
pub const PAGE: u64 = 4096;
/// Where payload regions are mapped: within 2 GiB of the image on both sides.
pub const PAYLOAD_WINDOW: u64 = 0xffff_ffff_9000_0000;
/// Size of the payload window and of the memory behind it, in bytes.
pub const PAYLOAD_WINDOW_BYTES: u64 = 64 << 20;
/// Where stacks are mapped.
pub const STACK_WINDOW: u64 = 0xffff_ffff_b000_0000;

const LARGE_PAGE: u64 = 2 << 20;
/// Devices lie above this physical address; below 4 GiB.
const DEVICES_START: u64 = 0xc000_0000;

const RX: Flags = Flags::PRESENT;
const R: Flags = Flags::PRESENT.union(Flags::NO_EXECUTE);
const RW: Flags = R.union(Flags::WRITABLE);
const TABLE: Flags = Flags::PRESENT.union(Flags::WRITABLE);

/// What a payload region's pages allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read and execute.
    ReadExecute,
    /// Read only.
    Read,
    /// Read and write.
    ReadWrite,
}

impl Access {
    const fn flags(self) -> Flags {
        match self {
            Access::ReadExecute => RX,
            Access::Read => R,
            Access::ReadWrite => RW,
        }
    }
}

/// Hands out zeroed frames from the front of a physical range, for good.
#[derive(Debug)]
pub struct Frames {
    free: Range<u64>,
}

impl Frames {
    /// All of `free`, which must be unused memory within the direct map.
    pub fn new(free: Range<u64>) -> Frames {
        Frames {
            free: free.start.next_multiple_of(PAGE)..free.end,
        }
    }

    /// Takes `bytes` at an address that is a multiple of `align`; `None` when they are used up.
    /// The memory is not cleared.
    pub fn take(&mut self, bytes: u64, align: u64) -> Option<u64> {
        let start = self.free.start.checked_next_multiple_of(align)?;
        let end = start.checked_add(bytes.next_multiple_of(PAGE))?;
        if end > self.free.end {
            return None;
        }
        self.free.start = end;
        Some(start)
    }

    /// What is left, in bytes.
    pub fn left_bytes(&self) -> u64 {
        self.free.end.saturating_sub(self.free.start)
    }
}

// SAFETY: `take` never returns the same memory twice, and `free` was nobody's.
unsafe impl FrameAllocator<Size4KiB> for Frames {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        let address = self.take(PAGE, PAGE)?;
        // SAFETY: the page is ours, within the direct map and mapped writable there.
        unsafe { core::ptr::write_bytes((DIRECT_MAP + address) as *mut u8, 0, PAGE as usize) };
        Some(PhysFrame::containing_address(PhysAddr::new(address)))
    }
}

/// The tables, once built.
static TABLES: Mutex<Option<OffsetPageTable<'static>>> = Mutex::new(None);

/// Builds the tables described above, with the `pool` of [`PAYLOAD_WINDOW_BYTES`] kept out of the
/// direct map, and switches this CPU to them. Returns their root for the other CPUs.
pub fn build(frames: &mut Frames, pool: Range<u64>) -> Result<u64, MapToError<Size4KiB>> {
    let root = frames
        .allocate_frame()
        .ok_or(MapToError::FrameAllocationFailed)?;
    // SAFETY: the frame is ours alone, cleared, and writable through the direct map.
    let root_table = unsafe { &mut *table_at(root.start_address()) };
    // SAFETY: the direct map holds all frames that tables are made of, in the boot tables and in
    // those built here.
    let mut tables = unsafe { OffsetPageTable::new(root_table, VirtAddr::new(DIRECT_MAP)) };

    let image_frames = image::physical();
    let split =
        image_frames.start / LARGE_PAGE * LARGE_PAGE..image_frames.end.next_multiple_of(LARGE_PAGE);
    for start in (0..DIRECT_MAP_BYTES).step_by(LARGE_PAGE as usize) {
        if pool.contains(&start) {
            continue;
        }
        if split.contains(&start) {
            for address in (start..start + LARGE_PAGE).step_by(PAGE as usize) {
                let flags = if image::is_read_only(address) { R } else { RW };
                map(&mut tables, frames, DIRECT_MAP + address, address, flags)?;
            }
            continue;
        }
        let flags = if start >= DEVICES_START {
            RW | Flags::NO_CACHE
        } else {
            RW
        };
        map_large(&mut tables, frames, start, flags)?;
    }
    for (range, flags) in [
        (image::text(), RX),
        (image::rodata(), R),
        (image::data(), RW),
    ] {
        for address in range.step_by(PAGE as usize) {
            map(
                &mut tables,
                frames,
                address,
                address - image::KERNEL_BASE,
                flags,
            )?;
        }
    }
    // Make the payload window's tables now, so that mapping there never needs memory.
    for address in
        (PAYLOAD_WINDOW..PAYLOAD_WINDOW + PAYLOAD_WINDOW_BYTES).step_by(LARGE_PAGE as usize)
    {
        map(&mut tables, frames, address, pool.start, R)?;
        let (_, flush) = tables
            .unmap(page(address))
            .expect("it was mapped a line above");
        flush.ignore();
    }

    // SAFETY: (1) the new tables map this code, its data and the boot stack (part of the image) at
    // the same addresses; (2) nothing refers to the lower half, which they leave out.
    unsafe { Cr3::write(root, Cr3Flags::empty()) };
    *TABLES.lock() = Some(tables);
    Ok(root.start_address().as_u64())
}

/// Maps `bytes` of memory for a stack whose first byte is at `address`.
pub fn map_stack(
    frames: &mut Frames,
    address: u64,
    bytes: u64,
) -> Result<(), MapToError<Size4KiB>> {
    let mut tables = TABLES.lock();
    let tables = tables.as_mut().expect("build() comes first");
    for address in (address..address + bytes).step_by(PAGE as usize) {
        let frame = frames
            .allocate_frame()
            .ok_or(MapToError::FrameAllocationFailed)?;
        map(tables, frames, address, frame.start_address().as_u64(), RW)?;
    }
    Ok(())
}

/// Maps one page of the payload window, which must be unmapped, to the frame at `physical`.
pub fn map_payload(address: u64, physical: u64, access: Access) {
    let mut tables = TABLES.lock();
    let tables = tables.as_mut().expect("build() comes first");
    map(tables, &mut NoFrames, address, physical, access.flags())
        .expect("the window's tables exist and the page is free");
}

/// Changes what one mapped page of the payload window allows, on this CPU at once; other CPUs may
/// hold the old entry until they flush.
pub fn protect_payload(address: u64, access: Access) {
    let mut tables = TABLES.lock();
    let tables = tables.as_mut().expect("build() comes first");
    // SAFETY: the page is one of the payload window's, whose contents no Rust reference covers
    // while its access changes.
    let flush = unsafe { tables.update_flags(page(address), access.flags()) };
    flush.expect("the page is mapped").flush();
}

/// Unmaps one page of the payload window, on this CPU at once.
pub fn unmap_payload(address: u64) {
    let mut tables = TABLES.lock();
    let tables = tables.as_mut().expect("build() comes first");
    let (_, flush) = tables.unmap(page(address)).expect("the page is mapped");
    flush.flush();
}

/// Forgets every translation that this CPU holds.
pub fn flush_all() {
    x86_64::instructions::tlb::flush_all();
}

/// How many leaf entries there are of each kind, large ones counted as one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Census {
    /// Executable, not writable.
    pub rx: u64,
    /// Neither.
    pub r: u64,
    /// Writable, not executable.
    pub rw: u64,
    /// Both: never.
    pub wx: u64,
}

/// Counts the entries of the tables that this CPU runs on.
pub fn census() -> Census {
    let guard = TABLES.lock();
    let tables = guard.as_ref().expect("build() comes first");
    let mut census = Census::default();
    count(tables.level_4_table(), 4, &mut census);
    census
}

fn count(table: &PageTable, level: u8, census: &mut Census) {
    for entry in table
        .iter()
        .filter(|entry| entry.flags().contains(Flags::PRESENT))
    {
        let flags = entry.flags();
        if level > 1 && !flags.contains(Flags::HUGE_PAGE) {
            // SAFETY: a present entry above the last level that is no large page leads to a table,
            // which the direct map holds; the lock keeps others from changing it.
            count(unsafe { &*table_at(entry.addr()) }, level - 1, census);
            continue;
        }
        let counter = match (
            flags.contains(Flags::WRITABLE),
            !flags.contains(Flags::NO_EXECUTE),
        ) {
            (false, false) => &mut census.r,
            (false, true) => &mut census.rx,
            (true, false) => &mut census.rw,
            (true, true) => &mut census.wx,
        };
        *counter += 1;
    }
}

/// For mappings whose tables exist.
struct NoFrames;

// SAFETY: it never returns a frame.
unsafe impl FrameAllocator<Size4KiB> for NoFrames {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        None
    }
}

fn page(address: u64) -> Page<Size4KiB> {
    Page::containing_address(VirtAddr::new(address))
}

fn table_at(address: PhysAddr) -> *mut PageTable {
    (DIRECT_MAP + address.as_u64()) as *mut PageTable
}

fn map(
    tables: &mut OffsetPageTable<'_>,
    frames: &mut impl FrameAllocator<Size4KiB>,
    address: u64,
    physical: u64,
    flags: Flags,
) -> Result<(), MapToError<Size4KiB>> {
    let frame = PhysFrame::<Size4KiB>::containing_address(PhysAddr::new(physical));
    // SAFETY: callers give each address once and pair it with memory that is meant for it; flags
    // never allow both writing and executing.
    let flush =
        unsafe { tables.map_to_with_table_flags(page(address), frame, flags, TABLE, frames) };
    flush?.flush();
    Ok(())
}

fn map_large(
    tables: &mut OffsetPageTable<'_>,
    frames: &mut Frames,
    physical: u64,
    flags: Flags,
) -> Result<(), MapToError<Size4KiB>> {
    let page = Page::<Size2MiB>::containing_address(VirtAddr::new(DIRECT_MAP + physical));
    let frame = PhysFrame::<Size2MiB>::containing_address(PhysAddr::new(physical));
    // SAFETY: the direct map's page for this very frame, given once; not executable.
    let flush = unsafe { tables.map_to_with_table_flags(page, frame, flags, TABLE, frames) };
    flush
        .map_err(|_| MapToError::FrameAllocationFailed)?
        .ignore();
    Ok(())
}
