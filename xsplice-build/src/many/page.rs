//! The index of many builds as a page: what became of each, with the way to its own report.

use std::collections::BTreeMap;
use std::fmt::Write;

use xsplice_console::ExitStatus;
use xsplice_diff::html::evidence::table;
use xsplice_diff::html::text::{Text, code, count, size_u64};
use xsplice_diff::html::{Chapter, Maker, Masthead, Tone, document};

use super::index::Index;
use super::one::{REPORT_PAGE, REPORT_TEXT};
use super::result::{AcceptedLine, BuildResult, Status};
use super::table::counts;

/// The page.
pub(crate) fn render(index: &Index) -> String {
    let tone = match index.status() {
        ExitStatus::Done => Tone::Good,
        ExitStatus::Failed | ExitStatus::Refused => Tone::Bad,
        ExitStatus::Unchanged => Tone::Plain,
    };
    let shard = index.shard.as_ref();
    let shard = shard
        .map(|shard| format!(" · shard {shard}"))
        .unwrap_or_default();
    let masthead = Masthead {
        kicker: format!("Live patch · {}{shard}", count(index.builds.len(), "build")),
        title: &index.name,
        tone,
        outcome: &counts(index),
        beside: String::new(),
    };
    let maker = Maker {
        tool: "xsplice-build",
        version: env!("CARGO_PKG_VERSION"),
    };
    let chapters = vec![
        Chapter::new("accepted", "Accepted differences", accepted(index)),
        Chapter::new("builds", "Builds", builds(index)),
        Chapter::new("why", "Why there is no payload", reasons(index)),
        Chapter::new("equal", "Payloads of equal content", equal(index)),
        Chapter::new("identities", "Identities", identities(index)),
    ];
    document(maker, &masthead, &[], chapters)
}

/// A link into the folder of a build; whoever has a report page has a folder.
fn link(build: &BuildResult, file: &str, text: &str) -> String {
    format!(
        "<a href=\"{}/{}\">{}</a>",
        Text(&build.name),
        Text(file),
        Text(text)
    )
}

/// What was accepted, and in which builds: it comes first, for no tool can judge it.
fn accepted(index: &Index) -> String {
    let mut by_line: BTreeMap<&AcceptedLine, Vec<&str>> = BTreeMap::new();
    for build in &index.builds {
        for line in &build.accepted {
            by_line.entry(line).or_default().push(&build.name);
        }
    }
    let rows = by_line.into_iter().map(|(line, names)| {
        let names: Vec<String> = names.into_iter().map(code).collect();
        vec![
            code(&line.what),
            Text(&line.why).to_string(),
            code(&line.object),
            names.join(", "),
        ]
    });
    let table = table(
        &[
            "Accepted as",
            "What would have been refused",
            "Object",
            "Builds",
        ],
        rows,
    );
    if table.is_empty() {
        return table;
    }
    format!(
        "<p>The author says that these are dealt with. The tool cannot know; you can \
         ask.</p>{table}"
    )
}

fn builds(index: &Index) -> String {
    let rows = index.builds.iter().map(|build| {
        let name = match build.status {
            Status::Made | Status::Refused | Status::Unchanged => {
                link(build, REPORT_PAGE, &build.name)
            }
            Status::NotApplicable | Status::NotBuilt | Status::Failed => {
                link(build, REPORT_TEXT, &build.name)
            }
            Status::Missing => Text(&build.name).to_string(),
        };
        let payload = match &build.payload {
            Some(payload) => format!(
                "{}, {} in {}",
                link(build, &payload.file, &payload.file),
                count(payload.functions, "function"),
                size_u64(payload.size)
            ),
            None => String::new(),
        };
        vec![
            name,
            build.status.word().to_owned(),
            payload,
            code(&build.build_id),
        ]
    });
    table(
        &["Build", "Result", "Payload", "Build-id of the base"],
        rows,
    )
}

fn reasons(index: &Index) -> String {
    let mut text = String::new();
    for build in &index.builds {
        if let Some(why) = &build.why {
            let _ = write!(
                text,
                "<h3>{}: {}</h3><pre>{}</pre>",
                Text(&build.name),
                build.status.word(),
                Text(why)
            );
        }
    }
    text
}

fn equal(index: &Index) -> String {
    let groups = index.equal.iter();
    let groups = groups.map(|names| format!("<li>{}</li>", Text(&names.join(", "))));
    let groups: String = groups.collect();
    if groups.is_empty() {
        return groups;
    }
    format!(
        "<p>These do the same, byte for byte; only the build-ids that bind them to one base \
         differ. To review one of them is to review all.</p><ul>{groups}</ul>"
    )
}

fn identities(index: &Index) -> String {
    let rows = index.builds.iter().filter_map(|build| {
        let payload = build.payload.as_ref()?;
        Some(vec![
            Text(&build.name).to_string(),
            code(&payload.build_id),
            code(&payload.sha256),
            Text(&build.patch.file).to_string(),
        ])
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return String::new();
    }
    table(
        &["Build", "Build-id of the payload", "SHA-256", "Patch"],
        rows.into_iter(),
    )
}
