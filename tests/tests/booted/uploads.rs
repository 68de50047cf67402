//! What a kernel takes up and what it refuses, with the error number of each.

use anyhow::{Result, ensure};
use xsplice_abi::Errno;
use xsplice_ctl::calls::ActionKind;
use xsplice_tests::kernel::Kernel;

use super::super::Check;
use super::bench::{Bench, HELLO, HOT, Payload};

pub(crate) const CHECKS: &[Check] = &[
    ("a payload for another kernel is refused", foreign),
    (
        "a name or a build-id that is there already is refused",
        twice,
    ),
    ("what is no payload is refused by what it lacks", no_payload),
    (
        "page-table entries never allow writing and executing",
        never_writable_and_executable,
    ),
];

/// Nothing is loaded, and a good payload still is.
fn unharmed(kernel: &Kernel, good: &Payload) -> Result<()> {
    let entries = kernel.list()?;
    ensure!(entries.is_empty(), "left behind: {entries:?}");
    good.upload(kernel)?;
    good.act(kernel, ActionKind::Apply)?;
    good.act(kernel, ActionKind::Revert)?;
    good.act(kernel, ActionKind::Unload)
}

fn foreign(bench: &mut Bench, cpus: u32) -> Result<()> {
    let foreign = bench.foreign_payload()?;
    let (kernel, hello) = (bench.kernel(cpus)?, bench.payload(&HELLO)?);
    let answer = kernel.upload("foreign", &foreign)?;
    ensure!(answer == Err(Errno::EINVAL), "{answer:?}");
    unharmed(&kernel, &hello)
}

fn twice(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, hello, hot) = (
        bench.kernel(cpus)?,
        bench.payload(&HELLO)?,
        bench.payload(&HOT)?,
    );
    hello.upload(&kernel)?;
    let same_name = kernel.upload(hello.name, &hot.bytes)?;
    ensure!(same_name == Err(Errno::EEXIST), "name: {same_name:?}");
    let same_build_id = kernel.upload("other", &hello.bytes)?;
    ensure!(
        same_build_id == Err(Errno::EEXIST),
        "build-id: {same_build_id:?}"
    );
    hello.act(&kernel, ActionKind::Unload)?;
    unharmed(&kernel, &hello)
}

fn no_payload(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, hello) = (bench.kernel(cpus)?, bench.payload(&HELLO)?);
    let empty = kernel.upload("empty", &[])?;
    ensure!(empty == Err(Errno::EINVAL), "empty: {empty:?}");
    for (what, bytes) in [
        ("text", &b"#!/bin/sh\n"[..]),
        ("an ELF header alone", &hello.bytes[..64]),
    ] {
        let answer = kernel.upload("junk", bytes)?;
        ensure!(answer.is_err(), "{what} was taken");
    }
    unharmed(&kernel, &hello)
}

fn never_writable_and_executable(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, hello) = (bench.kernel(cpus)?, bench.payload(&HELLO)?);
    let executable = |when: &str| -> Result<u64> {
        let text = kernel.test("mappings")?;
        let value = |key: &str| {
            text.split_whitespace().find_map(|word| {
                word.strip_prefix(key)?
                    .strip_prefix('=')?
                    .parse::<u64>()
                    .ok()
            })
        };
        ensure!(value("wx") == Some(0), "{when}: {text}");
        value("rx").ok_or_else(|| anyhow::anyhow!("{when}: {text}"))
    };
    let before = executable("before")?;
    hello.upload(&kernel)?;
    ensure!(
        executable("loaded")? > before,
        "the payload's code is not executable"
    );
    hello.act(&kernel, ActionKind::Apply)?;
    executable("applied")?;
    hello.act(&kernel, ActionKind::Revert)?;
    hello.act(&kernel, ActionKind::Unload)?;
    ensure!(
        executable("unloaded")? == before,
        "the payload's code is still there"
    );
    Ok(())
}
