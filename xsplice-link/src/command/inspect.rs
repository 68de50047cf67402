//! `xsplice-link inspect`.

use super::{ExitStatus, InspectArguments};
use crate::error::LinkError;
use crate::inspect::inspect;
use crate::mapped::MappedFile;
use crate::output;

pub(super) fn run(arguments: &InspectArguments) -> Result<ExitStatus, LinkError> {
    let file = MappedFile::open(&arguments.payload)?;
    let inspection = inspect(&arguments.payload.display().to_string(), &file)?;
    match &arguments.json {
        Some(target) => output::write_json(target, &inspection)?,
        None => output::print(&inspection.to_string())?,
    }
    Ok(ExitStatus::Done)
}
