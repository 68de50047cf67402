//! Frames to bytes, block by block: no second copy of a large answer is held, and whoever does not
//! read costs no work.

use crc::{Digest, Table};

use super::{CRC, CRC_BYTES, DELIMITER, HEADER_BYTES, OPERATION_BYTES, max_encoding_length};

const HEAD_BYTES_MAX: usize = HEADER_BYTES + OPERATION_BYTES;
/// Most bytes other than zero that a COBS block holds; its length, one more, comes before them.
const BLOCK_BYTES: usize = 254;
/// So many bytes are put into the checksum at once, when the next block needs any of them.
const DIGEST_BYTES: usize = 4096;

/// What stands before a frame's data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    bytes: [u8; HEAD_BYTES_MAX],
    length: usize,
}

impl Head {
    /// The parts one after the other; they fit.
    pub(super) fn of(parts: [&[u8]; 2]) -> Head {
        let mut head = Head {
            bytes: [0; HEAD_BYTES_MAX],
            length: 0,
        };
        for part in parts {
            let end = head.length + part.len();
            head.bytes[head.length..end].copy_from_slice(part);
            head.length = end;
        }
        head
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Blocks,
    /// The zero byte that ends the frame is still to come.
    End,
    Done,
}

/// A frame on its way to the wire.
pub struct Encoder<Data> {
    head: Head,
    data: Data,
    digest: Digest<'static, u32, Table<16>>,
    /// How much of head and data is in the checksum.
    digested: usize,
    /// Valid once everything is.
    crc: [u8; CRC_BYTES],
    /// Position of the next block in head, data and checksum.
    at: usize,
    phase: Phase,
}

impl<Data> core::fmt::Debug for Encoder<Data> {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.debug_struct("Encoder")
            .field("at", &self.at)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

impl<Data: AsRef<[u8]>> Encoder<Data> {
    /// Least room that [`Encoder::next`] makes use of, in bytes.
    pub const ROOM_BYTES: usize = BLOCK_BYTES + 1;

    pub(super) fn new(head: Head, data: Data) -> Encoder<Data> {
        Encoder {
            head,
            data,
            digest: CRC.digest(),
            digested: 0,
            crc: [0; CRC_BYTES],
            at: 0,
            phase: Phase::Blocks,
        }
    }

    /// At most so many bytes come in all.
    pub(super) fn bytes_max(&self) -> usize {
        // The room that the last block is checked for may be more than it takes.
        max_encoding_length(self.content_bytes() + CRC_BYTES) + Self::ROOM_BYTES
    }

    fn content_bytes(&self) -> usize {
        self.head.length + self.data.as_ref().len()
    }

    /// Writes the next bytes to the start of `out`, and says how many. None, in room enough, when
    /// all have been given.
    pub fn next(&mut self, out: &mut [u8]) -> usize {
        let mut written = 0;
        while self.phase == Phase::Blocks {
            let Some(room) = out.get_mut(written..written + Self::ROOM_BYTES) else {
                return written;
            };
            written += self.block(room);
        }
        if self.phase == Phase::End
            && let Some(end) = out.get_mut(written)
        {
            *end = DELIMITER;
            written += 1;
            self.phase = Phase::Done;
        }
        written
    }

    /// Writes one block to `room`; returns its size with the length before it.
    fn block(&mut self, room: &mut [u8]) -> usize {
        self.digest_until(self.at + BLOCK_BYTES);
        let (length, bytes) = room.split_at_mut(1);
        let copied = self.copy(bytes);
        let end = bytes[..copied].iter().position(|byte| *byte == 0);
        let run = end.unwrap_or(copied);
        length[0] = u8::try_from(run + 1).unwrap_or(u8::MAX);
        self.at += run;
        if end.is_some() {
            // The zero is said by the block's end; one at the very end needs an empty block more.
            self.at += 1;
        } else if self.at == self.content_bytes() + CRC_BYTES {
            self.phase = Phase::End;
        }
        run + 1
    }

    /// Copies what stands at `self.at`, as much as a block holds, and says how much that is.
    fn copy(&self, out: &mut [u8]) -> usize {
        let mut skipped = self.at;
        let mut copied = 0;
        for part in [self.head.as_slice(), self.data.as_ref(), &self.crc] {
            let rest = part.get(skipped..).unwrap_or_default();
            skipped = skipped.saturating_sub(part.len());
            let count = rest.len().min(BLOCK_BYTES - copied);
            out[copied..copied + count].copy_from_slice(&rest[..count]);
            copied += count;
        }
        copied
    }

    /// Puts at least what stands before `wanted` into the checksum.
    fn digest_until(&mut self, wanted: usize) {
        let content = self.content_bytes();
        if self.digested == content || self.digested >= wanted {
            return;
        }
        let end = content.min(self.digested + DIGEST_BYTES);
        let head = self.head.as_slice();
        let data = self.data.as_ref();
        let of_head = head.get(self.digested..).unwrap_or_default();
        self.digest.update(of_head);
        let from = self.digested.saturating_sub(head.len());
        self.digest
            .update(&data[from..end.saturating_sub(head.len())]);
        self.digested = end;
        if end == content {
            self.crc = self.digest.clone().finalize().to_le_bytes();
        }
    }
}
