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
/// Shortcut S23: tools alone read these sections, or the linker writes them as a whole, or a
/// compiler made the section for one variable without a name; any other section of data with an
/// unusual name counts as walked.
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
        && !is_of_dropped_label(tree, first)
        && !NOT_WALKED.iter().any(|family| is_of(family, own))
        && !PLAIN.contains(&class(tree, first))
}

/// Whether a compiler with a section for each variable named this one for a label that begins with
/// `.L`, which an assembler leaves out of the symbol table: a sanitizer's descriptor of one check,
/// as in `.data..Lubsan_type10`. Only code and other descriptors lead to it.
fn is_of_dropped_label(tree: &Tree<'_>, item: ItemId) -> bool {
    let name = tree.section(item).name;
    let families = [".data.rel.local", ".data.rel", ".data"];
    let mut labels = families
        .iter()
        .filter_map(|family| name.strip_prefix(family));
    labels.any(|label| label.starts_with("..L")) && tree.names_of_section(item).next().is_none()
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
