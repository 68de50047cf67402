//! The table on the terminal: a row a build when it is done, and at the end how many of each.

use std::fmt::Write;
use std::path::Path;

use super::index::{Index, PAGE};
use super::result::{BuildResult, Status};

/// Whether the result is that of an earlier run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Yes,
    No,
}

/// Widths in characters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns {
    name: usize,
}

impl Columns {
    /// For builds of these names.
    pub(crate) fn of<'a>(names: impl Iterator<Item = &'a str>) -> Columns {
        Columns {
            name: names.map(|name| name.chars().count()).max().unwrap_or(0),
        }
    }
}

/// The row of a build; further lines of an error are indented.
pub(crate) fn row(result: &BuildResult, columns: &Columns, kept: Kept) -> String {
    let status = Status::ALL.map(|status| status.word().len());
    let status = status.into_iter().max().unwrap_or(0);
    let told = match (&result.payload, &result.why) {
        (Some(payload), _) => {
            let plural = if payload.functions == 1 { "" } else { "s" };
            let accepted = match result.accepted.len() {
                0 => String::new(),
                count => format!(", {count} accepted"),
            };
            format!(
                "{} function{plural}, {} bytes{accepted}",
                payload.functions, payload.size
            )
        }
        (None, Some(why)) => why.replace('\n', "\n    "),
        (None, None) => String::new(),
    };
    let kept = match kept {
        Kept::Yes => " (of an earlier run)",
        Kept::No => "",
    };
    let row = format!(
        "{:status$}  {:name$}  {told}{kept}",
        result.status.word(),
        result.name,
        name = columns.name
    );
    format!("{}\n", row.trim_end())
}

/// How many of each, which payloads are equal, and where the page is.
pub(crate) fn summary(index: &Index, folder: &Path) -> String {
    let mut text = format!("\n{}", counts(index));
    if let Some(shard) = &index.shard {
        let _ = write!(text, " (shard {shard})");
    }
    text.push('\n');
    for names in index.equal_groups() {
        let _ = writeln!(text, "payloads of equal content: {}", names.join(", "));
    }
    let _ = writeln!(text, "{}", folder.join(PAGE).display());
    text
}

/// `2 made, 1 refused`.
pub(crate) fn counts(index: &Index) -> String {
    let counts = Status::ALL.into_iter().filter_map(|status| {
        let count = index.count(status);
        (count > 0).then(|| format!("{count} {}", status.word()))
    });
    let counts: Vec<_> = counts.collect();
    match counts.as_slice() {
        [] => "no builds".to_owned(),
        counts => counts.join(", "),
    }
}
