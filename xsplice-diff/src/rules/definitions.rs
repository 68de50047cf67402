//! What the names that an object defines mean to other objects.
//!
//! A name can change its meaning although no item changes: an alias leads to another function, a
//! label moves within a table, an absolute symbol gets another value, a definition becomes weak.
//! Objects that use the name behave differently although their bytes are the same, so the change is
//! found here.

use std::collections::BTreeMap;

use crate::compare::changes::Changes;
use crate::compare::comparer::Comparer;
use crate::read::items::{ItemId, ItemKind};
use crate::read::object::{ElfObject, Symbol, SymbolId, SymbolPlace};
use crate::read::section_class::{SectionClass, is_init};
use crate::read::side::Build;
use crate::read::side::is_content;
use crate::read::walked::walked;
use crate::verdict::kinds::RefusalCode;
use crate::verdict::place::Place;
use crate::verdict::refusals::Verdicts;

/// What became of a name that only the original defines.
pub(crate) const IS_GONE: &str = "is gone";

/// What a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// A place in an item, in bytes from its start.
    Item(ItemId, u64),
    /// A number.
    Absolute(u64),
    /// Space that the linker reserves (a common symbol).
    Common,
    /// A place in a section that has no items.
    Elsewhere,
}

/// Names that are new, gone, or whose binding changed between weak and global. That matters only
/// where another object refers to the name weakly or has a weak definition of it, which one object
/// cannot tell: [`crate::report::judge`] decides when all objects are known.
#[must_use]
pub(crate) fn compare(
    comparer: &mut Comparer<'_, '_>,
    changes: &Changes,
    verdicts: &mut Verdicts,
) -> Vec<(String, &'static str)> {
    let (original, patched) = (comparer.original, comparer.patched);
    let before = definitions(original);
    let after = definitions(patched);
    let mut unsettled = Vec::new();
    for (name, new) in &after {
        let Some(old) = before.get(name) else {
            unsettled.push(((*name).to_owned(), "is new"));
            continue;
        };
        let (was, is) = (original.object.symbol(*old), patched.object.symbol(*new));
        if was.is_chosen_at_boot() != is.is_chosen_at_boot() {
            verdicts.refuse(
                RefusalCode::SymbolKindChanged,
                place(patched, *new),
                "is a function that is chosen at boot in one of the two builds and an ordinary \
                 one in the other; give the new one another name",
            );
        }
        if was.is_weak() != is.is_weak() {
            let what = if is.is_weak() {
                "is weak now"
            } else {
                "is no longer weak"
            };
            unsettled.push(((*name).to_owned(), what));
        }
        if let Some(problem) = moved(comparer, changes, *old, *new) {
            verdicts.refuse_acceptable(
                RefusalCode::DefinitionChanged,
                place(patched, *new),
                &problem,
            );
        }
    }
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        unsettled.push(((*name).to_owned(), IS_GONE));
    }
    unsettled
}

/// The names that an object shares with others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedNames<'data> {
    /// Weak ones, defined or not.
    pub weak: Vec<&'data str>,
    /// Those that it must find in others.
    pub needed: Vec<&'data str>,
    /// Those that it defines.
    pub defined: Vec<&'data str>,
    /// Those that it defines in memory that is given back after the boot.
    pub at_boot: Vec<&'data str>,
    /// Not names of symbols but of sections that the base may walk from the first object's to the
    /// last one's.
    pub walked: Vec<&'data str>,
}

/// The names that an object shares with others, each list in order of its symbol table.
#[must_use]
pub(crate) fn shared_names<'data>(object: &ElfObject<'data>) -> SharedNames<'data> {
    let mut names = SharedNames::default();
    let named = |symbol: &&Symbol<'data>| !symbol.is_local() && !symbol.name.is_empty();
    for symbol in object.symbols.iter().filter(named) {
        let is_undefined = symbol.place == SymbolPlace::Undefined;
        if symbol.is_weak() {
            names.weak.push(symbol.name);
        } else if is_undefined {
            names.needed.push(symbol.name);
        }
        if !is_undefined {
            names.defined.push(symbol.name);
        }
        if let SymbolPlace::Section(section) = symbol.place
            && is_init(object.section(section).name)
        {
            names.at_boot.push(symbol.name);
        }
    }
    let walked = walked(object);
    names.walked = walked.iter().map(|id| object.section(*id).name).collect();
    names
}

/// What the build defines for other objects, by name.
fn definitions<'data>(build: &Build<'data>) -> BTreeMap<&'data str, SymbolId> {
    (0..)
        .map(SymbolId)
        .zip(&build.object.symbols)
        .filter(|(_, symbol)| {
            !symbol.is_local()
                && symbol.place != SymbolPlace::Undefined
                && !symbol.name.is_empty()
                && !symbol.is_section()
        })
        .map(|(id, symbol)| (symbol.name, id))
        .collect()
}

fn meaning(build: &Build<'_>, id: SymbolId) -> Meaning {
    let symbol = build.object.symbol(id);
    match symbol.place {
        SymbolPlace::Absolute => Meaning::Absolute(symbol.value),
        SymbolPlace::Common | SymbolPlace::Undefined => Meaning::Common,
        SymbolPlace::Section(_) => match build.items.of_symbol(id) {
            // A place before the first item counts as part of it.
            Some(item) => Meaning::Item(
                item,
                symbol.value.wrapping_sub(build.items.item(item).offset),
            ),
            None => Meaning::Elsewhere,
        },
    }
}

fn place(build: &Build<'_>, id: SymbolId) -> Place {
    let symbol = build.object.symbol(id);
    let mut place = Place::symbol(symbol.name);
    if let SymbolPlace::Section(section) = symbol.place {
        place.section = Some(build.object.section(section).name.to_owned());
        place.offset = Some(symbol.value);
    }
    place
}

/// What is wrong when a name changed its meaning.
fn moved(
    comparer: &mut Comparer<'_, '_>,
    changes: &Changes,
    old: SymbolId,
    new: SymbolId,
) -> Option<String> {
    let (original, patched) = (comparer.original, comparer.patched);
    let (was, is) = (meaning(original, old), meaning(patched, new));
    let same = match (was, is) {
        (Meaning::Absolute(old), Meaning::Absolute(new)) => old == new,
        (Meaning::Common, Meaning::Common) | (Meaning::Elsewhere, Meaning::Elsewhere) => true,
        (Meaning::Item(o, at), Meaning::Item(p, new_at)) => {
            same_place(comparer, changes, (o, at), (p, new_at))
        }
        // A common symbol that is new has its own refusal.
        (_, Meaning::Common) => true,
        _ => false,
    };
    if same {
        return None;
    }
    Some(format!(
        "this name means {} now, and {} in the base, where other objects keep using it; \
         give what is new another name and change its users",
        shown(patched, new, is),
        shown(original, old, was)
    ))
}

fn same_place(
    comparer: &mut Comparer<'_, '_>,
    changes: &Changes,
    (o, at): (ItemId, u64),
    (p, new_at): (ItemId, u64),
) -> bool {
    let (original, patched) = (comparer.original, comparer.patched);
    if is_content(original, o) && is_content(patched, p) {
        return at == new_at && comparer.content_difference(o, p).is_none();
    }
    let (counterpart, other) = (
        comparer.correlation.original(p),
        comparer.correlation.patched(o),
    );
    if counterpart.is_none() && other.is_none() {
        // A new item under an old name: it is included, and the linker refuses it where the base
        // has the name.
        return at == 0
            && new_at == 0
            && matches!(
                patched.items.class(p),
                SectionClass::Code | SectionClass::Data | SectionClass::Rodata | SectionClass::Bss
            );
    }
    if counterpart != Some(o) {
        return false;
    }
    let ends = at == original.items.item(o).size && new_at == patched.items.item(p).size;
    // Entries in the interior of a function that is replaced have a refusal of their own.
    let is_entry = at != 0
        && patched.items.item(p).kind == ItemKind::Function
        && changes
            .functions
            .contains_key(&comparer.correlation.patched_root(p));
    at == new_at || ends || is_entry
}

/// What a symbol means, without using its own name.
fn shown(build: &Build<'_>, id: SymbolId, meaning: Meaning) -> String {
    let own = build.object.symbol(id).name;
    let item_name = |item| {
        let named = |(index, symbol): (u32, &Symbol<'_>)| {
            let is_other = symbol.name != own && !symbol.name.is_empty() && !symbol.is_section();
            is_other && self::meaning(build, SymbolId(index)) == Meaning::Item(item, 0)
        };
        let mut symbols = (0..).zip(&build.object.symbols);
        symbols
            .find(|(index, symbol)| named((*index, symbol)))
            .map_or_else(|| build.shown(item), |(_, symbol)| symbol.name.to_owned())
    };
    match meaning {
        Meaning::Item(item, 0) => item_name(item),
        Meaning::Item(item, at) => format!("{}+{at:#x}", item_name(item)),
        Meaning::Absolute(value) => format!("the number {value:#x}"),
        Meaning::Common => "common data".to_owned(),
        Meaning::Elsewhere => "something that is not loaded".to_owned(),
    }
}
