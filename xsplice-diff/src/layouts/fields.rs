//! What differs between two layouts of one type, member by member.

use std::collections::{BTreeMap, HashMap};

use super::{FieldChange, FieldDifference, LayoutChange, Slot};
use crate::debug_info::types::{EntryId, Naming, Passing, TypeKind, TypeName, Types, kind};

/// Limit for nested anonymous structures; deeper nesting is damaged data.
const DEPTH_MAX: usize = 16;
/// Limit for members of one type; more is damaged data.
const FIELDS_MAX: usize = 100_000;

/// A member or enumerator.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    name: String,
    /// In bits; for an enumerator 0.
    offset_bits: u64,
    /// In bits; for an enumerator 0.
    size_bits: u64,
    value: Option<i128>,
    said: String,
    meant: String,
    called: Option<Vec<Passing>>,
}

impl Field {
    fn slot(&self, other_name: Option<&str>) -> Slot {
        let name = other_name.map(str::to_owned);
        match self.value {
            Some(value) => Slot::Value {
                value: value.to_string(),
                name,
            },
            None => Slot::Member {
                offset_bits: self.offset_bits,
                size_bits: self.size_bits,
                of: self.said.clone(),
                name,
            },
        }
    }

    /// Its place, which identifies a renamed field.
    fn place(&self) -> (u64, u64, Option<i128>) {
        (self.offset_bits, self.size_bits, self.value)
    }
}

/// The members of a type, those of anonymous structures in it among them.
fn fields(types: &Types<'_>, id: EntryId) -> Vec<Field> {
    let mut all = Vec::new();
    collect(types, id, "", 0, 0, &mut all);
    all
}

fn collect(
    types: &Types<'_>,
    id: EntryId,
    prefix: &str,
    start_bits: u64,
    depth: usize,
    all: &mut Vec<Field>,
) {
    for child in types.children(id) {
        if all.len() >= FIELDS_MAX {
            return;
        }
        let entry = types.entry(child);
        let name = format!("{prefix}{}", entry.name);
        match entry.tag {
            gimli::DW_TAG_enumerator => all.push(Field {
                name,
                offset_bits: 0,
                size_bits: 0,
                value: entry.value,
                said: String::new(),
                meant: String::new(),
                called: None,
            }),
            gimli::DW_TAG_member | gimli::DW_TAG_inheritance => {
                let offset_bits = start_bits.saturating_add(types.member_offset_bits(child));
                if depth < DEPTH_MAX
                    && let Some(inner) = anonymous(types, child)
                {
                    let dot = if entry.name.is_empty() { "" } else { "." };
                    let prefix = format!("{name}{dot}");
                    collect(types, inner, &prefix, offset_bits, depth + 1, all);
                    continue;
                }
                let of = types.type_of(child);
                all.push(Field {
                    name,
                    offset_bits,
                    size_bits: types.member_bits(child),
                    value: None,
                    said: types.said(of),
                    meant: types.meant(of),
                    called: types.called_through(child),
                });
            }
            _ => {}
        }
    }
}

/// The structure or union without a name that a member is of.
fn anonymous(types: &Types<'_>, member: EntryId) -> Option<EntryId> {
    let mut at = types.type_of(member)?;
    // Arrays and qualifiers; a typedef would be a name.
    for _ in 0..DEPTH_MAX {
        let entry = types.entry(at);
        if kind(entry.tag).is_some_and(|kind| kind != TypeKind::Enumeration) {
            return (entry.name.is_empty() && types.type_name(at).is_none()).then_some(at);
        }
        let leads_on = matches!(
            entry.tag,
            gimli::DW_TAG_array_type | gimli::DW_TAG_const_type | gimli::DW_TAG_volatile_type
        );
        if !leads_on {
            return None;
        }
        at = types.type_of(at)?;
    }
    None
}

/// A whole layout: equal for two types with the same members at the same places.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    size_bytes: Option<u64>,
    fields: Vec<String>,
}

/// The layout of a type.
pub(super) fn shape(types: &Types<'_>, id: EntryId) -> Shape {
    let said = |field: Field| {
        let value = field
            .value
            .map_or_else(String::new, |value| value.to_string());
        format!(
            "{} {} {} {value}",
            field.name, field.offset_bits, field.size_bits
        )
    };
    Shape {
        size_bytes: types.size_bytes(id),
        fields: fields(types, id).into_iter().map(said).collect(),
    }
}

/// What differs between two builds of a type; `None` when nothing does.
pub(super) fn differences(
    old_types: &Types<'_>,
    old: EntryId,
    new_types: &Types<'_>,
    new: EntryId,
    name: &TypeName,
) -> Option<LayoutChange> {
    if old_types.is_alike(old, new_types, new) {
        return None;
    }
    let (old_size, new_size) = (old_types.size_bytes(old), new_types.size_bytes(new));
    let (old_fields, new_fields) = (fields(old_types, old), fields(new_types, new));
    if old_size == new_size && old_fields == new_fields {
        return None;
    }
    let mut found = Found {
        kind: name.kind,
        changes: Vec::new(),
        breaks: old_size != new_size,
    };
    found.compare(&old_fields, &new_fields);
    let Found {
        changes, breaks, ..
    } = found;
    if changes.is_empty() && !breaks {
        return None;
    }
    Some(LayoutChange {
        name: name.name.clone(),
        said: name.to_string(),
        kind: name.kind.into(),
        old_size,
        new_size,
        fields: changes,
        breaks,
        objects: Vec::new(),
        reached: Vec::new(),
        users: Vec::new(),
        distant_users: 0,
        is_shared: name.function.is_none() && name.naming != Naming::Variable,
        old_shape: Shape::default(),
    })
}

struct Found {
    kind: TypeKind,
    changes: Vec<FieldChange>,
    breaks: bool,
}

impl Found {
    fn compare(&mut self, old: &[Field], new: &[Field]) {
        let mut by_name: HashMap<&str, Vec<&Field>> = HashMap::new();
        for field in old.iter().rev() {
            by_name.entry(&field.name).or_default().push(field);
        }
        let mut added = Vec::new();
        for field in new {
            match by_name.get_mut(field.name.as_str()).and_then(Vec::pop) {
                Some(before) => self.pair(before, field),
                None => added.push(field),
            }
        }
        let mut removed: BTreeMap<(u64, u64, Option<i128>), Vec<&Field>> = BTreeMap::new();
        for field in old.iter().rev() {
            if by_name
                .get_mut(field.name.as_str())
                .is_some_and(|left| left.iter().any(|one| std::ptr::eq(*one, field)))
            {
                removed.entry(field.place()).or_default().push(field);
            }
        }
        for field in added {
            match removed.get_mut(&field.place()).and_then(Vec::pop) {
                Some(before) => {
                    self.breaks |= before.called != field.called;
                    self.push(field, FieldDifference::Renamed, Some(before));
                }
                None => self.add(field),
            }
        }
        for field in removed.into_values().flatten() {
            // The value of a removed enumerator may still be stored, but keeps its meaning for the
            // code that stored it.
            self.breaks |= self.kind == TypeKind::Structure;
            self.changes.push(FieldChange {
                name: field.name.clone(),
                change: FieldDifference::Removed,
                old: Some(field.slot(None)),
                new: None,
            });
        }
    }

    fn add(&mut self, field: &Field) {
        // A new member was never set in existing objects, even where it lies in former padding. A
        // new member of a union, or a new enumerator, moves nothing.
        self.breaks |= self.kind == TypeKind::Structure;
        self.push(field, FieldDifference::Added, None);
    }

    fn pair(&mut self, old: &Field, new: &Field) {
        let (change, breaks) = if old.value != new.value {
            (FieldDifference::Revalued, true)
        } else if old.offset_bits != new.offset_bits {
            (FieldDifference::Moved, true)
        } else if old.size_bits != new.size_bits {
            (FieldDifference::Resized, true)
        } else if old.called != new.called {
            (FieldDifference::CalledOtherwise, true)
        } else if old.meant != new.meant {
            (FieldDifference::Retyped, false)
        } else {
            return;
        };
        self.breaks |= breaks;
        self.push(new, change, Some(old));
    }

    fn push(&mut self, field: &Field, change: FieldDifference, old: Option<&Field>) {
        self.changes.push(FieldChange {
            name: field.name.clone(),
            change,
            old: old.map(|old| {
                let other_name = (old.name != field.name).then_some(old.name.as_str());
                old.slot(other_name)
            }),
            new: Some(field.slot(None)),
        });
    }
}
