//! Special sections of a payload after relocation: hooks, bug frames, exception table and
//! alternatives. Each must be about the payload's own code.

use alloc::vec::Vec;

use xsplice_abi::Profile;
use xsplice_abi::machine::OF_RUNTIME;
use xsplice_abi::section::{
    ALT_CALL_SITES, ALTINSTR_REPLACEMENT, ALTINSTRUCTIONS, BUG_FRAMES, EX_TABLE, HOOKS,
};
use xsplice_abi::tables::{self, Alternative, BugKind, CallSite, ExceptionEntry, SpecialTable};
use zerocopy::FromBytes as _;

use crate::check::{CheckError, Fault};
use crate::load::place::Image;
use crate::payload::tables::{BugFrame, Exception, Hooks};
use crate::read::view::{Section, SectionId, View};

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
    let (entries, _) = <[ExceptionEntry]>::ref_from_prefix(bytes).unwrap_or((&[], bytes));
    exceptions
        .try_reserve_exact(entries.len())
        .map_err(|_| Fault::OutOfMemory.of_file())?;
    for (index, entry) in entries.iter().enumerate() {
        let at = position(index, size_of::<ExceptionEntry>());
        let place = start.wrapping_add(at);
        let fault = displaced(place, entry.fault.get());
        let resume_at = place.wrapping_add(ExceptionEntry::RESUME_AT);
        let resume = displaced(resume_at, entry.resume.get());
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
    for kind in BugKind::ALL {
        let Some((section, start, bytes)) = loaded(view, image, BUG_FRAMES, kind.suffix()) else {
            continue;
        };
        let entry_bytes = SpecialTable::BugFrames(kind).entry_bytes(&profile.entries);
        let entry_bytes = usize::try_from(entry_bytes).unwrap_or(usize::MAX);
        for (index, entry) in bytes.chunks_exact(entry_bytes).enumerate() {
            let at = position(index, entry_bytes);
            let place = start.wrapping_add(at);
            let read = tables::BugFrame::read(kind, entry)
                .ok_or(Fault::SectionEmpty.at(section.name, at))?;
            let frame = BugFrame {
                address: displaced(place, read.location),
                kind: kind.number(),
                pointer: displaced(place, read.pointer),
                line: read.line,
                message: read.message.map(|message| displaced(place, message)),
            };
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

/// Applies the alternatives whose feature this machine has, and checks that all of them are about
/// the payload's own code. Returns how many were applied.
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
        let entry = image
            .section(id, section)
            .and_then(|bytes| Alternative::read(bytes.get(usize::try_from(at).ok()?..)?));
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
    if has_feature(entry.feature()) == entry.is_inverted() {
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
    let source = displaced(
        place.wrapping_add(Alternative::REPLACEMENT_AT),
        entry.replacement.get(),
    );
    let total = usize::from(entry.place_bytes());
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

/// Checks that every alternative call site is an indirect call through memory in the payload's
/// code. The call is not rewritten: it calls the same function, only slower.
fn call_sites<'data>(view: &View<'data>, image: &Image) -> Result<(), CheckError<'data>> {
    let Some((section, start, bytes)) = loaded(view, image, ALT_CALL_SITES, "") else {
        return Ok(());
    };
    let call = &OF_RUNTIME.pointer_call;
    let (entries, _) = <[CallSite]>::ref_from_prefix(bytes).unwrap_or((&[], bytes));
    for (index, entry) in entries.iter().enumerate() {
        let at = position(index, size_of::<CallSite>());
        let address = displaced(start.wrapping_add(at), entry.call.get());
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
