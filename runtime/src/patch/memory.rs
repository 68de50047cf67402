//! A platform in memory: one CPU, a copy of an image, regions in a vector.
//!
//! It lets the real loader run on a host: `xsplice-link verify` replays an upload and an apply on a
//! copy of the base, and tests compare memory before and after. It records every call, and can be
//! told to run out of regions.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use spin::Mutex;
use xsplice_abi::hook::HookArgument;
use xsplice_abi::limits::PAGE_BYTES;
use xsplice_abi::machine::{Machine, OF_RUNTIME};

use crate::platform::{Access, Interrupts, Level, MemoryFault, Platform, Region, RegionsExhausted};
use crate::rendezvous::Quiesced;
use crate::rendezvous::cpu::{CpuId, CpuSet};

/// Something that was asked of the platform, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The online set was frozen.
    Freeze,
    /// It was thawed.
    Thaw,
    /// Interrupts of the CPU were turned off.
    InterruptsOff,
    /// They were turned on.
    InterruptsOn,
    /// NMIs were masked.
    MaskNmis,
    /// They were unmasked.
    UnmaskNmis,
    /// The CPU serialised.
    Serialise,
    /// Text was opened for writing.
    OpenText,
    /// It was closed again.
    CloseText,
    /// Text was written at this address.
    WriteText(u64, Vec<u8>),
    /// A word was written at this address.
    WriteWord(u64, u64),
    /// A region was given.
    Allocate(Region),
    /// A region was protected.
    Protect(Region, Access),
    /// A region was unmapped.
    Unmap(Region),
    /// TLBs were flushed.
    FlushTlbs,
    /// A region was taken back.
    Release(Region),
    /// A hook at this address was called.
    CallHook(u64),
    /// A line was logged.
    Log(Level, String),
}

/// What a hook does, by its address and argument.
pub(crate) type HookBody = Box<dyn Fn(u64, Option<&HookArgument>) -> i32 + Send + Sync>;

struct Segment {
    address: u64,
    bytes: Vec<u8>,
    /// `None` for the image.
    region: Option<Access>,
    /// Whether it can be read.
    is_mapped: bool,
}

struct State {
    segments: Vec<Segment>,
    /// Parts of the image that are zeros; a part becomes a segment when it is accessed.
    zeros: Vec<Range<u64>>,
    events: Vec<Event>,
    interrupts: Interrupts,
    online: u16,
    now_ns: u64,
    /// Allocations that succeed before one fails.
    allocations_left: usize,
    /// Freezes that are refused before one succeeds.
    refused_freezes: usize,
    /// CPUs that do not confirm TLB flushes.
    deaf: CpuSet,
    features: Vec<u16>,
    hook: HookBody,
}

/// See the [module](self).
pub struct MemoryPlatform {
    window: Range<u64>,
    machine: &'static Machine,
    state: Mutex<State>,
}

impl fmt::Debug for MemoryPlatform {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("MemoryPlatform")
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

impl MemoryPlatform {
    /// A platform whose regions lie in `window`, page-aligned and near the image's text.
    #[must_use]
    pub fn new(window: Range<u64>) -> MemoryPlatform {
        MemoryPlatform {
            window,
            machine: OF_RUNTIME,
            state: Mutex::new(State {
                segments: Vec::new(),
                zeros: Vec::new(),
                events: Vec::new(),
                interrupts: Interrupts::On,
                online: 1,
                now_ns: 0,
                allocations_left: usize::MAX,
                refused_freezes: 0,
                deaf: CpuSet::EMPTY,
                features: Vec::new(),
                hook: Box::new(|_, _| 0),
            }),
        }
    }

    /// The same of another machine.
    #[must_use]
    pub fn on(self, machine: &'static Machine) -> MemoryPlatform {
        MemoryPlatform { machine, ..self }
    }

    /// Adds a piece of the image, which is copied.
    pub fn map(&self, address: u64, bytes: &[u8]) {
        self.state.lock().segments.push(Segment {
            address,
            bytes: bytes.to_vec(),
            region: None,
            is_mapped: true,
        });
    }

    /// Overwrites the image, as another agent than the runtime might do.
    ///
    /// # Errors
    /// Not all of it is mapped.
    pub fn overwrite(&self, address: u64, bytes: &[u8]) -> Result<(), MemoryFault> {
        let mut state = self.state.lock();
        let place = state
            .bytes_mut(address, bytes.len())
            .ok_or(MemoryFault { address })?;
        place.copy_from_slice(bytes);
        Ok(())
    }

    /// Adds a piece of the image that is zeros. It takes memory only where it is accessed, because
    /// a file may claim any size.
    pub fn map_zeros(&self, addresses: Range<u64>) {
        self.state.lock().zeros.push(addresses);
    }

    /// Decides what hooks do and return; without it they do nothing and return 0.
    pub fn set_hook(&self, hook: HookBody) {
        self.state.lock().hook = hook;
    }

    /// CPU features that the machine has, by number.
    pub fn set_features(&self, features: &[u16]) {
        self.state.lock().features = features.to_vec();
    }

    /// Lets `count` allocations of regions succeed and then fails.
    pub fn fail_allocation_after(&self, count: usize) {
        self.state.lock().allocations_left = count;
    }

    /// Refuses the next `count` times to freeze the online set, as if a CPU came or went.
    pub fn refuse_freezes(&self, count: usize) {
        self.state.lock().refused_freezes = count;
    }

    /// Claims that `count` CPUs are online; all but CPU 0 never do anything.
    pub fn set_online(&self, count: u16) {
        self.state.lock().online = count;
    }

    /// CPUs that do not confirm TLB flushes from now on.
    pub fn set_deaf(&self, deaf: CpuSet) {
        self.state.lock().deaf = deaf;
    }

    /// The calls so far; clears the record.
    #[must_use]
    pub fn take_events(&self) -> Vec<Event> {
        core::mem::take(&mut self.state.lock().events)
    }

    /// A copy of all memory that is mapped: address, bytes, and what regions are for.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(u64, Vec<u8>, Option<Access>)> {
        let state = self.state.lock();
        let mapped = state.segments.iter().filter(|segment| segment.is_mapped);
        mapped
            .map(|segment| (segment.address, segment.bytes.clone(), segment.region))
            .collect()
    }

    fn note(&self, event: Event) {
        self.state.lock().events.push(event);
    }

    fn with_segment<T>(&self, region: Region, change: impl FnOnce(&mut Segment) -> T) -> Option<T> {
        let mut state = self.state.lock();
        let segment = state
            .segments
            .iter_mut()
            .find(|segment| segment.address == region.address && segment.region.is_some())?;
        Some(change(segment))
    }
}

impl State {
    fn bytes_mut(&mut self, address: u64, count: usize) -> Option<&mut [u8]> {
        if self.mapped(address, count).is_none() {
            self.touch_zeros(address, count)?;
        }
        self.mapped(address, count)
    }

    /// Makes a segment of the zeros around `address`.
    fn touch_zeros(&mut self, address: u64, count: usize) -> Option<()> {
        let end = address.checked_add(u64::try_from(count).ok()?)?;
        let is_around = |zeros: &&Range<u64>| zeros.start <= address && end <= zeros.end;
        let zeros = self.zeros.iter().find(is_around)?;
        let start = zeros.start.max(address & !(PAGE_BYTES - 1));
        let page_end = end.checked_next_multiple_of(PAGE_BYTES);
        let end = page_end.map_or(zeros.end, |end| end.min(zeros.end));
        let bytes = usize::try_from(end - start).ok()?;
        self.segments.push(Segment {
            address: start,
            bytes: vec![0; bytes],
            region: None,
            is_mapped: true,
        });
        Some(())
    }

    fn mapped(&mut self, address: u64, count: usize) -> Option<&mut [u8]> {
        self.segments
            .iter_mut()
            .filter(|segment| segment.is_mapped)
            .find_map(|segment| {
                let start = usize::try_from(address.checked_sub(segment.address)?).ok()?;
                segment.bytes.get_mut(start..start.checked_add(count)?)
            })
    }
}

impl Platform for MemoryPlatform {
    fn machine(&self) -> &'static Machine {
        self.machine
    }

    fn cpus(&self) -> usize {
        self.state.lock().online.into()
    }

    fn freeze_online(&self) -> Option<CpuSet> {
        let mut state = self.state.lock();
        if let Some(left) = state.refused_freezes.checked_sub(1) {
            state.refused_freezes = left;
            return None;
        }
        state.events.push(Event::Freeze);
        Some(CpuSet::first(state.online))
    }

    fn thaw_online(&self) {
        self.note(Event::Thaw);
    }

    fn kick(&self, _cpus: &CpuSet) {}

    fn now_ns(&self) -> u64 {
        let mut state = self.state.lock();
        state.now_ns += 1_000_000;
        state.now_ns
    }

    fn relax(&self, _interrupts: Interrupts) {}

    fn interrupts(&self) -> Interrupts {
        self.state.lock().interrupts
    }

    fn interrupts_off(&self) -> Interrupts {
        self.note(Event::InterruptsOff);
        core::mem::replace(&mut self.state.lock().interrupts, Interrupts::Off)
    }

    fn interrupts_restore(&self, before: Interrupts) {
        if before == Interrupts::On {
            self.note(Event::InterruptsOn);
        }
        self.state.lock().interrupts = before;
    }

    fn mask_nmis(&self) {
        self.note(Event::MaskNmis);
    }

    fn unmask_nmis(&self) {
        self.note(Event::UnmaskNmis);
    }

    fn serialise(&self) {
        self.note(Event::Serialise);
    }

    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), MemoryFault> {
        let mut state = self.state.lock();
        let from = state
            .bytes_mut(address, into.len())
            .ok_or(MemoryFault { address })?;
        into.copy_from_slice(from);
        Ok(())
    }

    fn open_text(&self, _quiesced: &Quiesced) {
        self.note(Event::OpenText);
    }

    fn close_text(&self, _quiesced: &Quiesced) {
        self.note(Event::CloseText);
    }

    fn write_text(&self, _quiesced: &Quiesced, address: u64, bytes: &[u8]) {
        self.note(Event::WriteText(address, bytes.to_vec()));
        if let Some(place) = self.state.lock().bytes_mut(address, bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    fn write_word(&self, _quiesced: &Quiesced, address: u64, value: u64) {
        self.note(Event::WriteWord(address, value));
        if let Some(place) = self.state.lock().bytes_mut(address, 8) {
            place.copy_from_slice(&value.to_le_bytes());
        }
    }

    fn allocate(&self, bytes: u64) -> Result<Region, RegionsExhausted> {
        let exhausted = RegionsExhausted { bytes };
        let mut state = self.state.lock();
        state.allocations_left = state.allocations_left.checked_sub(1).ok_or(exhausted)?;
        // First fit: the first gap in the window that is large enough.
        let mut taken: Vec<(u64, u64)> = state
            .segments
            .iter()
            .filter(|segment| segment.region.is_some())
            .map(|segment| {
                let length = u64::try_from(segment.bytes.len()).unwrap_or(u64::MAX);
                (segment.address, segment.address.saturating_add(length))
            })
            .collect();
        taken.sort_unstable();
        let mut address = self.window.start.next_multiple_of(PAGE_BYTES);
        for (start, end) in taken {
            if start.saturating_sub(address) >= bytes {
                break;
            }
            address = address.max(end);
        }
        let end = address.checked_add(bytes).ok_or(exhausted)?;
        if end > self.window.end {
            return Err(exhausted);
        }
        let region = Region { address, bytes };
        let length = usize::try_from(bytes).map_err(|_| exhausted)?;
        state.segments.push(Segment {
            address,
            bytes: alloc::vec![0; length],
            region: Some(Access::ReadWrite),
            is_mapped: true,
        });
        state.events.push(Event::Allocate(region));
        Ok(region)
    }

    fn fill(&self, region: Region, bytes: &[u8]) {
        self.with_segment(region, |segment| {
            if let Some(place) = segment.bytes.get_mut(..bytes.len()) {
                place.copy_from_slice(bytes);
            }
        });
    }

    fn protect(&self, region: Region, access: Access) {
        self.note(Event::Protect(region, access));
        self.with_segment(region, |segment| segment.region = Some(access));
    }

    fn unmap(&self, region: Region) {
        self.note(Event::Unmap(region));
        self.with_segment(region, |segment| segment.is_mapped = false);
    }

    fn flush_tlbs(&self) -> Result<(), CpuSet> {
        self.note(Event::FlushTlbs);
        let deaf = self.state.lock().deaf;
        if deaf.is_empty() { Ok(()) } else { Err(deaf) }
    }

    fn release(&self, region: Region) {
        self.note(Event::Release(region));
        self.state
            .lock()
            .segments
            .retain(|segment| segment.region.is_none() || segment.address != region.address);
    }

    fn call_hook(&self, address: u64, argument: Option<&HookArgument>) -> i32 {
        self.note(Event::CallHook(address));
        // Out of the lock, so that a hook may look at memory.
        let hook = core::mem::replace(&mut self.state.lock().hook, Box::new(|_, _| 0));
        let result = hook(address, argument);
        self.state.lock().hook = hook;
        result
    }

    fn has_feature(&self, feature: u16) -> bool {
        self.state.lock().features.contains(&feature)
    }

    fn current_cpu(&self) -> CpuId {
        CpuId(0)
    }

    fn log(&self, level: Level, line: fmt::Arguments<'_>) {
        self.note(Event::Log(level, line.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::MemoryPlatform;
    use crate::platform::{Access, Platform, Region};
    use alloc::vec;
    use alloc::vec::Vec;
    use xsplice_abi::limits::PAGE_BYTES;

    const WINDOW: u64 = 0x10_0000;

    fn pieces(platform: &MemoryPlatform) -> Vec<(u64, usize)> {
        let pieces = platform.snapshot();
        pieces
            .iter()
            .map(|(address, bytes, _)| (*address, bytes.len()))
            .collect()
    }

    #[test]
    fn zeros_take_memory_by_the_page_where_they_are_accessed() {
        let platform = MemoryPlatform::new(WINDOW..WINDOW);
        let zeros = 0x1010..0x4020;
        platform.map_zeros(0x9000..0x9010);
        platform.map_zeros(zeros.clone());
        assert_eq!(pieces(&platform), []);
        let read = |address: u64, count: usize| {
            let mut bytes = vec![0xee; count];
            platform.read(address, &mut bytes).map(|()| bytes)
        };
        assert_eq!(read(0x2345, 4), Ok(vec![0; 4]));
        assert_eq!(pieces(&platform), [(0x2000, 0x1000)]);
        platform.overwrite(0x2345, &[7]).unwrap();
        assert_eq!(read(0x2344, 3), Ok(vec![0, 7, 0]));
        assert_eq!(pieces(&platform), [(0x2000, 0x1000)]);
        // From the first byte to the last.
        assert_eq!(read(zeros.start, 1), Ok(vec![0]));
        assert_eq!(read(zeros.end - 8, 8), Ok(vec![0; 8]));
        let ends = [(0x2000, 0x1000), (0x1010, 0xff0), (0x4000, 0x20)];
        assert_eq!(pieces(&platform), ends);
        for (address, count) in [(0x100f, 1), (0x401f, 2), (0x4020, 1), (u64::MAX, 2)] {
            assert!(read(address, count).is_err(), "{address:#x}");
        }
        assert_eq!(pieces(&platform), ends);
    }

    #[test]
    fn zeros_may_be_accessed_whole() {
        let platform = MemoryPlatform::new(WINDOW..WINDOW);
        platform.map_zeros(0x1010..0x1018);
        platform.overwrite(0x1010, &[1; 8]).unwrap();
        assert_eq!(pieces(&platform), [(0x1010, 8)]);
    }

    #[test]
    fn the_first_gap_that_is_large_enough_is_given_up_to_the_windows_end() {
        let platform = MemoryPlatform::new(WINDOW..WINDOW + 4 * PAGE_BYTES);
        let given = |pages: u64| {
            let region = platform.allocate(pages * PAGE_BYTES).ok()?;
            assert_eq!(region.bytes, pages * PAGE_BYTES);
            Some((region.address - WINDOW) / PAGE_BYTES)
        };
        let release = |page: u64, pages: u64| {
            let region = Region {
                address: WINDOW + page * PAGE_BYTES,
                bytes: pages * PAGE_BYTES,
            };
            platform.unmap(region);
            platform.release(region);
        };
        assert_eq!([given(1), given(2), given(1)], [Some(0), Some(1), Some(3)]);
        assert_eq!(given(1), None);
        release(1, 2);
        assert_eq!(given(3), None);
        assert_eq!(given(2), Some(1), "it fits exactly");
        release(0, 1);
        assert_eq!(given(1), Some(0));
    }

    /// `verify` tries places that are the image's.
    #[test]
    fn a_region_at_the_address_of_a_piece_of_the_image_leaves_that_alone() {
        let platform = MemoryPlatform::new(WINDOW..WINDOW + PAGE_BYTES);
        platform.map(WINDOW, &[1; 16]);
        let image = platform.snapshot();
        let region = platform.allocate(PAGE_BYTES).unwrap();
        platform.fill(region, &[2; 16]);
        platform.protect(region, Access::ReadOnly);
        let of_region = &platform.snapshot()[1];
        assert_eq!(&of_region.1[..16], [2; 16]);
        assert_eq!(of_region.2, Some(Access::ReadOnly));
        assert_eq!(platform.snapshot()[..1], image);
        platform.unmap(region);
        assert_eq!(platform.snapshot(), image);
        platform.release(region);
        assert_eq!(platform.snapshot(), image);
    }
}
