//! Every hunk's fate, as a reviewer holds the patch against the payload.

use std::fmt::Write;

use super::Page;
use super::text::{Text, count};
use crate::hunks::{Fate, HunkReport};

pub fn chapter(page: &Page<'_>) -> String {
    let Some(hunks) = &page.report.hunks else {
        return String::new();
    };
    let mut out = format!(
        "<p>Each line that the patch changes was followed through the line tables of the objects. \
         {}</p><table><thead><tr>",
        summary(hunks)
    );
    const HEADINGS: [&str; 4] = ["Hunk", "Fate", "Where", "How that is known"];
    for heading in HEADINGS {
        let _ = write!(out, "<th scope=\"col\">{heading}</th>");
    }
    out.push_str("</tr></thead><tbody>");
    for hunk in hunks {
        let mut places = String::new();
        for item in &hunk.functions {
            let gap = if places.is_empty() { "" } else { ", " };
            let _ = write!(
                places,
                "{gap}<code>{}</code> of <code>{}</code>",
                Text(&item.name),
                Text(&item.object)
            );
        }
        let cells = [
            format!("<code>{}:{}</code>", Text(&hunk.file), hunk.new_start),
            hunk.fate.word().to_owned(),
            places,
            Text(&hunk.why).to_string(),
        ];
        out.push_str("<tr>");
        for (cell, heading) in cells.iter().zip(HEADINGS) {
            let _ = write!(out, "<td data-heading=\"{heading}\">{cell}</td>");
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table>");
    out
}

/// `3 hunks: 2 in payload, 1 no code.`
fn summary(hunks: &[HunkReport]) -> String {
    format!(
        "{}: {}.",
        count(hunks.len(), "hunk"),
        crate::story::fates(hunks)
    )
}

/// What the cards at the top say of the hunks: what was proven, and what to watch.
pub fn verdicts(page: &Page<'_>) -> (Option<String>, Option<String>) {
    let Some(hunks) = &page.report.hunks else {
        return (None, None);
    };
    let unproven = |hunk: &&HunkReport| {
        matches!(
            hunk.fate,
            Fate::NotProvable | Fate::Refused | Fate::Accepted
        )
    };
    let open: Vec<HunkReport> = hunks.iter().filter(unproven).cloned().collect();
    let settled = hunks.len() - open.len();
    let link = |text: String| format!("<a href=\"#hunks\">{text}</a>");
    let proven = (settled > 0).then(|| {
        format!(
            "{} of the patch followed to what became of every line",
            link(format!("{settled} of {}", count(hunks.len(), "hunk")))
        )
    });
    let watch = (!open.is_empty()).then(|| {
        format!(
            "{} of the patch: {}",
            link(count(open.len(), "hunk")),
            crate::story::fates(&open)
        )
    });
    (proven, watch)
}
