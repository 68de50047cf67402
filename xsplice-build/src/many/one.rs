//! Makes the payload of one build: source and objects from the store, a run as `--src` makes one,
//! and whatever happens becomes a result.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xsplice_console::ExitStatus;
use xsplice_console::output::write_file;
use xsplice_console::tree::digest_of;
use xsplice_link::command::input;
use xsplice_link::content;

use super::plan::Planned;
use super::result::{BuildResult, PayloadLine, RESULT, Status};
use super::{Make, Ran};
use crate::command::arguments::Arguments;
use crate::command::voice::Story;
use crate::source::interrupt::Interrupted;
use crate::source::{Fault, LOGS};
use crate::store::Store;

/// Files in the folder of a build.
pub(crate) const REPORT_TEXT: &str = "report.txt";
pub(crate) const REPORT_PAGE: &str = "report.html";
const REPORT_JSON: &str = "report.json";
const PROVENANCE: &str = "provenance.json";
const BILL: &str = "sbom.cdx.json";
/// Trees that are built in; removed when the build is done.
const WORK: &str = "work";

/// What the runs of all builds have in common.
pub(crate) struct Step<'a> {
    /// The command line.
    pub arguments: &'a Arguments,
    /// The payload's name.
    pub name: &'a str,
    /// Where the builds are.
    pub store: &'a Store,
    /// The run of one build.
    pub make: Make<'a>,
}

impl Step<'_> {
    /// Makes a build, and writes payload, reports and result into `folder`.
    ///
    /// # Errors
    ///
    /// The folder cannot be written, or the user interrupted.
    pub(crate) fn run(&self, planned: &Planned, folder: &Path) -> Result<BuildResult> {
        let failed = || format!("{}: cannot be written", folder.display());
        clear(folder).with_context(failed)?;
        fs::create_dir_all(folder.join(WORK)).with_context(failed)?;
        let story = Story::default();
        let outcome = self.made(planned, folder, &story);
        if let Err(error) = &outcome
            && error.downcast_ref::<Interrupted>().is_some()
        {
            clear(folder).with_context(failed)?;
            return outcome.map(|(result, _)| result);
        }
        let mut text = story.text();
        let result = match outcome {
            Ok((result, _)) => result,
            Err(error) => {
                let (status, why) = status_of(&error);
                text.push_str(&format!("{}: {why}\n", status.word()));
                self.result(planned, status, Some(why))
            }
        };
        write_file(&folder.join(REPORT_TEXT), text.as_bytes()).with_context(failed)?;
        keep_logs(folder).with_context(failed)?;
        result.write(folder)?;
        Ok(result)
    }

    fn result(&self, planned: &Planned, status: Status, why: Option<String>) -> BuildResult {
        let below = planned.below.as_ref().ok();
        BuildResult {
            name: planned.record.name.clone(),
            build_id: planned.record.build_id.clone(),
            status,
            why,
            accepted: Vec::new(),
            patch: planned.patch_line.clone(),
            below: below.and_then(super::below::Below::build_id),
            payload: None,
            key: planned.key.clone(),
        }
    }

    fn made(&self, planned: &Planned, folder: &Path, story: &Story) -> Result<(BuildResult, Ran)> {
        let below = planned.below.clone().map_err(anyhow::Error::msg)?;
        let (record, work) = (&planned.record, folder.join(WORK));
        let objects = self.store.objects(record, &work.join("objects"))?;
        let source = self.store.source(record, &work.join("source"))?;
        let content = self.store.base(record).canonicalize();
        let content = content.context("the base is missing; `xsplice-store check` tells more")?;
        let base = match self.store.named_base(record) {
            Some(link) => link,
            None => {
                let link = work.join(&record.base.file);
                symlink(content, &link)
                    .with_context(|| format!("{}: cannot be made", link.display()))?;
                link
            }
        };
        let payload = folder.join(format!("{}.xsplice", self.name));
        let given = Arguments {
            store: None,
            src: Some(source.path().to_owned()),
            make: Some(record.make.clone()),
            work: Some(work),
            given_orig: Some(objects.clone()),
            orig: objects,
            base: Some(base),
            patch: Some(planned.patch.clone()),
            output: Some(payload.clone()),
            name: Some(self.name.to_owned()),
            depends: below.argument(),
            json: Some(folder.join(REPORT_JSON)),
            html: Some(folder.join(REPORT_PAGE)),
            provenance: Some(folder.join(PROVENANCE)),
            sbom: Some(folder.join(BILL)),
            story: Some(story.clone()),
            ..self.arguments.clone()
        };
        let ran = (self.make)(&given)?;
        let status = match ran.status {
            ExitStatus::Done => Status::Made,
            ExitStatus::Refused => Status::Refused,
            ExitStatus::Unchanged => Status::Unchanged,
            ExitStatus::Failed => Status::Failed,
        };
        let mut result = self.result(planned, status, ran.refusal.clone());
        result.accepted.clone_from(&ran.accepted);
        if status == Status::Made && !given.dry_run {
            result.payload = Some(payload_line(&payload, &ran)?);
        }
        Ok((result, ran))
    }
}

/// What an error means for the table, and what it says.
fn status_of(error: &anyhow::Error) -> (Status, String) {
    match error.downcast_ref::<Fault>() {
        Some(Fault::NotApplicable(message)) => (Status::NotApplicable, message.clone()),
        // The log goes into the folder of the build, beside what is told.
        Some(Fault::NotBuilt { message, .. }) => (Status::NotBuilt, message.clone()),
        None => (Status::Failed, format!("{error:#}")),
    }
}

fn payload_line(path: &Path, ran: &Ran) -> Result<PayloadLine> {
    let bytes = input::open(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let content = content::of(&path.display().to_string(), &bytes)?;
    Ok(PayloadLine {
        file: name.into_owned(),
        size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        sha256: digest_of(&bytes),
        build_id: content.build_id,
        functions: ran.functions,
        content: content.sha256,
    })
}

/// Removes what an earlier run left; the result goes first, so that a build which is half removed
/// is never taken for one that is done.
fn clear(folder: &Path) -> std::io::Result<()> {
    for gone in [folder.join(RESULT), folder.to_owned()] {
        let removed = if gone.is_dir() {
            fs::remove_dir_all(&gone)
        } else {
            fs::remove_file(&gone)
        };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Removes the trees that were built in, and keeps the logs of the builds.
fn keep_logs(folder: &Path) -> std::io::Result<()> {
    let work: PathBuf = folder.join(WORK);
    for log in LOGS {
        let log = format!("{log}.log");
        if work.join(&log).exists() {
            fs::rename(work.join(&log), folder.join(&log))?;
        }
    }
    fs::remove_dir_all(&work)
}
