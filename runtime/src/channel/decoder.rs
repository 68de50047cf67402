//! Bytes to frames.

use alloc::vec::Vec;
use xsplice_abi::channel::FrameHeader;
use xsplice_abi::hypercall::Operation;
use zerocopy::FromBytes;

use super::{
    CALL_SYSCTL, DELIMITER, ENCODED_BYTES_MAX, Frame, FrameError, FrameKind, HEADER_BYTES,
    OPERATION_BYTES, check_header,
};

/// Bytes of the wire that hold header and operation, and the lengths of blocks between them.
const START_BYTES: usize = HEADER_BYTES + OPERATION_BYTES + 2;

/// Cuts a stream of bytes into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    /// What came since the last zero byte.
    pub(super) held: Vec<u8>,
    state: DecoderState,
    /// Of the frame that there was no memory for.
    unheld: Option<Frame>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum DecoderState {
    /// Bytes are held until the zero byte.
    #[default]
    Holding,
    /// Too much came, or there was no memory: bytes are dropped until the zero byte.
    Dropping,
}

impl Decoder {
    /// A decoder at the start of a stream.
    #[must_use]
    pub const fn new() -> Decoder {
        Decoder::in_state(DecoderState::Holding)
    }

    /// A decoder that may have come in the middle of a frame: what stands before the first zero
    /// byte is nobody's.
    #[must_use]
    pub const fn in_the_middle() -> Decoder {
        Decoder::in_state(DecoderState::Dropping)
    }

    const fn in_state(state: DecoderState) -> Decoder {
        Decoder {
            held: Vec::new(),
            state,
            unheld: None,
        }
    }

    /// Takes bytes off the front of `input` up to the end of the next frame and returns that frame,
    /// or why it was not one; `None` when `input` is used up before. Call it until then. After an
    /// error the decoder is ready for the next frame. Zero bytes in a row are nothing.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Result<Frame, FrameError>> {
        loop {
            let end = input.iter().position(|byte| *byte == DELIMITER);
            let (part, rest) = input.split_at(end.unwrap_or(input.len()));
            // Past the zero byte, where there is one.
            *input = rest.get(1..).unwrap_or_default();
            if let Err(error) = self.hold(part) {
                self.unheld = match error {
                    FrameError::NoMemory { .. } => self.begun(part),
                    _ => None,
                };
                self.held = Vec::new();
                self.state = match end {
                    Some(_) => DecoderState::Holding,
                    None => DecoderState::Dropping,
                };
                return Some(Err(error));
            }
            end?;
            let bytes = core::mem::take(&mut self.held);
            self.state = DecoderState::Holding;
            if !bytes.is_empty() {
                return Some(Frame::decode(bytes));
            }
        }
    }

    /// After [`FrameError::NoMemory`]: the request that there was no memory for, without its data,
    /// if as much of it had come; so that it can be told. Its checksum has not been looked at.
    pub fn take_unheld(&mut self) -> Option<Frame> {
        self.unheld.take()
    }

    fn hold(&mut self, part: &[u8]) -> Result<(), FrameError> {
        if self.state == DecoderState::Dropping {
            return Ok(());
        }
        let length = self.held.len() + part.len();
        if length > ENCODED_BYTES_MAX {
            return Err(FrameError::TooLong);
        }
        self.held
            .try_reserve(part.len())
            .map_err(|_| FrameError::NoMemory { length })?;
        self.held.extend_from_slice(part);
        Ok(())
    }

    /// Header and operation of what is held and `part` behind it.
    pub(super) fn begun(&self, part: &[u8]) -> Option<Frame> {
        let mut wire = self.held.iter().chain(part).take(START_BYTES).copied();
        let mut plain = [0; START_BYTES];
        let mut length = 0;
        while let Some(code) = wire.next() {
            for _ in 1..code {
                let Some(byte) = wire.next() else { break };
                *plain.get_mut(length)? = byte;
                length += 1;
            }
            if code != u8::MAX {
                // The zero between two blocks, which is there already.
                length += 1;
            }
        }
        let (header, rest) = FrameHeader::read_from_prefix(plain.get(..length)?).ok()?;
        let kind = check_header(&header).ok()?;
        let operation = match header.call.get() {
            CALL_SYSCTL => Some(Operation::read_from_prefix(rest).ok()?.0),
            _ => None,
        };
        matches!(kind, FrameKind::Request { .. }).then(|| Frame {
            kind,
            call: header.call.get(),
            sequence: header.sequence.get(),
            operation,
            data: Vec::new(),
        })
    }
}
