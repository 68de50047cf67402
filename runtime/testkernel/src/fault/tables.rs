//! The image's own special tables: alternatives put in at boot, fix-ups of faults, bug frames.
//! Those of payloads are the runtime's; a fault is looked up here first and there next.
//!
//! Layouts: fixtures/target/include/{alternative,exception,bug}.h.

use core::sync::atomic::{AtomicU64, Ordering};

use spin::Mutex;
use zerocopy::byteorder::little_endian::{I32, U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::cpu::features;
use crate::debug_ports::debugcon::log;
use crate::debug_ports::exit::{Status, exit};
use crate::fault::trap::Frame;
use crate::image;

/// An entry of `.altinstructions`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Alternative {
    instruction: I32,
    replacement: I32,
    feature: U16,
    instruction_bytes: u8,
    replacement_bytes: u8,
    padding_bytes: u8,
    private: u8,
}
const _: () = assert!(size_of::<Alternative>() == 14);

/// An entry of `.ex_table`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ExceptionEntry {
    fault: I32,
    fixup: I32,
}
const _: () = assert!(size_of::<ExceptionEntry>() == 8);

/// An entry of `.bug_frames.N`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct BugFrame {
    location: U32,
    file: U32,
}
const _: () = assert!(size_of::<BugFrame>() == 8);

/// Kind of a bug frame: the run goes on behind the `ud2`.
pub(crate) const BUG_WARN: u32 = 1;
/// Size of `ud2`, in bytes.
const UD2_BYTES: u64 = 2;
const NOP: u8 = 0x90;
/// First bytes of `call rel32` and `jmp rel32`, whose displacement moves with them.
const RELATIVE: [u8; 2] = [0xe8, 0xe9];

/// How many faults were continued at a fix-up.
static FIXUPS: AtomicU64 = AtomicU64::new(0);
/// How many warnings were reported.
static WARNINGS: AtomicU64 = AtomicU64::new(0);

/// The bug frame that was reported last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BugReport {
    /// Kind, 0 to 3.
    pub kind: u32,
    /// File's name.
    pub file: FileName,
    /// Line in it.
    pub line: u32,
    /// Address of the `ud2`.
    pub address: u64,
}

/// A file's name, copied: the payload that it stands in may be gone when it is printed. Its end is
/// kept, where it is too long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileName {
    bytes: [u8; FILE_NAME_MAX],
    length: usize,
}

/// Longest file name that is kept, in bytes.
pub(crate) const FILE_NAME_MAX: usize = 96;

impl Default for FileName {
    fn default() -> FileName {
        FileName {
            bytes: [0; FILE_NAME_MAX],
            length: 0,
        }
    }
}

impl FileName {
    /// The name with these bytes.
    pub(crate) fn new(name: &[u8]) -> FileName {
        let name = &name[name.len().saturating_sub(FILE_NAME_MAX)..];
        let mut file = FileName {
            length: name.len(),
            ..FileName::default()
        };
        file.bytes[..name.len()].copy_from_slice(name);
        file
    }
}

impl core::fmt::Display for FileName {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.write_str(core::str::from_utf8(&self.bytes[..self.length]).unwrap_or("?"))
    }
}

static LAST_BUG: Mutex<Option<BugReport>> = Mutex::new(None);

/// The bug frame that was reported last.
pub(crate) fn last_bug() -> Option<BugReport> {
    x86_64::instructions::interrupts::without_interrupts(|| *LAST_BUG.lock())
}

/// Faults that were continued at a fix-up, since boot.
pub(crate) fn fixups() -> u64 {
    FIXUPS.load(Ordering::Relaxed)
}

/// Warnings reported, since boot.
pub(crate) fn warnings() -> u64 {
    WARNINGS.load(Ordering::Relaxed)
}

fn entries<T: FromBytes + Immutable + KnownLayout + Unaligned + 'static>(
    range: core::ops::Range<u64>,
) -> impl Iterator<Item = (u64, &'static T)> {
    let start = range.start;
    image::bytes(range)
        .chunks_exact(size_of::<T>())
        .enumerate()
        .filter_map(move |(index, bytes)| {
            Some((
                start + (index * size_of::<T>()) as u64,
                T::ref_from_bytes(bytes).ok()?,
            ))
        })
}

/// Puts in the alternatives that this machine's features choose. Returns how many. Called once,
/// before text is read-only and before any other CPU runs.
pub(crate) fn apply_alternatives() -> u32 {
    let mut count = 0;
    for (at, entry) in entries::<Alternative>(image::alternatives()) {
        if !features::has(entry.feature.get()) {
            continue;
        }
        let instruction = at.wrapping_add_signed(i64::from(entry.instruction.get()));
        let replacement = at.wrapping_add_signed(4 + i64::from(entry.replacement.get()));
        let text = image::text();
        let end = instruction + u64::from(entry.instruction_bytes);
        assert!(text.contains(&instruction) && end <= text.end && text.contains(&replacement));
        assert!(entry.replacement_bytes <= entry.instruction_bytes);

        let mut code = [NOP; u8::MAX as usize];
        let code = &mut code[..usize::from(entry.instruction_bytes)];
        let (new, _) = code.split_at_mut(usize::from(entry.replacement_bytes));
        for (byte, address) in new.iter_mut().zip(replacement..) {
            // SAFETY: the replacement lies in the image's text (checked above).
            *byte = unsafe { core::ptr::read(address as *const u8) };
        }
        if let [opcode, displacement @ ..] = new
            && RELATIVE.contains(opcode)
            && let Ok(field) = <&mut [u8; 4]>::try_from(displacement)
        {
            let moved = replacement.wrapping_sub(instruction) as u32;
            *field = u32::from_le_bytes(*field).wrapping_add(moved).to_le_bytes();
        }
        for (&byte, address) in code.iter().zip(instruction..) {
            // SAFETY: (1) within the image's text (checked above), still writable; (2) nothing
            // executes target code yet.
            unsafe { core::ptr::write_volatile(address as *mut u8, byte) };
        }
        count += 1;
    }
    count
}

/// Continues at the fix-up of the faulting instruction, if the image or a payload has one.
pub(crate) fn fix_up(frame: &mut Frame) -> bool {
    let own = entries::<ExceptionEntry>(image::exception_table()).find_map(|(at, entry)| {
        (at.wrapping_add_signed(i64::from(entry.fault.get())) == frame.rip)
            .then(|| at.wrapping_add_signed(4 + i64::from(entry.fixup.get())))
    });
    let Some(fixup) = own.or_else(|| crate::fault::location::payload_fixup(frame.rip)) else {
        return false;
    };
    FIXUPS.fetch_add(1, Ordering::Relaxed);
    frame.rip = fixup;
    true
}

/// Reports the bug frame of the `ud2` that was executed, if the image or a payload has one.
/// Returns whether it did and the run goes on.
pub(crate) fn report_bug(frame: &mut Frame) -> bool {
    let own = [
        image::bug_frames_0(),
        image::bug_frames_1(),
        image::bug_frames_2(),
        image::bug_frames_3(),
    ];
    let own = (0..).zip(own).find_map(|(kind, range)| {
        let (at, entry) = entries::<BugFrame>(range)
            .find(|(at, entry)| at.wrapping_add_signed(distance(entry.location)) == frame.rip)?;
        let file = at.wrapping_add_signed(distance(entry.file));
        image::rodata().contains(&file).then(|| BugReport {
            kind,
            file: text(file),
            line: line(entry),
            address: frame.rip,
        })
    });
    let Some(report) = own.or_else(|| crate::fault::location::payload_bug(frame.rip)) else {
        return false;
    };
    let kind = match report.kind {
        0 => "run_fn",
        BUG_WARN => "WARN",
        2 => "BUG",
        _ => "ASSERT",
    };
    log!(
        "{kind} at {}:{}{}",
        report.file,
        report.line,
        crate::fault::location::Location(report.address)
    );
    *LAST_BUG.lock() = Some(report);
    if report.kind != BUG_WARN {
        exit(Status::Fault);
    }
    WARNINGS.fetch_add(1, Ordering::Relaxed);
    frame.rip += UD2_BYTES;
    true
}

/// The signed distance in a word's low 24 bits.
fn distance(word: U32) -> i64 {
    i64::from((word.get() << 8) as i32 >> 8)
}

/// The line number: 7 bits above each distance; a negative distance has borrowed one from them.
fn line(entry: &BugFrame) -> u32 {
    let bits = |word: U32| ((word.get() >> 24) + u32::from(distance(word) < 0)) & 0x7f;
    bits(entry.location) << 7 | bits(entry.file)
}

/// The string at an address of the image's read-only data.
fn text(address: u64) -> FileName {
    let bytes = image::bytes(address..image::rodata().end);
    core::ffi::CStr::from_bytes_until_nul(bytes).map_or_else(
        |_| FileName::default(),
        |text| FileName::new(text.to_bytes()),
    )
}
