//! The machines that programs are made for: what compiles, links and runs on each, and which ABIs
//! its payloads have.

use std::process::Command;

use anyhow::{Result, ensure};

/// Names the machines, also on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Machine {
    /// x86-64.
    #[value(name = "x86-64")]
    X86_64,
    /// AArch64. Its code runs in an emulator.
    #[value(name = "arm64")]
    Arm64,
}

/// What is known of a machine.
#[derive(Debug)]
pub(crate) struct Platform {
    /// GNU's linker.
    pub ld: &'static str,
    /// The command that compiles the runner, without its sources.
    pub runner_compiler: &'static [&'static str],
    /// The source of the runner's part that is this machine's own.
    pub runner_source: &'static str,
    /// What runs programs for this machine, where the machine at hand does not.
    pub emulator: Option<&'static str>,
    /// ABIs with the prefix of their sections; the first is the one that outcomes are about.
    pub abis: &'static [(&'static str, &'static str)],
}

static X86_64: Platform = Platform {
    ld: "ld",
    runner_compiler: &["gcc", "-O1", "-w", "-static-pie", "-fPIE"],
    runner_source: include_str!("runner/x86_64.c"),
    emulator: None,
    abis: &[
        ("xsplice", ".xsplice."),
        ("livepatch", ".livepatch."),
        ("xsplice-v1", ".xsplice."),
    ],
};

static ARM64: Platform = Platform {
    ld: "aarch64-linux-gnu-ld",
    runner_compiler: &["aarch64-linux-gnu-gcc", "-O1", "-w", "-static"],
    runner_source: include_str!("runner/aarch64.c"),
    emulator: Some("qemu-aarch64"),
    // No other has a loader there.
    abis: &[("livepatch", ".livepatch.")],
};

impl Machine {
    /// What is known of it.
    pub(crate) fn platform(self) -> &'static Platform {
        match self {
            Machine::X86_64 => &X86_64,
            Machine::Arm64 => &ARM64,
        }
    }

    /// What no program can be made or run without, and is not here.
    #[must_use]
    pub fn missing(self) -> Vec<&'static str> {
        let platform = self.platform();
        let compiler = platform.runner_compiler[0];
        let needed = [compiler, platform.ld].into_iter().chain(platform.emulator);
        let mut missing: Vec<_> = needed.filter(|program| !exists(program)).collect();
        if missing.is_empty() && !has_library(compiler, LIBRARY) {
            missing.push(LIBRARY);
        }
        missing
    }

    /// # Errors
    /// When something is missing.
    pub(crate) fn ensure_is_here(self) -> Result<()> {
        let missing = self.missing();
        ensure!(missing.is_empty(), "not here: {}", missing.join(", "));
        Ok(())
    }
}

/// What the runner is linked with.
const LIBRARY: &str = "libc.a";

/// Whether a compiler finds a library. Of one that it does not find it says the name alone.
fn has_library(compiler: &str, name: &str) -> bool {
    let question = format!("-print-file-name={name}");
    let asked = Command::new(compiler).arg(question).output();
    asked.is_ok_and(|output| output.stdout.trim_ascii() != name.as_bytes())
}

/// Whether a program can be started.
pub(crate) fn exists(program: &str) -> bool {
    let asked = Command::new(program).arg("--version").output();
    asked.is_ok_and(|output| output.status.success())
}
