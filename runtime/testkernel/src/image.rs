//! Where the parts of the running image are: the linker script's symbols, read in one place.

use core::ops::Range;

/// Link address minus load address.
pub(crate) const KERNEL_BASE: u64 = 0xffff_ffff_8000_0000;

/// Declares functions that give the ranges between pairs of the linker script's symbols.
macro_rules! ranges {
    ($($(#[$doc:meta])* $name:ident = $start:ident .. $end:ident;)*) => {
        unsafe extern "C" {
            $(static $start: u8; static $end: u8;)*
        }
        $(
            $(#[$doc])*
            pub(crate) fn $name() -> Range<u64> {
                (&raw const $start) as u64..(&raw const $end) as u64
            }
        )*
    };
}

ranges! {
    /// Code.
    text = __text_start..__text_end;
    /// Read-only data, notes and tables.
    rodata = __rodata_start..__rodata_end;
    /// Writable data and zero-initialised memory.
    data = __data_start..__bss_end;
    /// The build-id note.
    build_id_note = __build_id_start..__build_id_end;
    /// The exception table.
    exception_table = __ex_table_start..__ex_table_end;
    /// Alternatives.
    alternatives = __alt_start..__alt_end;
    /// Bug frames of kind 0.
    bug_frames_0 = __bug_frames_0_start..__bug_frames_0_end;
    /// Bug frames of kind 1.
    bug_frames_1 = __bug_frames_1_start..__bug_frames_1_end;
    /// Bug frames of kind 2.
    bug_frames_2 = __bug_frames_2_start..__bug_frames_2_end;
    /// Bug frames of kind 3.
    bug_frames_3 = __bug_frames_3_start..__bug_frames_3_end;
}

/// Physical addresses of the whole image.
pub(crate) fn physical() -> Range<u64> {
    text().start - KERNEL_BASE..data().end - KERNEL_BASE
}

/// Whether the frame at this physical address holds code or read-only data of the image.
pub(crate) fn is_read_only(physical: u64) -> bool {
    let address = physical + KERNEL_BASE;
    text().contains(&address) || rodata().contains(&address)
}

/// The bytes between two addresses of the image's read-only data.
pub(crate) fn bytes(range: Range<u64>) -> &'static [u8] {
    let whole = rodata();
    assert!(whole.start <= range.start && range.end <= whole.end && range.start <= range.end);
    let len = usize::try_from(range.end - range.start).expect("addresses fit usize");
    // SAFETY: the range lies in the image's read-only data (checked above), which is mapped for
    // good and never written after boot.
    unsafe { core::slice::from_raw_parts(range.start as *const u8, len) }
}

/// Offset of the id in a note whose owner's name is "GNU".
const NOTE_DESCRIPTION: usize = 16;

/// The image's build-id, without the note around it.
pub(crate) fn build_id() -> &'static [u8] {
    bytes(build_id_note())
        .get(NOTE_DESCRIPTION..)
        .unwrap_or_default()
}

/// Prints the image's build-id in hexadecimal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BuildId;

impl core::fmt::Display for BuildId {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(&xsplice_abi::hex::Hex(build_id()), out)
    }
}
