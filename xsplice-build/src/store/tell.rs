//! What `xsplice-store` tells, for people and as JSON; the keys are in docs/json.md.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use xsplice_console::json::Tool;

use super::add::Found;
use super::record::{BuildRecord, TreeRecord};

/// The author of the JSON documents.
const TOOL: Tool = Tool::new("xsplice-store");

/// What a verb has to tell.
#[derive(Debug, Serialize)]
pub(crate) struct Told {
    #[serde(skip)]
    pub tool: Tool,
    /// For people.
    #[serde(skip)]
    pub text: String,
    /// The builds that it is about.
    pub builds: Vec<BuildLine>,
}

/// One build.
#[derive(Debug, Serialize)]
pub(crate) struct BuildLine {
    name: String,
    build_id: String,
    make: String,
    base: BaseLine,
    source: TreeLine,
    objects: TreeLine,
    /// What `check` found; absent for other verbs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub faults: Option<Vec<String>>,
}

#[derive(Debug, Serialize)]
struct BaseLine {
    file: String,
    sha256: String,
}

#[derive(Debug, Serialize)]
struct TreeLine {
    digest: String,
    files: usize,
    bytes: u64,
    path: Option<PathBuf>,
}

impl TreeLine {
    fn new(tree: &TreeRecord) -> TreeLine {
        TreeLine {
            digest: tree.digest.clone(),
            files: tree.files,
            bytes: tree.bytes,
            path: tree.path.clone(),
        }
    }
}

impl BuildLine {
    pub(crate) fn new(record: &BuildRecord, faults: Option<Vec<String>>) -> BuildLine {
        BuildLine {
            name: record.name.clone(),
            build_id: record.build_id.clone(),
            make: record.make.clone(),
            base: BaseLine {
                file: record.base.file.clone(),
                sha256: record.base.sha256.clone(),
            },
            source: TreeLine::new(&record.source),
            objects: TreeLine::new(&record.objects),
            faults,
        }
    }
}

impl Told {
    /// Of these builds, by this verb.
    pub(crate) fn of(verb: &'static str, records: &[BuildRecord]) -> Told {
        let builds = records.iter().map(|record| BuildLine::new(record, None));
        Told {
            tool: TOOL.doing(verb),
            text: String::new(),
            builds: builds.collect(),
        }
    }

    pub(crate) fn saying(self, text: &str) -> Told {
        Told {
            text: text.to_owned(),
            ..self
        }
    }
}

/// What `add` did.
pub(crate) fn added(found: Found) -> String {
    match found {
        Found::New(record) => format!(
            "{}: kept under {} ({} files of source, {} of objects)\n",
            record.name, record.build_id, record.source.files, record.objects.files
        ),
        Found::Known(record) => format!("{}: is kept already\n", record.name),
    }
}

/// A line a build.
pub(crate) fn table(records: &[BuildRecord], store: &Path) -> String {
    if records.is_empty() {
        return format!("{}: no builds\n", store.display());
    }
    let width = |of: &dyn Fn(&BuildRecord) -> usize| records.iter().map(of).max().unwrap_or(0);
    let name = width(&|record| record.name.chars().count());
    let base = width(&|record| record.base.file.chars().count());
    let mut text = String::new();
    for record in records {
        let _ = writeln!(
            text,
            "{:name$}  {}  {:base$}  {}",
            record.name,
            record.short_id(),
            record.base.file,
            record.make
        );
    }
    text
}

/// All that is known of a build.
pub(crate) fn page(record: &BuildRecord) -> String {
    let tree = |tree: &TreeRecord| {
        let place = match &tree.path {
            Some(path) => format!("at {}", path.display()),
            None => "kept".to_owned(),
        };
        format!(
            "{} files, {} bytes, {place}\n            digest {}",
            tree.files, tree.bytes, tree.digest
        )
    };
    format!(
        "{}\n  build-id  {}\n  make      {}\n  base      {}\n            sha256 {}\n  source    \
         {}\n  objects   {}\n",
        record.name,
        record.build_id,
        record.make,
        record.base.file,
        record.base.sha256,
        tree(&record.source),
        tree(&record.objects)
    )
}

/// What `check` found of a build.
pub(crate) fn checked(record: &BuildRecord, faults: &[String]) -> String {
    if faults.is_empty() {
        return format!(
            "ok    {}: source, objects and base are one build\n",
            record.name
        );
    }
    let lines = faults.iter();
    lines
        .map(|fault| format!("FAIL  {}: {fault}\n", record.name))
        .collect()
}

/// What `remove` did; contents that nobody needs any more, and their size in bytes.
pub(crate) fn removed(record: &BuildRecord, (contents, bytes): (usize, u64)) -> String {
    format!(
        "{}: removed, with {contents} contents of {bytes} bytes that no other build needs\n",
        record.name
    )
}
