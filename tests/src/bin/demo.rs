//! `make demo` and `make kernel`: reads the command line and leaves everything else to the library.
#![forbid(unsafe_code)]

use anyhow::{Context, Result};
use clap::Parser;
use std::env;
use std::path::PathBuf;
use std::process::ExitCode;
use xsplice_tests::demo::{Demo, clear};
use xsplice_tests::workspace;

/// Shows live patching on a running kernel.
#[derive(Debug, Parser)]
#[command(name = "demo")]
struct Arguments {
    /// CPUs of the kernel
    #[arg(long, default_value_t = 4)]
    cpus: u32,
    /// How often the hot function is replaced
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// Only boot the kernel, and leave it running with the payloads beside it
    #[arg(long)]
    keep_running: bool,
    /// Have the kernel take only what the holder of this certificate signed
    #[arg(long, value_name = "PEM", requires = "keep_running")]
    cert: Option<PathBuf>,
}

fn main() -> ExitCode {
    match show(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn show(arguments: &Arguments) -> Result<()> {
    // The commands were built together with this one. Paths are printed as the reader will use
    // them: from the root of the workspace.
    let own = env::current_exe()?;
    let folder = own.parent().context("a program lies in a folder")?;
    let root = workspace();
    // Before the folder is changed: it is relative to where the command was typed.
    let certificate = match &arguments.cert {
        Some(path) => Some(
            path.canonicalize()
                .with_context(|| path.display().to_string())?,
        ),
        None => None,
    };
    env::set_current_dir(&root)?;
    let out = if arguments.keep_running {
        "out/kernel"
    } else {
        "out/demo"
    };
    let demo = Demo {
        cpus: arguments.cpus,
        rounds: arguments.rounds,
        certificate,
        out: PathBuf::from(out),
        tools: folder.strip_prefix(&root).unwrap_or(folder).to_owned(),
    };
    clear(&demo.out)?;
    if arguments.keep_running {
        demo.leave_kernel_running()
    } else {
        demo.run()
    }
}
