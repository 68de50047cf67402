//! `make xen-each`: a change in each function of a real Xen; see [`xsplice_tests::xen::each`].

use std::process::ExitCode;

use clap::Parser;
use xsplice_tests::xen::each::{Arguments, run};

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("xen-each: {error:#}");
            ExitCode::FAILURE
        }
    }
}
