//! Output of one port to the host: a ring of small buffers that never blocks for good.
//!
//! When the host closes a connection, QEMU forgets the buffer that it was writing and never gives
//! it back; those behind it come back at once. The device takes buffers strictly in order, so one
//! that comes back proves that every earlier one still missing was forgotten: nothing reads it any
//! more. Therefore each answer ends in a buffer of its own, a zero byte that means nothing to a
//! decoder: whichever buffer is lost, at most one is, and the next that is sent proves it. Layouts
//! are those of the virtio specification 1.2, section 2.7 "Split Virtqueues".

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use virtio_drivers::transport::mmio::MmioTransport;
use xsplice_runtime::channel::{DELIMITER, Encoder};

use crate::console::ring::{Buffer, Ring};

/// How many buffers a port has.
const BUFFERS: usize = 8;
/// Buffers that a short answer needs: itself, and what ends it.
const ROOM: usize = 2;

/// A buffer that the device has.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    buffer: u16,
    answer: u64,
}

/// An answer of which a part is not handed to the device yet.
#[derive(Debug)]
struct Pending {
    encoder: Encoder<Vec<u8>>,
    part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    First,
    Later,
}

/// The sending half of a port.
#[derive(Debug)]
pub struct PortSender {
    ring: Ring<BUFFERS>,
    free: VecDeque<Buffer>,
    under_way: VecDeque<UnderWay>,
    pending: Option<Pending>,
    /// Number of the answer that is or was last sent.
    answer: u64,
}

impl PortSender {
    /// A sender over queue number `queue`.
    pub fn new(transport: &mut MmioTransport<'static>, queue: u16) -> PortSender {
        let (ring, buffers) = Ring::new(transport, queue);
        PortSender {
            ring,
            free: buffers.collect(),
            under_way: VecDeque::with_capacity(BUFFERS),
            pending: None,
            answer: 0,
        }
    }

    /// Whether the next answer can be given: all of the one before is handed over, and what nobody
    /// reads does not fill the ring.
    pub fn can_send(&self) -> bool {
        self.pending.is_none() && self.free.len() >= ROOM
    }

    /// Whether the device has, or will have, something to write.
    pub fn is_sending(&self) -> bool {
        self.pending.is_some() || !self.under_way.is_empty()
    }

    /// Begins to send an answer; [`PortSender::can_send`] has said yes.
    pub fn send(&mut self, transport: &mut MmioTransport<'static>, encoder: Encoder<Vec<u8>>) {
        self.answer += 1;
        self.pending = Some(Pending {
            encoder,
            part: Part::First,
        });
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
            let Some(mut buffer) = self.free.pop_front() else {
                self.pending = Some(pending);
                break;
            };
            handed_any = true;
            let out = self.ring.content_mut(&mut buffer);
            // A zero byte first: whatever an earlier connection left half sent ends there.
            let begin = match pending.part {
                Part::First => 1,
                Part::Later => 0,
            };
            out[..begin].fill(DELIMITER);
            let written = pending.encoder.next(&mut out[begin..]);
            if written == 0 {
                out[0] = DELIMITER;
                self.hand_over(buffer, 1);
                break;
            }
            self.hand_over(buffer, begin + written);
            pending.part = Part::Later;
            self.pending = Some(pending);
        }
        if handed_any {
            self.ring.notify(transport);
        }
    }

    fn hand_over(&mut self, buffer: Buffer, bytes: usize) {
        self.under_way.push_back(UnderWay {
            buffer: buffer.number(),
            answer: self.answer,
        });
        self.ring.hand_to_read(buffer, bytes);
    }

    fn collect(&mut self) {
        while let Some((returned, _)) = self.ring.take_used() {
            let known = |sent: &UnderWay| sent.buffer == returned;
            let Some(position) = self.under_way.iter().position(known) else {
                continue;
            };
            for (at, sent) in self.under_way.drain(..=position).enumerate() {
                let lost = at < position;
                // The rest of the answer that a lost part belongs to has no reader.
                if lost && sent.answer == self.answer {
                    self.pending = None;
                }
                // SAFETY: the device had it under way, and gave it or a later one back.
                self.free
                    .push_back(unsafe { self.ring.reclaim(sent.buffer) });
            }
        }
    }
}
