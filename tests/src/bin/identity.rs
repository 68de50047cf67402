//! `make identity`: what is the same comes out as the same; see [`xsplice_tests::identity`].

use std::process::ExitCode;

use clap::Parser;
use xsplice_tests::identity::run::{Arguments, run};

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("identity: {error:#}");
            ExitCode::FAILURE
        }
    }
}
