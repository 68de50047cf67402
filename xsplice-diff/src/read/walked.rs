//! Which sections of an object the base may walk, so that the order in which a link puts them
//! counts.
//!
//! Code, variables and constants in the usual sections are reached by references, one by one, and
//! so are the entries of tables that belong to code. Any other section that is loaded may be a
//! table that the base walks from one end to the other, or code that it copies as a whole.

use std::collections::BTreeSet;

use foldhash::{HashMap, HashSet};

use crate::read::object::{ElfObject, Section, SectionId, Symbol, SymbolPlace};
use crate::read::section_class::{
    holds_constants, is_descriptor_name, is_per_cpu, is_plain_code, is_usual, noise,
};
use crate::read::special_sections::{is_special_code, table_for};

/// The sections whose order counts.
///
/// Shortcut S39: an order counts for nobody where the section is not loaded, is merged (then it is
/// one of its contents), belongs to a known table (which is searched), or has a name that compilers
/// give to what is found by its name. The default is that it counts.
#[must_use]
pub(crate) fn walked(object: &ElfObject<'_>) -> BTreeSet<SectionId> {
    let mut unusual: BTreeSet<SectionId> = object
        .sections()
        .filter(|(_, section)| may_be_walked(section) && !is_plain(section, ""))
        .map(|(id, _)| id)
        .collect();
    // Whether a section is named after one of the symbols that it holds: `.text.f` after `f`.
    let mut own: HashMap<SectionId, bool> = HashMap::default();
    let mut functions: HashSet<&str> = HashSet::default();
    let named = |symbol: &&Symbol<'_>| !symbol.is_section() && !symbol.name.is_empty();
    for symbol in object.symbols.iter().filter(named) {
        let SymbolPlace::Section(id) = symbol.place else {
            continue;
        };
        if symbol.is_function() {
            functions.insert(symbol.name);
        }
        if unusual.contains(&id) {
            *own.entry(id).or_default() |= is_plain(object.section(id), symbol.name);
        }
    }
    unusual.retain(|id| {
        let section = object.section(*id);
        match own.get(id) {
            Some(is_own) => !is_own,
            None => !is_of_compiler(section, &functions),
        }
    });
    unusual
}

/// Whether compilers alone put things into a section that holds no symbol: a sanitizer's
/// descriptors, and the tables by which a function jumps: `.rodata.f` for `f`.
fn is_of_compiler(section: &Section<'_>, functions: &HashSet<&str>) -> bool {
    let mut dots = section.name.match_indices('.');
    let is_of = |name: &str| functions.contains(name) && is_usual(section.name, name);
    is_descriptor_name(section.name)
        || (holds_constants(section.name) && dots.any(|(at, _)| is_of(&section.name[at + 1..])))
}

/// Whether it is loaded, and none of what tools and loaders know.
fn may_be_walked(section: &Section<'_>) -> bool {
    let is_placed = section.is_allocated() && section.size != 0 && !section.is_mergeable();
    let is_known = table_for(section.name).is_some()
        || is_special_code(section.name)
        || noise(section).is_some()
        || is_per_cpu(section.name);
    is_placed && !is_known
}

/// Whether it is where compilers put a function or a variable of this name.
fn is_plain(section: &Section<'_>, symbol: &str) -> bool {
    match section.is_executable() {
        true => is_plain_code(section.name, symbol),
        false => is_usual(section.name, symbol),
    }
}
