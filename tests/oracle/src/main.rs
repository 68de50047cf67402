//! `make oracle`: judges payloads by what the patched code does.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use xsplice_oracle::campaign::{Limits, run};
use xsplice_oracle::constructs_of;
use xsplice_oracle::judge::Change;
use xsplice_oracle::machine::Machine;
use xsplice_oracle::matrix::Matrix;

/// Makes programs from seeds, edits them, and compares what patched code answers with what the
/// patched build does.
#[derive(Debug, Parser)]
struct Arguments {
    /// What programs are made for
    #[arg(long, default_value = "x86-64")]
    machine: Machine,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many programs
    #[arg(long, default_value_t = 20_000)]
    count: u64,
    /// No new program after this many seconds
    #[arg(long, default_value_t = 86_400)]
    seconds: u64,
    /// How many at a time (0: one a processor)
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Folder of the commands
    #[arg(long, default_value = "target/release")]
    commands: PathBuf,
    /// Where programs that come out wrong are kept
    #[arg(long, default_value = "out/oracle")]
    keep: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let machine = arguments.machine;
    let limits = Limits {
        machine,
        first: arguments.seed,
        count: arguments.count,
        time: Duration::from_secs(arguments.seconds),
        threads: match arguments.threads {
            0 => std::thread::available_parallelism()?.get(),
            some => some,
        },
        keep: Some(arguments.keep),
    };
    println!(
        "{} constructs, seeds from {}",
        constructs_of(machine),
        arguments.seed
    );
    if arguments.count == 1 {
        println!(
            "{}",
            Change::random(arguments.seed, &Matrix::here(machine)).shown()
        );
    }
    let commands = std::path::absolute(&arguments.commands)?;
    let counts = run(&commands, &limits, |counts| {
        println!("{} so far, {} wrong", counts.judged(), counts.wrong.len());
    })?;
    print!("{}", counts.shown());
    ensure!(counts.wrong.is_empty(), "{} wrong", counts.wrong.len());
    Ok(())
}
