//! Gives every reference its target: a place in the payload, a symbol of the base by the name
//! that the base knows it by, a new global of another extract, or a refusal.
//!
//! What a payload defines is private and named `PAYLOAD:file.c#name` (`PAYLOAD:name` for former
//! globals). A base has no colon in a symbol's file name, so names of different payloads never
//! clash in the loader's symbol table. Exported symbols keep their own names.

pub(crate) mod empty_replacements;
pub(crate) mod relocate;
mod weak;
mod wrap;

use std::collections::{HashMap, HashSet};

use object::elf;
use sha1::{Digest as _, Sha1};
use xsplice_abi::hex::Hex;
use xsplice_abi::limits::SYMBOL_NAME_BYTES_MAX;
use xsplice_diff::extract::{self, Extract, Otherwise, SymbolIndex};

use crate::base::{Base, BaseSymbol, Lookup, QualifiedName, Scope, SymbolKind};
use crate::error::{Refusal, RefusalCode};
use crate::layout::{Kind, Layout, OutSection, OutSymbol, Place, Symbol, Visibility};
use crate::merge::{Placement, Spot};
use crate::options::{LinkOptions, References, StacksOn};

/// A relocation's target: a symbol of the payload and what to add to the addend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The symbol.
    pub symbol: OutSymbol,
    /// Added to the addend, in bytes.
    pub bias: i64,
    /// Whether the payload's own GOT accesses may be relaxed to it: it lies within reach.
    pub reach: Reach,
}

/// Whether a 32-bit PC-relative field of the payload reaches a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// In the payload, or inside the image.
    Near,
    /// A number, or an address outside the image.
    Unknown,
}

/// Names and symbols of the payload while it is linked.
#[derive(Debug)]
pub(crate) struct Resolver<'link, 'data> {
    base: &'link Base<'data>,
    options: &'link LinkOptions,
    extracts: &'link [&'link Extract<'data>],
    placement: &'link Placement,
    /// New globals of any extract.
    new_globals: HashMap<&'link str, (usize, SymbolIndex)>,
    /// By extract, then symbol of it.
    known: Vec<Vec<Option<Target>>>,
    of_base: HashMap<String, Target>,
    sections: HashMap<OutSection, OutSymbol>,
    used_names: HashSet<String>,
}

impl<'link, 'data> Resolver<'link, 'data> {
    /// Collects the definitions of all extracts, and names them in `layout`.
    pub(crate) fn new(
        base: &'link Base<'data>,
        options: &'link LinkOptions,
        extracts: &'link [&'link Extract<'data>],
        placement: &'link Placement,
        layout: &mut Layout,
        refusals: &mut Vec<Refusal>,
    ) -> Resolver<'link, 'data> {
        let mut resolver = Resolver {
            base,
            options,
            extracts,
            placement,
            new_globals: HashMap::new(),
            known: extracts
                .iter()
                .map(|extract| vec![None; extract.symbols.len()])
                .collect(),
            of_base: HashMap::new(),
            sections: HashMap::new(),
            used_names: HashSet::new(),
        };
        resolver.collect_new_globals(refusals);
        for (extract_index, extract) in extracts.iter().enumerate() {
            for index in 0..extract.symbols.len() {
                resolver.define(extract_index, SymbolIndex(index), layout);
            }
        }
        for export in &options.exports {
            if !resolver.new_globals.contains_key(export.as_str()) {
                refusals.push(
                    Refusal::new(
                        RefusalCode::UnresolvedSymbol,
                        "payload",
                        "is to be exported, but no extract defines a new global of this name",
                    )
                    .of(export),
                );
            }
        }
        resolver
    }

    fn collect_new_globals(&mut self, refusals: &mut Vec<Refusal>) {
        for (extract_index, extract) in self.extracts.iter().enumerate() {
            let records: HashSet<SymbolIndex> =
                extract.records.iter().map(|record| record.symbol).collect();
            for (index, symbol) in extract.symbols.iter().enumerate() {
                let is_new = matches!(symbol.place, extract::Place::Section { .. })
                    && is_global(symbol)
                    && !records.contains(&SymbolIndex(index));
                if !is_new {
                    continue;
                }
                let name = QualifiedName {
                    file: None,
                    name: &symbol.name,
                };
                let refused = |message: String| {
                    Refusal::new(RefusalCode::DuplicateSymbol, &extract.object, message)
                        .of(&symbol.name)
                };
                if !matches!(self.base.lookup(name), Lookup::Absent) {
                    refusals.push(refused(
                        "is new in this object, but the base has a symbol of this name; a \
                         function that moved from one object to another must keep its name in \
                         the old one"
                            .to_owned(),
                    ));
                    continue;
                }
                let here = (extract_index, SymbolIndex(index));
                let chosen = *self.new_globals.entry(&symbol.name).or_insert(here);
                match weak::choose(self.extracts, chosen, here) {
                    Ok(chosen) => {
                        self.new_globals.insert(&symbol.name, chosen);
                    }
                    Err(problem) => refusals.push(refused(problem)),
                }
            }
        }
    }

    /// Gives a symbol of an included section its name in the payload.
    fn define(&mut self, extract_index: usize, index: SymbolIndex, layout: &mut Layout) {
        let symbol = &self.extracts[extract_index].symbols[index.0];
        let extract::Place::Section { section, value } = symbol.place else {
            return;
        };
        let Some(Spot::At(out, offset)) = self.placement.spot(extract_index, section.0) else {
            return;
        };
        let kind = match elf::SymbolType(symbol.kind) {
            elf::STT_FUNC => Kind::Function,
            elf::STT_OBJECT => Kind::Data,
            elf::STT_NOTYPE => Kind::Label,
            _ => return,
        };
        if symbol.name.is_empty() || symbol.name.starts_with(".L") {
            return;
        }
        let is_passed_over = is_global(symbol)
            && self
                .new_globals
                .get(symbol.name.as_str())
                .is_some_and(|chosen| *chosen != (extract_index, index));
        if is_passed_over {
            return;
        }
        let is_exported = is_global(symbol) && self.options.exports.contains(&symbol.name);
        let (name, visibility) = if is_exported {
            (symbol.name.clone(), Visibility::Global)
        } else {
            let file = symbol.file.as_deref();
            (self.private_name(file, &symbol.name), Visibility::Private)
        };
        let out_symbol = layout.add_symbol(Symbol {
            name,
            kind,
            visibility,
            size_bytes: symbol.size,
            place: Place::Section(out, offset.wrapping_add(value)),
        });
        self.known[extract_index][index.0] = Some(Target {
            symbol: out_symbol,
            bias: 0,
            reach: Reach::Near,
        });
    }

    /// `PAYLOAD:file.c#name`, made unique and short enough for a loader's table.
    fn private_name(&mut self, file: Option<&str>, name: &str) -> String {
        let payload = &self.options.name;
        let full = match file {
            Some(file) => format!("{payload}:{file}#{name}"),
            None => format!("{payload}:{name}"),
        };
        let mut unique = full.clone();
        let mut count = 1;
        loop {
            if unique.len() > SYMBOL_NAME_BYTES_MAX {
                unique = shortened(&unique);
            }
            if self.used_names.insert(unique.clone()) {
                return unique;
            }
            count += 1;
            unique = format!("{full}@{count}");
        }
    }

    /// What a symbol of an extract means in the payload.
    ///
    /// # Errors
    /// A refusal that names the symbol and its object; the caller adds the place.
    pub(crate) fn target(
        &mut self,
        extract_index: usize,
        index: SymbolIndex,
        layout: &mut Layout,
    ) -> Result<Target, Refusal> {
        let extract = self.extracts[extract_index];
        let Some(symbol) = extract.symbols.get(index.0) else {
            return Err(Refusal::new(
                RefusalCode::MalformedExtract,
                &extract.object,
                format!("there is no symbol {} in the extract", index.0),
            ));
        };
        if let Some(known) = self.known[extract_index][index.0] {
            return Ok(known);
        }
        if let Some(otherwise) = symbol.otherwise {
            let target = self.by_name(extract_index, symbol, otherwise, layout)?;
            self.known[extract_index][index.0] = Some(target);
            return Ok(target);
        }
        if matches!(symbol.place, extract::Place::Section { .. }) && is_chosen(symbol) {
            return Err(chosen_at_boot(&extract.object, &symbol.name));
        }
        // Of several weak definitions a linker keeps one, for those who have another one too.
        let is_defined = matches!(symbol.place, extract::Place::Section { .. });
        if is_defined
            && is_global(symbol)
            && let Some(&chosen) = self.new_globals.get(symbol.name.as_str())
            && chosen != (extract_index, index)
        {
            let target = self.target(chosen.0, chosen.1, layout)?;
            self.known[extract_index][index.0] = Some(target);
            return Ok(target);
        }
        let target = match symbol.place {
            extract::Place::Section { section, value } => {
                let spot = self.placement.spot(extract_index, section.0);
                let Some(Spot::At(out, offset) | Spot::Shared(out, offset)) = spot else {
                    let name = extract.sections.get(section.0);
                    let name = name.map_or("?", |section| section.name.as_str());
                    return Err(Refusal::new(
                        RefusalCode::UnloadableSection,
                        &extract.object,
                        format!("points into {name}, which is not included"),
                    )
                    .of(&symbol.name));
                };
                let bias = i64::try_from(offset.wrapping_add(value)).unwrap_or(i64::MAX);
                Target {
                    symbol: self.section_symbol(out, layout),
                    bias,
                    reach: Reach::Near,
                }
            }
            extract::Place::Base => self.in_base(extract, symbol, layout)?,
            extract::Place::Undefined => {
                self.check_wrapped(extract, &symbol.name)?;
                let name = QualifiedName {
                    file: None,
                    name: &symbol.name,
                };
                let in_base = !matches!(self.base.lookup(name), Lookup::Absent);
                match self.new_globals.get(symbol.name.as_str()) {
                    Some(&(other, other_index)) if !in_base => {
                        self.target(other, other_index, layout)?
                    }
                    _ => self.in_base(extract, symbol, layout)?,
                }
            }
            extract::Place::Absolute(address) => Target {
                symbol: layout.add_symbol(Symbol {
                    name: self.private_name(symbol.file.as_deref(), &symbol.name),
                    kind: Kind::Label,
                    visibility: Visibility::Private,
                    size_bytes: 0,
                    place: Place::Absolute(address),
                }),
                bias: 0,
                reach: Reach::Unknown,
            },
        };
        self.known[extract_index][index.0] = Some(target);
        Ok(target)
    }

    /// What a name means that others may define too: the base's, then that of another object, then
    /// what its own object has under it.
    fn by_name(
        &mut self,
        extract_index: usize,
        symbol: &extract::Symbol,
        otherwise: Otherwise,
        layout: &mut Layout,
    ) -> Result<Target, Refusal> {
        let extract = self.extracts[extract_index];
        let name = QualifiedName {
            file: symbol.file.as_deref().filter(|_| !is_global(symbol)),
            name: &symbol.name,
        };
        let is_known = !matches!(self.base.lookup(name), Lookup::Absent);
        if is_known || self.is_exported_below(name) {
            return self.in_base(extract, symbol, layout);
        }
        if is_chosen(symbol) {
            return Err(chosen_at_boot(&extract.object, &symbol.name));
        }
        if let Some(&(other, index)) = self.new_globals.get(symbol.name.as_str()) {
            return self.target(other, index, layout);
        }
        let own = self.target(extract_index, otherwise.symbol, layout)?;
        Ok(Target {
            bias: own.bias.wrapping_add(otherwise.offset),
            ..own
        })
    }

    /// The unnamed symbol of a section of the payload.
    pub(crate) fn section_symbol(&mut self, section: OutSection, layout: &mut Layout) -> OutSymbol {
        *self.sections.entry(section).or_insert_with(|| {
            layout.add_symbol(Symbol {
                name: String::new(),
                kind: Kind::Section,
                visibility: Visibility::Private,
                size_bytes: 0,
                place: Place::Section(section, 0),
            })
        })
    }

    /// The base's symbol as a symbol of the payload.
    ///
    /// # Errors
    /// As [`Resolver::target`].
    pub(crate) fn in_base(
        &mut self,
        extract: &Extract<'_>,
        symbol: &extract::Symbol,
        layout: &mut Layout,
    ) -> Result<Target, Refusal> {
        let is_global = is_global(symbol);
        let name = QualifiedName {
            file: symbol.file.as_deref().filter(|_| !is_global),
            name: &symbol.name,
        };
        let found = self.base.lookup(name);
        // What was global before the link may be known by its file now.
        let text = match &found {
            Lookup::Found(found) if found.scope == Scope::Hidden => found.qualified().to_string(),
            _ => name.to_string(),
        };
        if let Some(&known) = self.of_base.get(&text) {
            return Ok(known);
        }
        let refused =
            |code, message: String| Refusal::new(code, &extract.object, message).of(&text);
        let (place, reach) = match found {
            Lookup::Found(found) => {
                if !is_global && found.scope != Scope::Local {
                    return Err(refused(
                        RefusalCode::UnresolvedSymbol,
                        "is local here, but the base has only a global of this name; does the \
                         object carry a FILE symbol?"
                            .to_owned(),
                    ));
                }
                if found.kind == SymbolKind::Chooser {
                    return Err(chosen_at_boot(&extract.object, &text));
                }
                let reach = if self.base.is_near_code(found.address) {
                    Reach::Near
                } else {
                    Reach::Unknown
                };
                let place = match self.options.references {
                    References::ByName => Place::Undefined,
                    References::Prelinked => Place::Absolute(found.address),
                };
                (place, reach)
            }
            Lookup::Ambiguous(candidates) => {
                let message = several(self.base.path(), &candidates);
                return Err(refused(RefusalCode::AmbiguousSymbol, message));
            }
            Lookup::Absent if self.is_exported_below(name) => (Place::Undefined, Reach::Near),
            Lookup::Absent => {
                return Err(refused(
                    RefusalCode::UnresolvedSymbol,
                    format!(
                        "{} does not have it and no extract defines it; is the base the image \
                         that these objects were linked into?",
                        self.base.path()
                    ),
                ));
            }
        };
        if text.len() > SYMBOL_NAME_BYTES_MAX && place == Place::Undefined {
            return Err(refused(
                RefusalCode::NameTooLong,
                format!(
                    "a loader looks up names of at most {SYMBOL_NAME_BYTES_MAX} bytes; link with \
                     --prelink"
                ),
            ));
        }
        let target = Target {
            symbol: layout.add_symbol(Symbol {
                // With an address it is not looked up, so any name will do.
                name: if text.len() > SYMBOL_NAME_BYTES_MAX {
                    shortened(&text)
                } else {
                    text.clone()
                },
                kind: Kind::Label,
                visibility: match place {
                    Place::Undefined => Visibility::Global,
                    _ => Visibility::Private,
                },
                size_bytes: 0,
                place,
            }),
            bias: 0,
            reach,
        };
        self.of_base.insert(text, target);
        Ok(target)
    }

    /// The image that names are resolved in.
    #[must_use]
    pub(crate) fn base(&self) -> &'link Base<'data> {
        self.base
    }

    fn is_exported_below(&self, name: QualifiedName<'_>) -> bool {
        match &self.options.stacks_on {
            StacksOn::Payload(below) => {
                name.file.is_none() && below.exports.iter().any(|export| export == name.name)
            }
            StacksOn::Base | StacksOn::Id(_) => false,
        }
    }
}

/// What is wrong with a name that several symbols of the base have.
fn several(base: &str, candidates: &[&BaseSymbol<'_>]) -> String {
    let list: Vec<_> = candidates
        .iter()
        .map(|found| format!("{:#x} ({} bytes)", found.address, found.size_bytes))
        .collect();
    format!(
        "{base} has several symbols of this name: {}; the loader would take any of them, so give \
         the objects distinct FILE symbols",
        list.join(", ")
    )
}

/// Whether a function has its name only once the boot has chosen it.
fn is_chosen(symbol: &extract::Symbol) -> bool {
    symbol.kind == elf::STT_GNU_IFUNC.0
}

/// What a linker would lead to the function that was chosen, by an entry of its own; a payload's
/// reference would lead to the code that chooses.
fn chosen_at_boot(object: &str, name: &str) -> Refusal {
    Refusal::new(
        RefusalCode::UnresolvedSymbol,
        object,
        "is a function that is chosen at boot (IFUNC), and the name stands for the code that \
         chooses; call the one that was meant by its own name",
    )
    .of(name)
}

/// Whether other objects see the symbol.
fn is_global(symbol: &extract::Symbol) -> bool {
    symbol.binding != elf::STB_LOCAL.0
}

/// Shortens a name to its end, which is the most telling part, behind a hash of the whole name.
fn shortened(name: &str) -> String {
    const HASH_BYTES: usize = 6;
    let hash = Sha1::digest(name.as_bytes());
    let mut short = Hex(&hash[..HASH_BYTES]).to_string();
    short.push(':');
    let keep = SYMBOL_NAME_BYTES_MAX - short.len();
    let mut start = name.len().saturating_sub(keep);
    while !name.is_char_boundary(start) {
        start += 1;
    }
    short.push_str(&name[start..]);
    short
}

#[cfg(test)]
mod tests {
    use super::shortened;
    use xsplice_abi::limits::SYMBOL_NAME_BYTES_MAX;

    #[test]
    fn a_long_name_is_cut_to_the_limit_and_stays_distinct() {
        let name = |end: &str| format!("fix:{}#{end}", "ä/".repeat(100));
        let (one, two) = (shortened(&name("f")), shortened(&name("g")));
        assert!(one.len() <= SYMBOL_NAME_BYTES_MAX && one.ends_with("#f"));
        assert_ne!(one[..12], two[..12]);
    }
}
