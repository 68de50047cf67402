//! `make many-builds`: one fix for five shipped builds; see [`xsplice_tests::many_builds`].

use std::process::ExitCode;

use clap::Parser;
use xsplice_tests::many_builds::{Arguments, run};

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("many-builds: {error:#}");
            ExitCode::FAILURE
        }
    }
}
