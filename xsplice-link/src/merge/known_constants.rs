//! Refers to constants that the base has as they are, instead of bringing copies along.
//!
//! The address of a constant may mean something: code compares it with the one that it stored, to
//! tell its own devices from others. So a copy is brought only where the base has none, or where
//! the proof does not find the same contents there.

use std::borrow::Cow;
use std::collections::BTreeSet;

use object::elf;
use xsplice_diff::extract::{Constant, Extract, Place, SectionIndex};

use crate::base::{Base, Lookup, QualifiedName, Scope};
use crate::proof;

/// The extract without the copies that the base makes needless, and without what only those refer
/// to.
pub(crate) fn refer_to_base<'e, 'data>(
    base: &Base<'_>,
    extract: &'e Extract<'data>,
) -> Cow<'e, Extract<'data>> {
    let known: Vec<&Constant<'_>> = extract
        .constants
        .iter()
        .filter(|constant| is_in_base(base, constant))
        .collect();
    if known.is_empty() {
        return Cow::Borrowed(extract);
    }
    let mut extract = extract.clone();
    let mut left_out = BTreeSet::new();
    for constant in known {
        let Some(symbol) = extract.symbols.get_mut(constant.symbol.0) else {
            continue;
        };
        if let Place::Section { section, .. } = symbol.place {
            left_out.insert(section);
        }
        symbol.place = Place::Base;
        symbol.name.clone_from(&constant.original.name);
        symbol.file.clone_from(&constant.original.file);
    }
    leave_out(&mut extract, left_out);
    Cow::Owned(extract)
}

/// Whether the base has a constant under its name, once, and as it was compiled.
///
/// Shortcut S20: the proof finds the same bytes and targets under the one symbol of that name.
fn is_in_base(base: &Base<'_>, constant: &Constant<'_>) -> bool {
    let original = &constant.original;
    let name = QualifiedName {
        file: original.file.as_deref(),
        name: &original.name,
    };
    match base.lookup(name) {
        Lookup::Found(found) => {
            (original.binding == elf::STB_LOCAL.0) == (found.scope == Scope::Local)
                && proof::prove_at(base, original, found.address).is_ok()
        }
        Lookup::Ambiguous(_) | Lookup::Absent => false,
    }
}

/// Leaves out sections, and those contents without a name that nothing but these refers to.
pub(super) fn leave_out(extract: &mut Extract<'_>, mut left_out: BTreeSet<SectionIndex>) {
    let is_content = |index: usize| {
        let section = &extract.sections[index];
        let of_section = extract.symbols.iter().filter(
            |symbol| matches!(symbol.place, Place::Section { section, .. } if section.0 == index),
        );
        section.flags & (elf::SHF_WRITE.0 | elf::SHF_EXECINSTR.0) == 0
            && of_section.clone().count() > 0
            && of_section.clone().all(|symbol| symbol.name.is_empty())
    };
    let contents: BTreeSet<usize> = (0..extract.sections.len())
        .filter(|index| is_content(*index))
        .collect();
    loop {
        let mut needed = BTreeSet::new();
        let mut lost = BTreeSet::new();
        for (index, section) in extract.sections.iter().enumerate() {
            let referred = section.relocations.iter().filter_map(|relocation| {
                match extract.symbols.get(relocation.symbol.0)?.place {
                    Place::Section { section, .. } => Some(section),
                    Place::Base | Place::Undefined | Place::Absolute(_) => None,
                }
            });
            if left_out.contains(&SectionIndex(index)) {
                lost.extend(referred);
            } else {
                needed.extend(referred);
            }
        }
        let before = left_out.len();
        left_out.extend(
            lost.into_iter()
                .filter(|section| !needed.contains(section) && contents.contains(&section.0)),
        );
        if left_out.len() == before {
            break;
        }
    }
    for section in left_out {
        let section = &mut extract.sections[section.0];
        // What is not loaded goes into no payload.
        section.flags &= !elf::SHF_ALLOC.0;
        section.relocations.clear();
    }
}
