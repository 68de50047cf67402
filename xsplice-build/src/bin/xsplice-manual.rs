//! Writes man pages and shell completions below a prefix; `make install` calls it.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use xsplice_build::command::manual;

/// Write man pages and shell completions of all commands below a prefix.
#[derive(Debug, Parser)]
#[command(name = "xsplice-manual", version)]
struct Arguments {
    /// The prefix, such as /usr/local
    prefix: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match manual::write(&arguments.prefix) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("xsplice-manual: {error:#}");
            ExitCode::FAILURE
        }
    }
}
