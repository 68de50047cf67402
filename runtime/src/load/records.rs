//! The records of a payload after relocation: which functions are replaced by which, and the
//! expected bytes.

use alloc::vec::Vec;
use core::ops::Range;

use xsplice_abi::Profile;
use xsplice_abi::limits::EXPECT_BYTES_MAX;
use xsplice_abi::machine::Machine;
use xsplice_abi::profile::{Expectations, NewSize, Words, ZeroName, ZeroNewAddr, ZeroOldAddr};
use xsplice_abi::record::{ExpectEntry, RecordHead, TailFault, WordRecord};
use xsplice_abi::section::{EXPECT, FUNCS, WORDS};
use zerocopy::FromBytes;

use crate::check::{CheckError, Fault};
use crate::load::place::Image;
use crate::patch::record::{Expectation, Record, Replacement, Word};
use crate::patch::trampoline::room;
use crate::read::view::{SectionId, View};

fn table<'view, 'data>(
    view: &'view View<'data>,
    prefix: &str,
    suffix: &str,
) -> Option<(SectionId, &'view crate::read::view::Section<'data>)> {
    view.named(prefix, suffix)
        .filter(|(_, section)| section.is_allocated())
}

/// Reads and checks the records; `look_up` finds functions by name for profiles that allow an old
/// address of 0.
///
/// # Errors
/// The first rule that is broken, at its record.
pub fn records<'image, 'data>(
    view: &View<'data>,
    (profile, machine): (&Profile, &Machine),
    image: &'image Image,
    mut look_up: impl FnMut(&str) -> Result<u64, Fault>,
) -> Result<Vec<Record<'image>>, CheckError<'data>> {
    let mut records = Vec::new();
    let expectations = expectations(view, profile, image)?;
    let Some((id, section)) = table(view, profile.prefix, FUNCS) else {
        return match expectations {
            Some((name, _)) => Err(Fault::ExpectCount.at(name, 0)),
            None => Ok(records),
        };
    };
    let bytes = image.section(id, section).unwrap_or_default();
    let raw_records = bytes.chunks_exact(profile.record_bytes);
    if let Some((name, entries)) = &expectations
        && entries.len() != raw_records.len()
    {
        return Err(Fault::ExpectCount.at(name, 0));
    }
    records
        .try_reserve_exact(raw_records.len())
        .map_err(|_| Fault::OutOfMemory.of_file())?;
    for (index, raw) in raw_records.enumerate() {
        let at = u64::try_from(index * profile.record_bytes).unwrap_or(u64::MAX);
        let (mut record, in_record) = record((profile, machine), raw, image, &mut look_up)
            .map_err(|fault| fault.at(section.name, at))?;
        record.expectation = match &expectations {
            None => in_record,
            Some((name, entries)) => {
                let entry = entries.get(index).ok_or(Fault::ExpectCount.at(name, 0))?;
                let at = u64::try_from(index * size_of::<ExpectEntry>()).unwrap_or(u64::MAX);
                Expectation::new(entry.length, entry.data).map_err(|fault| fault.at(name, at))?
            }
        };
        if u32::from(record.expectation.length()) > record.old_bytes {
            return Err(Fault::ExpectBeyondFunction.at(section.name, at));
        }
        records.push(record);
    }
    Ok(records)
}

type Entries<'data, 'image> = Option<(&'data str, &'image [ExpectEntry])>;

fn expectations<'image, 'data>(
    view: &View<'data>,
    profile: &Profile,
    image: &'image Image,
) -> Result<Entries<'data, 'image>, CheckError<'data>> {
    if profile.expectations != Expectations::OwnSection {
        return Ok(None);
    }
    let Some((id, section)) = table(view, profile.prefix, EXPECT) else {
        return Ok(None);
    };
    let bytes = image.section(id, section).unwrap_or_default();
    let entries = <[ExpectEntry]>::ref_from_bytes(bytes)
        .map_err(|_| Fault::ExpectCount.at(section.name, 0))?;
    Ok(Some((section.name, entries)))
}

fn record<'image>(
    (profile, machine): (&Profile, &Machine),
    raw: &[u8],
    image: &'image Image,
    mut look_up: impl FnMut(&str) -> Result<u64, Fault>,
) -> Result<(Record<'image>, Expectation), Fault> {
    let (head, tail) = RecordHead::read_from_prefix(raw).map_err(|_| Fault::RecordTail)?;
    let name = match head.name.get() {
        0 if profile.zero_name == ZeroName::Refused || head.old_addr.get() == 0 => {
            return Err(Fault::RecordZero { field: "name" });
        }
        0 => Some(""),
        address => image.string(address).filter(|name| !name.is_empty()),
    }
    .ok_or(Fault::RecordName)?;
    let in_record = tail_of(profile, tail)?;
    let old_bytes = head.old_size.get();
    let new_bytes = head.new_size.get();
    for (field, value) in [("old_size", old_bytes), ("new_size", new_bytes)] {
        if value == 0 {
            return Err(Fault::RecordZero { field });
        }
    }
    let replacement = match (head.new_addr.get(), profile.zero_new_addr) {
        (0, ZeroNewAddr::Refused) => return Err(Fault::RecordZero { field: "new_addr" }),
        (0, ZeroNewAddr::Nop) => {
            let length = u8::try_from(new_bytes)
                .ok()
                .filter(|length| usize::from(*length) <= EXPECT_BYTES_MAX)
                .ok_or(Fault::RecordNopLong { bytes: new_bytes })?;
            if new_bytes > old_bytes {
                return Err(Fault::RecordNopOutside);
            }
            let instruction = machine.instruction_bytes.unwrap_or(1);
            if !usize::from(length).is_multiple_of(instruction) {
                return Err(Fault::RecordNopPart { bytes: new_bytes });
            }
            Replacement::Nops(length)
        }
        (address, _) if image.is_code(address, code_bytes(profile, new_bytes)) => {
            Replacement::Jump(address)
        }
        (address, _) => return Err(Fault::RecordNew { address }),
    };
    let old_address = match (head.old_addr.get(), profile.zero_old_addr) {
        (0, ZeroOldAddr::Refused) => return Err(Fault::RecordZero { field: "old_addr" }),
        (0, ZeroOldAddr::LookUp) => look_up(name)?,
        (address, _) => address,
    };
    if matches!(replacement, Replacement::Jump(_)) {
        // What its code begins with is looked at when it is known to lie in the base.
        room(machine, old_bytes, &[])?;
    }
    let record = Record {
        name,
        old_address,
        old_bytes,
        replacement,
        new_bytes,
        expectation: Expectation::NONE,
    };
    Ok((record, in_record))
}

/// How many bytes from `new_addr` on the loader looks at.
fn code_bytes(profile: &Profile, new_bytes: u32) -> u64 {
    match profile.new_size {
        NewSize::InCode => new_bytes.into(),
        NewSize::Unread => 1,
    }
}

fn tail_of(profile: &Profile, tail: &[u8]) -> Result<Expectation, Fault> {
    let expect = profile.tail.read(tail).map_err(|fault| match fault {
        TailFault::Version(version) => Fault::RecordVersion { version },
        TailFault::NotZero => Fault::RecordTail,
    })?;
    Expectation::from_record(&expect)
}

/// Checks that the old functions lie in `text` (or in further code that `is_patchable` allows) and
/// that jumps reach.
///
/// # Errors
/// The first rule that is broken.
pub fn targets<'data>(
    machine: &Machine,
    records: &[Record<'_>],
    section: &'data str,
    text: &Range<u64>,
    is_patchable: impl Fn(u64, u64) -> bool,
) -> Result<(), CheckError<'data>> {
    for record in records {
        let address = record.old_address;
        let end = address.checked_add(record.old_bytes.into());
        let in_text = end.is_some_and(|end| text.start <= address && end <= text.end);
        if !in_text && !is_patchable(address, record.old_bytes.into()) {
            return Err(Fault::RecordOld { address }.at(section, 0));
        }
        if let Replacement::Jump(new) = record.replacement {
            // The jump may stand behind a mark of the entry; every such place must reach.
            let marks = machine.entry_marks.iter().map(|mark| mark.len());
            let reaches = |offset: usize| {
                let from = address.wrapping_add(u64::try_from(offset).unwrap_or(u64::MAX));
                machine.jump.encode(from, new).is_some()
            };
            if !core::iter::once(0).chain(marks).all(reaches) {
                return Err(Fault::RecordOutOfReach.at(section, 0));
            }
        }
    }
    Ok(())
}

/// Checks that no two records write to the same function.
///
/// # Errors
/// [`Fault::RecordOverlap`], or no memory to sort.
pub(crate) fn disjoint<'data>(
    records: &[Record<'_>],
    section: &'data str,
) -> Result<(), CheckError<'data>> {
    let mut ranges = Vec::new();
    ranges
        .try_reserve_exact(records.len())
        .map_err(|_| Fault::OutOfMemory.of_file())?;
    ranges.extend(records.iter().map(|record| {
        let end = record.old_address.saturating_add(record.old_bytes.into());
        (record.old_address, end)
    }));
    ranges.sort_unstable();
    let overlaps = |pair: &[(u64, u64)]| matches!(pair, [(_, end), (start, _)] if start < end);
    if ranges.windows(2).any(overlaps) {
        return Err(Fault::RecordOverlap.at(section, 0));
    }
    Ok(())
}

/// Reads the in-place words.
///
/// # Errors
/// The first rule that is broken, at its record.
pub fn words<'image, 'data>(
    view: &View<'data>,
    profile: &Profile,
    image: &'image Image,
) -> Result<Vec<Word<'image>>, CheckError<'data>> {
    let mut words = Vec::new();
    if profile.words == Words::Unknown {
        return Ok(words);
    }
    let Some((id, section)) = table(view, profile.prefix, WORDS) else {
        return Ok(words);
    };
    let bytes = image.section(id, section).unwrap_or_default();
    let raw = <[WordRecord]>::ref_from_bytes(bytes)
        .map_err(|_| Fault::SectionEmpty.at(section.name, 0))?;
    words
        .try_reserve_exact(raw.len())
        .map_err(|_| Fault::OutOfMemory.of_file())?;
    for (index, raw) in raw.iter().enumerate() {
        let at = u64::try_from(index * size_of::<WordRecord>()).unwrap_or(u64::MAX);
        let fault = |fault: Fault| fault.at(section.name, at);
        let address = raw.address.get();
        if address == 0 || !address.is_multiple_of(8) {
            return Err(fault(Fault::WordAddress { address }));
        }
        words.push(Word {
            name: image
                .string(raw.name.get())
                .filter(|name| !name.is_empty())
                .ok_or(fault(Fault::RecordName))?,
            address,
            expected: raw.expected.get(),
            value: raw.value.get(),
        });
    }
    Ok(words)
}
