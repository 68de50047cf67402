//! `--depends` for many builds: one payload fits one base, so it names the results of an earlier
//! run, and each build finds its own payload there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xsplice_console::tree::digest_of_file;

use super::result::{BuildResult, Status};
use crate::store::record::BuildRecord;

/// What the payload of a build stacks on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Below {
    /// The base.
    Base,
    /// A payload that an earlier run made for this build.
    Payload {
        /// The file.
        path: PathBuf,
        /// Its build-id.
        build_id: String,
    },
    /// What an earlier run stacked on where it found nothing to change, or what the command line
    /// names for all builds.
    Named(String),
}

impl Below {
    /// What `--depends` means for a build; why that cannot be told.
    pub(crate) fn of(given: Option<&str>, record: &BuildRecord) -> Result<Below, String> {
        let Some(given) = given else {
            return Ok(Below::Base);
        };
        let folder = Path::new(given);
        if !folder.is_dir() {
            return Ok(Below::Named(given.to_owned()));
        }
        let folder = folder.join(&record.name);
        let result = BuildResult::read(&folder).map_err(|_| {
            format!("--depends {given}: holds no result for this build; make that one first")
        })?;
        if result.build_id != record.build_id {
            return Err(format!(
                "--depends {given}: its result is for another build of this name ({})",
                result.build_id
            ));
        }
        match (result.status, result.payload) {
            (Status::Made, Some(payload)) => Ok(Below::Payload {
                path: folder.join(&payload.file),
                build_id: payload.build_id,
            }),
            // Nothing was applied there, so the new payload takes its place.
            (Status::Unchanged, _) => Ok(match result.below {
                Some(id) => Below::Named(id),
                None => Below::Base,
            }),
            (status, _) => Err(format!(
                "--depends {given}: holds no payload for this build ({}); make that one first",
                status.word()
            )),
        }
    }

    /// The value of `--depends` for the run of the build.
    pub(crate) fn argument(&self) -> Option<String> {
        match self {
            Below::Base => None,
            Below::Payload { path, .. } => Some(path.display().to_string()),
            Below::Named(text) => Some(text.clone()),
        }
    }

    /// The build-id, where it is known without opening the file.
    pub(crate) fn build_id(&self) -> Option<String> {
        match self {
            Below::Base => None,
            Below::Payload { build_id, .. } => Some(build_id.clone()),
            Below::Named(text) => Some(text.clone()),
        }
    }

    /// What the result depends on of it.
    ///
    /// # Errors
    ///
    /// A file that cannot be read.
    pub(crate) fn text(below: &Result<Below, String>) -> Result<String> {
        let file = match below {
            Ok(Below::Payload { path, .. }) => Some(path.as_path()),
            Ok(Below::Named(text)) => Some(Path::new(text)).filter(|path| path.is_file()),
            _ => None,
        };
        match (file, below) {
            (Some(path), _) => digest_of_file(path)
                .with_context(|| format!("--depends {}: cannot be read", path.display())),
            (None, Ok(below)) => Ok(below.argument().unwrap_or_default()),
            (None, Err(why)) => Ok(why.clone()),
        }
    }
}
