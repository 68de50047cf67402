//! `xsplice-link inspect`.

use super::{ExitStatus, InspectArguments};
use crate::command::output;
use crate::error::LinkError;
use crate::inspect::inspect;
use crate::read::mapped;

pub(super) fn run(arguments: &InspectArguments) -> Result<ExitStatus, LinkError> {
    let file = mapped::open_or_standard_input(&arguments.payload)?;
    let inspection = inspect(&arguments.payload.display().to_string(), &file)?;
    match &arguments.json {
        Some(target) => output::write_json(target, &inspection)?,
        None => output::print(&inspection.to_string())?,
    }
    Ok(ExitStatus::Done)
}
