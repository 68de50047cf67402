//! What payloads may hold: each kind of change to the target, in effect on the running kernel.
//!
//! What the kernel must say is computed by the patched C source, compiled for the host.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use xsplice_ctl::calls::ActionKind;
use xsplice_tests::kernel::Kernel;

use super::super::Check;
use super::bench::{Bench, Payload, Wanted};

pub(crate) const CHECKS: &[Check] = &[
    ("a function that starts with endbr64 is replaced", branch),
    (
        "functions reached through pointers alone are replaced",
        operations,
    ),
    (
        "a static function called by others is replaced",
        static_callee,
    ),
    (
        "functions of two objects are replaced together",
        two_objects,
    ),
    (
        "a string and a constant change with their functions",
        greeting,
    ),
    (
        "bug frames, exception table and alternatives of a payload work",
        traps,
    ),
];

/// The payload changes what `check` gives to what its source gives, and nothing else.
fn replaces(bench: &mut Bench, cpus: u32, patch: &'static str, checks: &[&str]) -> Result<()> {
    let wanted = Wanted {
        name: patch,
        patch,
        below: None,
    };
    let (kernel, payload) = (bench.kernel(cpus)?, bench.payload(&wanted)?);
    let original = bench.original()?.values;
    let changed: Vec<&str> = original
        .iter()
        .filter(|(name, value)| payload.expected.values.get(*name) != Some(*value))
        .map(|(name, _)| name.as_str())
        .collect();
    ensure!(
        changed == checks,
        "the premise: the patch changes {changed:?}"
    );
    ensure!(
        kernel.values()? == original,
        "before: {:?}",
        kernel.values()?
    );
    payload.upload(&kernel)?;
    payload.act(&kernel, ActionKind::Apply)?;
    let patched = kernel.values()?;
    ensure!(
        patched == payload.expected.values,
        "{patched:?} instead of {:?}",
        payload.expected.values
    );
    payload.act(&kernel, ActionKind::Revert)?;
    ensure!(
        kernel.values()? == original,
        "after: {:?}",
        kernel.values()?
    );
    Ok(())
}

fn branch(bench: &mut Bench, cpus: u32) -> Result<()> {
    replaces(bench, cpus, "branch", &["weigh"])
}

fn operations(bench: &mut Bench, cpus: u32) -> Result<()> {
    replaces(bench, cpus, "operations", &["run_operation"])
}

fn static_callee(bench: &mut Bench, cpus: u32) -> Result<()> {
    replaces(bench, cpus, "static-callee", &["hot_mix"])
}

fn two_objects(bench: &mut Bench, cpus: u32) -> Result<()> {
    replaces(bench, cpus, "two-objects", &["check"])
}

fn greeting(bench: &mut Bench, cpus: u32) -> Result<()> {
    replaces(bench, cpus, "replace-world", &["extra_version", "greeting"])
}

/// What the kernel says of a trap, by key.
fn trap(kernel: &Kernel, command: &str) -> Result<BTreeMap<String, String>> {
    let text = kernel.test(command)?;
    text.split_whitespace()
        .map(|word| {
            let (key, value) = word.split_once('=').with_context(|| text.clone())?;
            Ok((key.to_owned(), value.to_owned()))
        })
        .collect()
}

/// What the target's trapping functions do, before or after the patch.
struct Traps {
    /// A number that is warned about, and one that is not.
    warned: u32,
    silent: u32,
    /// What the function adds to either.
    adds: u32,
    /// What an address that is not a multiple of 8 gives.
    unaligned: &'static str,
    /// What is added to the number of the alternative.
    path: u32,
}

fn traps_are(kernel: &Kernel, source: &str, traps: &Traps, path: u32) -> Result<()> {
    // The line of the macro in the source, as the bug frame must have it.
    let line = source
        .lines()
        .position(|line| line.trim_start().starts_with("WARN_IF("));
    let line = (line.context("no WARN_IF in the source")? + 1).to_string();
    let before = trap(kernel, &format!("bug {}", traps.silent))?;
    ensure!(
        before.get("value") == Some(&(traps.silent + traps.adds).to_string()),
        "{before:?}"
    );
    let after = trap(kernel, &format!("bug {}", traps.warned))?;
    ensure!(
        after.get("value") == Some(&(traps.warned + traps.adds).to_string()),
        "{after:?}"
    );
    let warnings = |said: &BTreeMap<String, String>| -> Result<u64> {
        Ok(said.get("warnings").context("warnings")?.parse()?)
    };
    ensure!(
        warnings(&after)? == warnings(&before)? + 1,
        "{before:?} {after:?}"
    );
    ensure!(after.get("line") == Some(&line), "line {line}: {after:?}");
    let file = after.get("file").context("file")?;
    ensure!(file.ends_with("traps/traps.c"), "{after:?}");

    // Not mapped, and in the first page: the fault is fixed up.
    let fault = trap(kernel, "fault 0x10")?;
    ensure!(
        fault.get("error").map(String::as_str) == Some("-14"),
        "{fault:?}"
    );
    let unaligned = trap(kernel, "fault 0x11")?;
    ensure!(
        unaligned.get("error").map(String::as_str) == Some(traps.unaligned),
        "{unaligned:?}"
    );

    let alternative = trap(kernel, "alternative")?;
    ensure!(
        alternative.get("path") == Some(&(path + traps.path).to_string()),
        "{alternative:?}"
    );
    Ok(())
}

fn traps(bench: &mut Bench, cpus: u32) -> Result<()> {
    let wanted = Wanted {
        name: "traps",
        patch: "traps",
        below: None,
    };
    let (kernel, payload): (Kernel, Payload) = (bench.kernel(cpus)?, bench.payload(&wanted)?);
    let old_source =
        fs::read_to_string(xsplice_tests::workspace().join("fixtures/target/traps/traps.c"))?;
    let new_source = fs::read_to_string(payload.source.join("traps/traps.c"))?;
    let old = Traps {
        warned: 9,
        silent: 4,
        adds: 1,
        unaligned: "-14",
        path: 0,
    };
    let new = Traps {
        warned: 9,
        silent: 5,
        adds: 100,
        unaligned: "-22",
        path: 10,
    };
    let path = trap(&kernel, "alternative")?;
    let path: u32 = path.get("path").context("path")?.parse()?;
    traps_are(&kernel, &old_source, &old, path)?;
    payload.upload(&kernel)?;
    payload.act(&kernel, ActionKind::Apply)?;
    traps_are(&kernel, &new_source, &new, path)?;
    payload.act(&kernel, ActionKind::Revert)?;
    traps_are(&kernel, &old_source, &old, path)
}
