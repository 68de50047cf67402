//! `make xen`: the proof on a real Xen; see [`xsplice_tests::xen`].

use std::process::ExitCode;

use clap::Parser;
use xsplice_tests::xen::run::{Arguments, run};

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("xen: {error:#}");
            ExitCode::FAILURE
        }
    }
}
