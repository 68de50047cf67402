//! A minute of the oracle: for programs and edits made from seeds, the base with the payload
//! applied answers every call as an image linked from the patched tree does.
//!
//! `XSPLICE_ORACLE_SECONDS` and `XSPLICE_ORACLE_SEED` say how long to go on and where to begin; a
//! failure prints its seed, and `make oracle SEED=...` makes it small.

use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Result, ensure};
use xsplice_oracle::campaign::{Limits, run};
use xsplice_oracle::judge::{Change, Judge, Outcome};
use xsplice_oracle::matrix::Matrix;
use xsplice_tests::tools;

/// How many are judged where nothing else is asked for: what a slow machine judges in the time.
const COUNT: u64 = 280;

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    text.parse().ok()
}

#[test]
fn patched_code_answers_as_the_patched_source_says() -> Result<()> {
    let limits = Limits {
        first: setting("XSPLICE_ORACLE_SEED").unwrap_or(1),
        count: setting("XSPLICE_ORACLE_SECONDS").map_or(COUNT, |_| u64::MAX),
        time: Duration::from_secs(setting("XSPLICE_ORACLE_SECONDS").unwrap_or(60)),
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

#[test]
fn a_program_that_was_not_edited_is_no_change() -> Result<()> {
    let judge = Judge::new(tools::folder())?;
    let matrix = Matrix::here();
    for seed in 0..6 {
        let mut change = Change::random(seed, &matrix);
        change.patched = change.original.clone();
        let outcome = judge.judge(&change)?;
        ensure!(outcome == Outcome::Unchanged, "seed {seed}: {outcome:?}");
    }
    Ok(())
}
