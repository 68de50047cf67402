//! What there is besides functions: refusals with their ways out, data, special sections, hooks,
//! and the differences that were accepted or ignored, each with what speaks for it.

use std::fmt::Write;

use xsplice_diff::report::Status;

use super::text::Text;
use super::{Page, manual};
use crate::code_page;

pub fn refusals(page: &Page<'_>) -> String {
    let mut out = String::new();
    for refusal in &page.report.refusals {
        let code = refusal.code.as_str().unwrap_or_default();
        let _ = write!(
            out,
            "<article class=\"refusal\"><h3><code>{}</code></h3><p class=\"message\">{}</p>",
            Text(code),
            Text(&refusal.to_string())
        );
        if let Ok(page) = code_page::find(code) {
            let _ = write!(
                out,
                "<details><summary>What this means, and the ways out</summary>{}</details>",
                manual::html(page.text)
            );
        }
        out.push_str("</article>\n");
    }
    out
}

/// A table: headings, then rows of cells that are HTML. Nothing for no rows.
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

fn code(text: &str) -> String {
    format!("<code>{}</code>", Text(text))
}

pub fn data(page: &Page<'_>) -> String {
    let rows = page.report.data.iter().map(|data| {
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

pub fn special(page: &Page<'_>) -> String {
    let rows = page.report.special_sections.iter().map(|special| {
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
        "<p>Entries of these tables belong to code that travels, and travel with it.</p>{table}"
    )
}

pub fn hooks(page: &Page<'_>) -> String {
    let Some(linked) = page.linked else {
        return String::new();
    };
    let rows = linked.inspection.hooks.iter().map(|hook| {
        let functions: Vec<String> = hook.functions.iter().map(|name| code(name)).collect();
        vec![
            code(hook.kind),
            when(hook.kind).to_owned(),
            functions.join(" "),
        ]
    });
    table(&["Hook", "When it runs", "Functions"], rows)
}

/// When a hook runs, in the words of the patch author's guide.
fn when(kind: &str) -> &'static str {
    match kind {
        "load" => "while every CPU stands still, before the jumps are written",
        "unload" => "while every CPU stands still, after the jumps are taken back",
        "apply" => "in place of the loader's own apply",
        "revert" => "in place of the loader's own revert",
        "preapply" | "prerevert" => "before the CPUs are stopped; may veto",
        "postapply" | "postrevert" => "after the CPUs run again",
        _ => "",
    }
}

pub fn accepted(page: &Page<'_>) -> String {
    let rows = page.report.accepted.iter().map(|accepted| {
        let refusal = serde_json::to_value(accepted.code).unwrap_or_default();
        vec![
            code(&accepted.what),
            code(refusal.as_str().unwrap_or_default()),
            Text(&accepted.message).to_string(),
        ]
    });
    let table = table(&["Acknowledged as", "Instead of", "What was said"], rows);
    if table.is_empty() {
        return table;
    }
    format!(
        "<p>The author says that these are dealt with. The tool cannot know; you can ask.</p>{table}"
    )
}

pub fn ignored(page: &Page<'_>) -> String {
    let rows = page.report.ignored.iter().map(|ignored| {
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
    use super::table;

    #[test]
    fn a_table_without_rows_is_nothing() {
        assert_eq!(table(&["A"], std::iter::empty()), "");
    }
}
