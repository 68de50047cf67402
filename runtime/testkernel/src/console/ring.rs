//! A queue that the device and this kernel share, with buffers of its own.
//!
//! Layouts are those of the virtio specification 1.2, section 2.7 "Split Virtqueues". A buffer is
//! with the device or here as a [`Buffer`], of which there is one for each.

use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use virtio_drivers::transport::Transport;
use virtio_drivers::transport::mmio::MmioTransport;
use virtio_drivers::{BufferDirection, Hal};

use crate::console::serial::{Memory, PAGE_BYTES, physical};

/// Size of each buffer. QEMU reads a socket in pieces of as many bytes.
pub const BUFFER_BYTES: usize = 4096;

/// `VIRTQ_DESC_F_WRITE`: the device writes the buffer.
const FLAG_WRITE: u16 = 2;

#[repr(C, align(16))]
struct Descriptor {
    address: AtomicU64,
    bytes: AtomicU32,
    flags: AtomicU16,
    next: AtomicU16,
}

#[repr(C, align(4))]
struct Available<const N: usize> {
    flags: AtomicU16,
    index: AtomicU16,
    ring: [AtomicU16; N],
}

#[repr(C)]
struct UsedElement {
    descriptor: AtomicU32,
    bytes: AtomicU32,
}

#[repr(C, align(4))]
struct Used<const N: usize> {
    flags: AtomicU16,
    index: AtomicU16,
    ring: [UsedElement; N],
}

/// What the device reads and, in `used` and the buffers, writes. All zero at first.
#[repr(C)]
struct Shared<const N: usize> {
    descriptors: [Descriptor; N],
    available: Available<N>,
    used: Used<N>,
    buffers: [UnsafeCell<[u8; BUFFER_BYTES]>; N],
}

/// A buffer that the device does not have.
#[derive(Debug)]
pub struct Buffer(u16);

impl Buffer {
    /// Which one.
    pub fn number(&self) -> u16 {
        self.0
    }
}

/// The queue: `N` buffers, a power of two.
pub struct Ring<const N: usize> {
    queue: u16,
    shared: &'static Shared<N>,
    available: u16,
    used: u16,
}

impl<const N: usize> core::fmt::Debug for Ring<N> {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.debug_struct("Ring")
            .field("queue", &self.queue)
            .field("available", &self.available)
            .field("used", &self.used)
            .finish_non_exhaustive()
    }
}

// SAFETY: buffers are touched only with `&mut Ring` and the `Buffer`; everything else that is
// shared is atomic.
unsafe impl<const N: usize> Send for Ring<N> {}

impl<const N: usize> Ring<N> {
    const COUNT: u16 = {
        assert!(N.is_power_of_two() && N <= 128);
        N as u16
    };

    /// Makes queue number `queue` of the device, and gives all of its buffers.
    pub fn new(
        transport: &mut MmioTransport<'static>,
        queue: u16,
    ) -> (Ring<N>, impl Iterator<Item = Buffer> + use<N>) {
        let pages = size_of::<Shared<N>>().div_ceil(PAGE_BYTES as usize);
        let (_, memory) = Memory::dma_alloc(pages, BufferDirection::Both);
        // SAFETY: the memory is zeroed, which every field may be, as large as the type, aligned to
        // a page, and never given back.
        let shared: &'static Shared<N> = unsafe { memory.cast().as_ref() };
        transport.queue_set(
            queue,
            u32::from(Self::COUNT),
            physical(NonNull::from(&shared.descriptors).cast()),
            physical(NonNull::from(&shared.available).cast()),
            physical(NonNull::from(&shared.used).cast()),
        );
        let ring = Ring {
            queue,
            shared,
            available: 0,
            used: 0,
        };
        (ring, (0..Self::COUNT).map(Buffer))
    }

    fn slot(index: u16) -> usize {
        usize::from(index % Self::COUNT)
    }

    /// What is in a buffer.
    pub fn content<'ring>(&'ring self, buffer: &'ring Buffer) -> &'ring [u8; BUFFER_BYTES] {
        // SAFETY: who has the `Buffer` has it from this ring, and the device has not; nobody writes
        // it while both are borrowed.
        unsafe { &*self.shared.buffers[Self::slot(buffer.0)].get() }
    }

    /// The same, to write.
    pub fn content_mut<'ring>(
        &'ring mut self,
        buffer: &'ring mut Buffer,
    ) -> &'ring mut [u8; BUFFER_BYTES] {
        // SAFETY: as above, and nobody else looks at it.
        unsafe { &mut *self.shared.buffers[Self::slot(buffer.0)].get() }
    }

    /// Gives the device the first `bytes` of a buffer to read.
    pub fn hand_to_read(&mut self, buffer: Buffer, bytes: usize) {
        self.hand(buffer, bytes, 0);
    }

    /// Gives the device a buffer to write.
    pub fn hand_to_write(&mut self, buffer: Buffer) {
        self.hand(buffer, BUFFER_BYTES, FLAG_WRITE);
    }

    #[allow(
        clippy::needless_pass_by_value,
        reason = "the buffer is the device's from here on"
    )]
    fn hand(&mut self, buffer: Buffer, bytes: usize, flags: u16) {
        let slot = Self::slot(buffer.0);
        let descriptor = &self.shared.descriptors[slot];
        let address = physical(NonNull::from(&self.shared.buffers[slot]).cast());
        descriptor.address.store(address, Ordering::Relaxed);
        let bytes = u32::try_from(bytes.min(BUFFER_BYTES)).unwrap_or_default();
        descriptor.bytes.store(bytes, Ordering::Relaxed);
        descriptor.flags.store(flags, Ordering::Relaxed);
        let ring = &self.shared.available;
        ring.ring[Self::slot(self.available)].store(buffer.0, Ordering::Relaxed);
        self.available = self.available.wrapping_add(1);
        // The device sees the index only after all that it announces.
        ring.index.store(self.available, Ordering::Release);
    }

    /// Tells the device that there are buffers for it.
    pub fn notify(&self, transport: &mut MmioTransport<'static>) {
        transport.notify(self.queue);
    }

    /// How many buffers have come back and are not taken.
    pub fn waiting(&self) -> u16 {
        let index = self.shared.used.index.load(Ordering::Acquire);
        index.wrapping_sub(self.used)
    }

    /// Number of the next buffer that has come back, and how many bytes the device wrote.
    pub fn take_used(&mut self) -> Option<(u16, usize)> {
        if self.waiting() == 0 {
            return None;
        }
        let element = &self.shared.used.ring[Self::slot(self.used)];
        self.used = self.used.wrapping_add(1);
        let number = element.descriptor.load(Ordering::Relaxed);
        let bytes = element.bytes.load(Ordering::Relaxed);
        let bytes = usize::try_from(bytes).unwrap_or(BUFFER_BYTES);
        let number = u16::try_from(number % u32::from(Self::COUNT)).unwrap_or_default();
        Some((number, bytes.min(BUFFER_BYTES)))
    }

    /// The buffer with this number again.
    ///
    /// # Safety
    /// The device had it, and is done with it.
    pub unsafe fn reclaim(&self, number: u16) -> Buffer {
        Buffer(number)
    }
}
