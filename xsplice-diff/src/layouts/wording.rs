//! Puts layout changes into words.

use std::fmt::Write as _;

use super::{ChangedKind, FieldChange, FieldDifference, Held, LayoutChange, NotCompared, Slot};

/// Members, users and objects are named up to this number.
const NAMED_MAX: usize = 6;

/// What is wrong with a change that breaks something, and what would make it right.
pub(crate) fn problem(change: &LayoutChange) -> String {
    if change.kind == ChangedKind::Prototype {
        let how = change.fields.first().map(prototypes).unwrap_or_default();
        let users = if change.users.is_empty() {
            "other objects may call it, which are not at hand".to_owned()
        } else {
            named_users(change, "stays with the old one", "stay with the old one")
        };
        return format!(
            "the prototype is {how}; {users}; leave the function as it is and give the new one \
             another name"
        );
    }
    let mut text = format!("{}; ", differences(change));
    if let Some(reaching) = change.reached.iter().min_by_key(|one| one.held) {
        let through = reaching.through.as_deref().unwrap_or("others");
        let function = &reaching.function;
        let _ = match reaching.held {
            Held::ByValue => write!(text, "{function} has one; "),
            Held::ByPointer => write!(text, "{function} has a pointer to it; "),
            Held::ThroughOthers => {
                write!(text, "{function} reaches it only through {through}; ")
            }
        };
    }
    text.push_str(&users(change));
    text.push_str(match change.kind {
        ChangedKind::Enumeration => "; keep the old values and add new ones behind them",
        _ => "; keep the layout and put what is new into a shadow variable",
    });
    text
}

/// The differences of a type in words.
#[must_use]
pub fn differences(change: &LayoutChange) -> String {
    let mut text = change.said.clone();
    text.push_str(match (change.kind, change.breaks) {
        (ChangedKind::Enumeration, true) => " has other values: ",
        (ChangedKind::Enumeration, false) => " keeps its values, but: ",
        (_, true) => " has another layout: ",
        (_, false) => " keeps its layout, but: ",
    });
    let mut parts = Vec::new();
    if change.old_size != change.new_size {
        let said = |size: Option<u64>| size.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
        parts.push(format!(
            "{} bytes, was {}",
            said(change.new_size),
            said(change.old_size)
        ));
    }
    // What moved is the consequence of what is new, gone or larger.
    let (moved, causes): (Vec<&FieldChange>, Vec<_>) = change
        .fields
        .iter()
        .partition(|field| field.change == FieldDifference::Moved);
    let few = |fields: &[&FieldChange]| {
        let shown = fields.iter().take(NAMED_MAX).map(|one| field(one));
        let rest = fields.len().checked_sub(NAMED_MAX).filter(|rest| *rest > 0);
        shown
            .chain(rest.map(|rest| format!("and {rest} more")))
            .collect::<Vec<_>>()
    };
    parts.extend(few(&causes));
    match moved[..] {
        [first, _, ..] if !causes.is_empty() => parts.push(moved_together(first, &moved)),
        _ => parts.extend(few(&moved)),
    }
    text.push_str(&parts.join(", "));
    text
}

/// Several members that moved, in words: the first of them, and by how much all did.
fn moved_together(first: &FieldChange, moved: &[&FieldChange]) -> String {
    let distance = |field: &FieldChange| match (&field.old, &field.new) {
        (
            Some(Slot::Member {
                offset_bits: old, ..
            }),
            Some(Slot::Member {
                offset_bits: new, ..
            }),
        ) => Some((new.abs_diff(*old), new > old)),
        _ => None,
    };
    let rest = moved.len() - 1;
    let members = if rest == 1 { "member" } else { "members" };
    let mut text = format!("{} and {rest} more {members} moved", first.name);
    let shared =
        distance(first).filter(|_| moved.iter().all(|one| distance(one) == distance(first)));
    if let Some((bits, is_up)) = shared {
        let way = if is_up { "up" } else { "down" };
        let _ = write!(text, " {way} by {}", offset(bits).trim_start_matches('+'));
    }
    text
}

/// One member or enumerator in words.
#[must_use]
pub fn field(field: &FieldChange) -> String {
    let name = &field.name;
    let of = |slot: &Option<Slot>| match slot {
        Some(Slot::Member { of, .. }) => of.clone(),
        _ => String::new(),
    };
    let at = |slot: &Option<Slot>| match slot {
        Some(Slot::Member { offset_bits, .. }) => offset(*offset_bits),
        Some(Slot::Value { value, .. }) => value.clone(),
        _ => String::new(),
    };
    let is_value = matches!(
        field.new.as_ref().or(field.old.as_ref()),
        Some(Slot::Value { .. })
    );
    match field.change {
        FieldDifference::Added if is_value => format!("{name} = {} is new", at(&field.new)),
        FieldDifference::Added => {
            format!("{name} ({}) at {} is new", of(&field.new), at(&field.new))
        }
        FieldDifference::Removed if is_value => format!("{name} = {} is gone", at(&field.old)),
        FieldDifference::Removed => {
            format!("{name} ({}) at {} is gone", of(&field.old), at(&field.old))
        }
        FieldDifference::Moved => {
            format!("{name} is at {}, was at {}", at(&field.new), at(&field.old))
        }
        FieldDifference::Resized => {
            format!("{name} is {}, was {}", size(&field.new), size(&field.old))
        }
        FieldDifference::Retyped => format!("{name} is {}, was {}", of(&field.new), of(&field.old)),
        FieldDifference::Renamed => {
            let old = match &field.old {
                Some(Slot::Member { name, .. } | Slot::Value { name, .. }) => name.as_deref(),
                _ => None,
            };
            format!("{name} was called {}", old.unwrap_or("otherwise"))
        }
        FieldDifference::Revalued => {
            format!("{name} is {}, was {}", at(&field.new), at(&field.old))
        }
        FieldDifference::CalledOtherwise => {
            format!(
                "{name} is called as {}, was {}",
                of(&field.new),
                of(&field.old)
            )
        }
    }
}

fn prototypes(field: &FieldChange) -> String {
    let said = |slot: &Option<Slot>| match slot {
        Some(Slot::Prototype { prototype }) => prototype.clone(),
        _ => String::new(),
    };
    format!("{}, was {}", said(&field.new), said(&field.old))
}

/// `+0x8`, or `+0x8 bit 3`.
fn offset(bits: u64) -> String {
    /// Of a byte.
    const BITS: u64 = 8;
    match bits % BITS {
        0 => format!("+{:#x}", bits / BITS),
        bit => format!("+{:#x} bit {bit}", bits / BITS),
    }
}

/// `8 bytes`, or `3 bits`.
fn size(slot: &Option<Slot>) -> String {
    const BITS: u64 = 8;
    match slot {
        Some(Slot::Member { size_bits, of, .. }) if size_bits % BITS == 0 => {
            format!("{} bytes ({of})", size_bits / BITS)
        }
        Some(Slot::Member { size_bits, of, .. }) => format!("{size_bits} bits ({of})"),
        _ => String::new(),
    }
}

fn users(change: &LayoutChange) -> String {
    if change.users.is_empty() && change.distant_users == 0 {
        let stays = match change.kind {
            ChangedKind::Enumeration => "stored values keep the old numbers",
            _ => "existing objects keep the old layout",
        };
        return format!("no unchanged function uses it, but {stays}");
    }
    let mut text = if change.users.is_empty() {
        "no unchanged function uses it directly".to_owned()
    } else {
        named_users(change, "uses it", "use it")
    };
    match change.distant_users {
        0 => {}
        1 => text.push_str(", 1 more can reach it through pointers"),
        more => {
            let _ = write!(text, ", {more} more can reach it through pointers");
        }
    }
    text
}

/// `2 unchanged functions use it (f.o: g, h)`.
fn named_users(change: &LayoutChange, one: &str, many: &str) -> String {
    let count = change.users.len();
    let mut text = match (count, change.kind) {
        (1, ChangedKind::Prototype) => format!("1 caller {one}"),
        (_, ChangedKind::Prototype) => format!("{count} callers {many}"),
        (1, _) => format!("1 unchanged function {one}"),
        _ => format!("{count} unchanged functions {many}"),
    };
    text.push_str(" (");
    let mut object = "";
    for (index, user) in change.users.iter().take(NAMED_MAX).enumerate() {
        if user.object != object {
            let gap = if index == 0 { "" } else { "; " };
            let _ = write!(text, "{gap}{}: {}", user.object, user.name);
        } else {
            let _ = write!(text, ", {}", user.name);
        }
        object = &user.object;
    }
    if count > NAMED_MAX {
        let _ = write!(text, " and {} more", count - NAMED_MAX);
    }
    text.push(')');
    text
}

/// Lines about layouts besides the refusals: that they were not compared, and differences that
/// break nothing. Empty when there are none.
#[must_use]
pub fn summary(not_compared: &[(&str, NotCompared)], changes: &[LayoutChange]) -> String {
    let mut text = String::new();
    for change in changes.iter().filter(|change| !change.breaks) {
        let said = if change.kind == ChangedKind::Prototype {
            let how = change.fields.first().map(prototypes).unwrap_or_default();
            format!("the prototype is {how}, which no unchanged caller notices")
        } else {
            differences(change)
        };
        let _ = writeln!(text, "layouts: {said}");
    }
    for why in [
        NotCompared::NoDebugInformation,
        NotCompared::NoDebugInformationInOriginal,
        NotCompared::NoDebugInformationInPatched,
    ] {
        let objects: Vec<&str> = not_compared
            .iter()
            .filter(|(_, reason)| *reason == why)
            .map(|(object, _)| *object)
            .collect();
        if objects.is_empty() {
            continue;
        }
        let mut names = objects[..objects.len().min(NAMED_MAX)].join(", ");
        if objects.len() > NAMED_MAX {
            let _ = write!(names, " and {} more", objects.len() - NAMED_MAX);
        }
        let _ = writeln!(text, "layouts not compared: {} ({names})", why.said());
    }
    text
}

impl NotCompared {
    /// In words.
    #[must_use]
    pub fn said(self) -> &'static str {
        match self {
            NotCompared::NoDebugInformation => "no debug information",
            NotCompared::NoDebugInformationInOriginal => "no debug information in the original",
            NotCompared::NoDebugInformationInPatched => {
                "no debug information in the patched object"
            }
        }
    }
}
