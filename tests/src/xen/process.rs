//! Runs a program with its output in a log, so that a failure can quote it and a long one shows
//! that it lives.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a running program's progress is printed.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// How much of a failed program's log a message quotes.
const QUOTED_LINES: usize = 15;

/// Runs `command` to its end with everything it prints in `log`, printing every few seconds how
/// many lines there are, and fails with the end of the log if it fails.
pub fn run_logged(what: &str, command: &mut Command, log: &Path) -> Result<()> {
    let started = Instant::now();
    let mut file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(file.try_clone().context("cannot share the log")?)
        .spawn()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let output = child
        .stdout
        .take()
        .context("the program's output was asked for")?;
    let mut lines = 0_usize;
    let mut spoken = Instant::now();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("cannot read the program's output")?;
        file.write_all(&line)
            .and_then(|()| file.write_all(b"\n"))
            .context("cannot write the log")?;
        lines += 1;
        if spoken.elapsed() >= PROGRESS_EVERY {
            spoken = Instant::now();
            println!(
                "   {what}: {} s, {lines} lines",
                started.elapsed().as_secs()
            );
        }
    }
    let status = child.wait().context("cannot wait for the program")?;
    if !status.success() {
        let text = std::fs::read(log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        let tail = all[all.len().saturating_sub(QUOTED_LINES)..].join("\n    ");
        bail!(
            "{what}: {status}; the end of {}:\n    {tail}",
            log.display()
        );
    }
    Ok(())
}

/// Runs a short program and returns what it printed, failing if it fails.
pub fn run_quiet(command: &mut Command) -> Result<String> {
    let output = output_of(command)?;
    if !output.status.success() {
        bail!(
            "{:?}: {}: {}",
            command,
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a short program to its end, whatever its exit status.
pub fn output_of(command: &mut Command) -> Result<Output> {
    command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))
}
