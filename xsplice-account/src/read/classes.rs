//! What a section is for, by its name: code, constants, data, or something that code may walk.

use xsplice_abi::profile;
use xsplice_diff::read::object::SectionId;

use crate::read::names::is_of;
use crate::read::tree::{ItemId, Tree};

/// Classes of sections whose items are reached by references alone.
const PLAIN: [&str; 3] = [".text", ".rodata", ".data"];

/// Sections that only tools read, or that the linker rewrites as a whole.
const NOT_WALKED: [&str; 7] = [
    ".note",
    ".eh_frame",
    ".sframe",
    ".discard",
    ".comment",
    ".rela",
    ".group",
];

/// Whether code may walk a section from its start to its end, so that order and membership count.
///
/// Shortcut S23: tools alone read these sections, or the linker writes them as a whole, or code
/// leads to each, as to a sanitizer's descriptor; any other section of data with an unusual name
/// counts as walked.
#[must_use]
pub(crate) fn is_walked(tree: &Tree<'_>, object: usize, section: SectionId) -> bool {
    let cut = &tree.objects[object];
    let header = cut.elf.section(section);
    let items = cut.items_of(section);
    let own = header.name;
    let is_ours = profile::ALL
        .iter()
        .any(|profile| own.starts_with(profile.prefix));
    let first = ItemId {
        object,
        item: items.start,
    };
    !header.is_executable()
        && header.is_allocated()
        && !header.is_mergeable()
        && !items.is_empty()
        && !is_ours
        && descriptor(tree, first).is_none()
        && !NOT_WALKED.iter().any(|family| is_of(family, own))
        && !PLAIN.contains(&class(tree, first))
}

/// What a sanitizer tells its run-time library: code at one place of the source leads to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Descriptor {
    /// A place of the source, with what is checked there.
    Place,
    /// A type.
    Type,
}

/// What kind of descriptor an item is. The compiler gives each a section of its own, and a name
/// that no symbol has.
#[must_use]
pub(crate) fn descriptor(tree: &Tree<'_>, item: ItemId) -> Option<Descriptor> {
    const NAMES: [(&str, Descriptor); 3] = [
        ("ubsan_data", Descriptor::Place),
        ("__unnamed_", Descriptor::Place),
        ("ubsan_type", Descriptor::Type),
    ];
    let (_, name) = tree.section(item).name.rsplit_once("..L")?;
    let known = NAMES.iter().find(|(known, _)| name.starts_with(known));
    let is_nameless = tree.item(item).names.is_empty();
    known.filter(|_| is_nameless).map(|&(_, kind)| kind)
}

/// The kind of an item's section: its name, less what compilers append to keep items apart.
///
/// Shortcut S24: compilers choose among these names by the item's own name, its contents and how
/// often it runs.
#[must_use]
pub(crate) fn class<'tree>(tree: &'tree Tree<'_>, item: ItemId) -> &'tree str {
    let name = tree.section(item).name;
    let plain = ["unlikely", "hot", "startup", "exit", "split"];
    if let Some(rest) = name.strip_prefix(".text.") {
        let is_plain = |part: &str| {
            plain.contains(&part) || tree.names_of_section(item).any(|name| name == part)
        };
        let (head, tail) = rest.split_once('.').unwrap_or((rest, ""));
        if is_plain(rest) || plain.contains(&head) && (tail.is_empty() || is_plain(tail)) {
            return ".text";
        }
        return name;
    }
    for (prefix, class) in [
        (".rodata", ".rodata"),
        (".data.rel.ro", ".rodata"),
        (".data.rel.local", ".data"),
        (".data.rel", ".data"),
        (".data", ".data"),
        (".bss", ".data"),
    ] {
        let Some(rest) = name.strip_prefix(prefix) else {
            continue;
        };
        let own = rest
            .strip_prefix('.')
            .is_some_and(|rest| tree.names_of_section(item).any(|name| name == rest));
        if rest.is_empty() || own || prefix == ".rodata" || class == ".rodata" {
            return class;
        }
    }
    name
}
