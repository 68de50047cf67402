//! The programs of `fixtures/behaviour`: once the payload is applied, every call is answered as in
//! the patched build. Each is judged in a process of its own, since wrong code may end it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use xsplice_tests::behaviour::{self, Behaviour};
use xsplice_tests::compiler;

/// Programs that come out wrong when the account is not asked. Each must leave the list as soon as
/// it does not any more.
const OPEN: [&str; 20] = [
    "alignment-of-one-variable-in-a-shared-section",
    "changed-constant-that-was-handed-out",
    "code-that-falls-through",
    "constant-in-section-that-counts-as-noise",
    "function-moves-into-copied-section",
    "identical-functions-folded-by-lld",
    "identity-of-copied-constants",
    "label-table-of-writable-data",
    "new-weak-symbols-in-several-objects-new-weak-and-strong",
    "new-weak-symbols-in-several-objects-new-weak-variable-in-two",
    "objects-never-looked-at-extension-lo",
    "objects-never-looked-at-thin-archive-outside",
    "only-the-link-changes-object-emptied",
    "renamed-or-moved-variable-loses-its-state",
    "same-file-name-after-gc-sections",
    "same-named-static-locals-swap-state",
    "swapped-labels-taken-for-line-numbers",
    "table-membership-and-order-table-order",
    "table-membership-and-order-var-moves-into-table",
    "two-identical-weak-or-comdat-definitions",
];

/// Those that the account does not see either.
const OPEN_WITH_ACCOUNT: [&str; 6] = [
    "changed-constant-that-was-handed-out",
    "code-that-falls-through",
    "identity-of-copied-constants",
    "new-weak-symbols-in-several-objects-new-weak-variable-in-two",
    "renamed-or-moved-variable-loses-its-state",
    "same-named-static-locals-swap-state",
];

#[test]
fn what_a_payload_does_is_what_the_patched_build_does() -> Result<()> {
    judge_all(&OPEN, &["--", "--no-account"])
}

#[test]
fn the_account_sees_what_the_comparison_misses() -> Result<()> {
    judge_all(&OPEN_WITH_ACCOUNT, &[])
}

fn judge_all(open: &[&str], further: &[&str]) -> Result<()> {
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
        if is_sound == open.contains(&&*name) {
            surprises.push(format!("{name}: {told}"));
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
