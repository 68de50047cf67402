//! Compares the layouts of the structures, unions and enumerations that changed functions may
//! look at, and the prototypes of those functions.
//!
//! The running system is full of objects in the old layout, and of functions compiled for it. New
//! code with another layout reads and writes the wrong bytes, and a comparison of code does not
//! show it: appending a field to a structure changes no instruction of the functions that allocate
//! it. Debug information shows it. Without debug information nothing is guessed, and the report
//! says that layouts were not compared.
//!
//! Types are found by walking from the changed functions: parameters, results, locals, the
//! variables that they refer to, and from there through members and pointers. Types that no changed
//! function can reach are not compared.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use crate::compare::comparer::Comparer;
use crate::debug_info::debug_sections;
use crate::debug_info::types::{EntryId, SHARED_UNIT, TypeKind, TypeName, Types};
use crate::read::items::{ItemId, ItemKind};
use crate::read::side::Build;

mod fields;
mod merge;
mod reach;
mod tree;
mod uses;
mod wording;

pub use merge::merge;
pub use tree::{Found, add_users, changed_elsewhere, users_in};
pub(crate) use wording::problem;
pub use wording::{differences as say_differences, field as say_field, summary};

pub use fields::Shape;
use fields::{differences, shape};
use reach::{Reached, Root, reach};
use uses::{Edges, Uses};

/// The result of comparing the layouts of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Layouts {
    /// How many types and prototypes were compared.
    pub compared: usize,
    /// Why none was compared, although functions changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_compared: Option<NotCompared>,
    /// What differs.
    pub changes: Vec<LayoutChange>,
    /// Types that the original object does not describe: new types, or types that only other
    /// objects describe.
    #[serde(skip)]
    pub unpaired: Vec<Unpaired>,
}

/// A type that the patched object uses and the original did not describe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpaired {
    /// Its name.
    name: TypeName,
    /// Its whole layout.
    shape: Shape,
    /// How the object reaches it.
    reaching: Reaching,
}

/// Why layouts were not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotCompared {
    /// Neither object has debug information.
    NoDebugInformation,
    /// The original has none.
    NoDebugInformationInOriginal,
    /// The patched object has none.
    NoDebugInformationInPatched,
}

/// A type or prototype that differs between the builds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LayoutChange {
    /// The name by which it is accepted.
    pub name: String,
    /// Its name for people: `struct request`.
    pub said: String,
    /// What it is.
    pub kind: ChangedKind,
    /// In bytes; `None` for a prototype.
    pub old_size: Option<u64>,
    /// In bytes; `None` for a prototype.
    pub new_size: Option<u64>,
    /// The members, enumerators, or the prototype, that differ.
    pub fields: Vec<FieldChange>,
    /// Whether old and new code are incompatible. Otherwise only names, or types of the same size,
    /// differ.
    pub breaks: bool,
    /// Objects in which it differs.
    pub objects: Vec<String>,
    /// How changed functions reach it.
    pub reached: Vec<Reaching>,
    /// Unchanged functions that use it: a variable, parameter or result is of it, or points to
    /// it. For a prototype: who calls the function or holds its address.
    pub users: Vec<User>,
    /// How many further unchanged functions can reach it through members and pointers.
    pub distant_users: usize,
    /// Whether other objects may use it too.
    #[serde(skip)]
    pub is_shared: bool,
    /// The whole old layout: tells a type from another of its name.
    #[serde(skip)]
    pub old_shape: Shape,
}

/// What kind of thing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangedKind {
    /// `struct`.
    Structure,
    /// `union`.
    Union,
    /// `enum`.
    Enumeration,
    /// Parameters and result of a function.
    Prototype,
}

impl From<TypeKind> for ChangedKind {
    fn from(kind: TypeKind) -> ChangedKind {
        match kind {
            TypeKind::Structure => ChangedKind::Structure,
            TypeKind::Union => ChangedKind::Union,
            TypeKind::Enumeration => ChangedKind::Enumeration,
        }
    }
}

/// One member, enumerator or prototype that differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FieldChange {
    /// Its name, with those of the anonymous structures around it: `u.next`.
    pub name: String,
    /// How it differs.
    pub change: FieldDifference,
    /// As it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Slot>,
    /// As it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Slot>,
}

/// How a member or enumerator differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FieldDifference {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It has another offset.
    Moved,
    /// It has another size.
    Resized,
    /// It is of another type of the same size.
    Retyped,
    /// It has another name.
    Renamed,
    /// It has another value.
    Revalued,
    /// It takes other arguments, or returns another type.
    CalledOtherwise,
}

/// A member or enumerator in one of the builds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum Slot {
    /// A member.
    Member {
        /// From the start of the type, in bits.
        offset_bits: u64,
        /// In bits; 0 when it is not known.
        size_bits: u64,
        /// Its type, as C writes it.
        #[serde(rename = "type")]
        of: String,
        /// Its name, where it is not the same.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// An enumerator.
    Value {
        /// Its value, in decimal digits.
        value: String,
        /// Its name, where it is not the same.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// A prototype.
    Prototype {
        /// As C writes it.
        prototype: String,
    },
}

/// How a changed function reaches a type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Reaching {
    /// The object.
    pub object: String,
    /// The changed function.
    pub function: String,
    /// How it holds it.
    pub held: Held,
    /// The type that leads to it, where the function does not use it directly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub through: Option<String>,
}

/// How a function holds something of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Held {
    /// A variable, parameter or result is of the type.
    ByValue,
    /// One points to it.
    ByPointer,
    /// Only through other types.
    ThroughOthers,
}

/// An unchanged function, or data, of the original tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct User {
    /// Its object.
    pub object: String,
    /// Its name.
    pub name: String,
}

/// A changed or new function, with its entries in the debug information.
struct Subject {
    original: Option<(ItemId, EntryId)>,
    patched: (ItemId, EntryId),
}

/// Compares the types that the changed and new functions of an object may use. `changed` are the
/// included items of the patched object.
#[must_use]
pub fn find(
    object: &str,
    comparer: &Comparer<'_, '_>,
    changed: &BTreeSet<ItemId>,
    old_types: Option<&Types<'_>>,
    new_types: Option<&Types<'_>>,
) -> Layouts {
    let (original, patched) = (comparer.original, comparer.patched);
    if changed.is_empty() {
        return Layouts::default();
    }
    let nothing = Types::default();
    let (old_types, new_types) = match (old_types, new_types) {
        (Some(old), Some(new)) => (old, new),
        // In an object that is new as a whole, every type is new.
        (None, Some(new)) if original.object.sections.is_empty() => (&nothing, new),
        (old, new) => {
            let why = match (old.is_some(), new.is_some()) {
                (false, true) => NotCompared::NoDebugInformationInOriginal,
                (true, _) => NotCompared::NoDebugInformationInPatched,
                (false, false) => NotCompared::NoDebugInformation,
            };
            return Layouts {
                not_compared: Some(why),
                ..Layouts::default()
            };
        }
    };
    let comparison = Comparison {
        object,
        comparer,
        old: Side {
            build: original,
            types: old_types,
        },
        new: Side {
            build: patched,
            types: new_types,
        },
    };
    comparison.run(changed)
}

/// One build with its types.
#[derive(Clone, Copy)]
struct Side<'a, 'data> {
    build: &'a Build<'data>,
    types: &'a Types<'a>,
}

impl<'a> Side<'a, '_> {
    /// The function's entry in the debug information.
    fn entry(&self, item: ItemId) -> Option<EntryId> {
        let place = self.build.items.item(item);
        let address = debug_sections::address(place.section, place.offset)?;
        self.types.function_at(address)
    }

    /// The types that a function uses directly, each with the entry that uses it.
    fn roots(&self, item: ItemId, entry: EntryId) -> Vec<EntryId> {
        let mut roots = reach::roots(self.types, entry);
        let unit = self.types.entry(entry).unit;
        for (_, target) in self.build.relocations(item) {
            let name = match target {
                crate::read::relocation::Target::Item { item, .. } => self.build.name(item),
                crate::read::relocation::Target::Symbol { symbol, .. } => {
                    self.build.object.symbol(symbol).name
                }
                crate::read::relocation::Target::Section { .. } => continue,
            };
            let variable = self.types.variable(unit, crate::read::names::root(name));
            roots.extend(variable);
        }
        roots
    }
}

struct Comparison<'a, 'b, 'data> {
    object: &'a str,
    comparer: &'a Comparer<'b, 'data>,
    old: Side<'a, 'data>,
    new: Side<'a, 'data>,
}

impl Comparison<'_, '_, '_> {
    fn run(&self, changed: &BTreeSet<ItemId>) -> Layouts {
        let units = self.units();
        let subjects: Vec<Subject> = changed
            .iter()
            .filter_map(|item| {
                let entry = self.new.entry(*item)?;
                let counterpart = self.comparer.correlation.original(*item);
                Some(Subject {
                    original: counterpart
                        .and_then(|counterpart| Some((counterpart, self.old.entry(counterpart)?))),
                    patched: (*item, entry),
                })
            })
            .collect();
        let mut layouts = Layouts::default();
        let mut found: BTreeMap<(u32, u32, String), LayoutChange> = BTreeMap::new();
        let mut targets: BTreeMap<(u32, u32, String), Vec<EntryId>> = BTreeMap::new();
        let reached_by_new = reach(self.new.types, &self.new_roots(&subjects));
        let reached_by_old = reach(self.old.types, &self.old_roots(&subjects));
        let from_old = reached_by_old.iter().filter_map(|reached| {
            let counterpart = units.iter().find(|(_, old)| **old == reached.unit);
            counterpart.map(|(new, old)| (*new, *old, reached))
        });
        // A new unit has no old types.
        let from_new = reached_by_new.iter().map(|reached| {
            let old = units.get(&reached.unit).copied().unwrap_or(SHARED_UNIT);
            (reached.unit, old, reached)
        });
        let mut seen = BTreeSet::new();
        for (new_unit, old_unit, reached) in from_new.chain(from_old) {
            let key = (new_unit, old_unit, reached.name.to_string());
            if !seen.insert(key.clone()) {
                continue;
            }
            let olds = self.old.types.named(old_unit, &reached.name);
            let news = self.new.types.named(new_unit, &reached.name);
            if let (true, Some(new)) = (olds.is_empty(), news.first()) {
                layouts.unpaired.push(Unpaired {
                    name: reached.name.clone(),
                    shape: shape(self.new.types, *new),
                    reaching: self.reaching(reached),
                });
            }
            if olds.is_empty() || news.is_empty() {
                continue;
            }
            layouts.compared += 1;
            let pairs = olds.iter().zip(news);
            let change = pairs.into_iter().find_map(|(old, new)| {
                differences(self.old.types, *old, self.new.types, *new, &reached.name)
            });
            if let Some(mut change) = change {
                change.old_shape = shape(self.old.types, olds[0]);
                change.objects.push(self.object.to_owned());
                change.reached.push(self.reaching(reached));
                targets.insert(key.clone(), olds.to_vec());
                found.insert(key, change);
            }
        }
        if found.values().any(|change| change.breaks) {
            let unchanged = uses::functions(&self.old, |item, _| {
                let root = self.comparer.correlation.original_root(item);
                let counterpart = self.comparer.correlation.patched(root);
                !counterpart.is_some_and(|counterpart| changed.contains(&counterpart))
            });
            let edges = Edges::new(self.old.types);
            for (key, change) in &mut found {
                let uses = Uses::new(self.old.types, &edges, &targets[key]);
                (change.users, change.distant_users) = uses.users(self.object, &unchanged);
                self.add_holders(change, &uses, &subjects);
            }
        }
        layouts.changes.extend(found.into_values());
        for subject in &subjects {
            let Some((counterpart, old)) = subject.original else {
                continue;
            };
            layouts.compared += 1;
            layouts
                .changes
                .extend(self.prototype(subject.patched, counterpart, old, changed));
        }
        layouts.changes.sort();
        layouts
    }

    /// Adds all changed functions that use the type directly: the walk finds only the first.
    fn add_holders(&self, change: &mut LayoutChange, uses: &Uses<'_, '_>, subjects: &[Subject]) {
        for subject in subjects {
            let Some((item, entry)) = subject.original else {
                continue;
            };
            let Some(held) = uses.held(&self.old.roots(item, entry)) else {
                continue;
            };
            let function = self.new.build.name(subject.patched.0);
            if !change
                .reached
                .iter()
                .any(|known| known.function == function)
            {
                change.reached.push(Reaching {
                    object: self.object.to_owned(),
                    function: function.to_owned(),
                    held,
                    through: None,
                });
            }
        }
    }

    fn reaching(&self, reached: &Reached) -> Reaching {
        Reaching {
            object: self.object.to_owned(),
            function: reached.function.clone(),
            held: reached.held,
            through: reached.through.clone(),
        }
    }

    /// Units of the patched object with those of the original: of functions that are paired.
    fn units(&self) -> BTreeMap<u32, u32> {
        let mut units = BTreeMap::from([(SHARED_UNIT, SHARED_UNIT)]);
        let by_address: HashMap<u64, EntryId> = self.old.types.functions().collect();
        for item in self.new.build.items.ids() {
            if self.new.build.items.item(item).kind != ItemKind::Function {
                continue;
            }
            let Some(new) = self.new.entry(item) else {
                continue;
            };
            let old = self
                .comparer
                .correlation
                .original(item)
                .and_then(|counterpart| {
                    let place = self.old.build.items.item(counterpart);
                    let address = debug_sections::address(place.section, place.offset)?;
                    by_address.get(&address)
                });
            if let Some(old) = old {
                let new_unit = self.new.types.entry(new).unit;
                units
                    .entry(new_unit)
                    .or_insert(self.old.types.entry(*old).unit);
            }
        }
        units
    }

    fn new_roots(&self, subjects: &[Subject]) -> Vec<Root> {
        let of = |subject: &Subject| {
            let (item, entry) = subject.patched;
            Root {
                function: self.new.build.name(item).to_owned(),
                unit: self.new.types.entry(entry).unit,
                entries: self.new.roots(item, entry),
            }
        };
        subjects.iter().map(of).collect()
    }

    fn old_roots(&self, subjects: &[Subject]) -> Vec<Root> {
        let of = |subject: &Subject| {
            let (item, entry) = subject.original?;
            Some(Root {
                function: self.old.build.name(item).to_owned(),
                unit: self.old.types.entry(entry).unit,
                entries: self.old.roots(item, entry),
            })
        };
        subjects.iter().filter_map(of).collect()
    }

    /// A prototype that differs, and the callers that keep using the old one.
    fn prototype(
        &self,
        (item, new): (ItemId, EntryId),
        counterpart: ItemId,
        old: EntryId,
        changed: &BTreeSet<ItemId>,
    ) -> Option<LayoutChange> {
        if self.old.types.prototype_meant(old) == self.new.types.prototype_meant(new) {
            return None;
        }
        let symbol = self.old.build.symbol(counterpart)?;
        let breaks = self.old.types.passing(old) != self.new.types.passing(new);
        let mut users = BTreeSet::new();
        self.old.build.each_reference(|source, _, target| {
            let root = self.comparer.correlation.original_root(source);
            let goes_on = !self
                .comparer
                .correlation
                .patched(root)
                .is_some_and(|root| changed.contains(&root));
            if target.item() == Some(counterpart) && goes_on && uses::runs(self.old.build, source) {
                users.insert(User {
                    object: self.object.to_owned(),
                    name: self.old.build.shown(root),
                });
            }
        });
        let name = self.new.build.name(item);
        Some(LayoutChange {
            name: name.to_owned(),
            said: format!("{name}()"),
            kind: ChangedKind::Prototype,
            old_size: None,
            new_size: None,
            fields: vec![FieldChange {
                name: name.to_owned(),
                change: if breaks {
                    FieldDifference::CalledOtherwise
                } else {
                    FieldDifference::Retyped
                },
                old: Some(Slot::Prototype {
                    prototype: self.old.types.prototype(old),
                }),
                new: Some(Slot::Prototype {
                    prototype: self.new.types.prototype(new),
                }),
            }],
            // A local function whose callers all change with it breaks nothing. A global one may
            // also have callers in other objects.
            breaks: breaks && (!users.is_empty() || !symbol.is_local()),
            objects: vec![self.object.to_owned()],
            reached: Vec::new(),
            users: users.into_iter().collect(),
            distant_users: 0,
            is_shared: !symbol.is_local(),
            old_shape: Shape::default(),
        })
    }
}

/// The changed types that a function uses, by name: for functions that differ in displacements
/// alone.
#[must_use]
pub fn types_of(layouts: &Layouts, function: &str) -> Vec<String> {
    let is_own = |change: &LayoutChange| {
        change
            .reached
            .iter()
            .any(|reaching| reaching.function == function && reaching.held != Held::ThroughOthers)
    };
    broken_types(layouts)
        .filter(|change| is_own(change))
        .map(|change| change.said.clone())
        .collect()
}

/// Whether any type has another layout.
#[must_use]
pub fn any_breaks(layouts: &Layouts) -> bool {
    broken_types(layouts).next().is_some()
}

fn broken_types(layouts: &Layouts) -> impl Iterator<Item = &LayoutChange> {
    layouts
        .changes
        .iter()
        .filter(|change| change.breaks && change.kind != ChangedKind::Prototype)
}
