//! Checks the sections that the loader interprets: their profile, which of them are mandatory, and
//! the sizes of their tables.

use xsplice_abi::Profile;
use xsplice_abi::hook::{HookCount, HookKind, POINTER_BYTES};
use xsplice_abi::machine::Machine;
use xsplice_abi::note;
use xsplice_abi::profile::{BaseNote, Expectations, LIVEPATCH, NoProfile, Signs, Words, XSPLICE};
use xsplice_abi::record::{ExpectEntry, WordRecord};
use xsplice_abi::section::{
    ALTINSTR_REPLACEMENT, BUILD_ID, DEPENDS, EXPECT, FUNCS, HOOKS, MODINFO, STRINGS, WORDS,
    XEN_DEPENDS, modinfo,
};
use xsplice_abi::tables::{self, SpecialTable};

use super::{CheckError, Fault};
use crate::read::view::{SHT_NOBITS, Section, View};

/// The profile that a payload's sections and metadata name.
///
/// `abi=` in `.modinfo` decides. Older payloads lack that key; they are told apart by the version
/// byte of the first record or, without records, by the note of the base.
///
/// # Errors
/// Sections of both prefixes, or metadata that contradict them.
pub fn profile<'data>(view: &View<'data>) -> Result<&'static Profile, CheckError<'data>> {
    signs(view, metadata_value(metadata(view)?, modinfo::ABI))
        .profile()
        .map_err(|none| match none {
            NoProfile::PrefixesMixed(name) => Fault::PrefixesMixed.at(name, 0),
            NoProfile::Unknown => Fault::AbiUnknown.at(MODINFO, 0),
            NoProfile::OfOtherPrefix => Fault::AbiOfOtherPrefix.at(MODINFO, 0),
        })
}

/// The evidence of a payload's profile; `claimed` is the value of `abi=`.
#[must_use]
pub fn signs<'data>(view: &View<'data>, claimed: Option<&'data str>) -> Signs<'data> {
    let carries = |prefix: &str| {
        view.sections
            .iter()
            .find(|section| section.is_allocated() && section.name.starts_with(prefix))
            .map(|section| section.name)
    };
    Signs {
        xsplice_section: carries(XSPLICE.prefix),
        livepatch_section: carries(LIVEPATCH.prefix),
        claimed,
        records: view.named(XSPLICE.prefix, FUNCS).map(|(_, s)| s.data),
        has_base_note: view.named(XSPLICE.prefix, XEN_DEPENDS).is_some(),
    }
}

/// The bytes of `.modinfo`: strings, each ended by NUL; empty when there is none.
///
/// # Errors
/// They do not end with NUL.
pub fn metadata<'data>(view: &View<'data>) -> Result<&'data [u8], CheckError<'data>> {
    let data = view.named(MODINFO, "").map_or(&[][..], |(_, s)| s.data);
    match data.last() {
        None | Some(0) => Ok(data),
        Some(_) => Err(Fault::MetadataUnterminated.at(MODINFO, 0)),
    }
}

/// The value of the first `key=value` string of `metadata`.
#[must_use]
pub fn metadata_value<'data>(metadata: &'data [u8], key: &str) -> Option<&'data str> {
    metadata
        .split(|byte| *byte == 0)
        .filter_map(|entry| core::str::from_utf8(entry).ok()?.split_once('='))
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}

/// The build-ids that a payload carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notes<'data> {
    /// Its own.
    pub build_id: &'data [u8],
    /// What it stacks on.
    pub depends: &'data [u8],
    /// The base it was made for, where the profile has that note.
    pub base: Option<&'data [u8]>,
}

/// Finds the notes, all mandatory, allocated and read-only.
///
/// # Errors
/// One is missing, empty, writable or no build-id note.
pub fn notes<'data>(
    view: &View<'data>,
    profile: &Profile,
) -> Result<Notes<'data>, CheckError<'data>> {
    let find = |prefix: &str, suffix: &'static str| {
        let (_, section) = view
            .named(prefix, suffix)
            .ok_or(Fault::SectionMissing { suffix }.of_file())?;
        read_only(section)?;
        note::build_id(section.data).ok_or(Fault::Note.at(section.name, 0))
    };
    Ok(Notes {
        base: match profile.base_note {
            BaseNote::Mandatory => Some(find(profile.prefix, XEN_DEPENDS)?),
            BaseNote::Absent => None,
        },
        build_id: find("", BUILD_ID)?,
        depends: find(profile.prefix, DEPENDS)?,
    })
}

fn read_only<'data>(section: &Section<'data>) -> Result<(), CheckError<'data>> {
    if !section.is_allocated() || section.is_writable() || section.is_executable() {
        return Err(Fault::SectionNotReadOnly.at(section.name, 0));
    }
    if section.size == 0 {
        return Err(Fault::SectionEmpty.at(section.name, 0));
    }
    Ok(())
}

/// What a section means to the loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// A table of entries of this many bytes.
    Table { entry_bytes: u64 },
    /// An array of hooks, or the one hook there may be.
    Hook(HookKind),
    /// May appear once.
    Once,
    /// Nothing special.
    Plain,
    /// Of the profile's prefix, but nothing that its loader knows.
    Unknown,
}

fn meaning(name: &str, profile: &Profile, machine: &Machine) -> Meaning {
    let table = |entry_bytes| Meaning::Table { entry_bytes };
    let own = |bytes: usize| table(u64::try_from(bytes).unwrap_or(u64::MAX));
    if let Some(suffix) = name.strip_prefix(profile.prefix) {
        return match suffix {
            FUNCS => own(profile.record_bytes),
            DEPENDS | XEN_DEPENDS => Meaning::Once,
            EXPECT if profile.expectations == Expectations::OwnSection => {
                own(size_of::<ExpectEntry>())
            }
            WORDS if profile.words == Words::Known => own(size_of::<WordRecord>()),
            _ if suffix.starts_with(STRINGS) => Meaning::Plain,
            _ => suffix
                .strip_prefix(HOOKS)
                .and_then(|hook| profile.hooks.iter().find(|kind| kind.name() == hook))
                .map_or(Meaning::Unknown, |kind| Meaning::Hook(*kind)),
        };
    }
    if let Some(known) = SpecialTable::of(name) {
        if !known.is_walked_on(machine) {
            return Meaning::Unknown;
        }
        return table(known.entry_bytes(&profile.entries(machine)));
    }
    match name {
        _ if tables::is_unknown(name) => Meaning::Unknown,
        ALTINSTR_REPLACEMENT | BUILD_ID | MODINFO => Meaning::Once,
        _ => Meaning::Plain,
    }
}

/// Every section that means something appears once, is known, and has whole entries; there are
/// records or hooks.
///
/// # Errors
/// The first rule that is broken.
pub fn tables<'data>(
    view: &View<'data>,
    profile: &'static Profile,
    machine: &Machine,
) -> Result<(), CheckError<'data>> {
    let mut does_something = false;
    for (id, section) in view.numbered().filter(|(_, s)| s.is_allocated()) {
        let name = section.name;
        let entry_bytes = match meaning(name, profile, machine) {
            Meaning::Plain => continue,
            Meaning::Unknown => return Err(Fault::SectionUnknown.at(name, 0)),
            Meaning::Once => 1,
            Meaning::Table { entry_bytes } => entry_bytes,
            Meaning::Hook(_) => POINTER_BYTES,
        };
        if view.named(name, "").is_some_and(|(first, _)| first != id) {
            return Err(Fault::SectionTwice.at(name, 0));
        }
        if section.kind == SHT_NOBITS {
            return Err(Fault::TableWithoutContents.at(name, 0));
        }
        let bytes = section.size;
        if !bytes.is_multiple_of(entry_bytes) {
            return Err(Fault::TableSize { bytes, entry_bytes }.at(name, 0));
        }
        match meaning(name, profile, machine) {
            Meaning::Hook(kind) => {
                does_something = true;
                if bytes == 0 {
                    return Err(Fault::SectionEmpty.at(name, 0));
                }
                if kind.count() == HookCount::Single && bytes != POINTER_BYTES {
                    return Err(Fault::HookCount.at(name, 0));
                }
            }
            Meaning::Table { .. } if name.strip_prefix(profile.prefix).is_some() => {
                // Words alone are something to do; expectations alone are not, but then their
                // number differs from that of the records.
                does_something = true;
                if bytes == 0 {
                    return Err(Fault::SectionEmpty.at(name, 0));
                }
            }
            _ => {}
        }
    }
    if does_something {
        Ok(())
    } else {
        Err(Fault::NothingToDo.of_file())
    }
}
