//! Judges one folder of `fixtures/behaviour`; see [`xsplice_tests::behaviour`].

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use xsplice_tests::behaviour::Behaviour;

/// Builds a program twice, makes a payload and asks both what they answer.
#[derive(Debug, Parser)]
struct Arguments {
    /// A folder with a behaviour.json
    folder: PathBuf,
    /// Further arguments of xsplice-build
    #[arg(last = true)]
    further: Vec<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let behaviour = Behaviour::read(&arguments.folder)?;
    let outcome = behaviour.judge(&arguments.folder, &arguments.further)?;
    println!("{outcome}");
    Ok(())
}
