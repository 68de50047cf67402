//! The chapter on hunks: what became of each, for a reviewer who compares the patch with the
//! payload.

use xsplice_diff::html::evidence::table;
use xsplice_diff::html::text::{Text, count};

use super::Page;
use crate::hunks::{Fate, HunkReport};

pub fn chapter(page: &Page<'_>) -> String {
    let Some(hunks) = &page.report.hunks else {
        return String::new();
    };
    let rows = hunks.iter().map(|hunk| {
        let places = hunk.functions.iter().map(|item| {
            format!(
                "<code>{}</code> of <code>{}</code>",
                Text(&item.name),
                Text(&item.object)
            )
        });
        vec![
            format!("<code>{}:{}</code>", Text(&hunk.file), hunk.new_start),
            hunk.fate.word().to_owned(),
            places.collect::<Vec<_>>().join(", "),
            Text(&hunk.why).to_string(),
        ]
    });
    format!(
        "<p>Each line that the patch changes was followed through the line tables of the objects. \
         {}.</p>{}",
        crate::tell::story::fates(hunks),
        table(&["Hunk", "Fate", "Where", "How that is known"], rows)
    )
}

/// Entries about hunks for the cards at the top: what was proven, and what to watch.
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
            crate::tell::story::fates(&open)
        )
    });
    (proven, watch)
}
