//! The programs of `fixtures/behaviour`: once the payload is applied, every call is answered as in
//! the patched build. Each is judged in a process of its own, since wrong code may end it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use xsplice_tests::behaviour::{self, Behaviour};
use xsplice_tests::compiler;

#[test]
fn what_a_payload_does_is_what_the_patched_build_does() -> Result<()> {
    judge_all(&["--", "--no-account"])
}

#[test]
fn the_account_lets_nothing_wrong_pass() -> Result<()> {
    judge_all(&[])
}

fn judge_all(further: &[&str]) -> Result<()> {
    let folders = behaviour::all()?;
    let mut surprises = Vec::new();
    let mut right = 0;
    for folder in &folders {
        let name = folder.file_name().context("a folder has a name")?;
        let name = name.to_string_lossy();
        let behaviour = Behaviour::read(folder)?;
        let compiler = behaviour.compile.split(' ').next().unwrap_or_default();
        if !compiler.is_empty() && !compiler::exists(compiler) {
            println!("{name}: no {compiler} here");
            continue;
        }
        let (is_sound, told) = judge(folder, further)?;
        right += usize::from(told == "right");
        match &behaviour.outcome {
            Some(wanted) if *wanted != told => {
                surprises.push(format!("{name}: {told}, and not {wanted}"));
            }
            _ if !is_sound => surprises.push(format!("{name}: {told}")),
            _ => {}
        }
    }
    ensure!(surprises.is_empty(), "{}", surprises.join("\n"));
    ensure!(right > 0, "nothing was patched");
    Ok(())
}

/// Whether what came out may be shipped, or was not made; and what came out.
fn judge(folder: &Path, further: &[&str]) -> Result<(bool, String)> {
    let run = Command::new(env!("CARGO_BIN_EXE_behaviour"))
        .arg(folder)
        .args(further)
        .output()?;
    let told = String::from_utf8_lossy(&run.stdout).trim().to_owned();
    match run.status.code() {
        Some(0) => {
            let is_wrong = told.starts_with("WRONG") || told.starts_with("SILENT");
            Ok((!is_wrong, told))
        }
        // The code that was called ended the process.
        None => Ok((false, format!("{}", run.status))),
        Some(_) => Ok((false, String::from_utf8_lossy(&run.stderr).into_owned())),
    }
}
