//! Refers to the base's file names from bug frames, where the hypervisor takes no others.
//!
//! Xen on AArch64 looks whether a frame's file name is in its own image, and stops if it is not
//! (`do_bug_frame` in `xen/arch/arm/traps.c`). What a frame of the payload names is the name of a
//! source file that the base was compiled from too, and the base has the same text if any function
//! of that file can warn or stop. A text that the base does not have stays in the payload, and
//! `verify` refuses it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use object::elf;
use xsplice_abi::limits::SYMBOL_NAME_BYTES_MAX;
use xsplice_abi::machine::FileNames;
use xsplice_abi::tables::{BugFrame, BugKind, SpecialTable};
use xsplice_diff::extract::{Extract, Place, SectionIndex, Symbol, SymbolIndex};
use xsplice_diff::read::section_class::{is_of_boot, is_per_cpu};

use super::known_constants::leave_out;
use crate::base::{Base, BaseSection, BaseSymbol, Lookup, Scope, SymbolKind};

/// A field of a frame that leads to a text of the extract, or behind it, and that the base has.
struct Bound {
    section: usize,
    relocation: usize,
    /// Offset of the field in its frame: frames count from their start.
    field: u64,
    text: SectionIndex,
    /// Where the base has the text.
    address: u64,
    /// How far behind its start the field leads.
    behind: u64,
}

/// The extract with its frames' texts in the base, as far as the base has them.
pub(crate) fn refer_to_base<'e, 'data>(
    base: &Base<'_>,
    extract: Cow<'e, Extract<'data>>,
) -> Cow<'e, Extract<'data>> {
    if extract.machine.file_names == FileNames::Anywhere {
        return extract;
    }
    let mut texts = Texts::default();
    let mut bound = Vec::new();
    for (index, section) in extract.sections.iter().enumerate() {
        let Some(SpecialTable::BugFrames(kind)) = SpecialTable::of(&section.name) else {
            continue;
        };
        if kind != BugKind::RunFunction && section.flags & elf::SHF_ALLOC.0 != 0 {
            bound.extend(of_section(base, &extract, (index, kind), &mut texts));
        }
    }
    if bound.is_empty() {
        return extract;
    }
    let mut extract = extract.into_owned();
    let mut left_out = BTreeSet::new();
    for one in bound {
        let Some(near) = anchor(base, &extract, one.address) else {
            continue;
        };
        extract.symbols.push(Symbol {
            name: near.name.to_owned(),
            file: near.file.map(str::to_owned),
            binding: match near.scope {
                Scope::Global | Scope::Hidden => elf::STB_GLOBAL.0,
                Scope::Weak => elf::STB_WEAK.0,
                Scope::Local => elf::STB_LOCAL.0,
            },
            kind: elf::STT_NOTYPE.0,
            size: 0,
            place: Place::Base,
            otherwise: None,
        });
        let symbol = SymbolIndex(extract.symbols.len() - 1);
        let relocation = &mut extract.sections[one.section].relocations[one.relocation];
        relocation.symbol = symbol;
        // The value of a symbol is an address, so the sum wraps as the loader's does.
        let distance = one.address.wrapping_sub(near.address);
        let distance = distance.wrapping_add(one.behind);
        relocation.addend = distance.wrapping_add(one.field).cast_signed();
        left_out.insert(one.text);
    }
    let needed = referred(&extract);
    leave_out(
        &mut extract,
        left_out.difference(&needed).copied().collect(),
    );
    Cow::Owned(extract)
}

/// The texts that the base has, each searched for once.
#[derive(Default)]
struct Texts(BTreeMap<Vec<u8>, Option<u64>>);

impl Texts {
    /// Where the base has a text with its end, in memory that stays as it is.
    ///
    /// Shortcut S33: nothing compares the address of a file name, so any copy of the text will do.
    fn find(&mut self, base: &Base<'_>, text: &[u8]) -> Option<u64> {
        if let Some(known) = self.0.get(text) {
            return *known;
        }
        let found = base.sections().iter().find_map(|section| {
            let mut all = section.data.windows(text.len());
            let at = stays(section).then(|| all.position(|one| one == text))??;
            section.range.start.checked_add(at as u64)
        });
        self.0.insert(text.to_owned(), found);
        found
    }
}

/// Whether nothing writes a section, and its memory is not given back after the boot.
fn stays(section: &BaseSection<'_>) -> bool {
    section.flags & (elf::SHF_WRITE.0 | elf::SHF_EXECINSTR.0) == 0
        && !is_of_boot(section.name)
        && !is_per_cpu(section.name)
}

/// The fields of one section of frames whose texts the base has.
fn of_section(
    base: &Base<'_>,
    extract: &Extract<'_>,
    (index, kind): (usize, BugKind),
    texts: &mut Texts,
) -> Vec<Bound> {
    let form = extract.machine.entry_form;
    let section = &extract.sections[index];
    let mut found = Vec::new();
    for (number, relocation) in section.relocations.iter().enumerate() {
        let start = relocation.offset - relocation.offset % BugFrame::bytes(form, kind);
        let field = relocation.offset - start;
        let is_name = field == BugFrame::POINTER_AT;
        let is_message = field == BugFrame::message_at(form);
        if !is_name && !is_message {
            continue;
        }
        // Without a message the field leads behind the file name, wherever that is.
        let name_of_same = || {
            let at = start + BugFrame::POINTER_AT;
            let mut all = section.relocations.iter();
            all.find(|other| other.offset == at)
        };
        let own = text(extract, relocation.symbol, relocation.addend, field);
        let bound = if is_name || BugFrame::has_message(kind) {
            own.and_then(|(text, bytes)| Some((text, texts.find(base, bytes)?, 0)))
        } else {
            name_of_same().and_then(|name| {
                let of_name = text(extract, name.symbol, name.addend, BugFrame::POINTER_AT);
                let (text, bytes) = of_name?;
                Some((text, texts.find(base, bytes)?, bytes.len() as u64))
            })
        };
        found.extend(bound.map(|(text, address, behind)| Bound {
            section: index,
            relocation: number,
            field,
            text,
            address,
            behind,
        }));
    }
    found
}

/// The text that a field leads to, with its end, and the section of the extract that holds it.
///
/// Frames count from their start, so a field's addend has its own offset in it.
fn text<'e>(
    extract: &'e Extract<'_>,
    symbol: SymbolIndex,
    addend: i64,
    field: u64,
) -> Option<(SectionIndex, &'e [u8])> {
    let Place::Section { section, value } = extract.symbols.get(symbol.0)?.place else {
        return None;
    };
    let held = extract.sections.get(section.0)?;
    if !held.relocations.is_empty() || held.flags & elf::SHF_WRITE.0 != 0 {
        return None;
    }
    let at = value.wrapping_add_signed(addend).checked_sub(field)?;
    let rest = held.data.get(usize::try_from(at).ok()?..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    Some((section, rest.get(..=end)?))
}

/// The datum of the base that begins last before an address of its section, and that its loader
/// finds by its name alone; the first behind it where there is none, else a function that stays.
fn anchor<'base, 'data>(
    base: &'base Base<'data>,
    extract: &Extract<'_>,
    address: u64,
) -> Option<&'base BaseSymbol<'data>> {
    let section = base.section_at(address)?;
    let is_found = |symbol: &&BaseSymbol<'_>| {
        let name = symbol.qualified();
        name.to_string().len() <= SYMBOL_NAME_BYTES_MAX
            && matches!(base.lookup(name), Lookup::Found(found) if found.address == symbol.address)
    };
    let is_replaced = |symbol: &BaseSymbol<'_>| {
        let mut records = extract.records.iter();
        records.any(|record| record.name == symbol.name)
    };
    let data = || {
        let all = base.symbols().iter();
        all.filter(|one| one.kind == SymbolKind::Data && section.range.contains(&one.address))
            .filter(is_found)
    };
    let before = data().filter(|one| one.address <= address);
    let before = before.max_by_key(|one| one.address);
    let behind = || data().min_by_key(|one| one.address);
    let function = || {
        let all = base.symbols().iter();
        all.filter(|one| one.kind == SymbolKind::Function && one.scope == Scope::Global)
            .filter(|one| !is_replaced(one))
            .filter(is_found)
            .min_by_key(|one| one.address)
    };
    before.or_else(behind).or_else(function)
}

/// The sections that something of the extract refers to.
fn referred(extract: &Extract<'_>) -> BTreeSet<SectionIndex> {
    let relocations = extract.sections.iter().flat_map(|one| &one.relocations);
    let places = relocations.filter_map(|one| extract.symbols.get(one.symbol.0));
    places
        .filter_map(|symbol| match symbol.place {
            Place::Section { section, .. } => Some(section),
            Place::Base | Place::Undefined | Place::Absolute(_) => None,
        })
        .collect()
}
