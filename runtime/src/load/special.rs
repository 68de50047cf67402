//! Special sections of a payload after relocation: hooks, and the tables that loaders walk. Each
//! must be about the payload's own code.

use alloc::vec::Vec;
use core::ops::Range;

use xsplice_abi::Profile;
use xsplice_abi::machine::{Machine, MovedBranch};
use xsplice_abi::section::{ALTINSTR_REPLACEMENT, HOOKS};
use xsplice_abi::tables::{self, Alternative, BugKind, CallSite, ExceptionEntry, SpecialTable};
use zerocopy::FromBytes as _;

use crate::check::{CheckError, Fault};
use crate::load::place::Image;
use crate::payload::tables::{BugFrame, Exception, Hooks};
use crate::read::view::{Section, SectionId, View};

/// What the tables of a payload say.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    /// Sorted by address.
    pub exceptions: Vec<Exception>,
    /// Sorted by address.
    pub bugs: Vec<BugFrame>,
    /// How many alternatives took effect.
    pub alternatives: usize,
}

/// A table that is being read.
#[derive(Clone, Copy)]
struct Table<'view, 'data> {
    id: SectionId,
    section: &'view Section<'data>,
    /// Where it is loaded.
    start: u64,
    /// What the payload was made for.
    machine: &'static Machine,
    /// Size of an entry as the payload's loader reads it.
    entry_bytes: usize,
}

impl<'data> Table<'_, 'data> {
    /// The entries, with their offsets.
    fn entries<'image>(&self, image: &'image Image) -> impl Iterator<Item = (u64, &'image [u8])> {
        let bytes = image.section(self.id, self.section).unwrap_or_default();
        let entries = bytes.chunks_exact(self.entry_bytes).enumerate();
        let entry_bytes = self.entry_bytes;
        entries.map(move |(index, entry)| (position(index, entry_bytes), entry))
    }

    fn fault(&self, fault: Fault, at: u64) -> CheckError<'data> {
        fault.at(self.section.name, at)
    }
}

/// Reads and checks every table, and applies the alternatives whose feature this machine has.
///
/// # Errors
/// The first entry that is wrong, or is about code that is not the payload's.
pub(crate) fn tables<'data>(
    view: &View<'data>,
    (profile, machine): (&Profile, &'static Machine),
    (image, text): (&mut Image, &Range<u64>),
    has_feature: impl Fn(u16) -> bool,
) -> Result<Tables, CheckError<'data>> {
    let mut read = Tables::default();
    let entries = profile.entries(machine);
    let known = || {
        view.numbered().filter_map(|(id, section)| {
            let kind = SpecialTable::of(section.name)?;
            Some((id, section, kind))
        })
    };
    let table = |image: &Image, id, section, kind: SpecialTable| {
        Some(Table {
            id,
            section,
            start: image.address(id)?,
            machine,
            entry_bytes: usize::try_from(kind.entry_bytes(&entries)).unwrap_or(usize::MAX),
        })
    };
    for (id, section, kind) in known() {
        let Some(table) = table(image, id, section, kind) else {
            continue;
        };
        match kind {
            SpecialTable::Exceptions => exceptions(table, image, &mut read.exceptions)?,
            SpecialTable::BugFrames(kind) => bug_frames(table, kind, image, &mut read.bugs)?,
            SpecialTable::CallSites => call_sites(table, image)?,
            // Below: they rewrite the code that the others are about.
            SpecialTable::Alternatives => {}
        }
    }
    for (id, section, kind) in known().filter(|(.., kind)| *kind == SpecialTable::Alternatives) {
        if let Some(table) = table(image, id, section, kind) {
            read.alternatives += apply_alternatives(view, table, (image, text), &has_feature)?;
        }
    }
    read.exceptions.sort_unstable();
    read.bugs.sort_unstable_by_key(|frame| frame.address);
    Ok(read)
}

fn position(index: usize, entry_bytes: usize) -> u64 {
    u64::try_from(index.saturating_mul(entry_bytes)).unwrap_or(u64::MAX)
}

/// Reads the hooks.
///
/// # Errors
/// A hook that is no code of the payload.
pub(crate) fn hooks<'data>(
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
        for (index, pointer) in bytes
            .as_chunks::<{ size_of::<u64>() }>()
            .0
            .iter()
            .enumerate()
        {
            let address = u64::from_le_bytes(*pointer);
            if !image.is_code(address, 1) {
                return Err(Fault::HookAddress { address }
                    .at(section.name, position(index, size_of::<u64>())));
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

fn exceptions<'data>(
    table: Table<'_, 'data>,
    image: &Image,
    exceptions: &mut Vec<Exception>,
) -> Result<(), CheckError<'data>> {
    for (at, entry) in table.entries(image) {
        let Ok((entry, _)) = ExceptionEntry::ref_from_prefix(entry) else {
            return Err(table.fault(Fault::SectionEmpty, at));
        };
        let place = table.start.wrapping_add(at);
        let fault = displaced(place, entry.fault.get());
        let resume_at = place.wrapping_add(ExceptionEntry::RESUME_AT);
        let resume = displaced(resume_at, entry.resume.get());
        for address in [fault, resume] {
            if !image.is_code(address, 1) {
                return Err(table.fault(Fault::EntryOutside { address }, at));
            }
        }
        exceptions
            .try_reserve(1)
            .map_err(|_| Fault::OutOfMemory.of_file())?;
        exceptions.push(Exception { fault, resume });
    }
    Ok(())
}

fn displaced(place: u64, displacement: i32) -> u64 {
    place.wrapping_add_signed(displacement.into())
}

fn bug_frames<'data>(
    table: Table<'_, 'data>,
    kind: BugKind,
    image: &Image,
    frames: &mut Vec<BugFrame>,
) -> Result<(), CheckError<'data>> {
    for (at, entry) in table.entries(image) {
        let place = table.start.wrapping_add(at);
        let read = tables::BugFrame::read(table.machine.entry_form, kind, entry)
            .ok_or_else(|| table.fault(Fault::SectionEmpty, at))?;
        let frame = BugFrame {
            address: displaced(place, read.location),
            kind: kind.number(),
            pointer: displaced(place, read.pointer),
            line: read.line,
            message: read.message.map(|message| displaced(place, message)),
        };
        if !image.is_code(frame.address, 1) {
            let address = frame.address;
            return Err(table.fault(Fault::EntryOutside { address }, at));
        }
        frames
            .try_reserve(1)
            .map_err(|_| Fault::OutOfMemory.of_file())?;
        frames.push(frame);
    }
    Ok(())
}

/// Applies the alternatives whose feature this machine has, and checks all. Returns how many were
/// applied.
fn apply_alternatives<'data>(
    view: &View<'data>,
    table: Table<'_, 'data>,
    (image, base_text): (&mut Image, &Range<u64>),
    has_feature: &impl Fn(u16) -> bool,
) -> Result<usize, CheckError<'data>> {
    let form = table.machine.entry_form;
    let mut applied = 0;
    for index in 0.. {
        // Read anew each time: the image is written in between.
        let at = position(index, table.entry_bytes);
        let entry = image
            .section(table.id, table.section)
            .and_then(|bytes| Alternative::read(form, bytes.get(usize::try_from(at).ok()?..)?));
        let Some(entry) = entry else {
            break;
        };
        let chosen = chosen(&entry, has_feature);
        let place = table.start.wrapping_add(at);
        let around = (table.machine, base_text);
        if place_alternative(view, image, around, &entry, (place, chosen))
            .map_err(|fault| table.fault(fault, at))?
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
    (machine, base_text): (&Machine, &Range<u64>),
    entry: &Alternative,
    (place, chosen): (u64, Chosen),
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
    if Alternative::lengths_must_be_equal(machine.entry_form) && length != total {
        return Err(Fault::AlternativeShort);
    }
    if !image.is_code(original, u64::try_from(total).unwrap_or(u64::MAX)) {
        return Err(Fault::EntryOutside { address: original });
    }
    let mut bytes = [0; 2 * u8::MAX as usize];
    machine.fill_with_short_nops(&mut bytes);
    // Xen asks this of empty replacements too.
    let outside = Fault::EntryOutside { address: source };
    let (start, content) = replacements(view, image).ok_or(outside)?;
    let text = usize::try_from(source.wrapping_sub(start))
        .ok()
        .and_then(|offset| content.get(offset..)?.get(..length))
        .ok_or(outside)?;
    bytes
        .get_mut(..length)
        .ok_or(Fault::AlternativeLong)?
        .copy_from_slice(text);
    if chosen == Chosen::Original {
        return Ok(false);
    }
    let replacement = bytes.get_mut(..length).ok_or(Fault::AlternativeLong)?;
    // Where replacements may hold several branches, the loader knows those into the image alone.
    let is_reachable =
        |target: u64| machine.instruction_bytes.is_none() || base_text.contains(&target);
    match machine.move_branches(replacement, (source, original), is_reachable) {
        MovedBranch::Fits => {}
        MovedBranch::TooFar => return Err(Fault::AlternativeOverflow),
        MovedBranch::Elsewhere(address) => return Err(Fault::AlternativeLeaves { address }),
    }
    let target = image
        .code_mut(original, total)
        .ok_or(Fault::EntryOutside { address: original })?;
    let source = bytes.get(..total).ok_or(Fault::AlternativeLong)?;
    target.copy_from_slice(source);
    Ok(true)
}

/// Where the replacement code is loaded, and what it is.
fn replacements<'image>(view: &View<'_>, image: &'image Image) -> Option<(u64, &'image [u8])> {
    let (id, section) = view.named(ALTINSTR_REPLACEMENT, "")?;
    Some((image.address(id)?, image.section(id, section)?))
}

/// Checks that every alternative call site is an indirect call through memory in the payload's
/// code. The call is not rewritten: it calls the same function, only slower.
fn call_sites<'data>(table: Table<'_, 'data>, image: &Image) -> Result<(), CheckError<'data>> {
    let Some(call) = &table.machine.pointer_call else {
        return Err(table.fault(Fault::SectionUnknown, 0));
    };
    for (at, entry) in table.entries(image) {
        let Ok((entry, _)) = CallSite::ref_from_prefix(entry) else {
            return Err(table.fault(Fault::SectionEmpty, at));
        };
        let address = displaced(table.start.wrapping_add(at), entry.call.get());
        if !image.is_code(address, position(1, call.bytes())) {
            return Err(table.fault(Fault::EntryOutside { address }, at));
        }
        if !image
            .bytes_from(address)
            .is_some_and(|code| code.starts_with(call.opcode))
        {
            return Err(table.fault(Fault::AlternativeCallSite, at));
        }
    }
    Ok(())
}
