//! The caller's area: the memory that the handles of a call point into.
//!
//! A hypercall takes addresses of the caller's buffers. Over the control channel the buffers are
//! sent with the call, one after the other, and a handle is a buffer's offset in the area. No
//! buffer starts at 0, because a handle of 0 means that there is no buffer.

use zerocopy::byteorder::little_endian::U64;

use crate::error::CtlError;

/// Buffers start at multiples of this, in bytes.
const ALIGNMENT: usize = 16;

/// Buffers being laid out.
#[derive(Debug)]
pub(crate) struct Area {
    bytes: Vec<u8>,
}

/// Offset and size of a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffer {
    offset: usize,
    length: usize,
}

impl Area {
    pub(crate) fn new() -> Area {
        Area {
            bytes: vec![0; ALIGNMENT],
        }
    }

    /// Most bytes that lie outside the buffers when there are so many.
    pub(crate) const fn unused_bytes(buffers: usize) -> usize {
        ALIGNMENT * (buffers + 1)
    }

    /// A buffer that holds `content`.
    pub(crate) fn holding(&mut self, content: &[u8]) -> Buffer {
        let offset = self.next();
        self.bytes.extend_from_slice(content);
        Buffer {
            offset,
            length: content.len(),
        }
    }

    /// A buffer of zeros for the kernel to fill.
    pub(crate) fn room(&mut self, length: usize) -> Buffer {
        let offset = self.next();
        self.bytes.resize(offset + length, 0);
        Buffer { offset, length }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn next(&mut self) -> usize {
        let offset = self.bytes.len().next_multiple_of(ALIGNMENT);
        self.bytes.resize(offset, 0);
        offset
    }
}

impl Buffer {
    /// What a structure's handle field gets.
    pub(crate) fn handle(self) -> U64 {
        U64::new(self.offset as u64)
    }

    /// The buffer's bytes in the area as the kernel left it.
    pub(crate) fn of(self, area: &[u8]) -> Result<&[u8], CtlError> {
        area.get(self.offset..self.offset + self.length)
            .ok_or(CtlError::Nonsense {
                what: "the area came back shorter than it went",
            })
    }
}
