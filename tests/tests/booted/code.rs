//! Code of payloads beyond the functions that they replace: hooks, shadow variables, words that are
//! changed in place, and faults.

use anyhow::{Context, Result, ensure};
use xsplice_abi::Errno;
use xsplice_ctl::calls::{ActionKind, State};
use xsplice_tests::kernel::{Kernel, values};

use super::super::Check;
use super::bench::{Bench, CPU_LIMIT, Payload, Wanted};

pub(crate) const CHECKS: &[Check] = &[
    (
        "hooks run in their order, are given what they are promised, and may veto",
        hooks,
    ),
    (
        "a shadow variable outlives a revert and is found again",
        shadow,
    ),
    (
        "a pointer in a read-only table is changed in place and put back",
        word,
    ),
];
/// Each ends the run of its kernel.
pub(crate) const FAULTS: &[Check] = &[
    (
        "a fault in payload code names payload, function and offset",
        fault,
    ),
    ("a BUG in payload code names its file and line", stop),
];

const fn named(name: &'static str) -> Wanted {
    Wanted {
        name,
        patch: name,
        below: None,
    }
}

/// What the payload's hooks have said since the log had `start` bytes.
fn said(bench: &mut Bench, cpus: u32, start: usize) -> Result<Vec<String>> {
    let log = bench.log(cpus)?.split_off(start);
    let lines = log.lines().filter_map(|line| line.split_once("target: "));
    Ok(lines.map(|(_, text)| text.to_owned()).collect())
}

fn hooks(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, hooks) = (bench.kernel(cpus)?, bench.payload(&named("hooks"))?);
    let original = bench.original()?.extra_version;
    let extra = || -> Result<String> { Ok(kernel.info()?.remove("extra").unwrap_or_default()) };
    hooks.upload(&kernel)?;
    let start = bench.log(cpus)?.len();
    hooks.act(&kernel, ActionKind::Apply)?;
    ensure!(extra()? == "-hooked", "{}", extra()?);
    let vetoed = kernel.act(ActionKind::Revert, hooks.name)?;
    ensure!(vetoed == Err(Errno::EINVAL), "{vetoed:?}");
    let status = kernel.get(hooks.name)?.context("loaded")?;
    ensure!(status.state == State::Applied, "{status:?}");
    ensure!(extra()? == "-hooked", "a vetoed revert changes nothing");
    hooks.act(&kernel, ActionKind::Revert)?;
    ensure!(extra()? == original, "{}", extra()?);
    // State 1 is CHECKED, 2 APPLIED; a pre-hook sees the result of the action before.
    let all = said(bench, cpus, start)?;
    let wanted = [
        "preapply of hooks: bytes=32 state=1 rc=0 records=1 loads=0 unloads=0",
        "postapply of hooks: bytes=32 state=2 rc=0 records=1 loads=1 unloads=0",
        "prerevert of hooks: bytes=32 state=2 rc=0 records=1 loads=1 unloads=0",
        "prerevert of hooks: bytes=32 state=2 rc=-22 records=1 loads=1 unloads=0",
        "postrevert of hooks: bytes=32 state=1 rc=0 records=1 loads=1 unloads=1",
    ];
    // An action that a CPU came too late for is asked for again, and its pre-hook too.
    let mut seen = all.clone();
    seen.dedup_by(|next, before| hook(next) == hook(before) && next.contains("rc=-16"));
    ensure!(seen == wanted, "{all:#?}");
    Ok(())
}

fn hook(line: &str) -> Option<&str> {
    line.split_whitespace().next()
}

/// Set by the payload in what it says of its own variable.
const SHADOW: u64 = 1 << 62;

fn shadow(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, shadow) = (bench.kernel(cpus)?, bench.payload(&named("shadow"))?);
    let tickets = |kernel: &Kernel| -> Result<u64> {
        let said = values(&kernel.test("tickets")?)?;
        said.get("tickets").copied().context("no tickets")
    };
    let before = tickets(&kernel)?;
    ensure!(before & SHADOW == 0 && before > 0, "the premise: {before}");
    shadow.upload(&kernel)?;
    shadow.act(&kernel, ActionKind::Apply)?;
    let first = tickets(&kernel)?;
    ensure!(first & SHADOW != 0, "{first:#x}");
    kernel.wait_for_all_cpus(bench.original()?.hot, CPU_LIMIT)?;
    let counted = tickets(&kernel)?;
    ensure!(counted > first, "{first:#x} became {counted:#x}");
    shadow.act(&kernel, ActionKind::Revert)?;
    let after = tickets(&kernel)?;
    ensure!(after & SHADOW == 0 && after > before, "{before}, {after}");
    // Even by a payload that is loaded anew.
    shadow.act(&kernel, ActionKind::Unload)?;
    shadow.upload(&kernel)?;
    shadow.act(&kernel, ActionKind::Apply)?;
    let again = tickets(&kernel)?;
    ensure!(again >= counted, "{counted:#x} became {again:#x}");
    Ok(())
}

/// What `reverse` and the function in its place give for the check's argument, with the first
/// letter of the operation's name; see fixtures/target/core/operations.c.
const REVERSED: u32 = 0x0403_0202 ^ b'r' as u32;
const REVERSED_MORE: u32 = 0x0403_0203 ^ b'r' as u32;

fn word(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, words) = (bench.kernel(cpus)?, bench.payload(&named("words"))?);
    let before = kernel.values()?;
    words.upload(&kernel)?;
    words.act(&kernel, ActionKind::Apply)?;
    let patched = kernel.values()?;
    // The check goes twice through the table of three.
    let mut wanted = before.clone();
    let operations = wanted.get_mut("run_operation").context("run_operation")?;
    let old = u32::try_from(*operations)?;
    let new = old
        .wrapping_sub(REVERSED.wrapping_mul(2))
        .wrapping_add(REVERSED_MORE.wrapping_mul(2));
    *operations = u64::from(new);
    ensure!(
        new != old && patched == wanted,
        "{patched:?}, not {wanted:?}"
    );
    words.act(&kernel, ActionKind::Revert)?;
    ensure!(kernel.values()? == before, "{:?}", kernel.values()?);
    Ok(())
}

/// Applies the payload, gives a command that ends the run in its code, and gives the log's end.
fn ended_by(bench: &mut Bench, cpus: u32, name: &'static str, command: &str) -> Result<String> {
    let (kernel, payload): (Kernel, Payload) = (bench.kernel(cpus)?, bench.payload(&named(name))?);
    payload.upload(&kernel)?;
    payload.act(&kernel, ActionKind::Apply)?;
    let start = bench.log(cpus)?.len();
    ensure!(kernel.test(command).is_err(), "{command} was answered");
    Ok(bench.end(cpus)?.split_off(start))
}

fn fault(bench: &mut Bench, cpus: u32) -> Result<()> {
    // An even number: the function writes to that address, and nothing is there.
    let log = ended_by(bench, cpus, "crash", "bug 64")?;
    ensure!(log.contains("fatal: vector 14 error 0x2 "), "{log}");
    ensure!(log.contains("cr2=0000000000000040"), "{log}");
    let (_, place) = log
        .split_once(", in crash:provoke_warning+0x")
        .with_context(|| format!("not named: {log}"))?;
    let digits = |text: &str| u64::from_str_radix(text, 16).context("a hexadecimal number");
    let (offset, size) = place
        .lines()
        .next()
        .and_then(|rest| rest.split_once("/0x"))
        .with_context(|| format!("no offset: {log}"))?;
    ensure!(digits(offset)? < digits(size)?, "{offset} of {size}");
    Ok(())
}

fn stop(bench: &mut Bench, cpus: u32) -> Result<()> {
    let log = ended_by(bench, cpus, "stop", "bug 65")?;
    ensure!(log.contains("traps/traps.c"), "{log}");
    ensure!(log.contains("stop:provoke_warning+0x"), "{log}");
    Ok(())
}
