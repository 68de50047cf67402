//! Rebuilds the committed objects and bases of the cases with the compilers of this machine.
//!
//! `refresh-cases [NAME...]` rebuilds those named, or all. Expected files are not touched: run
//! the tests with `XSPLICE_BLESS=1` afterwards, and read the difference before committing it.

use anyhow::{Result, ensure};
use xsplice_tests::{case, compiler};

fn main() -> Result<()> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let cases = case::all()?;
    for name in &names {
        ensure!(
            cases.iter().any(|case| case.name == *name),
            "{name}: no such case in fixtures/cases"
        );
    }
    let mut failures = 0;
    for case in cases {
        if names.is_empty() || names.contains(&case.name) {
            if let Err(error) = compiler::build(&case, &case.folder) {
                eprintln!("{error:#}");
                failures += 1;
                continue;
            }
            println!("{}", case.name);
        }
    }
    ensure!(failures == 0, "{failures} cases could not be rebuilt");
    Ok(())
}
