//! The `xsplice-store` command; see the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use xsplice_build::command::store::Arguments;
use xsplice_build::run::store::run;
use xsplice_console::process::{answer_failure, answer_usage};

fn main() -> ExitCode {
    let status = match Arguments::try_parse() {
        Ok(arguments) => {
            run(&arguments).unwrap_or_else(|error| answer_failure("xsplice-store", error.as_ref()))
        }
        Err(usage) => answer_usage(&usage),
    };
    status.into()
}
