//! Files that QEMU hands over beside the kernel (`-fw_cfg name=NAME,file=PATH`).
//!
//! Registers and layouts: QEMU, docs/specs/fw_cfg.rst. By the old port interface, which is there
//! always; what is read here is small.

use alloc::vec::Vec;

use x86_64::instructions::port::Port;
use zerocopy::byteorder::big_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Chooses what [`DATA`] gives from now on.
const SELECTOR: u16 = 0x510;
/// One byte after the other.
const DATA: u16 = 0x511;

/// Says "QEMU".
const ITEM_SIGNATURE: u16 = 0x00;
/// How many files there are, and their entries.
const ITEM_DIRECTORY: u16 = 0x19;
const SIGNATURE: [u8; 4] = *b"QEMU";

/// No file that is wanted here is larger.
const FILE_BYTES_MAX: u32 = 64 << 10;

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
struct File {
    bytes: U32,
    item: U16,
    reserved: U16,
    name: [u8; 56],
}
const _: () = assert!(size_of::<File>() == 64);

/// Why a file that is there cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Beyond the limit.
    #[error("{bytes} bytes; at most {FILE_BYTES_MAX} are read")]
    TooLarge {
        /// Its size.
        bytes: u32,
    },
}

/// The file of this name; `None` without one, or without the device.
pub fn file(name: &str) -> Result<Option<Vec<u8>>, FileError> {
    let mut signature = [0; SIGNATURE.len()];
    select(ITEM_SIGNATURE);
    read(&mut signature);
    if signature != SIGNATURE {
        return Ok(None);
    }
    let mut count = U32::ZERO;
    select(ITEM_DIRECTORY);
    read(count.as_mut_bytes());
    for _ in 0..count.get() {
        let mut entry = File::new_zeroed();
        read(entry.as_mut_bytes());
        let end = entry.name.iter().position(|byte| *byte == 0);
        if entry.name.get(..end.unwrap_or(entry.name.len())) != Some(name.as_bytes()) {
            continue;
        }
        let bytes = entry.bytes.get();
        if bytes > FILE_BYTES_MAX {
            return Err(FileError::TooLarge { bytes });
        }
        let mut contents = alloc::vec![0; usize::try_from(bytes).expect("below the limit")];
        select(entry.item.get());
        read(&mut contents);
        return Ok(Some(contents));
    }
    Ok(None)
}

fn select(item: u16) {
    // SAFETY: this port belongs to QEMU's fw_cfg alone and does nothing but choose an item; the
    // first CPU alone comes here, while it boots.
    unsafe { Port::<u16>::new(SELECTOR).write(item) };
}

fn read(into: &mut [u8]) {
    for byte in into {
        // SAFETY: reading this port has no effect but to go on to the item's next byte.
        *byte = unsafe { Port::<u8>::new(DATA).read() };
    }
}
