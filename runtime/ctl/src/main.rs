//! xsplice-ctl: reads the command line and leaves everything else to the library.
#![forbid(unsafe_code)]

use clap::Parser;
use std::io::{self, Write};
use std::process::ExitCode;
use xsplice_console::process::{answer_failure, answer_usage};
use xsplice_ctl::{Arguments, ExitStatus, run};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(usage) => return answer_usage(&usage).into(),
    };
    let mut out = io::stdout().lock();
    let status = match run(&arguments, &mut out) {
        Ok(()) => ExitStatus::Done,
        Err(error) => {
            // Whether trying again may help is more than the console knows.
            let _ = answer_failure("xsplice-ctl", &error);
            error.exit_status()
        }
    };
    match out.flush() {
        Ok(()) => status.into(),
        Err(_) => ExitStatus::Failed.into(),
    }
}
