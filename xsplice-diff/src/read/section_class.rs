//! What a section is for, decided by its name and flags. All other code asks here, so that an
//! unknown section has a single fallback: ordinary data, whose changes are refused.

use std::collections::BTreeSet;

use xsplice_abi::{Profile, section};

use crate::read::object::{ElfObject, Section, Symbol, SymbolPlace};
use crate::read::special_sections::{self, Table};

/// What a section is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionClass {
    /// Not part of what runs; the reason in a few words.
    Ignored(&'static str),
    /// Code.
    Code,
    /// Code or data that is gone once the boot is over.
    Init,
    /// Writable data with initial values.
    Data,
    /// Read-only data.
    Rodata,
    /// Zero-initialised data.
    Bss,
    /// The template of per-CPU data.
    PerCpu,
    /// A table that the base walks between two symbols.
    LinkerSet,
    /// Strings or constants without identity: only their contents count.
    Content,
    /// A table whose entries belong to functions.
    Special(Table),
    /// Code that belongs to the entries of a special section.
    SpecialCode,
    /// Pointers to hooks, or in-place words.
    Hook,
    /// The same of another ABI than the one asked for.
    ForeignHook,
    /// Thread-local storage.
    ThreadLocal,
}

impl SectionClass {
    /// Whether contents may be compared and copied freely: they are read-only, and no table walk of
    /// the base reads them.
    #[must_use]
    pub(crate) fn is_constant(self) -> bool {
        matches!(self, SectionClass::Rodata | SectionClass::Content)
    }
}

/// Tables that some base walks between two symbols, by prefix: Xen's and Linux's init calls,
/// boot parameters, schedulers, per-device hooks, tracepoints, exported symbols.
const LINKER_SETS: [&str; 29] = [
    ".initcall",
    ".initcallpresmp",
    ".initcallearly",
    ".initcallrootfs",
    ".con_initcall",
    ".init.setup",
    ".init.ramfs",
    ".x86_cpu_dev.init",
    ".data.param",
    ".data.schedulers",
    ".data.vpci",
    ".rodata.vpci",
    ".data.rel.ro.vpci",
    ".lockprofile",
    ".dtb.init",
    ".pci_fixup",
    ".ctors",
    ".dtors",
    ".preinit_array",
    ".init_array",
    ".fini_array",
    ".kunit",
    ".devinfo",
    ".arch.info",
    ".adev.info",
    ".teemediator",
    ".schedulers",
    ".hypfs",
    ".builtin_fw",
];

const INIT: [&str; 9] = [
    ".init",
    ".exit",
    ".exitcall",
    ".cpuinit",
    ".meminit",
    ".devinit",
    ".head.text",
    ".text.startup.init",
    ".ref",
];

/// Sections that the linker scripts of Xen and Linux discard; each name also stands for names that
/// continue with a dot.
const DISCARDED: &str = ".discard";

const PER_CPU: [&str; 4] = [
    ".data.percpu",
    ".bss.percpu",
    ".data..percpu",
    ".bss..percpu",
];

/// What each section of an object is for under `abi`. A section that counts as noise by its name is
/// ordinary data or code as soon as something refers to it: what is referred to is read, and a
/// linker would report an error instead of discarding it.
#[must_use]
pub(crate) fn classify_all(object: &ElfObject<'_>, abi: &Profile) -> Vec<SectionClass> {
    let mut classes: Vec<SectionClass> = object
        .sections
        .iter()
        .map(|section| classify(section, abi))
        .collect();
    let is_doubtful = |section: &Section<'_>| section.is_allocated() && noise(section).is_some();
    if !object.sections.iter().any(is_doubtful) {
        return classes;
    }
    let doubtful = |symbol: &Symbol<'_>| match symbol.place {
        SymbolPlace::Section(id) => is_doubtful(object.section(id)).then_some(id),
        _ => None,
    };
    let mut live = BTreeSet::new();
    for (id, section) in object.sections() {
        let is_loaded = !matches!(classes[id.0 as usize], SectionClass::Ignored(_));
        if !is_loaded && !is_doubtful(section) {
            continue;
        }
        let targets = object
            .relocations_of(id)
            .iter()
            .filter_map(|relocation| doubtful(object.symbol(relocation.symbol)));
        live.extend(targets.filter(|target| *target != id));
    }
    let globals = object.symbols.iter().filter(|symbol| !symbol.is_local());
    live.extend(globals.filter_map(doubtful));
    for id in live {
        classes[id.0 as usize] = classify_loaded(object.section(id), abi);
    }
    classes
}

/// What the section is for under `abi`, by itself.
fn classify(section: &Section<'_>, abi: &Profile) -> SectionClass {
    let name = section.name;
    if !section.is_allocated() {
        return SectionClass::Ignored(if name.starts_with(".debug") || name == ".gdb_index" {
            "debug information"
        } else {
            "not loaded"
        });
    }
    if section.is_thread_local() {
        return SectionClass::ThreadLocal;
    }
    if let Some(why) = noise(section) {
        return SectionClass::Ignored(why);
    }
    classify_loaded(section, abi)
}

/// The same, for a section that is part of the image.
fn classify_loaded(section: &Section<'_>, abi: &Profile) -> SectionClass {
    let name = section.name;
    if let Some(class) = hook(name, abi) {
        return class;
    }
    if let Some(table) = special_sections::table_for(name) {
        return SectionClass::Special(table);
    }
    if special_sections::is_special_code(name) {
        return SectionClass::SpecialCode;
    }
    if section.is_mergeable() && !section.is_writable() && section.relocations.is_empty() {
        SectionClass::Content
    } else if is_per_cpu(name) {
        SectionClass::PerCpu
    } else if is_linker_set(section) {
        SectionClass::LinkerSet
    } else if is_init(name) {
        SectionClass::Init
    } else if section.is_executable() {
        SectionClass::Code
    } else if section.is_nobits() {
        SectionClass::Bss
    } else if section.is_writable() && !is_or_below(name, ".data.rel.ro") {
        SectionClass::Data
    } else {
        SectionClass::Rodata
    }
}

/// Whether a section of this name holds code or data that is given back after the boot.
#[must_use]
pub(crate) fn is_init(name: &str) -> bool {
    INIT.iter().any(|one| is_or_below(name, one))
}

/// Whether the base may walk the section between two symbols. Code in a section with a C name is
/// none: the base asks whether an address is between the two, and does not walk from one function
/// to the next.
fn is_linker_set(section: &Section<'_>) -> bool {
    LINKER_SETS.iter().any(|set| is_in_set(section.name, set))
        || (!section.is_executable() && is_c_identifier(section.name))
}

/// Whether a section of this name holds code or data that is gone once the boot is over: also the
/// tables of functions that run at its start and its end.
#[must_use]
pub fn is_of_boot(name: &str) -> bool {
    const RUN_AT_BOOT: [&str; 7] = [
        ".ctors",
        ".dtors",
        ".init_array",
        ".fini_array",
        ".preinit_array",
        ".fini",
        ".initcall",
    ];
    let mut runs = RUN_AT_BOOT.iter();
    is_init(name) || runs.any(|one| is_in_set(name, one))
}

/// Whether a section of this name holds the template of per-CPU data.
#[must_use]
pub fn is_per_cpu(name: &str) -> bool {
    PER_CPU.iter().any(|one| is_or_below(name, one))
}

/// Like [`str::starts_with`], but faster for many prefixes: the last byte of a prefix is compared
/// first, which rules out nearly all of them.
#[must_use]
pub(crate) fn begins_with(name: &str, prefix: &str) -> bool {
    let last = prefix.as_bytes().last();
    let facing = prefix.len().checked_sub(1);
    let may = facing.is_none_or(|at| name.as_bytes().get(at) == last);
    may && name.starts_with(prefix)
}

/// Whether a section is called `whole`, or `whole` followed by a dot and more: `.note.Xen` belongs
/// to `.note`, and `.notebook` does not.
fn is_or_below(name: &str, whole: &str) -> bool {
    begins_with(name, whole)
        && name
            .strip_prefix(whole)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether a section belongs to a set: `.data.vpci` and `.data.vpci.7` do to `.data.vpci`, and
/// `.data.vpci_count` does not.
fn is_in_set(name: &str, set: &str) -> bool {
    begins_with(name, set)
        && name.strip_prefix(set).is_some_and(|rest| {
            rest.is_empty() || rest.starts_with(|c: char| c == '.' || c.is_ascii_digit())
        })
}

/// A section whose name is a C identifier: the linker provides `__start_` and `__stop_` symbols for
/// it, so the base may walk it as a table.
fn is_c_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether a section is a note about the image, as opposed to one about the object that holds it.
#[must_use]
pub(crate) fn is_noted(section: &Section<'_>) -> bool {
    is_note(section)
        && !matches!(
            section.name,
            section::PROPERTY | section::BUILD_ID | ".note.GNU-stack" | ".note.ABI-tag"
        )
}

/// Notes are read-only. A writable section of such a name holds variables.
fn is_note(section: &Section<'_>) -> bool {
    section.is_allocated() && !section.is_writable() && is_or_below(section.name, ".note")
}

/// Whether a section of this name is one where compilers put a variable of this name by default, or
/// one whose variables are only used by code that names them. A variable in any other section may
/// be an entry of a table that the base walks.
///
/// Shortcut S3: who uses a variable in these names it; a walk needs a section of the table's own.
#[must_use]
pub(crate) fn is_usual(section: &str, symbol: &str) -> bool {
    const PREFIXES: [&str; 13] = [
        ".data",
        ".bss",
        ".rodata",
        ".data.rel",
        ".data.rel.local",
        ".data.rel.ro",
        ".data.rel.ro.local",
        ".data1",
        ".rodata1",
        ".sdata",
        ".ldata",
        ".lbss",
        ".lrodata",
    ];
    /// Sections that only say where to place a variable: by use, by alignment, by protection.
    const HINTS: [&str; 9] = [
        "read_mostly",
        "ro_after_init",
        "page_aligned",
        "cacheline_aligned",
        "stack_aligned",
        "once",
        "unlikely",
        "hot",
        "startup",
    ];
    PREFIXES.iter().any(|prefix| {
        let Some(rest) = section.strip_prefix(prefix) else {
            return false;
        };
        if rest.is_empty() {
            return true;
        }
        let Some(rest) = rest.strip_prefix('.') else {
            return false;
        };
        // Linux's names have two dots.
        let rest = rest.strip_prefix('.').unwrap_or(rest);
        let is_hint = HINTS.iter().any(|hint| {
            rest.strip_prefix(hint)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        // Strings and constants that are merged: `.rodata.str1.8`, `.rodata.cst16`.
        let is_merged = ["str", "cst"].iter().any(|kind| {
            rest.strip_prefix(kind)
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        });
        rest == symbol || is_hint || is_merged
    })
}

/// Whether a section of this name is one where compilers put code by default, or where the profile
/// of a program makes them put it. The base may copy, map or walk any other section, so that a
/// function in it is more than its code.
///
/// Shortcut S2: compilers move functions between these by how often they run, and nothing tells
/// where one is but its name.
#[must_use]
pub(crate) fn is_plain_code(section: &str, symbol: &str) -> bool {
    const HINTS: [&str; 6] = ["hot", "unlikely", "startup", "exit", "split", "unknown"];
    let Some(rest) = [".text", ".ltext"]
        .iter()
        .find_map(|prefix| section.strip_prefix(prefix))
    else {
        return false;
    };
    let Some(rest) = rest.strip_prefix('.') else {
        return rest.is_empty();
    };
    rest == symbol || HINTS.iter().any(|hint| is_or_below(rest, hint))
}

/// Whether a section of this name is one where compilers put constants: what lies there is found by
/// whoever refers to it, and by nobody else.
#[must_use]
pub(crate) fn holds_constants(section: &str) -> bool {
    const CONSTANTS: [&str; 5] = [
        ".rodata",
        ".rodata1",
        ".lrodata",
        ".data.rel.ro",
        ".ldata.rel.ro",
    ];
    CONSTANTS.iter().any(|one| is_or_below(section, one))
}

/// Whether a section of this name is one that a compiler makes for a descriptor of a sanitizer:
/// `.data..Lubsan_data1`, `.data.rel.local..L__unnamed_2`.
#[must_use]
pub(crate) fn is_descriptor_name(section: &str) -> bool {
    const NAMES: [&str; 3] = ["ubsan_data", "ubsan_type", "__unnamed_"];
    let local = section.rsplit_once("..L");
    local.is_some_and(|(_, name)| NAMES.iter().any(|known| name.starts_with(known)))
}

/// The purpose of a loaded section that does not affect what runs. Such sections are read-only: a
/// writable one holds variables, whatever its name.
///
/// Shortcut S1: tools alone read these, and a linker that keeps one keeps it for tools; what is
/// referred to, written or run is classed anew.
pub(crate) fn noise(section: &Section<'_>) -> Option<&'static str> {
    /// Tables of Linux's unwinder.
    const ORC: [&str; 4] = [
        ".orc_unwind",
        ".orc_unwind_ip",
        ".orc_lookup",
        ".orc_header",
    ];
    let name = section.name;
    if is_or_below(name, DISCARDED) {
        Some("discarded by the linker")
    } else if section.is_writable() || section.is_executable() {
        None
    } else if name == ".eh_frame" || name == ".sframe" || ORC.contains(&name) {
        Some("unwind information, which payloads do not hold")
    } else if is_note(section) {
        Some("a note")
    } else if name == section::MODINFO || name == ".comment" || name == ".llvm_addrsig" {
        Some("not loaded")
    } else {
        None
    }
}

fn hook(name: &str, abi: &Profile) -> Option<SectionClass> {
    // In-place words are written by the author for the loader, as hooks are.
    let is_for_loader = |rest: &str| rest.starts_with(section::HOOKS) || rest == section::WORDS;
    if name.strip_prefix(abi.prefix).is_some_and(is_for_loader) {
        return Some(SectionClass::Hook);
    }
    xsplice_abi::profile::ALL
        .iter()
        .filter_map(|profile| name.strip_prefix(profile.prefix))
        .any(is_for_loader)
        .then_some(SectionClass::ForeignHook)
}
