//! The result of one build, as it is kept beside its payload: what became of it, and from what.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use xsplice_console::json::{self, Tool};
use xsplice_console::tree::digest_of_file;
use xsplice_diff::verdict::kinds::Accepted;

use super::plan::Planned;

/// The file's name in the folder of a build.
pub(crate) const RESULT: &str = "result.json";

/// The author of the file.
pub(crate) const TOOL: Tool = Tool::new("xsplice-build").doing("result");

/// What became of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Status {
    /// There is a payload.
    Made,
    /// The change cannot be carried.
    Refused,
    /// No functional change.
    Unchanged,
    /// The patch does not apply to the source.
    NotApplicable,
    /// The patched source does not build.
    NotBuilt,
    /// Anything else that stopped it.
    Failed,
    /// No shard that was joined has it.
    Missing,
}

impl Status {
    /// All of them, in the order of the summary.
    pub(crate) const ALL: [Status; 7] = [
        Status::Made,
        Status::Refused,
        Status::Unchanged,
        Status::NotApplicable,
        Status::NotBuilt,
        Status::Failed,
        Status::Missing,
    ];

    /// For people.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Status::Made => "made",
            Status::Refused => "refused",
            Status::Unchanged => "no change",
            Status::NotApplicable => "not applicable",
            Status::NotBuilt => "does not build",
            Status::Failed => "failed",
            Status::Missing => "missing",
        }
    }

    /// Whether the same inputs give the same result again. What the machine had a part in is tried
    /// again.
    fn is_final(self) -> bool {
        match self {
            Status::Made | Status::Refused | Status::Unchanged | Status::NotApplicable => true,
            Status::NotBuilt | Status::Failed | Status::Missing => false,
        }
    }
}

/// A build and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BuildResult {
    /// The build's name, and that of its folder of results.
    pub name: String,
    /// Of its base.
    pub build_id: String,
    /// What became of it.
    pub status: Status,
    /// Why it is not made: the first refusal, or the error with the end of the log.
    pub why: Option<String>,
    /// What would have been refused, had the author not accepted it.
    #[serde(default)]
    pub accepted: Vec<AcceptedLine>,
    /// The patch that it was made with.
    pub patch: PatchLine,
    /// What the payload stacks on, or would: a build-id; `null` for the base.
    pub below: Option<String>,
    /// The payload.
    pub payload: Option<PayloadLine>,
    /// Digest of all that the result depends on. A run with the same key keeps the result.
    pub key: String,
}

/// A difference, or a hunk, that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct AcceptedLine {
    /// What accepted it: `WHAT:NAME` or `WHAT`.
    pub what: String,
    /// The object; of a hunk, the source file.
    pub object: String,
    /// What the refusal would have said.
    pub why: String,
}

impl AcceptedLine {
    /// Of what a run accepted.
    pub(crate) fn new(accepted: &Accepted) -> AcceptedLine {
        AcceptedLine {
            what: accepted.what.clone(),
            object: accepted.object.clone(),
            why: accepted.message.clone(),
        }
    }
}

/// A patch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PatchLine {
    /// The file's name.
    pub file: String,
    /// Of its content.
    pub sha256: String,
}

/// A payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PayloadLine {
    /// The file's name, in the folder of the build.
    pub file: String,
    /// In bytes.
    pub size: u64,
    /// Of the file.
    pub sha256: String,
    /// Its own build-id.
    pub build_id: String,
    /// How many functions it replaces.
    pub functions: usize,
    /// SHA-256 of what it does, without the build-ids that bind it to one base.
    pub content: String,
}

impl BuildResult {
    /// What an earlier run left of a build in its folder, if the same inputs would give it again
    /// and the payload is still there.
    pub(crate) fn done(folder: &Path, planned: &Planned) -> Option<BuildResult> {
        let result = BuildResult::read(folder).ok()?;
        let is_there = match &result.payload {
            Some(payload) => {
                let found = digest_of_file(&folder.join(&payload.file));
                found.is_ok_and(|sha256| sha256 == payload.sha256)
            }
            None => true,
        };
        let is_same = result.key == planned.key && result.status.is_final();
        (is_same && is_there).then_some(result)
    }

    /// Reads the result of the build in `folder`.
    ///
    /// # Errors
    ///
    /// It is not there, or cannot be read.
    pub(crate) fn read(folder: &Path) -> Result<BuildResult> {
        let path = folder.join(RESULT);
        let named = || format!("{}: cannot be read", path.display());
        let text = fs::read_to_string(&path).with_context(named)?;
        let result: BuildResult = serde_json::from_str(&text).with_context(named)?;
        let file = result
            .payload
            .as_ref()
            .map(|payload| Path::new(&payload.file));
        if let Some(file) = file
            && file.file_name() != Some(file.as_os_str())
        {
            bail!(
                "{}: {} is no file of this folder",
                path.display(),
                file.display()
            );
        }
        Ok(result)
    }

    /// Writes it into the folder of the build: from now on the build is done.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(RESULT);
        json::write(&path, TOOL, self)
            .with_context(|| format!("{}: cannot be written", path.display()))
    }
}
