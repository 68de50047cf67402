//! The cards at the top of the page: what changes, what was proven, what to watch.

use std::fmt::Write;

use crate::verdict::kinds::{Reason, Status};

use super::text::{Text, count, size_u64};
use super::{Findings, layouts};

/// How many names a line of a card shows before it says "and N more".
const NAMES_SHOWN_MAX: usize = 4;

/// The lines of the three cards, as HTML, in the order of a reader's questions.
#[derive(Clone, Debug, Default)]
pub struct Cards {
    /// What changes.
    pub changes: Vec<String>,
    /// What was proven.
    pub proven: Vec<String>,
    /// What to watch.
    pub watch: Vec<String>,
}

impl Cards {
    /// The chapter, below a sentence that says how to read it.
    #[must_use]
    pub fn chapter(&self, lead: &str) -> String {
        let mut out = format!("<p class=\"lead\">{lead}</p>\n<div class=\"cards\">");
        for (class, title, lines) in [
            ("change", "What changes", &self.changes),
            ("proof", "What was proven", &self.proven),
            ("watch", "What to watch", &self.watch),
        ] {
            card(&mut out, class, title, lines);
        }
        out.push_str("</div>");
        out
    }
}

fn card(out: &mut String, class: &str, title: &str, lines: &[String]) {
    let _ = write!(out, "<div class=\"card {class}\"><h3>{title}</h3>");
    if lines.is_empty() {
        out.push_str("<p class=\"none\">Nothing.</p>");
    } else {
        out.push_str("<ul>");
        for line in lines {
            let _ = write!(out, "<li>{line}</li>");
        }
        out.push_str("</ul>");
    }
    out.push_str("</div>");
}

/// What is included; `replaced` says what happens to the old functions.
pub fn changes(lines: &mut Vec<String>, findings: &Findings<'_>, replaced: &str) {
    let of = |status: Status| {
        let functions = findings.functions.iter().map(|function| function.change);
        functions.filter(move |change| change.status == status)
    };
    let old: u64 = of(Status::Changed).map(|change| change.old_size).sum();
    let new: u64 = of(Status::Changed).map(|change| change.new_size).sum();
    match of(Status::Changed).count() {
        0 => {}
        number => {
            let sizes = if old == new {
                format!("{}, as before", size_u64(new))
            } else {
                format!("{} become {}", size_u64(old), size_u64(new))
            };
            let functions = count(number, "function");
            lines.push(format!("<strong>{functions}</strong> {replaced}: {sizes}"));
        }
    }
    match of(Status::New).count() {
        0 => {}
        number => lines.push(format!(
            "<strong>{}</strong> added: {}",
            count(number, "function"),
            names(of(Status::New).map(|change| change.name.as_str()))
        )),
    }
    match findings.data().count() {
        0 => {}
        number => lines.push(format!(
            "<strong>{}</strong>: {}",
            count(number, "datum").replace("datums", "data"),
            names(findings.data().map(|data| data.name.as_str()))
        )),
    }
    match findings
        .special_sections()
        .map(|one| one.entries)
        .sum::<u64>()
    {
        0 => {}
        1 => lines
            .push("<a href=\"#special\">1 entry</a> of special sections is included".to_owned()),
        entries => lines.push(format!(
            "<a href=\"#special\">{entries} entries</a> of special sections are included"
        )),
    }
}

/// What the comparison alone proves.
pub fn proven(lines: &mut Vec<String>, findings: &Findings<'_>) {
    layouts::proven(lines, findings);
    match findings.ignored().count() {
        0 => {}
        number => lines.push(format!(
            "<a href=\"#ignored\">{}</a> shown not to matter",
            count(number, "difference")
        )),
    }
}

/// Refusals, and differences that were accepted by hand.
pub fn watch_first(lines: &mut Vec<String>, findings: &Findings<'_>) {
    match findings.refusals.len() {
        0 => {}
        1 => lines.push(
            "<a href=\"#refusals\"><strong>1 refusal</strong></a> stands in the way".to_owned(),
        ),
        number => lines.push(format!(
            "<a href=\"#refusals\"><strong>{number} refusals</strong></a> stand in the way"
        )),
    }
    let accepted: Vec<&str> = findings
        .accepted()
        .map(|accepted| accepted.what.as_str())
        .collect();
    let were = match accepted.len() {
        0 => return,
        1 => "was",
        _ => "were",
    };
    lines.push(format!(
        "<a href=\"#accepted\"><strong>{}</strong></a> would have been refused and {were} accepted \
         by hand: {}",
        count(accepted.len(), "difference"),
        names(accepted.iter().copied())
    ));
}

/// What the comparison leaves to a person.
pub fn watch(lines: &mut Vec<String>, findings: &Findings<'_>) {
    layouts::watch(lines, findings);
    labels(lines, findings);
}

/// Labels of functions besides their reasons.
fn labels(lines: &mut Vec<String>, findings: &Findings<'_>) {
    let labelled = |is: fn(&Reason) -> bool| -> Vec<&str> {
        let changes = findings.functions.iter().map(|function| function.change);
        let labelled = changes.filter(|change| change.reasons.iter().any(is));
        labelled.map(|change| change.name.as_str()).collect()
    };
    // With debug information the types themselves are named.
    let layout =
        labelled(|reason| matches!(reason, Reason::LayoutOnly { types } if types.is_empty()));
    if !layout.is_empty() {
        let differ = if layout.len() == 1 {
            "differs"
        } else {
            "differ"
        };
        lines.push(format!(
            "<strong>{}</strong> {differ} in displacements alone, as when the layout of a \
             structure changes: see whether one did, for objects in the old layout exist",
            count(layout.len(), "function")
        ));
    }
    let noise = labelled(|reason| matches!(reason, Reason::LooksLikeLineNumbers));
    if !noise.is_empty() {
        lines.push(format!(
            "{} may differ in line numbers alone, which needs <code>-g</code> and a function that \
             is known to report to prove: {}",
            count(noise.len(), "function"),
            names(noise.iter().copied())
        ));
    }
    let stamps = labelled(|reason| matches!(reason, Reason::LooksLikeBuildStamp));
    if !stamps.is_empty() {
        lines.push(format!(
            "{} may differ in a date, time or build number alone, which every build writes anew: \
             {}",
            count(stamps.len(), "function"),
            names(stamps.iter().copied())
        ));
    }
}

/// The first few names, and how many more there are.
pub fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<&str> = all.collect();
    let mut out = String::new();
    for (index, name) in all.iter().take(NAMES_SHOWN_MAX).enumerate() {
        let gap = if index == 0 { "" } else { ", " };
        let _ = write!(out, "{gap}<code>{}</code>", Text(name));
    }
    if all.len() > NAMES_SHOWN_MAX {
        let _ = write!(out, " and {} more", all.len() - NAMES_SHOWN_MAX);
    }
    out
}
