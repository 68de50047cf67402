//! How a command begins and ends: one meaning for each exit status, and no error without its
//! causes.

use std::error::Error;
use std::process::ExitCode;

use crate::terminal::{complain, with_causes};

/// What the exit status of a command says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// 0: done as asked.
    Done,
    /// 1: it could not run: usage, bad input, I/O, limits.
    Failed,
    /// 2: refused; every reason was listed.
    Refused,
    /// 3: nothing that matters differs.
    Unchanged,
}

impl ExitStatus {
    /// The number that the process ends with.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            ExitStatus::Done => 0,
            ExitStatus::Failed => 1,
            ExitStatus::Refused => 2,
            ExitStatus::Unchanged => 3,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> ExitCode {
        ExitCode::from(status.number())
    }
}

/// Prints what clap has to say instead of arguments: help and version are done, a usage error
/// has failed. Clap's own status for it, 2, means a refusal here.
#[must_use]
pub fn answer_usage(error: &clap::Error) -> ExitStatus {
    // Printing help fails only when nobody listens.
    let _ = error.print();
    if error.use_stderr() {
        ExitStatus::Failed
    } else {
        ExitStatus::Done
    }
}

/// Prints why `command` could not run, with all causes.
#[must_use]
pub fn answer_failure(command: &str, error: &(dyn Error + 'static)) -> ExitStatus {
    // Nowhere is left to say that this could not be said.
    let _ = complain(&format!("{command}: {}\n", with_causes(error)));
    ExitStatus::Failed
}
