//! Decides, by name and flags, where a section of an extract goes in the payload: into one of the
//! few merged sections, into a table that the loader knows by name, or nowhere.
//!
//! Unknown sections are refused. A table that only another system walks would be loaded and never
//! used, so the change would have no effect.

use std::borrow::Cow;

use object::elf;
use xsplice_abi::Profile;
use xsplice_abi::hook::{HookCount, HookKind, POINTER_BYTES};
use xsplice_abi::machine::Machine;
use xsplice_abi::profile::{self, Words};
use xsplice_abi::record::WordRecord;
use xsplice_abi::section;
use xsplice_abi::tables::SpecialTable;
use xsplice_diff::extract::Section;
use xsplice_diff::read::section_class::{is_of_boot, is_per_cpu};

use crate::error::RefusalCode;
use crate::layout::Memory;

/// Where a section of an extract goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// It is left out.
    Dropped,
    /// It is appended to this section.
    Placed(Destination),
    /// It is refused.
    Refused(RefusalCode, String),
}

/// A section of the payload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Destination {
    /// Rank in the file and in memory: text first, tables before data.
    pub rank: Rank,
    /// Name.
    pub name: Cow<'static, str>,
    /// Region.
    pub memory: Memory,
}

/// The order of sections in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// `.text`, then `.fixup` and `.altinstr_replacement`.
    Text,
    /// Constants.
    Constant,
    /// A table of fixed entries that the loader walks; no gaps.
    Table {
        /// Size of an entry in bytes.
        entry_bytes: u64,
    },
    /// `.data`.
    Data,
    /// `.bss`.
    Zero,
}

/// Prefixes of sections that a linked image discards and a payload does not need. A writable or
/// executable section never counts as one, whatever its name.
const DROPPED: [&str; 6] = [
    ".eh_frame",
    ".note.",
    ".comment",
    ".discard",
    ".debug",
    ".rela",
];

/// Decides for one section of an extract.
#[must_use]
pub(crate) fn classify(piece: &Section<'_>, abi: &'static Profile, machine: &Machine) -> Class {
    let name = piece.name.as_str();
    let has = |flag: elf::SectionFlags| piece.flags & flag.0 != 0;
    let is_live = has(elf::SHF_WRITE) || has(elf::SHF_EXECINSTR);
    let is_dropped = !is_live && DROPPED.iter().any(|prefix| name.starts_with(prefix));
    if !has(elf::SHF_ALLOC) || is_dropped {
        return Class::Dropped;
    }
    if let Some(own) = name.strip_prefix(abi.prefix) {
        return classify_own(own, abi);
    }
    if let Some(other) = foreign_prefix(name) {
        return Class::Refused(
            RefusalCode::ForeignSection,
            format!(
                "this section belongs to the `{}` ABI; build for it with --abi {}, or compile the \
                 source for `{}`",
                other.name, other.name, abi.name
            ),
        );
    }
    let unloadable = |what: &str| Class::Refused(RefusalCode::UnloadableSection, what.to_owned());
    if has(elf::SHF_TLS) {
        return unloadable("thread-local data cannot be added to a running image");
    }
    if has(elf::SHF_WRITE) && has(elf::SHF_EXECINSTR) {
        return unloadable("a section that is writable and executable is refused by every loader");
    }
    if let Some(table) = table(name, abi, machine) {
        return table;
    }
    if is_of_boot(name) {
        return unloadable(
            "initialisation code and data are gone from a running image; a change of them needs \
             a load hook",
        );
    }
    if is_per_cpu(name) {
        return unloadable("per-CPU data cannot be added to a running image");
    }
    if has(elf::SHF_EXECINSTR) {
        let name = match name {
            section::FIXUP => section::FIXUP,
            section::ALTINSTR_REPLACEMENT => section::ALTINSTR_REPLACEMENT,
            _ => ".text",
        };
        return placed(Rank::Text, name, Memory::Text);
    }
    classify_data(piece)
}

fn classify_data(piece: &Section<'_>) -> Class {
    let name = piece.name.as_str();
    if piece.kind == elf::SHT_NOBITS.0 {
        return placed(Rank::Zero, ".bss", Memory::Writable);
    }
    let is = |base: &str| {
        name.strip_prefix(base)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    if is(".data.rel.ro") {
        // Read-only after relocation, and the loader relocates before it protects memory.
        placed(Rank::Constant, ".data.rel.ro", Memory::ReadOnly)
    } else if is(".rodata") || is(".lrodata") {
        placed(Rank::Constant, ".rodata", Memory::ReadOnly)
    } else if [".data", ".ldata", ".bss", ".lbss"].into_iter().any(is) {
        placed(Rank::Data, ".data", Memory::Writable)
    } else {
        Class::Refused(
            RefusalCode::ForeignSection,
            "the loader does not know this section and would never look at it; put new data into \
             .data, .bss or .rodata"
                .to_owned(),
        )
    }
}

/// Sections under the profile's own prefix.
fn classify_own(own: &str, abi: &'static Profile) -> Class {
    if let Some(hook) = own.strip_prefix(section::HOOKS) {
        let known = abi.hooks.iter().find(|kind| kind.name() == hook);
        let Some(kind) = known else {
            let names: Vec<_> = abi.hooks.iter().map(|kind| kind.name()).collect();
            return Class::Refused(
                RefusalCode::BadHook,
                format!(
                    "the loader of `{}` knows no `{hook}` hook; it knows {}",
                    abi.name,
                    names.join(", ")
                ),
            );
        };
        let rank = Rank::Table {
            entry_bytes: POINTER_BYTES,
        };
        return placed_owned(rank, hook_section(abi, *kind), Memory::ReadOnly);
    }
    if own == section::WORDS && abi.words == Words::Known {
        let rank = Rank::Table {
            entry_bytes: size_of::<WordRecord>() as u64,
        };
        return placed_owned(rank, format!("{}{own}", abi.prefix), Memory::ReadOnly);
    }
    if own.starts_with(section::ACCEPT) {
        return Class::Dropped;
    }
    Class::Refused(
        RefusalCode::ForeignSection,
        format!("a section that `{}` does not take from an object", abi.name),
    )
}

/// Full name of a hook section.
#[must_use]
pub(crate) fn hook_section(abi: &Profile, kind: HookKind) -> String {
    format!("{}{}{}", abi.prefix, section::HOOKS, kind.name())
}

/// Whether a section of the payload holds words that are changed in place.
#[must_use]
pub(crate) fn is_words(name: &str, abi: &Profile) -> bool {
    abi.words == Words::Known && name.strip_prefix(abi.prefix) == Some(section::WORDS)
}

/// The hook that a section of the payload holds.
#[must_use]
pub(crate) fn hook_of(name: &str, abi: &Profile) -> Option<HookKind> {
    let hook = name
        .strip_prefix(abi.prefix)?
        .strip_prefix(section::HOOKS)?;
    HookKind::ALL.into_iter().find(|kind| kind.name() == hook)
}

/// Whether a hook section of this size holds as many pointers as it may.
#[must_use]
pub(crate) fn hook_size_is_legal(kind: HookKind, size_bytes: u64) -> bool {
    match kind.count() {
        HookCount::Array => size_bytes != 0 && size_bytes.is_multiple_of(POINTER_BYTES),
        HookCount::Single => size_bytes == POINTER_BYTES,
    }
}

/// Tables that loaders know by name.
fn table(name: &str, abi: &Profile, machine: &Machine) -> Option<Class> {
    let table = SpecialTable::of(name)?;
    if !table.is_walked_on(machine) {
        return Some(Class::Refused(
            RefusalCode::ForeignSection,
            format!(
                "the loader for {} takes no payload with such a table; leave out what needs it \
                 from what changes",
                machine.name
            ),
        ));
    }
    let entry_bytes = table.entry_bytes(&abi.entries(machine));
    let rank = Rank::Table { entry_bytes };
    Some(placed_owned(rank, name.to_owned(), Memory::ReadOnly))
}

/// The profile whose prefix `name` has.
fn foreign_prefix(name: &str) -> Option<&'static Profile> {
    profile::ALL
        .into_iter()
        .find(|profile| name.starts_with(profile.prefix))
}

fn placed(rank: Rank, name: &'static str, memory: Memory) -> Class {
    Class::Placed(Destination {
        rank,
        name: Cow::Borrowed(name),
        memory,
    })
}

fn placed_owned(rank: Rank, name: String, memory: Memory) -> Class {
    Class::Placed(Destination {
        rank,
        name: Cow::Owned(name),
        memory,
    })
}

#[cfg(test)]
mod tests {
    use super::{Class, Destination, classify};
    use crate::error::RefusalCode;
    use crate::layout::Memory;
    use xsplice_abi::machine::OF_RUNTIME;
    use xsplice_abi::profile::{LIVEPATCH, XSPLICE, XSPLICE_V1};
    use xsplice_diff::extract::Section;

    const A: u64 = 2;
    const WA: u64 = 3;
    const AX: u64 = 6;

    fn piece(name: &str, kind: u32, flags: u64) -> Section<'static> {
        Section {
            name: name.to_owned(),
            kind,
            flags,
            alignment: 1,
            entry_size: 0,
            size: 8,
            data: vec![0; 8].into(),
            relocations: Vec::new(),
        }
    }

    fn goes_to(class: Class) -> (String, Memory) {
        match class {
            Class::Placed(Destination { name, memory, .. }) => (name.into_owned(), memory),
            other => panic!("not placed: {other:?}"),
        }
    }

    fn refusal(class: &Class) -> Option<RefusalCode> {
        match class {
            Class::Refused(code, _) => Some(*code),
            Class::Placed(_) | Class::Dropped => None,
        }
    }

    #[test]
    fn pieces_are_merged_by_the_memory_they_need() {
        let place =
            |name, kind, flags| goes_to(classify(&piece(name, kind, flags), &XSPLICE, OF_RUNTIME));
        let text = (".text".to_owned(), Memory::Text);
        assert_eq!(place(".text.unlikely.f", 1, AX), text);
        assert_eq!(place(".text.hot.f", 1, AX), text);
        assert_eq!(place(".fixup", 1, AX).0, ".fixup");
        assert_eq!(place(".rodata.f.str1.8", 1, 0x32).0, ".rodata");
        assert_eq!(place(".data.rel.ro.local.t", 1, WA).1, Memory::ReadOnly);
        assert_eq!(place(".data.read_mostly", 1, WA).0, ".data");
        assert_eq!(place(".bss.counter", 8, WA).0, ".bss");
        assert_eq!(place(".bug_frames.2", 1, A).0, ".bug_frames.2");
    }

    #[test]
    fn what_nobody_loads_is_dropped() {
        for name in [
            ".eh_frame",
            ".note.gnu.property",
            ".discard",
            ".discard.addressable",
        ] {
            assert_eq!(
                classify(&piece(name, 1, A), &XSPLICE, OF_RUNTIME),
                Class::Dropped,
                "{name}"
            );
        }
        assert_eq!(
            classify(&piece(".rodata", 1, 0), &XSPLICE, OF_RUNTIME),
            Class::Dropped
        );
        // A variable is never left out silently, whatever its section is called.
        for name in [".discardable", ".discard.state", ".commentary"] {
            let class = classify(&piece(name, 1, WA), &XSPLICE, OF_RUNTIME);
            assert_eq!(refusal(&class), Some(RefusalCode::ForeignSection), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_loaded_is_refused() {
        let unloadable = Some(RefusalCode::UnloadableSection);
        for (name, flags) in [(".text.f", 7), (".tdata", 0x403), (".init.text", AX)] {
            assert_eq!(
                refusal(&classify(&piece(name, 1, flags), &XSPLICE, OF_RUNTIME)),
                unloadable
            );
        }
        let per_cpu = piece(".bss.percpu.read_mostly", 8, WA);
        assert_eq!(
            refusal(&classify(&per_cpu, &XSPLICE, OF_RUNTIME)),
            unloadable
        );
    }

    #[test]
    fn a_table_of_another_system_is_refused_by_name() {
        let table = piece("__jump_table", 1, A);
        let refused = Some(RefusalCode::ForeignSection);
        assert_eq!(refusal(&classify(&table, &XSPLICE, OF_RUNTIME)), refused);
    }

    #[test]
    fn hooks_are_those_of_the_profile() {
        let apply = piece(".xsplice.hooks.apply", 1, A);
        assert_eq!(
            goes_to(classify(&apply, &XSPLICE, OF_RUNTIME)).0,
            ".xsplice.hooks.apply"
        );
        let bad = Some(RefusalCode::BadHook);
        assert_eq!(refusal(&classify(&apply, &XSPLICE_V1, OF_RUNTIME)), bad);
        let foreign = Some(RefusalCode::ForeignSection);
        assert_eq!(refusal(&classify(&apply, &LIVEPATCH, OF_RUNTIME)), foreign);
    }
}
