//! A minute of the oracle, and 20 seconds of it for AArch64: for programs and edits made from
//! seeds, the base with the payload applied answers every call as an image linked from the patched
//! tree does.
//!
//! `XSPLICE_ORACLE_SECONDS` and `XSPLICE_ORACLE_SEED` say how long to go on and where to begin; a
//! failure prints its seed, and `make oracle SEED=...` makes it small.

use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Result, ensure};
use xsplice_oracle::campaign::{Limits, run};
use xsplice_oracle::judge::{Change, Judge, Outcome};
use xsplice_oracle::machine::Machine;
use xsplice_oracle::matrix::Matrix;
use xsplice_tests::tools;

/// How many are judged where nothing else is asked for: what a slow machine judges in the time.
const COUNT: u64 = 280;
/// The same of AArch64, whose programs run in an emulator.
const COUNT_ON_ARM64: u64 = 60;

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    text.parse().ok()
}

/// Judges programs for a machine, `count` where no time is asked for, or until `seconds` are over.
fn judge_many(machine: Machine, count: u64, seconds: u64) -> Result<()> {
    let limits = Limits {
        machine,
        first: setting("XSPLICE_ORACLE_SEED").unwrap_or(1),
        count: setting("XSPLICE_ORACLE_SECONDS").map_or(count, |_| u64::MAX),
        time: Duration::from_secs(setting("XSPLICE_ORACLE_SECONDS").unwrap_or(seconds)),
        threads: available_parallelism()?.get(),
        keep: None,
    };
    let counts = run(tools::folder(), &limits, |_| ())?;
    println!("{}", counts.shown());
    ensure!(
        counts.wrong.is_empty() && counts.broken.is_empty(),
        "{}",
        counts.shown()
    );
    ensure!(counts.telling > 0, "no payload showed: {}", counts.shown());
    // What the comparison takes for right and the account does not is a fault of one of them.
    ensure!(counts.disagree.is_empty(), "{}", counts.shown());
    Ok(())
}

/// Whether programs for AArch64 can be made and run; says so where they cannot.
fn arm64_is_here() -> bool {
    let missing = Machine::Arm64.missing();
    if !missing.is_empty() {
        println!("skipped: not here: {}", missing.join(", "));
    }
    missing.is_empty()
}

fn unedited_programs_are_no_change(machine: Machine) -> Result<()> {
    let judge = Judge::new(machine, tools::folder())?;
    let matrix = Matrix::here(machine);
    for seed in 0..6 {
        let mut change = Change::random(seed, &matrix);
        change.patched = change.original.clone();
        let outcome = judge.judge(&change)?;
        ensure!(outcome == Outcome::Unchanged, "seed {seed}: {outcome:?}");
    }
    Ok(())
}

#[test]
fn patched_code_answers_as_the_patched_source_says() -> Result<()> {
    judge_many(Machine::X86_64, COUNT, 60)
}

#[test]
fn patched_code_for_aarch64_answers_as_the_patched_source_says() -> Result<()> {
    if arm64_is_here() {
        judge_many(Machine::Arm64, COUNT_ON_ARM64, 20)?;
    }
    Ok(())
}

#[test]
fn a_program_that_was_not_edited_is_no_change() -> Result<()> {
    unedited_programs_are_no_change(Machine::X86_64)?;
    if arm64_is_here() {
        unedited_programs_are_no_change(Machine::Arm64)?;
    }
    Ok(())
}
