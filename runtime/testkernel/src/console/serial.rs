//! The virtio serial device that carries the control channel: two ports, polled, never waited for.
//!
//! Ports, not the console of port 0: QEMU throws a console's output away when the host does not
//! read fast enough, but holds a port's back. Layouts and the order of control messages are those
//! of the virtio specification 1.2, section 5.3 "Console Device".

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::ptr::NonNull;

use virtio_drivers::queue::{OwningQueue, VirtQueue};
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::transport::{DeviceStatus, DeviceType, Transport};
use virtio_drivers::{BufferDirection, Hal, PhysAddr};
use xsplice_runtime::channel::Encoder;
use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::console::receiver::PortReceiver;
use crate::console::sender::PortSender;
use crate::memory::{DIRECT_MAP, DIRECT_MAP_BYTES};

/// How many ports are used: numbers 1 and 2 of the device.
pub const PORTS: usize = 2;

/// Where microvm puts its virtio devices, how far apart, and at most how many.
const SLOTS_START: u64 = 0xfeb0_0000;
const SLOT_BYTES: usize = 512;
const SLOTS: u64 = 32;

/// `VIRTIO_CONSOLE_F_MULTIPORT` and `VIRTIO_F_VERSION_1`.
const FEATURES: u64 = 1 << 1 | 1 << 32;
pub(super) const PAGE_BYTES: u32 = 4096;
const QUEUE_CONTROL_IN: u16 = 2;
const QUEUE_CONTROL_OUT: u16 = 3;
/// First queue of port 1; each port has one in, one out.
const QUEUE_PORTS: u16 = 4;

/// As many as the device's queue holds: what finds no buffer is lost.
const CONTROL_BUFFERS: usize = 32;
const CONTROL_BYTES: usize = 256;

/// Control events.
mod event {
    pub const DEVICE_READY: u16 = 0;
    pub const PORT_ADD: u16 = 1;
    pub const PORT_READY: u16 = 3;
    pub const PORT_OPEN: u16 = 6;
}

#[derive(
    Clone,
    Copy,
    Debug,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned
)]
#[repr(C)]
struct ControlMessage {
    port: U32,
    event: U16,
    value: U16,
}
const _: () = assert!(size_of::<ControlMessage>() == 8);

/// Why there is no control channel.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum SerialError {
    /// None of the machine's slots holds one.
    #[error("no virtio serial device; see runtime/testkernel/README.md for the command line")]
    NoDevice,
    /// The device does not offer ports.
    #[error("the virtio serial device has no ports; use virtio-mmio.force-legacy=false")]
    NoPorts,
    /// The device did not accept a queue.
    #[error("virtio: {0}")]
    Queue(virtio_drivers::Error),
}

/// Memory for the device: the heap, which lies in the direct map.
#[derive(Debug)]
pub(super) struct Memory;

// SAFETY: the heap is one physically contiguous range of the direct map, so an allocation's
// physical address is its virtual one minus the start of that map; it is not moved.
unsafe impl Hal for Memory {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let layout = dma_layout(pages);
        // SAFETY: the layout is not of size zero: the queues ask for at least a page.
        let address = unsafe { alloc::alloc::alloc_zeroed(layout) };
        let address = NonNull::new(address).expect("the heap holds a few queues");
        (physical(address), address)
    }

    unsafe fn dma_dealloc(_physical: PhysAddr, address: NonNull<u8>, pages: usize) -> i32 {
        // SAFETY: the caller passes what `dma_alloc` returned for as many pages.
        unsafe { alloc::alloc::dealloc(address.as_ptr(), dma_layout(pages)) };
        0
    }

    unsafe fn mmio_phys_to_virt(physical: PhysAddr, _size: usize) -> NonNull<u8> {
        NonNull::new((DIRECT_MAP + physical) as *mut u8).expect("the direct map is not at 0")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _direction: BufferDirection) -> PhysAddr {
        physical(buffer.cast())
    }

    unsafe fn unshare(_physical: PhysAddr, _buffer: NonNull<[u8]>, _direction: BufferDirection) {}
}

fn dma_layout(pages: usize) -> Layout {
    let page = PAGE_BYTES as usize;
    Layout::from_size_align(pages * page, page).expect("a few pages")
}

/// The physical address of heap memory.
pub(super) fn physical(address: NonNull<u8>) -> PhysAddr {
    let offset = (address.as_ptr() as u64).wrapping_sub(DIRECT_MAP);
    assert!(
        offset < DIRECT_MAP_BYTES,
        "only heap memory is shared with the device"
    );
    offset
}

/// Control messages to the device, which takes each at once: at most one buffer under way.
#[derive(Debug)]
struct Sender {
    number: u16,
    queue: VirtQueue<Memory, 2>,
    under_way: Option<(u16, Vec<u8>)>,
}

impl Sender {
    fn new(transport: &mut MmioTransport<'static>, number: u16) -> Result<Sender, SerialError> {
        let queue = VirtQueue::new(transport, number, false, false).map_err(SerialError::Queue)?;
        Ok(Sender {
            number,
            queue,
            under_way: None,
        })
    }

    /// Whether the device has taken everything sent so far.
    fn is_idle(&mut self) -> bool {
        let Some((token, buffer)) = &self.under_way else {
            return true;
        };
        if self.queue.peek_used() != Some(*token) {
            return false;
        }
        // SAFETY: the buffer is the one that was added under this token.
        let taken = unsafe { self.queue.pop_used(*token, &[buffer], &mut []) };
        if taken.is_ok() {
            self.under_way = None;
        }
        taken.is_ok()
    }

    /// Starts sending `bytes`, which must not be empty; the sender must be idle.
    fn send(&mut self, transport: &mut MmioTransport<'static>, bytes: Vec<u8>) {
        // SAFETY: `under_way` keeps the buffer, unmoved and untouched, until it was popped.
        let token = unsafe { self.queue.add(&[&bytes], &mut []) };
        let token = token.expect("the queue is empty while the sender is idle");
        self.under_way = Some((token, bytes));
        transport.notify(self.number);
    }
}

#[derive(Debug)]
struct Port {
    receive: PortReceiver,
    send: PortSender,
}

/// The device.
#[derive(Debug)]
pub struct Serial {
    transport: MmioTransport<'static>,
    control_in: OwningQueue<Memory, CONTROL_BUFFERS, CONTROL_BYTES>,
    control_out: Sender,
    control_waiting: VecDeque<ControlMessage>,
    ports: Vec<Port>,
}

impl Serial {
    /// Finds the device and makes it ready.
    pub fn find() -> Result<Serial, SerialError> {
        let mut transport = (0..SLOTS)
            .map(|slot| DIRECT_MAP + SLOTS_START + slot * SLOT_BYTES as u64)
            .find_map(|address| {
                let header = NonNull::new(address as *mut VirtIOHeader)?;
                // SAFETY: the direct map covers the slot, uncached; each is visited once, and one
                // without a device reads as such.
                let transport = unsafe { MmioTransport::new(header, SLOT_BYTES) }.ok()?;
                (transport.device_type() == DeviceType::Console).then_some(transport)
            })
            .ok_or(SerialError::NoDevice)?;

        let known = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER;
        transport.set_status(DeviceStatus::empty());
        transport.set_status(known);
        if transport.read_device_features() & FEATURES != FEATURES {
            return Err(SerialError::NoPorts);
        }
        transport.write_driver_features(FEATURES);
        transport.set_status(known | DeviceStatus::FEATURES_OK);
        transport.set_guest_page_size(PAGE_BYTES);

        let control_in = VirtQueue::new(&mut transport, QUEUE_CONTROL_IN, false, false)
            .and_then(OwningQueue::new)
            .map_err(SerialError::Queue)?;
        let control_out = Sender::new(&mut transport, QUEUE_CONTROL_OUT)?;
        let ports = (0..PORTS as u16)
            .map(|index| {
                let number = QUEUE_PORTS + 2 * index;
                Port {
                    receive: PortReceiver::new(&mut transport, number),
                    send: PortSender::new(&mut transport, number + 1),
                }
            })
            .collect();
        transport.set_status(known | DeviceStatus::FEATURES_OK | DeviceStatus::DRIVER_OK);
        transport.notify(QUEUE_CONTROL_IN);

        let mut serial = Serial {
            transport,
            control_in,
            control_out,
            control_waiting: VecDeque::new(),
            ports,
        };
        serial.control(u32::MAX, event::DEVICE_READY, 1);
        Ok(serial)
    }

    /// Handles the control messages that have arrived. Returns the index of the first port that the
    /// host has just opened or closed; to be called until it says `None`.
    pub fn poll_control(&mut self) -> Option<usize> {
        let mut changed = None;
        while changed.is_none() {
            let message = self
                .control_in
                .poll(&mut self.transport, |bytes| {
                    Ok(ControlMessage::read_from_prefix(bytes)
                        .ok()
                        .map(|(message, _)| message))
                })
                .ok()
                .flatten();
            match message {
                // Not every message is about a port: what comes behind must not wait for the data
                // of a connection that it announces.
                Some(message) => changed = self.handle(message),
                None => break,
            }
        }
        if self.control_out.is_idle()
            && let Some(message) = self.control_waiting.pop_front()
        {
            self.control_out
                .send(&mut self.transport, message.as_bytes().to_vec());
        }
        changed
    }

    fn handle(&mut self, message: ControlMessage) -> Option<usize> {
        let number = message.port.get();
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        match message.event.get() {
            event::PORT_ADD => {
                self.control(number, event::PORT_READY, 1);
                self.control(number, event::PORT_OPEN, 1);
                None
            }
            event::PORT_OPEN => (index < PORTS).then_some(index),
            _ => None,
        }
    }

    fn control(&mut self, port: u32, event: u16, value: u16) {
        self.control_waiting.push_back(ControlMessage {
            port: U32::new(port),
            event: U16::new(event),
            value: U16::new(value),
        });
    }

    /// Gives `take` the next piece that has arrived at port `index`. Returns whether there was one.
    pub fn receive(&mut self, index: usize, take: impl FnOnce(&[u8])) -> bool {
        self.ports
            .get_mut(index)
            .is_some_and(|port| port.receive.receive(take))
    }

    /// Tells the device how much of what arrived at port `index` has been taken.
    pub fn tell(&mut self, index: usize) {
        if let Some(port) = self.ports.get_mut(index) {
            port.receive.tell(&mut self.transport);
        }
    }

    /// Whether port `index` has received too much to send now, or to go on sending.
    pub fn is_crowded(&self, index: usize) -> bool {
        self.ports
            .get(index)
            .is_some_and(|port| port.receive.is_crowded())
    }

    /// Whether what port `index` sends is not all with the host.
    pub fn is_sending(&self, index: usize) -> bool {
        self.ports
            .get(index)
            .is_some_and(|port| port.send.is_sending())
    }

    /// Goes on with what port `index` sends.
    pub fn advance(&mut self, index: usize) {
        if let Some(port) = self.ports.get_mut(index) {
            port.send.advance(&mut self.transport);
        }
    }

    /// Forgets what port `index` has still to send.
    pub fn drop_pending(&mut self, index: usize) {
        if let Some(port) = self.ports.get_mut(index) {
            port.send.drop_pending();
        }
    }

    /// Whether port `index` can take the next [`Serial::send`].
    pub fn can_send(&self, index: usize) -> bool {
        self.ports
            .get(index)
            .is_some_and(|port| port.send.can_send())
    }

    /// Sends an answer from port `index`, after [`Serial::can_send`] said yes. With nobody at the
    /// other end it is lost.
    pub fn send(&mut self, index: usize, encoder: Encoder<Vec<u8>>) {
        if let Some(port) = self.ports.get_mut(index) {
            port.send.send(&mut self.transport, encoder);
        }
    }
}
