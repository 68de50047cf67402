//! Mutates files and prints what it found. `make fuzz` and `make coverage` run it.
//!
//! Exit status 1 when something was found; its files are kept under `--keep`.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use peak_alloc::PeakAlloc;
use xsplice_tests::fuzz::guard::{Guard, Spent};
use xsplice_tests::fuzz::{self, Limit, Target, kept};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Feeds mutated files to the readers of every room.
#[derive(Debug, Parser)]
struct Arguments {
    /// One target; all of them without it
    #[arg(long)]
    target: Option<String>,
    /// Seconds to go on for
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Runs after which to stop
    #[arg(long, default_value_t = u64::MAX)]
    runs: u64,
    /// Where to begin; a printed seed runs again with --runs 1
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to keep the files of findings
    #[arg(long, default_value = "out/fuzz")]
    keep: PathBuf,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let wanted = arguments.target.as_deref();
    let targets: Vec<Target> = Target::ALL
        .into_iter()
        .filter(|known| wanted.is_none_or(|wanted| wanted == known.name()))
        .collect();
    anyhow::ensure!(
        !targets.is_empty(),
        "{}: not one of {}",
        wanted.unwrap_or_default(),
        Target::ALL.map(Target::name).join(", ")
    );
    let seeds = fuzz::seeds()?;
    let guard = Guard::new(arguments.keep.join("hang"));
    let limit = Limit {
        time: Duration::from_secs(arguments.seconds),
        runs: arguments.runs,
    };
    let outcome = fuzz::run(&targets, &seeds, arguments.seed, limit, &guard)?;
    for (target, runs) in targets.iter().zip(&outcome.runs) {
        println!("{:9} {runs:9} runs", target.name());
    }
    println!(
        "{} runs over {} cases, {} findings",
        outcome.total(),
        seeds.len(),
        outcome.findings.len()
    );
    let told = |what: &str, (target, seed, spent): (Target, u64, Spent)| {
        println!(
            "{what}: {} of seed {seed}: {:?}, {} bytes of memory for {} bytes of input",
            target.name(),
            spent.time,
            spent.memory_bytes,
            spent.input_bytes
        );
    };
    if let Some(record) = outcome.slowest {
        told("slowest", record);
    }
    if let Some(record) = outcome.greediest {
        told("greediest", record);
    }
    for finding in &outcome.findings {
        let path = kept::write(&arguments.keep, finding)?;
        println!(
            "{} of case {}, seed {}: {}\n    {:?}\n    kept in {}",
            finding.target.name(),
            finding.case,
            finding.seed,
            finding.fault,
            finding.mutations,
            path.display()
        );
    }
    Ok(ExitCode::from(u8::from(!outcome.findings.is_empty())))
}
