//! Which sections of an object the base may walk, so that the order in which a link puts them
//! counts.
//!
//! Code, variables and constants in the usual sections are reached by references, one by one, and
//! so are the entries of tables that belong to code. Any other section that is loaded may be a
//! table that the base walks from one end to the other, or code that it copies as a whole.

use std::collections::BTreeSet;

use crate::read::object::{ElfObject, Section, SectionId, SymbolPlace};
use crate::read::section_class::{is_per_cpu, is_plain_code, is_usual, noise};
use crate::read::special_sections::{is_special_code, table_for};

/// The sections whose order counts, in order.
///
/// Shortcut S39: an order counts for nobody where the section is not loaded, is merged (then it is
/// one of its contents), belongs to a known table (which is searched), or has a name that compilers
/// give to what is found by its name. The default is that it counts.
#[must_use]
pub(crate) fn walked(object: &ElfObject<'_>) -> Vec<SectionId> {
    let mut unusual: BTreeSet<SectionId> = object
        .sections()
        .filter(|(_, section)| may_be_walked(section) && !is_plain(section, ""))
        .map(|(id, _)| id)
        .collect();
    // Each is named after one symbol that it holds: `.text.f` is for `f` alone.
    for symbol in &object.symbols {
        if let SymbolPlace::Section(id) = symbol.place
            && is_plain(object.section(id), symbol.name)
        {
            unusual.remove(&id);
        }
    }
    unusual.into_iter().collect()
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
