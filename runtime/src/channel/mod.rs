//! Encodes and decodes frames of the control channel.
//!
//! The layout is fixed in [`xsplice_abi::channel`]; both ends use this encoder and decoder. A
//! console is a stream without boundaries: it may start or stop inside a frame, or lose bytes. So a
//! frame is COBS-encoded, ended by a zero byte, and has a CRC-32 over everything. The decoder holds
//! at most one frame, stops storing bytes when no frame can be that long, and continues at the next
//! zero byte after an error. The sequence number of an unreadable frame cannot be trusted, so a
//! receiver drops it without an answer.

mod decoder;
mod encoder;
mod intake;

pub use decoder::Decoder;
pub use encoder::Encoder;
pub use intake::{Intake, Overrun};

use alloc::vec::Vec;
use cobs::{decode_in_place, max_encoding_length};
use crc::{CRC_32_ISO_HDLC, Crc, Table};
use xsplice_abi::channel::{AREA_BYTES_MAX, CALL_SYSCTL, FrameHeader, MAGIC_ANSWER, MAGIC_REQUEST};
use xsplice_abi::hypercall::{List, OP_LIST, Operation, Status};
use zerocopy::byteorder::little_endian::{I32, U32};
use zerocopy::{FromBytes, IntoBytes};

use encoder::Head;

const HEADER_BYTES: usize = size_of::<FrameHeader>();
const OPERATION_BYTES: usize = size_of::<Operation>();
const CRC_BYTES: usize = size_of::<u32>();

/// Largest frame before it is encoded, in bytes.
pub const FRAME_BYTES_MAX: usize = HEADER_BYTES + OPERATION_BYTES + AREA_BYTES_MAX + CRC_BYTES;

/// Largest frame on the wire without the zero byte that ends it, in bytes.
pub const ENCODED_BYTES_MAX: usize = max_encoding_length(FRAME_BYTES_MAX);

/// What ends a frame.
pub const DELIMITER: u8 = 0;

/// What every connection begins with. A frame of an earlier connection that lacks nothing but its
/// end is spoiled by the first byte, the longest block that COBS has and nothing in it, before the
/// second could end it. The third makes it different from whatever a connection sends later: there
/// a frame may end like the first two, and the next one follows at once.
pub const PREAMBLE: [u8; 3] = [0xff, DELIMITER, DELIMITER];

static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);

/// Why bytes are not a frame, or a frame cannot become bytes. Sizes are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// More bytes came without a zero byte than any frame has.
    #[error("{ENCODED_BYTES_MAX} bytes without an end: longer than any frame")]
    TooLong,
    /// The bytes between two zero bytes are not what COBS produces: some are missing.
    #[error("not a whole COBS frame")]
    Stuffing,
    /// Shorter than a header and a checksum.
    #[error("{length} bytes are too few for a frame")]
    TooShort {
        /// Size after decoding.
        length: usize,
    },
    /// The checksum at the end is not that of the bytes before it.
    #[error("checksum {found:#010x} does not match the content's {computed:#010x}")]
    Checksum {
        /// What the frame says.
        found: u32,
        /// What its content gives.
        computed: u32,
    },
    /// The magic number is neither that of a request nor that of an answer.
    #[error("unknown magic {magic:02x?}")]
    Magic {
        /// What stands there.
        magic: [u8; 4],
    },
    /// A field that has to be zero in this kind of frame is not.
    #[error("{field} must be zero, is {value:#x}")]
    NotZero {
        /// The field of [`FrameHeader`].
        field: &'static str,
        /// Its value, as stored.
        value: u32,
    },
    /// `operation_bytes` is not what this kind of call has.
    #[error("operation of {length} bytes in a call of kind {call}")]
    OperationSize {
        /// `CALL_*`.
        call: u32,
        /// `operation_bytes`.
        length: u32,
    },
    /// Header, operation, data and checksum do not add up to the frame.
    #[error("frame of {length} bytes says that it has {data} bytes of data")]
    Sizes {
        /// Size after decoding.
        length: usize,
        /// `data_bytes`.
        data: u32,
    },
    /// The area is larger than allowed, or smaller than its data.
    #[error("area of {area} bytes with {data} bytes of data; at most {AREA_BYTES_MAX}")]
    Area {
        /// Size of the area.
        area: usize,
        /// Size of its data.
        data: usize,
    },
    /// No memory to hold the frame.
    #[error("no memory for {length} bytes of a frame")]
    NoMemory {
        /// How many were wanted.
        length: usize,
    },
}

/// One frame, checked: an operation is there exactly if the call is a [`CALL_SYSCTL`], and data is
/// never longer than the area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    kind: FrameKind,
    call: u32,
    sequence: u32,
    operation: Option<Operation>,
    data: Vec<u8>,
}

/// Which way a frame goes, with what only that kind has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// Tool to kernel.
    Request {
        /// Size of the caller's area in bytes, of which the frame carries the start.
        area_bytes: usize,
    },
    /// Kernel to tool.
    Answer {
        /// 0 or more, or a negated error number.
        result: i32,
    },
}

impl Frame {
    /// A payload operation; `area` is the start of the caller's area of `area_bytes`.
    ///
    /// # Errors
    /// [`FrameError::Area`] when the area is too large, or shorter than its start.
    pub fn sysctl(
        sequence: u32,
        operation: Operation,
        area: Vec<u8>,
        area_bytes: usize,
    ) -> Result<Frame, FrameError> {
        check_area(area_bytes, area.len())?;
        Ok(Frame {
            kind: FrameKind::Request { area_bytes },
            call: CALL_SYSCTL,
            sequence,
            operation: Some(operation),
            data: area,
        })
    }

    /// A request of another kind than [`CALL_SYSCTL`]; its area is its data.
    ///
    /// # Errors
    /// [`FrameError::Area`] when there is too much data, [`FrameError::OperationSize`] when `call`
    /// is one that needs an operation.
    pub fn request(call: u32, sequence: u32, data: Vec<u8>) -> Result<Frame, FrameError> {
        check_area(data.len(), data.len())?;
        if call == CALL_SYSCTL {
            return Err(FrameError::OperationSize { call, length: 0 });
        }
        Ok(Frame {
            kind: FrameKind::Request {
                area_bytes: data.len(),
            },
            call,
            sequence,
            operation: None,
            data,
        })
    }

    /// The answer to this frame: same call, sequence and operation, `result` and `data` its own.
    ///
    /// # Errors
    /// [`FrameError::Area`] when there is too much data.
    pub fn answer(&self, result: i32, data: Vec<u8>) -> Result<Frame, FrameError> {
        check_area(data.len(), data.len())?;
        Ok(Frame {
            kind: FrameKind::Answer { result },
            call: self.call,
            sequence: self.sequence,
            operation: self.operation,
            data,
        })
    }

    /// As [`Frame::answer`], with the operation as the call left it.
    ///
    /// # Errors
    /// As [`Frame::answer`]; [`FrameError::OperationSize`] when the request carries no operation.
    pub fn answer_sysctl(
        &self,
        result: i32,
        operation: Operation,
        area: Vec<u8>,
    ) -> Result<Frame, FrameError> {
        if self.operation.is_none() {
            return Err(FrameError::OperationSize {
                call: self.call,
                length: WIRE_OPERATION_BYTES,
            });
        }
        let mut answer = self.answer(result, area)?;
        answer.operation = Some(operation);
        Ok(answer)
    }

    /// Request or answer.
    #[must_use]
    pub fn kind(&self) -> FrameKind {
        self.kind
    }

    /// `CALL_*`; a number that nobody knows is for the receiver to refuse.
    #[must_use]
    pub fn call(&self) -> u32 {
        self.call
    }

    /// Chosen by the requester.
    #[must_use]
    pub fn sequence(&self) -> u32 {
        self.sequence
    }

    /// Of a [`CALL_SYSCTL`].
    #[must_use]
    pub fn operation(&self) -> Option<&Operation> {
        self.operation.as_ref()
    }

    /// A request: the start of the area. An answer: what it gives.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The data alone, without a copy.
    #[must_use]
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// Takes the caller's whole area out of a request: its start, then zeros up to its size. The
    /// frame stays to be answered. An answer has no area but its data.
    ///
    /// # Errors
    /// [`FrameError::NoMemory`].
    pub fn take_area(&mut self) -> Result<Vec<u8>, FrameError> {
        let mut area = core::mem::take(&mut self.data);
        if let FrameKind::Request { area_bytes } = self.kind {
            let more = area_bytes.saturating_sub(area.len());
            area.try_reserve_exact(more)
                .map_err(|_| FrameError::NoMemory { length: more })?;
            area.resize(area_bytes, 0);
        }
        Ok(area)
    }

    /// The bytes for the wire, the zero byte at the end included.
    ///
    /// # Errors
    /// [`FrameError::NoMemory`].
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        let mut encoder = Encoder::new(self.head()?, self.data.as_slice());
        let length = encoder.bytes_max();
        let mut wire = Vec::new();
        wire.try_reserve_exact(length)
            .map_err(|_| FrameError::NoMemory { length })?;
        wire.resize(length, DELIMITER);
        let written = encoder.next(&mut wire);
        wire.truncate(written);
        Ok(wire)
    }

    /// The same bytes, made as there is room for them.
    ///
    /// # Errors
    /// [`FrameError::Area`], for more data than a frame can tell of.
    pub fn into_encoder(self) -> Result<Encoder<Vec<u8>>, FrameError> {
        Ok(Encoder::new(self.head()?, self.data))
    }

    fn head(&self) -> Result<Head, FrameError> {
        let operation: &[u8] = self.operation.as_ref().map_or(&[], IntoBytes::as_bytes);
        Ok(Head::of([self.header()?.as_bytes(), operation]))
    }

    fn header(&self) -> Result<FrameHeader, FrameError> {
        let (magic, result, area) = match self.kind {
            FrameKind::Request { area_bytes } => (MAGIC_REQUEST, 0, area_bytes),
            FrameKind::Answer { result } => (MAGIC_ANSWER, result, 0),
        };
        let too_large = FrameError::Area {
            area,
            data: self.data.len(),
        };
        Ok(FrameHeader {
            magic,
            call: U32::new(self.call),
            sequence: U32::new(self.sequence),
            result: I32::new(result),
            operation_bytes: U32::new(match self.operation {
                Some(_) => WIRE_OPERATION_BYTES,
                None => 0,
            }),
            data_bytes: U32::new(u32::try_from(self.data.len()).map_err(|_| too_large)?),
            area_bytes: U32::new(u32::try_from(area).map_err(|_| too_large)?),
            pad: U32::ZERO,
        })
    }

    /// Reads one frame, taking its bytes: what stood between two zero bytes, still encoded.
    fn decode(mut bytes: Vec<u8>) -> Result<Frame, FrameError> {
        let length = decode_in_place(&mut bytes).map_err(|_| FrameError::Stuffing)?;
        bytes.truncate(length);
        let too_short = FrameError::TooShort { length };
        let (content, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or(too_short)?;
        if content.len() < HEADER_BYTES {
            return Err(too_short);
        }
        let found = u32::from_le_bytes(*crc);
        let computed = CRC.checksum(content);
        if found != computed {
            return Err(FrameError::Checksum { found, computed });
        }

        let (header, rest) = FrameHeader::read_from_prefix(content).map_err(|_| too_short)?;
        let kind = check_header(&header)?;
        let (operation, data) = if header.operation_bytes.get() == 0 {
            (None, rest)
        } else {
            let (operation, data) = Operation::read_from_prefix(rest).map_err(|_| too_short)?;
            (Some(operation), data)
        };
        let data_bytes = header.data_bytes.get();
        if usize::try_from(data_bytes) != Ok(data.len()) {
            return Err(FrameError::Sizes {
                length,
                data: data_bytes,
            });
        }
        let area_bytes = match kind {
            FrameKind::Request { area_bytes } => area_bytes,
            FrameKind::Answer { .. } => data.len(),
        };
        check_area(area_bytes, data.len())?;

        let start = content.len() - data.len();
        let end = content.len();
        bytes.truncate(end);
        bytes.drain(..start);
        Ok(Frame {
            kind,
            call: header.call.get(),
            sequence: header.sequence.get(),
            operation,
            data: bytes,
        })
    }
}

/// As far as a call may have written to its area, from the start, in bytes: what an answer carries
/// of it. Of a LIST that is the end of the last array, others write nothing.
#[must_use]
pub fn written_bytes(operation: &Operation, area: &[u8]) -> usize {
    if operation.cmd.get() != OP_LIST {
        return 0;
    }
    let list: List = operation.read();
    let entries = u64::from(list.nr.get());
    let ends = [
        (list.status_handle, entries * size_of::<Status>() as u64),
        (list.len_handle, entries * size_of::<u32>() as u64),
        (list.metadata_len_handle, entries * size_of::<u32>() as u64),
        (list.name_handle, list.name_total_size.get().into()),
        (list.metadata_handle, list.metadata_total_size.get().into()),
    ]
    .map(|(handle, bytes)| handle.get().saturating_add(bytes));
    let end = match list.nr.get() {
        0 => 0,
        _ => ends.into_iter().fold(0, u64::max),
    };
    usize::try_from(end).map_or(area.len(), |end| end.min(area.len()))
}

/// [`OPERATION_BYTES`] in the type of the header's field.
const WIRE_OPERATION_BYTES: u32 = 72;
const _: () = assert!(WIRE_OPERATION_BYTES as usize == OPERATION_BYTES);

fn check_area(area: usize, data: usize) -> Result<(), FrameError> {
    if area > AREA_BYTES_MAX || data > area {
        return Err(FrameError::Area { area, data });
    }
    Ok(())
}

fn check_header(header: &FrameHeader) -> Result<FrameKind, FrameError> {
    let zero = |field, value: u32| {
        if value == 0 {
            Ok(())
        } else {
            Err(FrameError::NotZero { field, value })
        }
    };
    zero("pad", header.pad.get())?;
    let area = header.area_bytes.get();
    let result = header.result.get();
    let kind = match header.magic {
        MAGIC_REQUEST => {
            zero("result", result.cast_unsigned())?;
            FrameKind::Request {
                area_bytes: usize::try_from(area).map_err(|_| FrameError::Area {
                    area: usize::MAX,
                    data: 0,
                })?,
            }
        }
        MAGIC_ANSWER => {
            zero("area_bytes", area)?;
            FrameKind::Answer { result }
        }
        magic => return Err(FrameError::Magic { magic }),
    };
    let call = header.call.get();
    let expected = if call == CALL_SYSCTL {
        WIRE_OPERATION_BYTES
    } else {
        0
    };
    let length = header.operation_bytes.get();
    if length != expected {
        return Err(FrameError::OperationSize { call, length });
    }
    Ok(kind)
}

#[cfg(test)]
mod tests;
