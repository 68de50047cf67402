//! The control channel between the operator's tool and the kernel.
//!
//! Each frame is COBS-encoded and ended by one zero byte, so that a receiver finds the next frame
//! after a connection was cut in the middle of one; a client starts a connection with the bytes
//! 255, 0 and 0, in one piece. Then it asks [`CALL_HELLO`], and connects anew when that is not
//! answered soon: the device may hold back all that is written to one connection (QEMU does when
//! the connection before broke during a write while the port had no buffer to receive with), and
//! carries the next. Decoded, a frame is a [`FrameHeader`], then `operation_bytes` of
//! [`crate::hypercall::Operation`] (calls of kind [`CALL_SYSCTL`] only), then `data_bytes` of data,
//! then the CRC-32 (ISO-HDLC) of all of it, little-endian.
//!
//! A request's data is the start of the caller's *area*, the memory that handles point into:
//! `area_bytes` long, zero beyond the data. A handle is an offset into it. The answer to a
//! [`CALL_SYSCTL`] carries the operation as the call left it and the start of the area, as far as
//! the call may have written to it: of a LIST the end of its last array, of all others nothing.

use zerocopy::byteorder::little_endian::{I32, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// [`FrameHeader::magic`] of a request: `"XSPq"`.
pub const MAGIC_REQUEST: [u8; 4] = *b"XSPq";
/// [`FrameHeader::magic`] of an answer: `"XSPa"`.
pub const MAGIC_ANSWER: [u8; 4] = *b"XSPa";

/// Asks nothing: that an answer comes, whichever, shows that this connection carries answers.
pub const CALL_HELLO: u32 = 0;
/// Payload operations; the frame carries an operation.
pub const CALL_SYSCTL: u32 = 27;
/// Facts about the running kernel; data of the answer is `key=value` lines.
pub const CALL_INFO: u32 = 17;
/// What the console key prints: payloads, regions, records. Data is text, which comes in parts:
/// every answer to the request but the last returns [`RESULT_MORE`].
pub const CALL_DUMP: u32 = 120;
/// What an answer returns that another one to the same request follows.
pub const RESULT_MORE: i32 = 1;
/// Commands of the test kernel itself, for its tests: the request's data is one line of text, the
/// answer's is text.
pub const CALL_TEST: u32 = 0x1000;

/// Largest area that a caller may have: a payload of the largest size, and space for its name.
pub const AREA_BYTES_MAX: usize = crate::limits::PAYLOAD_BYTES_MAX + 64 * 1024;

/// Start of each frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FrameHeader {
    /// [`MAGIC_REQUEST`] or [`MAGIC_ANSWER`].
    pub magic: [u8; 4],
    /// `CALL_*`.
    pub call: U32,
    /// Chosen by the caller, repeated in the answer.
    pub sequence: U32,
    /// Request: 0. Answer: what the call returned, 0 or more, or a negated error number.
    pub result: I32,
    /// Size of the operation that follows: 72 or 0.
    pub operation_bytes: U32,
    /// Size of the data that follows the operation.
    pub data_bytes: U32,
    /// Request: size of the caller's area. Answer: 0.
    pub area_bytes: U32,
    /// Zero.
    pub pad: U32,
}

const _: () = assert!(size_of::<FrameHeader>() == 32);
