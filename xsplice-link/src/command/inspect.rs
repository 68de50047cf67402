//! `xsplice-link inspect`.

use super::{ExitStatus, InspectArguments};
use crate::command::report::{INSPECT, InspectInputs, InspectReport, shown};
use crate::command::{input, output};
use crate::error::LinkError;
use crate::inspect::inspect;

pub(super) fn run(arguments: &InspectArguments) -> Result<ExitStatus, LinkError> {
    let file = input::open_or_standard_input(&arguments.payload)?;
    let inspection = inspect(&arguments.payload.display().to_string(), &file)?;
    match &arguments.json {
        Some(target) => {
            let inputs = InspectInputs {
                payload: shown(&arguments.payload),
            };
            let inspection = &inspection;
            output::write_json(target, INSPECT, &InspectReport { inputs, inspection })?;
        }
        None => output::print(&inspection.to_string())?,
    }
    Ok(ExitStatus::Done)
}
