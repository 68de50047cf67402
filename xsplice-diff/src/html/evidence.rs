//! The chapters besides functions: refusals with their remedies, data, special sections, hooks, and
//! the differences that were accepted or ignored, each with its grounds.

use std::fmt::Write;

use xsplice_abi::hook::HookKind;
use xsplice_abi::hook::HookOrder;
use xsplice_abi::section;

use crate::extract::{Extract, Section};
use crate::tell::code_page;
use crate::verdict::kinds::Status;

use super::text::{Text, code};
use super::{Findings, manual, word};

/// The refusals, each with its page of the manual.
#[must_use]
pub fn refusals(findings: &Findings<'_>) -> String {
    let mut out = String::new();
    for refusal in &findings.refusals {
        let _ = write!(
            out,
            "<article class=\"refusal\"><h3><code>{}</code></h3><p class=\"message\">{}</p>",
            Text(&refusal.code),
            Text(&refusal.message)
        );
        if let Ok(page) = code_page::find(&refusal.code) {
            let _ = write!(
                out,
                "<details open><summary>What this means, and the ways out</summary>{}</details>",
                manual::html(page.text)
            );
        }
        out.push_str("</article>\n");
    }
    out
}

/// A table: headings, then rows of cells that are HTML. Nothing for no rows.
#[must_use]
pub fn table(headings: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return String::new();
    }
    let mut out = String::from("<table><thead><tr>");
    for heading in headings {
        let _ = write!(out, "<th scope=\"col\">{heading}</th>");
    }
    out.push_str("</tr></thead><tbody>");
    for row in rows {
        out.push_str("<tr>");
        for (cell, heading) in row.iter().zip(headings) {
            let _ = write!(out, "<td data-heading=\"{heading}\">{cell}</td>");
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table>");
    out
}

/// Names with what there is to say of each, as HTML.
#[must_use]
pub fn facts(rows: &[(&str, String)]) -> String {
    let mut out = String::from("<dl class=\"facts\">");
    for (name, html) in rows {
        let _ = write!(out, "<div><dt>{name}</dt><dd>{html}</dd></div>");
    }
    out.push_str("</dl>");
    out
}

/// Included data.
#[must_use]
pub fn data(findings: &Findings<'_>) -> String {
    let rows = findings.data().map(|data| {
        let status = match data.status {
            Status::Changed => "changed",
            Status::New => "new",
        };
        vec![
            code(&data.name),
            status.to_owned(),
            code(&data.section),
            code(&data.object),
        ]
    });
    table(&["Name", "Status", "Section", "Object"], rows)
}

/// Included entries of special sections.
#[must_use]
pub fn special(findings: &Findings<'_>) -> String {
    let rows = findings.special_sections().map(|special| {
        vec![
            code(&special.section),
            special.entries.to_string(),
            code(&special.object),
        ]
    });
    let table = table(&["Section", "Entries", "Object"], rows);
    if table.is_empty() {
        return table;
    }
    format!(
        "<p>Entries of these tables belong to included code, and are included with it.</p>{table}"
    )
}

/// A hook of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Its kind, as in the section's name.
    pub kind: String,
    /// When the ABI runs load and unload hooks.
    pub order: HookOrder,
    /// What is called.
    pub functions: Vec<String>,
}

/// The hooks of an extract, in the order of its sections.
#[must_use]
pub(crate) fn hooks_of(extract: &Extract<'_>) -> Vec<Hook> {
    let kind = |section: &Section<'_>| {
        let name = section.name.strip_prefix(extract.abi.prefix)?;
        name.strip_prefix(section::HOOKS).map(str::to_owned)
    };
    let functions = |section: &Section<'_>| {
        let symbols = section.relocations.iter().map(|one| one.symbol.0);
        symbols
            .filter_map(|symbol| Some(extract.symbols.get(symbol)?.name.clone()))
            .collect()
    };
    extract
        .sections
        .iter()
        .filter_map(|section| {
            Some(Hook {
                kind: kind(section)?,
                order: extract.abi.hook_order,
                functions: functions(section),
            })
        })
        .collect()
}

/// Hooks, and when they run.
#[must_use]
pub fn hooks(hooks: &[Hook]) -> String {
    let rows = hooks.iter().map(|hook| {
        let functions: Vec<String> = hook.functions.iter().map(|name| code(name)).collect();
        vec![
            code(&hook.kind),
            when(&hook.kind, hook.order).to_owned(),
            functions.join(" "),
        ]
    });
    table(&["Hook", "When it runs", "Functions"], rows)
}

/// When a hook of this name runs.
fn when(name: &str, order: HookOrder) -> &'static str {
    let known = HookKind::ALL.into_iter().find(|kind| kind.name() == name);
    known.map_or("never: no loader knows it", |kind| kind.when(order))
}

/// Differences that the author accepted.
#[must_use]
pub fn accepted(findings: &Findings<'_>) -> String {
    let rows = findings.accepted().map(|accepted| {
        vec![
            code(&accepted.what),
            code(&word(accepted.code)),
            Text(&accepted.message).to_string(),
        ]
    });
    let table = table(&["Accepted as", "Instead of", "What was said"], rows);
    if table.is_empty() {
        return table;
    }
    format!(
        "<p>The author says that these are dealt with. The tool cannot know; you can \
         ask.</p>{table}"
    )
}

/// What was decided by evidence that a person may judge otherwise.
#[must_use]
pub fn notes(findings: &Findings<'_>) -> String {
    let rows = findings.notes().map(|note| {
        vec![
            code(&note.name),
            Text(&note.note).to_string(),
            code(&note.object),
        ]
    });
    table(&["What", "What to know of it", "Object"], rows)
}

/// Differences that do not matter.
#[must_use]
pub fn ignored(findings: &Findings<'_>) -> String {
    let rows = findings.ignored().map(|ignored| {
        vec![
            code(&ignored.name),
            Text(&ignored.why).to_string(),
            code(&ignored.object),
        ]
    });
    table(&["What", "Why it does not matter", "Object"], rows)
}

#[cfg(test)]
mod tests {
    use super::{Hook, hooks, table};
    use xsplice_abi::profile::{LIVEPATCH, XSPLICE, XSPLICE_V1};

    #[test]
    fn load_and_unload_hooks_run_when_their_abi_says() {
        let page = |kind: &str, order| {
            hooks(&[Hook {
                kind: kind.to_owned(),
                order,
                functions: Vec::new(),
            }])
        };
        for (abi, load, unload) in [
            (&XSPLICE, "after the jumps", "before the jumps"),
            (&XSPLICE_V1, "after the jumps", "before the jumps"),
            (&LIVEPATCH, "before the jumps", "after the jumps"),
        ] {
            assert!(page("load", abi.hook_order).contains(load), "{}", abi.name);
            assert!(
                page("unload", abi.hook_order).contains(unload),
                "{}",
                abi.name
            );
        }
    }

    #[test]
    fn a_table_without_rows_is_nothing() {
        assert_eq!(table(&["A"], std::iter::empty()), "");
    }
}
