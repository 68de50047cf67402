//! The results of all builds in one document: `index.json`, and the page made from it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use xsplice_console::json::{self, Tool};
use xsplice_console::{ExitStatus, output};

use super::page;
use super::plan::RunLine;
use super::result::{BuildResult, Status};
use crate::command::arguments::Shard;
use crate::store::record::is_build_name;

/// Files in the folder of results.
pub(crate) const PAGE: &str = "index.html";
pub(crate) const DOCUMENT: &str = "index.json";

/// The author of the document.
const TOOL: Tool = Tool::new("xsplice-build").doing("builds");

/// The results of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Index {
    /// The payloads' name.
    pub name: String,
    /// What is the same for all builds.
    pub run: RunLine,
    /// `I/N`; absent for a whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<String>,
    /// The results, in order of name.
    pub builds: Vec<BuildResult>,
    /// Names of builds whose payloads do the same.
    pub equal: Vec<Vec<String>>,
}

impl Index {
    /// Of these results.
    pub(crate) fn new(
        name: &str,
        run: RunLine,
        shard: Option<Shard>,
        mut builds: Vec<BuildResult>,
    ) -> Index {
        builds.sort_by(|a, b| a.name.cmp(&b.name));
        let mut by_content: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for build in &builds {
            if let Some(payload) = &build.payload {
                let names = by_content.entry(&payload.content).or_default();
                names.push(build.name.clone());
            }
        }
        let mut equal: Vec<_> = by_content.into_values().collect();
        equal.retain(|names| names.len() > 1);
        equal.sort();
        Index {
            name: name.to_owned(),
            run,
            shard: shard.map(|shard| format!("{}/{}", shard.number, shard.of)),
            builds,
            equal,
        }
    }

    /// Reads the document of a folder of results.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be read.
    pub(crate) fn read(folder: &Path) -> Result<Index> {
        let path = folder.join(DOCUMENT);
        let named = || {
            format!(
                "{}: holds no results of `xsplice-build --store`",
                folder.display()
            )
        };
        let text = fs::read_to_string(&path).with_context(named)?;
        let index: Index = serde_json::from_str(&text).with_context(named)?;
        // Names become folders, and the document may come from another machine.
        let named_builds = index.builds.iter().map(|build| &build.name);
        let mut names = named_builds.chain(&index.run.builds);
        if let Some(name) = names.find(|name| !is_build_name(name)) {
            bail!("{}: {name:?} is no name of a build", path.display());
        }
        Ok(index)
    }

    /// Writes document and page into the folder, and to where the command line wants them besides.
    ///
    /// # Errors
    ///
    /// A file that cannot be written.
    pub(crate) fn write(
        &self,
        folder: &Path,
        json: Option<&Path>,
        html: Option<&Path>,
    ) -> Result<()> {
        let failed = |path: &Path| format!("{}: cannot be written", path.display());
        let documents = [Some(folder.join(DOCUMENT)), json.map(Path::to_owned)];
        for path in documents.iter().flatten() {
            json::write(path, TOOL, self).with_context(|| failed(path))?;
        }
        let pages = [Some(folder.join(PAGE)), html.map(Path::to_owned)];
        for path in pages.iter().flatten() {
            let text = page::render(self);
            output::write_file(path, text.as_bytes()).with_context(|| failed(path))?;
        }
        Ok(())
    }

    /// How many builds have this status.
    pub(crate) fn count(&self, status: Status) -> usize {
        let builds = self.builds.iter();
        builds.filter(|build| build.status == status).count()
    }

    /// Names of builds whose payloads do the same.
    pub(crate) fn equal_groups(&self) -> &[Vec<String>] {
        &self.equal
    }

    /// How the command ends. What could not run outweighs what was refused: a refusal is an answer.
    pub(crate) fn status(&self) -> ExitStatus {
        let has = |status| self.count(status) > 0;
        let stopped = [
            Status::NotApplicable,
            Status::NotBuilt,
            Status::Failed,
            Status::Missing,
        ];
        if stopped.into_iter().any(has) {
            ExitStatus::Failed
        } else if has(Status::Refused) {
            ExitStatus::Refused
        } else if has(Status::Made) || self.builds.is_empty() {
            ExitStatus::Done
        } else {
            ExitStatus::Unchanged
        }
    }
}
