//! `bench-kernel`: prints the figures of the runtime in a booted kernel. Exit status 1 when a
//! budget is broken or something does not work. The work is in the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use xsplice_tests::kernel_figures::Figures;
use xsplice_tests::tools;

fn main() -> ExitCode {
    match Figures::measure(tools::folder()) {
        Ok(figures) => {
            println!("{figures}");
            if figures.is_within_budget() {
                ExitCode::SUCCESS
            } else {
                eprintln!("bench-kernel: a budget is broken");
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("bench-kernel: {error:#}");
            ExitCode::FAILURE
        }
    }
}
