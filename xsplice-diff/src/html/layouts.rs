//! Types and prototypes that differ between the builds: their members before and after, how the
//! changed functions reach them, and which unchanged functions use the old layout.

use std::fmt::Write;

use crate::layouts::{ChangedKind, FieldChange, Held, LayoutChange, Slot, User};

use super::Findings;
use super::evidence::table;
use super::text::{Text, count};

/// As many users are named before the list folds.
const USERS_SHOWN_MAX: usize = 12;

/// Each layout that changed.
#[must_use]
pub fn chapter(findings: &Findings<'_>) -> String {
    let mut out = String::new();
    for change in findings.layouts {
        let (class, word) = if change.breaks {
            ("bad", "not interchangeable")
        } else {
            ("plain", "interchangeable")
        };
        let _ = write!(
            out,
            "<article class=\"layout\"><h3><code>{}</code> <span class=\"pill {class}\">{word}\
             </span></h3>",
            Text(&change.said)
        );
        if let (Some(old), Some(new)) = (change.old_size, change.new_size) {
            let _ = if old == new {
                write!(out, "<p>{new} bytes, as before.</p>")
            } else {
                write!(out, "<p>{old} bytes become {new}.</p>")
            };
        }
        out.push_str(&table(
            &["Name", "Before", "After"],
            change.fields.iter().map(row),
        ));
        out.push_str(&reached(change));
        out.push_str(&users(change));
        out.push_str("</article>\n");
    }
    out
}

fn row(field: &FieldChange) -> Vec<String> {
    vec![
        format!("<code>{}</code>", Text(&field.name)),
        slot(field.old.as_ref()),
        slot(field.new.as_ref()),
    ]
}

fn slot(slot: Option<&Slot>) -> String {
    /// Of a byte.
    const BITS: u64 = 8;
    match slot {
        None => "–".to_owned(),
        Some(Slot::Member {
            offset_bits,
            size_bits,
            of,
            name,
        }) => {
            let (at, bit) = (offset_bits / BITS, offset_bits % BITS);
            let mut text = format!("+{at:#x}");
            if bit != 0 {
                let _ = write!(text, " bit {bit}");
            }
            let _ = if size_bits % BITS == 0 {
                write!(text, ", {} bytes", size_bits / BITS)
            } else {
                write!(text, ", {size_bits} bits")
            };
            let _ = write!(text, ", <code>{}</code>", Text(of));
            if let Some(name) = name {
                let _ = write!(text, ", called <code>{}</code>", Text(name));
            }
            text
        }
        Some(Slot::Value { value, name }) => match name {
            Some(name) => format!("{}, called <code>{}</code>", Text(value), Text(name)),
            None => Text(value).to_string(),
        },
        Some(Slot::Prototype { prototype }) => format!("<code>{}</code>", Text(prototype)),
    }
}

fn reached(change: &LayoutChange) -> String {
    let Some(first) = change.reached.iter().min_by_key(|one| one.held) else {
        return String::new();
    };
    let how = match first.held {
        Held::ByValue => "has one".to_owned(),
        Held::ByPointer => "has a pointer to it".to_owned(),
        Held::ThroughOthers => format!(
            "reaches it only through <code>{}</code>",
            Text(first.through.as_deref().unwrap_or("other types"))
        ),
    };
    let objects = match change.objects.len() {
        0 | 1 => String::new(),
        number => format!(" It differs in {number} objects."),
    };
    format!(
        "<p>The changed <code>{}</code> of <code>{}</code> {how}.{objects}</p>",
        Text(&first.function),
        Text(&first.object)
    )
}

fn users(change: &LayoutChange) -> String {
    if !change.breaks {
        return String::new();
    }
    let what = match change.kind {
        ChangedKind::Prototype => "caller",
        _ => "unchanged function",
    };
    let mut out = match change.users.len() {
        0 => format!("<p>No {what} uses it as it was"),
        1 => format!("<p><strong>1 {what}</strong> uses it as it was"),
        number => format!(
            "<p><strong>{}</strong> use it as it was",
            count(number, what)
        ),
    };
    if change.distant_users > 0 {
        let _ = write!(
            out,
            "; {} more can reach it through pointers",
            change.distant_users
        );
    }
    out.push_str(".</p>");
    let item = |out: &mut String, user: &User| {
        let _ = write!(
            out,
            "<li><code>{}</code> of <code>{}</code></li>",
            Text(&user.name),
            Text(&user.object)
        );
    };
    if !change.users.is_empty() {
        out.push_str("<ul>");
        for user in change.users.iter().take(USERS_SHOWN_MAX) {
            item(&mut out, user);
        }
        out.push_str("</ul>");
    }
    if let Some(rest) = change.users.get(USERS_SHOWN_MAX..)
        && !rest.is_empty()
    {
        let _ = write!(
            out,
            "<details><summary>and {} more</summary><ul>",
            rest.len()
        );
        for user in rest {
            item(&mut out, user);
        }
        out.push_str("</ul></details>");
    }
    out
}

/// What was compared and is the same, for the card of what was proven.
pub fn proven(lines: &mut Vec<String>, findings: &Findings<'_>) {
    let compared: usize = findings
        .diffs
        .iter()
        .map(|diff| diff.layouts.compared)
        .sum();
    if compared > 0 && findings.layouts.iter().all(|change| !change.breaks) {
        lines.push(format!(
            "<strong>{}</strong> that the changed functions can reach {} the same in both builds, \
             by their debug information",
            count(compared, "type layout or prototype")
                .replace("layout or prototypes", "layouts and prototypes"),
            if compared == 1 { "is" } else { "are" }
        ));
    }
    let toolchains = &findings.toolchains;
    if !toolchains.original.is_unknown()
        && !toolchains.patched.is_unknown()
        && toolchains.differences.is_empty()
    {
        lines.push(
            "both builds have the same compiler and flags, as far as these are recorded".to_owned(),
        );
    }
}

/// What was not compared, or is not what it should be.
pub fn watch(lines: &mut Vec<String>, findings: &Findings<'_>) {
    let breaking = findings
        .layouts
        .iter()
        .filter(|change| change.breaks)
        .count();
    match breaking {
        0 => {}
        1 => lines.push(
            "<a href=\"#layouts\"><strong>1 type or prototype</strong></a> that changed functions \
             use differs: objects in the old layout exist"
                .to_owned(),
        ),
        number => lines.push(format!(
            "<a href=\"#layouts\"><strong>{number} types or prototypes</strong></a> that changed \
             functions use differ: objects in the old layout exist"
        )),
    }
    let not_compared = findings
        .diffs
        .iter()
        .filter(|diff| diff.layouts.not_compared.is_some());
    match not_compared.count() {
        0 => {}
        number => lines.push(format!(
            "layouts were not compared in {}, without debug information (<code>-g</code>)",
            count(number, "object")
        )),
    }
    for difference in &findings.toolchains.differences {
        lines.push(format!(
            "the two builds are by different toolchains: {}",
            Text(&difference.to_string())
        ));
    }
}

/// Toolchains, for the chapter of identities.
pub fn toolchains(rows: &mut Vec<(&'static str, String)>, findings: &Findings<'_>) {
    for (name, one) in [
        ("Original compiled by", &findings.toolchains.original),
        ("Patched compiled by", &findings.toolchains.patched),
    ] {
        if !one.is_unknown() {
            rows.push((name, Text(&one.said()).to_string()));
        }
    }
}
