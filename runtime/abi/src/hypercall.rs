//! The system-control hypercall's structures for payloads (`XEN_SYSCTL_LIVEPATCH_OP`, number 27).
//!
//! Layouts follow Xen's public `sysctl.h` of interface 0x15. A field called `*_handle` is the
//! caller's address of a buffer; over the control channel it is an offset into the frame's area
//! (see [`crate::channel`]).

use zerocopy::byteorder::little_endian::{I32, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Sub-operation: load a payload and run every loader check.
pub const OP_UPLOAD: u32 = 0;
/// Sub-operation: state and result of one payload.
pub const OP_GET: u32 = 1;
/// Sub-operation: names and states of payloads.
pub const OP_LIST: u32 = 2;
/// Sub-operation: change a payload's state.
pub const OP_ACTION: u32 = 3;

/// Flag of an action: apply although the dependency is not on top of the stack.
pub const ACTION_FLAG_NODEPS: u32 = 1;
/// Flag of a revert: words of data that the base has changed since they were patched stay as they
/// are, instead of keeping the payload applied.
pub const ACTION_FLAG_LEAVE_WORDS: u32 = 1 << 1;

/// State: loaded and checked.
pub const STATE_CHECKED: u32 = 1;
/// State: its functions are in effect.
pub const STATE_APPLIED: u32 = 2;

/// A payload's name, by address and length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Name {
    /// Address of the name, which ends with NUL.
    pub name_handle: U64,
    /// Its length in bytes, NUL included; at most 128.
    pub size: U16,
    /// Zero.
    pub pad: [U16; 3],
}

const _: () = assert!(size_of::<Name>() == 16);

/// State and result of a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Status {
    /// [`STATE_CHECKED`] or [`STATE_APPLIED`].
    pub state: U32,
    /// 0, or the negated error number of the last action; `-EAGAIN` while one is in progress.
    pub rc: I32,
}

const _: () = assert!(size_of::<Status>() == 8);

/// Argument of [`OP_UPLOAD`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Upload {
    /// Name under which it is known from now on.
    pub name: Name,
    /// Size of the payload in bytes.
    pub size: U64,
    /// Address of the payload.
    pub payload_handle: U64,
}

const _: () = assert!(size_of::<Upload>() == 32);

/// Argument of [`OP_GET`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Get {
    /// Which payload.
    pub name: Name,
    /// In: zero. Out: its status.
    pub status: Status,
}

const _: () = assert!(size_of::<Get>() == 24);

/// Argument of [`OP_LIST`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct List {
    /// Out: changes whenever the list does.
    pub version: U32,
    /// In: index of the first entry wanted.
    pub idx: U32,
    /// In: how many entries the arrays hold; 0 asks for sizes alone. Out: how many remain
    /// after those filled, or, for 0, how many there are.
    pub nr: U32,
    /// Zero.
    pub pad: U32,
    /// In: size of the names buffer. Out: total size of all names, in bytes.
    pub name_total_size: U32,
    /// In: size of the metadata buffer. Out: total size of all metadata, in bytes.
    pub metadata_total_size: U32,
    /// Array of [`Status`].
    pub status_handle: U64,
    /// Names, one after the other, each ended by NUL.
    pub name_handle: U64,
    /// Array of 32-bit lengths of the names.
    pub len_handle: U64,
    /// Metadata, one after the other.
    pub metadata_handle: U64,
    /// Array of 32-bit lengths of the metadata.
    pub metadata_len_handle: U64,
}

const _: () = assert!(size_of::<List>() == 64);

/// Argument of [`OP_ACTION`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Action {
    /// Which payload.
    pub name: Name,
    /// `ACTION_*`.
    pub cmd: U32,
    /// How long to wait for the other CPUs, in nanoseconds; 0 is the default of 30 ms.
    pub timeout_ns: U32,
    /// `ACTION_FLAG_*`.
    pub flags: U32,
    /// Zero.
    pub pad: U32,
}

const _: () = assert!(size_of::<Action>() == 32);

/// Size of the union of arguments, in bytes.
pub const ARGUMENT_BYTES: usize = 64;

/// The whole operation: a sub-operation and its argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Operation {
    /// `OP_*`.
    pub cmd: U32,
    /// Zero.
    pub pad: U32,
    /// One of [`Upload`], [`Get`], [`List`], [`Action`], zero-extended; see [`Operation::with`]
    /// and [`Operation::read`].
    pub argument: [u8; ARGUMENT_BYTES],
}

const _: () = assert!(size_of::<Operation>() == 72);

impl Operation {
    /// The operation `cmd` with `argument`, which is at most [`ARGUMENT_BYTES`] long.
    #[must_use]
    pub fn with<T: IntoBytes + Immutable>(cmd: u32, argument: &T) -> Operation {
        let mut operation = Operation {
            cmd: U32::new(cmd),
            pad: U32::ZERO,
            argument: [0; ARGUMENT_BYTES],
        };
        operation.write(argument);
        operation
    }

    /// Stores `argument` over the first bytes of the union, as a hypercall copies results back.
    pub fn write<T: IntoBytes + Immutable>(&mut self, argument: &T) {
        const { assert!(size_of::<T>() <= ARGUMENT_BYTES) };
        let bytes = argument.as_bytes();
        self.argument[..bytes.len()].copy_from_slice(bytes);
    }

    /// The argument, read as `T`.
    #[must_use]
    pub fn read<T: FromBytes + Default>(&self) -> T {
        const { assert!(size_of::<T>() <= ARGUMENT_BYTES) };
        T::read_from_prefix(&self.argument).map_or_else(|_| T::default(), |(value, _)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, List, OP_ACTION, OP_LIST, Operation};
    use zerocopy::byteorder::little_endian::{U32, U64};

    #[test]
    fn an_argument_is_read_back_as_it_was_written() {
        let action = Action {
            cmd: U32::new(3),
            timeout_ns: U32::new(9),
            ..Action::default()
        };
        assert_eq!(Operation::with(OP_ACTION, &action).read::<Action>(), action);
        let list = List {
            metadata_len_handle: U64::new(7),
            ..List::default()
        };
        assert_eq!(Operation::with(OP_LIST, &list).read::<List>(), list);
    }
}
