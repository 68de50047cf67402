//! `load`: upload and apply as one command, which unloads again when the apply fails.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use xsplice_abi::channel::AREA_BYTES_MAX;

use crate::action::{Goal, Outcome, Plan, perform};
use crate::calls::{ActionKind, Dependencies, PayloadName, get, upload};
use crate::error::{Aftermath, CtlError};
use crate::identity::assert_same;
use crate::transport::Transport;

/// The payload's name: the file's without its folder and its last extension.
pub(crate) fn name_of(path: &Path) -> Result<PayloadName, CtlError> {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    PayloadName::new(stem.ok_or_else(|| CtlError::NoName {
        path: path.to_owned(),
    })?)
}

/// The payload's bytes. A file that cannot be a payload is not read to its end.
pub(crate) fn read_payload(path: &Path) -> Result<Vec<u8>, CtlError> {
    let file_error = |source| CtlError::File {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(file_error)?
        .take(AREA_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(file_error)?;
    if bytes.len() > AREA_BYTES_MAX {
        return Err(CtlError::FileTooLarge {
            path: path.to_owned(),
        });
    }
    Ok(bytes)
}

/// Whether the payload's bytes went to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Uploaded {
    /// They did.
    Now,
    /// It was there already, under that name.
    Before,
}

impl From<Uploaded> for Outcome {
    fn from(uploaded: Uploaded) -> Outcome {
        match uploaded {
            Uploaded::Now => Outcome::Completed,
            Uploaded::Before => Outcome::AlreadyThere,
        }
    }
}

/// Uploads, unless `goal` is met by what is there.
pub(crate) fn upload_for(
    transport: &mut dyn Transport,
    name: &PayloadName,
    payload: &[u8],
    goal: Goal,
) -> Result<Uploaded, CtlError> {
    if goal == Goal::BeThere && get(transport, name)?.is_some() {
        assert_same(transport, name, payload)?;
        return Ok(Uploaded::Before);
    }
    upload(transport, name, payload)?;
    Ok(Uploaded::Now)
}

/// The apply of a `load`: takes the payload out again when it fails and this command brought it.
pub(crate) fn apply_or_unload(
    transport: &mut dyn Transport,
    name: &PayloadName,
    plan: &Plan,
    uploaded: Uploaded,
) -> Result<Outcome, CtlError> {
    let apply = match perform(transport, name, plan) {
        Ok(outcome) => return Ok(outcome),
        Err(error) if uploaded == Uploaded::Before => return Err(error),
        Err(error) => Box::new(error),
    };
    let aftermath = if matches!(*apply, CtlError::StillInProgress { .. }) {
        Aftermath::Left
    } else {
        let unload = Plan {
            kind: ActionKind::Unload,
            dependencies: Dependencies::Enforced,
            goal: Goal::BeThere,
            ..*plan
        };
        match perform(transport, name, &unload) {
            Ok(_) => Aftermath::Unloaded,
            Err(error) => Aftermath::Stuck(Box::new(error)),
        }
    };
    Err(CtlError::LoadFailed { apply, aftermath })
}
