//! `xsplice-store merge`: joins the results of several shards to one folder and one report.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use xsplice_console::{ExitStatus, json};

use super::index::Index;
use super::plan::RunLine;
use super::result::{BuildResult, PatchLine, RESULT, Status};
use super::table::{Columns, Kept, row, summary};
use crate::command::store::Merge;

/// Joins results.
///
/// # Errors
///
/// Results of different runs, two results of one build that differ, and files that cannot be read
/// or written.
pub(crate) fn merge(given: &Merge) -> Result<ExitStatus> {
    let mut run: Option<(RunLine, String, &Path)> = None;
    let mut found: BTreeMap<String, (BuildResult, PathBuf)> = BTreeMap::new();
    for folder in &given.results {
        let index = Index::read(folder)?;
        match &run {
            Some((line, name, first)) if *line != index.run || *name != index.name => bail!(
                "{} and {} are results of different runs: patches, options, tool or builds differ",
                first.display(),
                folder.display()
            ),
            Some(_) => {}
            None => run = Some((index.run.clone(), index.name.clone(), folder)),
        }
        for build in index.builds {
            let path = folder.join(&build.name);
            // What one shard lacks another may have.
            let is_missing = build.status == Status::Missing;
            let known = found.get(&build.name).map(|(known, _)| known);
            let is_same = known
                .is_none_or(|known| known.status == build.status && known.payload == build.payload);
            match (is_missing, is_same) {
                (true, _) => {}
                (false, true) => {
                    found.insert(build.name.clone(), (build, path));
                }
                (false, false) => bail!(
                    "{}: another result has this build otherwise; the same inputs give the same \
                     payload, so these were not the same",
                    path.display()
                ),
            }
        }
    }
    let (run, name, _) = run.context("name the results to be joined")?;
    let mut results = Vec::new();
    for build in &run.builds {
        results.push(match found.remove(build) {
            Some((result, from)) => {
                copy(&from, &given.output.join(build))?;
                result
            }
            None => missing(build),
        });
    }
    let columns = Columns::of(results.iter().map(|result| result.name.as_str()));
    let rows = results.iter().map(|result| row(result, &columns, Kept::No));
    let rows: String = rows.collect();
    let index = Index::new(&name, run, None, results);
    let text = rows + &summary(&index, &given.output);
    json::tell(given.json.as_deref(), &text)?;
    fs::create_dir_all(&given.output)
        .with_context(|| format!("-o {}: cannot be made", given.output.display()))?;
    index.write(&given.output, given.json.as_deref(), None)?;
    Ok(index.status())
}

/// A build that no shard has.
fn missing(name: &str) -> BuildResult {
    BuildResult {
        name: name.to_owned(),
        build_id: String::new(),
        status: Status::Missing,
        why: Some("no result of this build was given; join the results of all shards".to_owned()),
        accepted: Vec::new(),
        patch: PatchLine {
            file: String::new(),
            sha256: String::new(),
        },
        below: None,
        payload: None,
        key: String::new(),
    }
}

/// Copies the files of a build; the result last, for it says that the others are there.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let failed = || format!("{}: cannot be copied to {}", from.display(), to.display());
    if from.canonicalize().ok() == to.canonicalize().ok() {
        return Ok(());
    }
    fs::create_dir_all(to).with_context(failed)?;
    let mut files = Vec::new();
    for entry in fs::read_dir(from).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        if entry.file_type().with_context(failed)?.is_file() {
            files.push(entry.file_name());
        }
    }
    files.sort_by_key(|name| (name == RESULT, name.clone()));
    for name in files {
        let bytes = fs::read(from.join(&name)).with_context(failed)?;
        xsplice_console::output::write_file(&to.join(&name), &bytes).with_context(failed)?;
    }
    Ok(())
}
