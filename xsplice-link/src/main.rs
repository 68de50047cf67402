//! The `xsplice-link` command; see the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use xsplice_console::process::{answer_failure, answer_usage};
use xsplice_link::command::{Arguments, run};

fn main() -> ExitCode {
    let status = match Arguments::try_parse() {
        Ok(arguments) => {
            run(&arguments).unwrap_or_else(|error| answer_failure("xsplice-link", &error))
        }
        Err(usage) => answer_usage(&usage),
    };
    status.into()
}
