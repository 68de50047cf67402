//! xsplice-ctl: reads the command line and leaves everything else to the library.
#![forbid(unsafe_code)]

use clap::Parser;
use clap::error::ErrorKind;
use std::io::{self, Write};
use std::process::ExitCode;
use xsplice_ctl::{Arguments, ExitStatus, run};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(usage) => {
            // Nowhere is left to report a failure to print this.
            let _ = usage.print();
            return match usage.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitStatus::Done.into(),
                _ => ExitStatus::Failed.into(),
            };
        }
    };
    let mut out = io::stdout().lock();
    let status = match run(&arguments, &mut out) {
        Ok(()) => ExitStatus::Done,
        Err(error) => {
            eprintln!("xsplice-ctl: {error}");
            error.exit_status()
        }
    };
    match out.flush() {
        Ok(()) => status.into(),
        Err(_) => ExitStatus::Failed.into(),
    }
}
