//! The `xsplice-link` command; see the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use xsplice_diff::command::terminal::complain;
use xsplice_link::command::{Arguments, ExitStatus, run};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Printing help fails only when nobody listens.
            let _ = error.print();
            let status = if error.use_stderr() {
                ExitStatus::CouldNotRun
            } else {
                ExitStatus::Done
            };
            return status.into();
        }
    };
    match run(&arguments) {
        Ok(status) => status.into(),
        Err(error) => {
            // Nowhere is left to say that this could not be said.
            let _ = complain(&format!("xsplice-link: {error}\n"));
            ExitStatus::CouldNotRun.into()
        }
    }
}
