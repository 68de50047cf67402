//! One port's way to the host: a ring of small buffers that cannot be blocked for good.
//!
//! When the host closes a connection, QEMU forgets the buffer that it was writing and never gives it
//! back; those behind it come back at once. The device takes buffers strictly in order, so one that
//! comes back proves that every earlier one still missing was forgotten: nothing reads it any more.
//! Therefore each answer ends in a buffer of its own, a zero byte that means nothing to a decoder:
//! whichever buffer is lost, at most one is, and the next that is sent proves it. Layouts are those
//! of the virtio specification 1.2, section 2.7 "Split Virtqueues".

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use virtio_drivers::transport::Transport;
use virtio_drivers::transport::mmio::MmioTransport;
use virtio_drivers::{BufferDirection, Hal};
use xsplice_runtime::channel::DELIMITER;

use crate::console::serial::{Memory, PAGE_BYTES, physical};

/// How many buffers a port has; a power of two.
const BUFFERS: u16 = 8;
const RING: usize = BUFFERS as usize;
const BUFFER_BYTES: usize = 4096;
/// Buffers that a short answer needs: itself, and what ends it.
const ROOM: usize = 2;

#[repr(C, align(16))]
struct Descriptor {
    address: AtomicU64,
    bytes: AtomicU32,
    flags: AtomicU16,
    next: AtomicU16,
}

#[repr(C, align(4))]
struct Available {
    flags: AtomicU16,
    index: AtomicU16,
    ring: [AtomicU16; RING],
    used_event: AtomicU16,
}

#[repr(C)]
struct UsedElement {
    descriptor: AtomicU32,
    bytes: AtomicU32,
}

#[repr(C, align(4))]
struct Used {
    flags: AtomicU16,
    index: AtomicU16,
    ring: [UsedElement; RING],
    available_event: AtomicU16,
}

/// What the device reads and, in `used`, writes. All zero at first.
#[repr(C)]
struct Shared {
    descriptors: [Descriptor; RING],
    available: Available,
    used: Used,
    buffers: [UnsafeCell<[u8; BUFFER_BYTES]>; RING],
}

/// A buffer that the device has.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    buffer: u16,
    answer: u64,
}

/// An answer of which a part is not handed to the device yet.
#[derive(Debug)]
struct Pending {
    bytes: Vec<u8>,
    handed: usize,
}

/// The sending half of a port.
pub struct PortSender {
    number: u16,
    shared: &'static Shared,
    free: VecDeque<u16>,
    under_way: VecDeque<UnderWay>,
    available: u16,
    used: u16,
    pending: Option<Pending>,
    /// Number of the answer that is or was last sent.
    answer: u64,
}

impl core::fmt::Debug for PortSender {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.debug_struct("PortSender")
            .field("number", &self.number)
            .field("under_way", &self.under_way)
            .finish_non_exhaustive()
    }
}

// SAFETY: the buffers are written only through `&mut PortSender`, of which there is one for each
// `Shared`; everything else in it is atomic.
unsafe impl Send for PortSender {}

impl PortSender {
    /// A sender over queue `number`.
    pub fn new(transport: &mut MmioTransport<'static>, number: u16) -> PortSender {
        let pages = size_of::<Shared>().div_ceil(PAGE_BYTES as usize);
        let (_, memory) = Memory::dma_alloc(pages, BufferDirection::DriverToDevice);
        // SAFETY: the memory is zeroed, which every field may be, as large as the type, aligned to a
        // page, and never given back.
        let shared: &'static Shared = unsafe { memory.cast().as_ref() };
        transport.queue_set(
            number,
            u32::from(BUFFERS),
            physical(NonNull::from(&shared.descriptors).cast()),
            physical(NonNull::from(&shared.available).cast()),
            physical(NonNull::from(&shared.used).cast()),
        );
        PortSender {
            number,
            shared,
            free: (0..BUFFERS).collect(),
            under_way: VecDeque::with_capacity(RING),
            available: 0,
            used: 0,
            pending: None,
            answer: 0,
        }
    }

    /// Whether the next answer can be given: all of the one before is handed over, and what nobody
    /// reads does not fill the ring.
    pub fn can_send(&self) -> bool {
        self.pending.is_none() && self.free.len() >= ROOM
    }

    /// Begins to send `bytes`; [`PortSender::can_send`] has said yes.
    pub fn send(&mut self, transport: &mut MmioTransport<'static>, bytes: Vec<u8>) {
        self.answer += 1;
        self.pending = Some(Pending { bytes, handed: 0 });
        self.advance(transport);
    }

    /// Forgets what is not handed over yet: its reader has gone.
    pub fn drop_pending(&mut self) {
        self.pending = None;
    }

    /// Takes back what the device has done with, and hands it as much as there is room for.
    pub fn advance(&mut self, transport: &mut MmioTransport<'static>) {
        self.collect();
        let mut handed_any = false;
        while let Some(mut pending) = self.pending.take() {
            let Some(buffer) = self.free.pop_front() else {
                self.pending = Some(pending);
                break;
            };
            handed_any = true;
            let rest = pending.bytes.get(pending.handed..).unwrap_or_default();
            if rest.is_empty() {
                self.hand_over(buffer, &[DELIMITER], &[]);
                break;
            }
            // A zero byte first: whatever an earlier connection left half sent ends there.
            let first: &[u8] = if pending.handed == 0 {
                &[DELIMITER]
            } else {
                &[]
            };
            let count = rest.len().min(BUFFER_BYTES - first.len());
            self.hand_over(buffer, first, &rest[..count]);
            pending.handed += count;
            self.pending = Some(pending);
        }
        if handed_any {
            transport.notify(self.number);
        }
    }

    fn hand_over(&mut self, buffer: u16, first: &[u8], rest: &[u8]) {
        let index = usize::from(buffer);
        let cell = &self.shared.buffers[index];
        // SAFETY: the buffer is free: the device does not read it, and this is its only writer.
        let bytes = unsafe { &mut *cell.get() };
        bytes[..first.len()].copy_from_slice(first);
        bytes[first.len()..first.len() + rest.len()].copy_from_slice(rest);
        let length = u32::try_from(first.len() + rest.len()).unwrap_or_default();

        let descriptor = &self.shared.descriptors[index];
        let address = physical(NonNull::from(cell).cast());
        descriptor.address.store(address, Ordering::Relaxed);
        descriptor.bytes.store(length, Ordering::Relaxed);
        let ring = &self.shared.available;
        ring.ring[usize::from(self.available % BUFFERS)].store(buffer, Ordering::Relaxed);
        self.available = self.available.wrapping_add(1);
        // The device sees the index only after all that it announces.
        ring.index.store(self.available, Ordering::Release);
        self.under_way.push_back(UnderWay {
            buffer,
            answer: self.answer,
        });
    }

    fn collect(&mut self) {
        while self.shared.used.index.load(Ordering::Acquire) != self.used {
            let element = &self.shared.used.ring[usize::from(self.used % BUFFERS)];
            let returned = element.descriptor.load(Ordering::Relaxed);
            self.used = self.used.wrapping_add(1);
            let known = |sent: &UnderWay| u32::from(sent.buffer) == returned;
            let Some(position) = self.under_way.iter().position(known) else {
                continue;
            };
            for (at, sent) in self.under_way.drain(..=position).enumerate() {
                let lost = at < position;
                // The rest of the answer that a lost part belongs to has no reader.
                if lost && sent.answer == self.answer {
                    self.pending = None;
                }
                self.free.push_back(sent.buffer);
            }
        }
    }
}
