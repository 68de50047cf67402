//! Who refers to the included functions: code and data that a reviewer has to consider besides the
//! functions themselves.
//!
//! References are found in relocations. First the objects that define the functions are read for
//! the functions' names, then all objects for references to these names. Calls through pointers do
//! not show here; the data or code that holds a function's address does.

use std::collections::BTreeSet;

use foldhash::{HashMap, HashMapExt as _};
use xsplice_abi::Profile;

use crate::compare::users::is_call;
use crate::include::originals::file_of;
use crate::read::error::DiffError;
use crate::read::items::{ItemId, ItemKind};
use crate::read::names;
use crate::read::object::{ElfObject, Relocation, SymbolId, SymbolPlace};
use crate::read::relocation::Target;
use crate::read::section_class::SectionClass;
use crate::read::side::Build;
use crate::report::object_diff::ObjectDiff;

/// How something refers to a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum How {
    /// Code calls it, or jumps to it.
    Calls,
    /// Code takes its address.
    TakesAddress,
    /// Data holds its address.
    Holds,
}

/// When a referrer exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum When {
    /// As long as the base runs.
    Always,
    /// Until the boot is over.
    AtBoot,
}

/// Something that refers to a function.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Referrer {
    /// The object that it is in.
    pub object: String,
    /// Its name; that of the function where it is an out-of-line part.
    pub name: String,
    /// What it does.
    pub how: How,
    /// When it can do so.
    pub when: When,
}

/// The functions whose referrers are looked for.
#[derive(Debug)]
pub struct Sought<'a> {
    /// By object, then by name.
    own: HashMap<&'a str, HashMap<&'a str, Vec<Own<'a>>>>,
    /// By the name that other objects know them by.
    global: HashMap<String, Vec<usize>>,
    count: usize,
}

/// A function, as its own object knows it.
#[derive(Clone, Copy, Debug)]
struct Own<'a> {
    /// For a local: the `STT_FILE` symbol that qualifies it.
    file: Option<&'a str>,
    /// Which of all functions of all diffs.
    index: usize,
}

/// References of one object: indices of functions, with the referrers.
#[derive(Debug, Default)]
pub struct Found(BTreeSet<(usize, Referrer)>);

impl<'a> Sought<'a> {
    /// All functions of some diffs, in their order.
    #[must_use]
    pub fn new(diffs: &'a [ObjectDiff<'_>]) -> Sought<'a> {
        let mut sought = Sought {
            own: HashMap::new(),
            global: HashMap::new(),
            count: 0,
        };
        for function in diffs.iter().flat_map(|diff| &diff.functions) {
            let of_object = sought.own.entry(function.object.as_str()).or_default();
            let of_name = of_object.entry(function.name.as_str()).or_default();
            of_name.push(Own {
                file: function.file.as_deref(),
                index: sought.count,
            });
            sought.count += 1;
        }
        sought
    }

    /// Whether an object holds one of them.
    #[must_use]
    pub fn is_held_by(&self, object: &str) -> bool {
        self.own.contains_key(object)
    }

    /// Reads from a patched object under which names, aliases included, others can refer to its
    /// functions.
    ///
    /// # Errors
    ///
    /// When it is not a well-formed x86-64 object.
    pub fn add_names(
        &mut self,
        object: &str,
        patched: &[u8],
        abi: &Profile,
    ) -> Result<(), DiffError> {
        if !self.is_held_by(object) {
            return Ok(());
        }
        let build = Build::new(object, patched, abi)?;
        let held = self.held(object, &build);
        for (id, symbol) in (0..).map(SymbolId).zip(&build.object.symbols) {
            if symbol.is_local() || !matches!(symbol.place, SymbolPlace::Section(_)) {
                continue;
            }
            if let Some(item) = build.items.of_symbol(id)
                && build.items.item(item).offset == symbol.value
                && let Some(index) = held.get(&item)
            {
                let known = self.global.entry(symbol.name.to_owned()).or_default();
                known.push(*index);
            }
        }
        Ok(())
    }

    /// Those of the functions that a build holds, by item.
    fn held(&self, object: &str, build: &Build<'_>) -> HashMap<ItemId, usize> {
        let mut held = HashMap::new();
        let Some(own) = self.own.get(object) else {
            return held;
        };
        for item in build.items.ids() {
            let kind = build.items.item(item).kind;
            if !matches!(kind, ItemKind::Function | ItemKind::Label) {
                continue;
            }
            let symbol = build.symbol(item);
            let file = symbol.and_then(|symbol| file_of(build, symbol));
            let named = own.get(build.name(item)).into_iter().flatten();
            let found = named.copied().find(|one| one.file == file.as_deref());
            held.extend(found.map(|one| (item, one.index)));
        }
        held
    }

    /// Looks through one object for references to any of the functions.
    ///
    /// # Errors
    ///
    /// When it is not a well-formed x86-64 object.
    pub fn look(&self, object: &str, bytes: &[u8], abi: &Profile) -> Result<Found, DiffError> {
        if !self.is_held_by(object) {
            // Most objects use none of the names, which their symbols show.
            let elf = ElfObject::parse(object, bytes)?;
            let is_used = elf.symbols.iter().any(|symbol| {
                symbol.place == SymbolPlace::Undefined && self.global.contains_key(symbol.name)
            });
            if !is_used {
                return Ok(Found::default());
            }
        }
        let build = Build::new(object, bytes, abi)?;
        let held = self.held(object, &build);
        let mut found = Found::default();
        build.each_reference(|source, relocation, target| {
            let indices: &[usize] = match target {
                Target::Item { item, .. } if target.meant() == 0 => {
                    held.get(&item).map_or(&[], std::slice::from_ref)
                }
                Target::Symbol { symbol, .. } => {
                    let symbol = build.object.symbol(symbol);
                    match symbol.place {
                        SymbolPlace::Undefined => {
                            self.global.get(symbol.name).map_or(&[], Vec::as_slice)
                        }
                        _ => &[],
                    }
                }
                _ => &[],
            };
            if indices.is_empty() {
                return;
            }
            let Some(how) = how(&build, source, relocation) else {
                return;
            };
            for index in indices {
                let referrer = Referrer {
                    object: object.to_owned(),
                    name: name(&build, source),
                    how,
                    when: match build.items.class(source) {
                        SectionClass::Init => When::AtBoot,
                        _ => When::Always,
                    },
                };
                found.0.insert((*index, referrer));
            }
        });
        Ok(found)
    }

    /// Brings together what was found in all objects: for each function its referrers, in order.
    #[must_use]
    pub fn gather(&self, all: impl IntoIterator<Item = Found>) -> Vec<Vec<Referrer>> {
        let mut gathered = vec![Vec::new(); self.count];
        for (index, referrer) in all.into_iter().flat_map(|found| found.0) {
            gathered[index].push(referrer);
        }
        for referrers in &mut gathered {
            referrers.sort();
        }
        gathered
    }
}

/// What kind of reference an item makes; `None` for tables that only describe code.
fn how(build: &Build<'_>, source: ItemId, relocation: &Relocation) -> Option<How> {
    match build.items.class(source) {
        SectionClass::Ignored(_) | SectionClass::Special(_) => None,
        _ if is_call(build, source, relocation) => Some(How::Calls),
        _ => match build.items.item(source).kind {
            ItemKind::Function | ItemKind::Label => Some(How::TakesAddress),
            _ => Some(How::Holds),
        },
    }
}

/// What a person calls the source of a reference.
fn name(build: &Build<'_>, source: ItemId) -> String {
    let shown = build.shown(source);
    match names::cold_parent(&shown) {
        Some(parent) if build.items.item(source).kind == ItemKind::Function => parent.to_owned(),
        _ => shown,
    }
}
