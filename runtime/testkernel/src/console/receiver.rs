//! One port's way from the host.

use virtio_drivers::transport::mmio::MmioTransport;

use crate::console::ring::Ring;

/// Together they hold what a socket of the host does: a client that does not wait for its answers
/// does not fill them all at once.
pub(crate) const PIECES_MAX: usize = 64;
/// So many may wait while the port sends. When the host's end breaks during a write and the device
/// has no buffer to receive with, QEMU closes the connection inside that write, and afterwards
/// holds back what is written to the *next* one, until that closes too. This makes it rare; a CPU
/// that is kept from running between the look and the write does not see what arrives meanwhile, so
/// clients have to help: see [`xsplice_abi::channel`].
const WAITING_MAX: u16 = 16;

/// The receiving half of a port.
#[derive(Debug)]
pub(crate) struct PortReceiver {
    ring: Ring<PIECES_MAX>,
    /// Whether the device has been given buffers that it was not told of.
    has_news: bool,
}

impl PortReceiver {
    /// A receiver over queue number `queue`.
    pub(crate) fn new(transport: &mut MmioTransport<'static>, queue: u16) -> PortReceiver {
        let (mut ring, buffers) = Ring::new(transport, queue);
        for buffer in buffers {
            ring.hand_to_write(buffer);
        }
        PortReceiver {
            ring,
            has_news: true,
        }
    }

    /// Whether so much has arrived that nothing may be sent before some of it is taken.
    pub(crate) fn is_crowded(&self) -> bool {
        self.ring.waiting() > WAITING_MAX
    }

    /// Gives `take` the next piece that has arrived. Returns whether there was one.
    pub(crate) fn receive(&mut self, take: impl FnOnce(&[u8])) -> bool {
        let Some((number, bytes)) = self.ring.take_used() else {
            return false;
        };
        // SAFETY: the device has had every buffer, and has just given this one back.
        let buffer = unsafe { self.ring.reclaim(number) };
        take(&self.ring.content(&buffer)[..bytes]);
        self.ring.hand_to_write(buffer);
        self.has_news = true;
        true
    }

    /// Tells the device of the buffers that it has been given.
    pub(crate) fn tell(&mut self, transport: &mut MmioTransport<'static>) {
        if core::mem::take(&mut self.has_news) {
            self.ring.notify(transport);
        }
    }
}
