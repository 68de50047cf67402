//! `make bench`: the tools against their budgets; see [`xsplice_tests::bench`].
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use xsplice_tests::bench::run::{Arguments, run};

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
