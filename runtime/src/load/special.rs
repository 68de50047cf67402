//! Special sections of a payload after relocation: hooks, bug frames, exception table and
//! alternatives, each found to be about the payload's own code.

use alloc::vec::Vec;

use xsplice_abi::Profile;
use xsplice_abi::hook::HookKind;
use xsplice_abi::machine::OF_RUNTIME;
use xsplice_abi::section::{
    ALT_CALL_SITES, ALTINSTR_REPLACEMENT, ALTINSTRUCTIONS, BUG_FRAMES, EX_TABLE, HOOKS,
};
use zerocopy::byteorder::little_endian::{I32, U16};
use zerocopy::{FromBytes, Immutable, Unaligned};

use crate::check::{CheckError, Fault};
use crate::load::place::Image;
use crate::read::view::{Section, SectionId, View};

/// Bits of a bug frame's word that hold the displacement; the rest holds line bits.
const BUG_DISPLACEMENT_BITS: u32 = 24;
/// Line bits in each of the two words.
const BUG_LINE_BITS: u32 = 7;
/// Kind of bug frame with two more words: a message.
const BUG_FRAME_ASSERT: u8 = 3;
/// Bit of an alternative's feature that turns its meaning round (Xen since 4.17.6).
const FEATURE_INVERTED: u16 = 1 << 15;

/// Hooks of a payload: addresses of its functions.
#[derive(Debug, Default)]
pub struct Hooks {
    entries: Vec<(HookKind, u64)>,
}

impl Hooks {
    /// Addresses of the hooks of this kind, in order.
    pub fn of(&self, kind: HookKind) -> impl Iterator<Item = u64> + '_ {
        self.entries
            .iter()
            .filter(move |(entry, _)| *entry == kind)
            .map(|(_, address)| *address)
    }

    /// The hook of a kind that there is one of.
    #[must_use]
    pub fn single(&self, kind: HookKind) -> Option<u64> {
        self.of(kind).next()
    }

    /// Whether any of them forbids REPLACE.
    #[must_use]
    pub fn is_vetoing(&self) -> bool {
        self.entries.iter().any(|(kind, _)| kind.is_vetoing())
    }
}

fn loaded<'view, 'image, 'data>(
    view: &'view View<'data>,
    image: &'image Image,
    prefix: &str,
    suffix: &str,
) -> Option<(&'view Section<'data>, u64, &'image [u8])> {
    let (id, section): (SectionId, _) = view.named(prefix, suffix)?;
    Some((section, image.address(id)?, image.section(id, section)?))
}

fn position(index: usize, entry_bytes: usize) -> u64 {
    u64::try_from(index.saturating_mul(entry_bytes)).unwrap_or(u64::MAX)
}

/// Reads the hooks.
///
/// # Errors
/// A hook that is no code of the payload.
pub fn hooks<'data>(
    view: &View<'data>,
    profile: &Profile,
    image: &Image,
) -> Result<Hooks, CheckError<'data>> {
    let mut hooks = Hooks::default();
    for (id, section) in view.numbered() {
        let kind = section
            .name
            .strip_prefix(profile.prefix)
            .and_then(|suffix| suffix.strip_prefix(HOOKS))
            .and_then(|name| profile.hooks.iter().find(|kind| kind.name() == name));
        let (Some(kind), Some(bytes)) = (kind, image.section(id, section)) else {
            continue;
        };
        for (index, pointer) in bytes.as_chunks::<8>().0.iter().enumerate() {
            let address = u64::from_le_bytes(*pointer);
            if !image.is_code(address, 1) {
                return Err(Fault::HookAddress { address }.at(section.name, position(index, 8)));
            }
            hooks
                .entries
                .try_reserve(1)
                .map_err(|_| Fault::OutOfMemory.of_file())?;
            hooks.entries.push((*kind, address));
        }
    }
    Ok(hooks)
}

/// One entry of an exception table: a fault at `fault` continues at `resume`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exception {
    /// Address of the instruction that may fault.
    pub fault: u64,
    /// Address where to go on.
    pub resume: u64,
}

/// Reads the exception table, sorted by address.
///
/// # Errors
/// An entry about code that is not the payload's.
pub fn exceptions<'data>(
    view: &View<'data>,
    image: &Image,
) -> Result<Vec<Exception>, CheckError<'data>> {
    let mut exceptions = Vec::new();
    let Some((section, start, bytes)) = loaded(view, image, EX_TABLE, "") else {
        return Ok(exceptions);
    };
    let entries = bytes.as_chunks::<8>().0;
    exceptions
        .try_reserve_exact(entries.len())
        .map_err(|_| Fault::OutOfMemory.of_file())?;
    for (index, entry) in entries.iter().enumerate() {
        let at = position(index, 8);
        let [a, b, c, d, e, f, g, h] = *entry;
        let place = start.wrapping_add(at);
        let fault = displaced(place, i32::from_le_bytes([a, b, c, d]));
        let resume = displaced(place.wrapping_add(4), i32::from_le_bytes([e, f, g, h]));
        for address in [fault, resume] {
            if !image.is_code(address, 1) {
                return Err(Fault::EntryOutside { address }.at(section.name, at));
            }
        }
        exceptions.push(Exception { fault, resume });
    }
    exceptions.sort_unstable();
    Ok(exceptions)
}

fn displaced(place: u64, displacement: i32) -> u64 {
    place.wrapping_add_signed(displacement.into())
}

/// One bug frame, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BugFrame {
    /// Address of the trapping instruction.
    pub address: u64,
    /// Kind: 0 to 3.
    pub kind: u8,
    /// Address of the file name, or of the function of kind 0.
    pub pointer: u64,
    /// Line.
    pub line: u32,
    /// Address of the message, for kind 3.
    pub message: Option<u64>,
}

/// Decodes the frame at `place`: two words, each with a displacement from the frame in its low 24
/// bits and 7 bits of the line above. A negative displacement has borrowed one from the line bits.
fn decode_frame(kind: u8, place: u64, entry: &[u8]) -> Option<BugFrame> {
    let word = |index: usize| {
        let bytes = entry.get(index * 4..index * 4 + 4)?;
        Some(u32::from_le_bytes(<[u8; 4]>::try_from(bytes).ok()?))
    };
    let split = |word: u32| {
        let unused = u32::BITS - BUG_DISPLACEMENT_BITS;
        let displacement = (word << unused).cast_signed() >> unused;
        let borrowed = u32::from(displacement < 0);
        let line = (word >> BUG_DISPLACEMENT_BITS).wrapping_add(borrowed);
        (displacement, line & ((1 << BUG_LINE_BITS) - 1))
    };
    let (location, line_high) = split(word(0)?);
    let (pointer, line_low) = split(word(1)?);
    let message = if kind == BUG_FRAME_ASSERT {
        // Counted from the frame, as the other displacements; the word before it is unused.
        word(3).map(|word| displaced(place, word.cast_signed()))
    } else {
        None
    };
    Some(BugFrame {
        address: displaced(place, location),
        kind,
        pointer: displaced(place, pointer),
        line: (line_high << BUG_LINE_BITS) | line_low,
        message,
    })
}

/// Reads the bug frames, sorted by address.
///
/// # Errors
/// A frame about code that is not the payload's.
pub fn bug_frames<'data>(
    view: &View<'data>,
    profile: &Profile,
    image: &Image,
) -> Result<Vec<BugFrame>, CheckError<'data>> {
    let mut frames = Vec::new();
    for kind in 0..=BUG_FRAME_ASSERT {
        let suffix = [b'0' + kind];
        let suffix = core::str::from_utf8(&suffix).unwrap_or_default();
        let Some((section, start, bytes)) = loaded(view, image, BUG_FRAMES, suffix) else {
            continue;
        };
        let entry_bytes = if kind == BUG_FRAME_ASSERT {
            profile.entries.bug_frame_assert
        } else {
            profile.entries.bug_frame
        };
        let entry_bytes = usize::try_from(entry_bytes).unwrap_or(usize::MAX);
        for (index, entry) in bytes.chunks_exact(entry_bytes).enumerate() {
            let at = position(index, entry_bytes);
            let frame = decode_frame(kind, start.wrapping_add(at), entry)
                .ok_or(Fault::SectionEmpty.at(section.name, at))?;
            if !image.is_code(frame.address, 1) {
                let address = frame.address;
                return Err(Fault::EntryOutside { address }.at(section.name, at));
            }
            frames
                .try_reserve(1)
                .map_err(|_| Fault::OutOfMemory.of_file())?;
            frames.push(frame);
        }
    }
    frames.sort_unstable_by_key(|frame| frame.address);
    Ok(frames)
}

/// An entry of `.altinstructions` (Xen's `struct alt_instr`, 14 bytes).
#[derive(Clone, Copy, FromBytes, Immutable, Unaligned)]
#[repr(C)]
struct Alternative {
    original: I32,
    replacement: I32,
    feature: U16,
    original_bytes: u8,
    replacement_bytes: u8,
    padding_bytes: u8,
    owner: u8,
}

const _: () = assert!(size_of::<Alternative>() == 14);

/// Puts the alternatives in place whose feature this machine has, and finds all of them to be
/// about the payload's own code. Returns how many were put in place.
///
/// # Errors
/// The first entry that is wrong.
pub fn apply_alternatives<'data>(
    view: &View<'data>,
    image: &mut Image,
    has_feature: impl Fn(u16) -> bool,
) -> Result<usize, CheckError<'data>> {
    call_sites(view, image)?;
    let Some((id, section)) = view.named(ALTINSTRUCTIONS, "") else {
        return Ok(0);
    };
    let Some(start) = image.address(id) else {
        return Ok(0);
    };
    let mut applied = 0;
    for index in 0.. {
        let at = position(index, size_of::<Alternative>());
        let entry = image.section(id, section).and_then(|bytes| {
            let tail = bytes.get(usize::try_from(at).ok()?..)?;
            Some(Alternative::read_from_prefix(tail).ok()?.0)
        });
        let Some(entry) = entry else {
            break;
        };
        let chosen = chosen(&entry, &has_feature);
        let place = start.wrapping_add(at);
        if place_alternative(view, image, &entry, place, chosen)
            .map_err(|fault| fault.at(section.name, at))?
        {
            applied += 1;
        }
    }
    Ok(applied)
}

/// Whether an alternative takes effect on this machine.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chosen {
    Replacement,
    Original,
}

fn chosen(entry: &Alternative, has_feature: &impl Fn(u16) -> bool) -> Chosen {
    let feature = entry.feature.get();
    let inverted = feature & FEATURE_INVERTED != 0;
    if has_feature(feature & !FEATURE_INVERTED) == inverted {
        Chosen::Original
    } else {
        Chosen::Replacement
    }
}

fn place_alternative(
    view: &View<'_>,
    image: &mut Image,
    entry: &Alternative,
    place: u64,
    chosen: Chosen,
) -> Result<bool, Fault> {
    let original = displaced(place, entry.original.get());
    let source = displaced(place.wrapping_add(4), entry.replacement.get());
    let total = usize::from(entry.original_bytes) + usize::from(entry.padding_bytes);
    let length = usize::from(entry.replacement_bytes);
    if length > total {
        return Err(Fault::AlternativeLong);
    }
    if !image.is_code(original, u64::try_from(total).unwrap_or(u64::MAX)) {
        return Err(Fault::EntryOutside { address: original });
    }
    let mut bytes = [0; 2 * u8::MAX as usize];
    OF_RUNTIME.fill_with_short_nops(&mut bytes);
    if length > 0 {
        let outside = Fault::EntryOutside { address: source };
        let (_, replacements, content) = replacements(view, image).ok_or(outside)?;
        let text = usize::try_from(source.wrapping_sub(replacements))
            .ok()
            .and_then(|offset| content.get(offset..)?.get(..length))
            .ok_or(outside)?;
        bytes
            .get_mut(..length)
            .ok_or(Fault::AlternativeLong)?
            .copy_from_slice(text);
    }
    if chosen == Chosen::Original {
        return Ok(false);
    }
    let replacement = bytes.get_mut(..length).ok_or(Fault::AlternativeLong)?;
    OF_RUNTIME
        .move_branch(replacement, source, original)
        .ok_or(Fault::AlternativeOverflow)?;
    let target = image
        .code_mut(original, total)
        .ok_or(Fault::EntryOutside { address: original })?;
    let source = bytes.get(..total).ok_or(Fault::AlternativeLong)?;
    target.copy_from_slice(source);
    Ok(true)
}

fn replacements<'image, 'view, 'data>(
    view: &'view View<'data>,
    image: &'image Image,
) -> Option<(&'view Section<'data>, u64, &'image [u8])> {
    loaded(view, image, ALTINSTR_REPLACEMENT, "")
}

/// Finds every alternative call site to be an indirect call through memory in the payload's code.
/// The call is left as it is: it reaches the same function, only slower.
fn call_sites<'data>(view: &View<'data>, image: &Image) -> Result<(), CheckError<'data>> {
    let Some((section, start, bytes)) = loaded(view, image, ALT_CALL_SITES, "") else {
        return Ok(());
    };
    let call = &OF_RUNTIME.pointer_call;
    for (index, entry) in bytes.as_chunks::<4>().0.iter().enumerate() {
        let at = position(index, 4);
        let address = displaced(start.wrapping_add(at), i32::from_le_bytes(*entry));
        if !image.is_code(address, position(1, call.bytes())) {
            return Err(Fault::EntryOutside { address }.at(section.name, at));
        }
        if !image
            .bytes_from(address)
            .is_some_and(|code| code.starts_with(call.opcode))
        {
            return Err(Fault::AlternativeCallSite.at(section.name, at));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::decode_frame;

    fn frame(location: i32, pointer: i32, line: u32) -> [u8; 8] {
        // As the assembler adds them: displacement plus the line bits above it.
        let high = location.cast_unsigned().wrapping_add((line >> 7) << 24);
        let low = pointer.cast_unsigned().wrapping_add((line & 0x7f) << 24);
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&high.to_le_bytes());
        bytes[4..].copy_from_slice(&low.to_le_bytes());
        bytes
    }

    #[test]
    fn lines_survive_displacements_of_either_sign() {
        for (location, pointer) in [(-16, 64), (16, -64), (-16, -64), (16, 64)] {
            for line in [1, 127, 128, 2000, 16383] {
                let decoded = decode_frame(2, 0x10_0000, &frame(location, pointer, line)).unwrap();
                assert_eq!(decoded.line, line, "location {location} pointer {pointer}");
                assert_eq!(
                    decoded.address,
                    0x10_0000_u64.wrapping_add_signed(location.into())
                );
                assert_eq!(
                    decoded.pointer,
                    0x10_0000_u64.wrapping_add_signed(pointer.into())
                );
                assert_eq!(decoded.message, None);
            }
        }
    }
}
