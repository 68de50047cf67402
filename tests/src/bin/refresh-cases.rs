//! Rebuilds the committed objects and bases of the cases with the compilers of this machine.
//!
//! `refresh-cases [--aarch64] [NAME...]` rebuilds those named, or all; with `--aarch64` only their
//! counterparts for that machine. Expected files are not touched: run the tests with
//! `XSPLICE_BLESS=1` afterwards, and read the difference before committing it.

use anyhow::{Result, ensure};
use xsplice_tests::second_machine::{self, Counterpart};
use xsplice_tests::{case, compiler};

fn main() -> Result<()> {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    let given = names.len();
    names.retain(|name| name != "--aarch64");
    let counterparts_alone = names.len() < given;
    let cases = case::all()?;
    for name in &names {
        ensure!(
            cases.iter().any(|case| case.name == *name),
            "{name}: no such case in fixtures/cases"
        );
    }
    let mut failures = 0;
    for case in cases {
        if !names.is_empty() && !names.contains(&case.name) {
            continue;
        }
        let mut all = Vec::new();
        if let Counterpart::Case(counterpart) = second_machine::of(&case)? {
            all.push(*counterpart);
        }
        if !counterparts_alone {
            all.push(case);
        }
        for case in all {
            if let Err(error) = compiler::build(&case, &case.built) {
                eprintln!("{error:#}");
                failures += 1;
                continue;
            }
            println!("{}", case.built.display());
        }
    }
    ensure!(failures == 0, "{failures} cases could not be rebuilt");
    Ok(())
}
