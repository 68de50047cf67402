//! Mutates files for a time and prints what it found: `fuzz [TARGET|all] [SECONDS] [SEED]`.
//!
//! Exit status 1 when something was found. `make fuzz` runs it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use xsplice_tests::fuzz::{self, Target};

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let target = arguments.next().unwrap_or_else(|| "all".to_owned());
    let targets: Vec<Target> = Target::ALL
        .into_iter()
        .filter(|known| target == "all" || known.name() == target)
        .collect();
    anyhow::ensure!(
        !targets.is_empty(),
        "{target}: not one of all, {}",
        Target::ALL.map(Target::name).join(", ")
    );
    let number = |text: Option<String>, default: u64| -> Result<u64> {
        text.map_or(Ok(default), |text| {
            text.parse()
                .with_context(|| format!("{text}: not a number"))
        })
    };
    let seconds = number(arguments.next(), 60)?;
    let seed = number(arguments.next(), 1)?;
    let seeds = fuzz::seeds()?;
    let (runs, findings) = fuzz::run(&targets, &seeds, seed, Duration::from_secs(seconds))?;
    println!(
        "{runs} runs over {} cases, {} findings",
        seeds.len(),
        findings.len()
    );
    for finding in &findings {
        println!(
            "{} of case {}, seed {}: {}\n    {:?}",
            finding.target.name(),
            finding.case,
            finding.seed,
            finding.fault,
            finding.mutations
        );
    }
    Ok(ExitCode::from(u8::from(!findings.is_empty())))
}
