//! The frame of a command's `main`: the meaning of each exit status, and how errors are printed
//! with their causes.

use std::error::Error;
use std::process::ExitCode;

use crate::terminal::{complain, with_causes};

/// The exit status of a command.
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

/// Prints clap's help, version or usage error. A usage error ends with status 1, because clap's own
/// status 2 means a refusal here.
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
    // If standard error fails, there is nowhere else to report it.
    let _ = complain(&format!("{command}: {}\n", with_causes(error)));
    ExitStatus::Failed
}
