//! The types, functions and variables that an object's debug information (DWARF 2 to 5)
//! describes, as a graph that can be walked from a function to everything that it may look at.
//!
//! Each entry is read once, in file order; references between entries stay offsets and are
//! followed by search. Nothing here compares: [`crate::layouts`] does.

use foldhash::HashMap;

mod alike;
mod describe;
mod places;
pub(crate) mod read;

pub(crate) use describe::Passing;
use places::Places;

/// Index of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(pub u32);

impl EntryId {
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// Limit for chains of typedefs and arrays: a longer chain is a loop in damaged data.
const HOPS_MAX: usize = 64;

/// The number that all type units share: their types are visible in every unit.
pub(crate) const SHARED_UNIT: u32 = u32::MAX;

/// Where an entry's type, or the entry that it completes, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reference {
    /// Nowhere: `void`, or complete by itself.
    None,
    /// At an offset among all units, as [`read`] counts them.
    Place(u64),
    /// In the type unit of this signature.
    Signature(u64),
}

/// One entry of the debug information.
#[derive(Debug)]
pub struct Entry<'d> {
    /// Where it is, as [`read`] counts.
    place: u64,
    /// `DW_TAG_*`.
    pub tag: gimli::DwTag,
    /// Its name; empty for an anonymous one.
    pub name: &'d str,
    /// The entry that it belongs to.
    pub parent: Option<EntryId>,
    /// The entry behind its last descendant.
    end: EntryId,
    /// Number of its compilation unit.
    pub unit: u32,
    reference: Reference,
    origin: Reference,
    /// In bytes.
    size_bytes: Option<u64>,
    /// Of a member that is a bit-field.
    size_bits: Option<u64>,
    /// Of a member, from the start of the structure.
    offset_bits: u64,
    /// Of an enumerator.
    pub value: Option<i128>,
    /// Of one dimension of an array.
    count: Option<u64>,
    /// `DW_ATE_*`.
    encoding: Option<gimli::DwAte>,
    is_declaration: bool,
}

impl<'d> Entry<'d> {
    /// One that says nothing yet.
    fn new(place: u64, tag: gimli::DwTag) -> Entry<'d> {
        Entry {
            place,
            tag,
            name: "",
            parent: None,
            end: EntryId(0),
            unit: 0,
            reference: Reference::None,
            origin: Reference::None,
            size_bytes: None,
            size_bits: None,
            offset_bits: 0,
            value: None,
            count: None,
            encoding: None,
            is_declaration: false,
        }
    }
}

/// A function with code.
#[derive(Clone, Copy, Debug)]
struct Function {
    address: u64,
    entry: EntryId,
}

/// Everything that one object's debug information describes.
#[derive(Debug, Default)]
pub struct Types<'d> {
    entries: Vec<Entry<'d>>,
    /// The place of each entry, in order; apart from them, because nothing is looked up more often.
    places: Places,
    signatures: HashMap<u64, u64>,
    /// By address.
    functions: Vec<Function>,
    /// Variables at file level, by unit and name.
    variables: HashMap<(u32, &'d str), EntryId>,
    /// Structures, unions and enumerations of a unit, complete ones alone.
    named: HashMap<(u32, TypeName), Vec<EntryId>>,
    /// Names of anonymous ones, taken from the typedef or variable that uses them.
    anonymous: HashMap<EntryId, TypeName>,
    /// `DW_AT_producer` of each unit, type units left out.
    pub producers: Vec<&'d str>,
}

/// What kind of type something is.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize
)]
#[serde(rename_all = "kebab-case")]
pub enum TypeKind {
    /// `struct`.
    Structure,
    /// `union`.
    Union,
    /// `enum`.
    Enumeration,
}

/// What a type is called, in the whole program or in one function.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeName {
    /// Its kind.
    pub kind: TypeKind,
    /// Its tag; for one without, the typedef or the variable that has it.
    pub name: String,
    /// How it got that name.
    pub naming: Naming,
    /// The function inside which it is declared.
    pub function: Option<String>,
}

/// How a type got its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Naming {
    /// A tag: `struct NAME`.
    Tag,
    /// A typedef.
    Typedef,
    /// A variable that is the only one of the type.
    Variable,
}

impl std::fmt::Display for TypeName {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keyword = match self.kind {
            TypeKind::Structure => "struct ",
            TypeKind::Union => "union ",
            TypeKind::Enumeration => "enum ",
        };
        match self.naming {
            Naming::Tag => write!(out, "{keyword}{}", self.name)?,
            Naming::Typedef => out.write_str(&self.name)?,
            Naming::Variable => write!(out, "the type of {}", self.name)?,
        }
        match &self.function {
            Some(function) => write!(out, " in {function}"),
            None => Ok(()),
        }
    }
}

impl<'d> Types<'d> {
    /// The entry.
    #[must_use]
    pub fn entry(&self, id: EntryId) -> &Entry<'d> {
        &self.entries[id.index()]
    }

    /// Every entry.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = EntryId> + use<'d> {
        let count = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        (0..count).map(EntryId)
    }

    /// Every descendant of an entry, in file order.
    pub fn below(&self, id: EntryId) -> impl Iterator<Item = EntryId> + use<'d> {
        (id.0 + 1..self.entry(id).end.0).map(EntryId)
    }

    /// The children of an entry.
    pub(crate) fn children(&self, id: EntryId) -> impl Iterator<Item = EntryId> {
        let end = self.entry(id).end;
        let mut next = EntryId(id.0 + 1);
        std::iter::from_fn(move || {
            (next < end).then(|| {
                let child = next;
                next = self.entry(child).end;
                child
            })
        })
    }

    fn follow(&self, reference: Reference) -> Option<EntryId> {
        let place = match reference {
            Reference::None => return None,
            Reference::Place(place) => place,
            Reference::Signature(signature) => *self.signatures.get(&signature)?,
        };
        self.places.find(place).map(EntryId)
    }

    /// The entry that this one completes or is an instance of.
    #[must_use]
    pub fn origin(&self, id: EntryId) -> Option<EntryId> {
        self.follow(self.entry(id).origin)
    }

    /// The type of a variable, parameter, member, pointer, typedef or array, or what a function
    /// returns; `None` for `void`.
    #[must_use]
    pub(crate) fn type_of(&self, id: EntryId) -> Option<EntryId> {
        let mut at = id;
        for _ in 0..HOPS_MAX {
            let entry = self.entry(at);
            if let Some(found) = self.follow(entry.reference) {
                return Some(self.completed(found));
            }
            at = self.follow(entry.origin)?;
        }
        None
    }

    /// The name of an entry, or of what it is an instance of.
    #[must_use]
    pub fn name_of(&self, id: EntryId) -> &'d str {
        let mut at = id;
        for _ in 0..HOPS_MAX {
            let entry = self.entry(at);
            if !entry.name.is_empty() {
                return entry.name;
            }
            match self.follow(entry.origin) {
                Some(origin) => at = origin,
                None => break,
            }
        }
        ""
    }

    /// A declaration that stands for a type unit is that unit's type, and one whose unit has the
    /// definition is the definition.
    fn completed(&self, id: EntryId) -> EntryId {
        let entry = self.entry(id);
        if !entry.is_declaration {
            return id;
        }
        if let Some(definition) = self.follow(entry.origin) {
            return definition;
        }
        let named = self
            .own_name(id)
            .and_then(|name| self.named.get(&(entry.unit, name)))
            .and_then(|all| all.first());
        named.copied().unwrap_or(id)
    }

    /// The function that begins at an address.
    #[must_use]
    pub fn function_at(&self, address: u64) -> Option<EntryId> {
        let index = self
            .functions
            .binary_search_by_key(&address, |function| function.address)
            .ok()?;
        Some(self.functions[index].entry)
    }

    /// Every function with code, each with its address.
    pub fn functions(&self) -> impl Iterator<Item = (u64, EntryId)> {
        self.functions
            .iter()
            .map(|function| (function.address, function.entry))
    }

    /// A variable at file level.
    #[must_use]
    pub fn variable(&self, unit: u32, name: &str) -> Option<EntryId> {
        self.variables.get(&(unit, name)).copied()
    }

    /// Complete types of a name in a unit, or else in the type units.
    #[must_use]
    pub fn named(&self, unit: u32, name: &TypeName) -> &[EntryId] {
        [unit, SHARED_UNIT]
            .into_iter()
            .find_map(|unit| self.named.get(&(unit, name.clone())))
            .map_or(&[], Vec::as_slice)
    }

    /// The name of a complete structure, union or enumeration; `None` for one without.
    #[must_use]
    pub fn type_name(&self, id: EntryId) -> Option<TypeName> {
        if self.entry(id).is_declaration {
            return None;
        }
        self.own_name(id)
            .or_else(|| self.anonymous.get(&id).cloned())
    }

    /// Every complete type that has a name, with its unit.
    pub(crate) fn all_named(&self) -> impl Iterator<Item = (u32, &TypeName, &[EntryId])> {
        self.named
            .iter()
            .map(|((unit, name), ids)| (*unit, name, ids.as_slice()))
    }

    /// Whether there are any types at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The type behind typedefs and qualifiers.
    #[must_use]
    pub fn stripped(&self, id: EntryId) -> Option<EntryId> {
        let mut at = id;
        for _ in 0..HOPS_MAX {
            if !is_transparent(self.entry(at).tag) {
                return Some(at);
            }
            at = self.type_of(at)?;
        }
        None
    }

    /// The name that a complete structure, union or enumeration has by its own tag.
    fn own_name(&self, id: EntryId) -> Option<TypeName> {
        let entry = self.entry(id);
        let kind = kind(entry.tag)?;
        (!entry.name.is_empty()).then(|| TypeName {
            kind,
            name: entry.name.to_owned(),
            naming: Naming::Tag,
            function: self.enclosing_function(id),
        })
    }

    fn enclosing_function(&self, id: EntryId) -> Option<String> {
        let mut at = self.entry(id).parent;
        while let Some(parent) = at {
            if self.entry(parent).tag == gimli::DW_TAG_subprogram {
                return Some(self.name_of(parent).to_owned());
            }
            at = self.entry(parent).parent;
        }
        None
    }

    /// Enters every complete type under its name; once, after all entries are read.
    fn name_types(&mut self) {
        let mut named: HashMap<(u32, TypeName), Vec<EntryId>> = HashMap::default();
        let mut anonymous = HashMap::default();
        for id in self.ids() {
            let entry = self.entry(id);
            let (name, target) = if kind(entry.tag).is_some() {
                if entry.is_declaration {
                    continue;
                }
                (self.own_name(id), id)
            } else if entry.tag == gimli::DW_TAG_typedef
                || entry.tag == gimli::DW_TAG_variable && self.is_at_file_level(id)
            {
                let Some(target) = self.anonymous_target(id) else {
                    continue;
                };
                let naming = if entry.tag == gimli::DW_TAG_typedef {
                    Naming::Typedef
                } else {
                    Naming::Variable
                };
                let name = kind(self.entry(target).tag).map(|kind| TypeName {
                    kind,
                    name: self.name_of(id).to_owned(),
                    naming,
                    function: self.enclosing_function(id),
                });
                (name, target)
            } else {
                continue;
            };
            if let Some(name) = name {
                if name.naming != Naming::Tag {
                    anonymous.entry(target).or_insert_with(|| name.clone());
                }
                named.entry((entry.unit, name)).or_default().push(target);
            }
        }
        self.named = named;
        self.anonymous = anonymous;
    }

    fn is_at_file_level(&self, id: EntryId) -> bool {
        self.entry(id)
            .parent
            .is_some_and(|parent| self.entry(parent).parent.is_none())
    }

    /// The anonymous structure, union or enumeration that a typedef or variable is of, array or
    /// not.
    fn anonymous_target(&self, id: EntryId) -> Option<EntryId> {
        let mut at = self.type_of(id)?;
        for _ in 0..HOPS_MAX {
            let entry = self.entry(at);
            if kind(entry.tag).is_some() {
                let is_anonymous = entry.name.is_empty() && !entry.is_declaration;
                return is_anonymous.then_some(at);
            }
            // A typedef in between gives it a name already.
            let leads_on = entry.tag == gimli::DW_TAG_array_type
                || entry.tag != gimli::DW_TAG_typedef && is_transparent(entry.tag);
            if !leads_on {
                return None;
            }
            at = self.type_of(at)?;
        }
        None
    }
}

/// The kind of a type that has a layout.
#[must_use]
pub(crate) fn kind(tag: gimli::DwTag) -> Option<TypeKind> {
    match tag {
        gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type => Some(TypeKind::Structure),
        gimli::DW_TAG_union_type => Some(TypeKind::Union),
        gimli::DW_TAG_enumeration_type => Some(TypeKind::Enumeration),
        _ => None,
    }
}

/// Whether a type is another one under a further name or with a qualifier.
#[must_use]
pub(crate) fn is_transparent(tag: gimli::DwTag) -> bool {
    matches!(
        tag,
        gimli::DW_TAG_typedef
            | gimli::DW_TAG_const_type
            | gimli::DW_TAG_volatile_type
            | gimli::DW_TAG_restrict_type
            | gimli::DW_TAG_atomic_type
    )
}

/// Whether a type points to another one.
#[must_use]
pub(crate) fn is_pointer(tag: gimli::DwTag) -> bool {
    matches!(
        tag,
        gimli::DW_TAG_pointer_type
            | gimli::DW_TAG_reference_type
            | gimli::DW_TAG_rvalue_reference_type
    )
}
