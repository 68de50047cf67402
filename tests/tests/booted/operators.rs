//! Operators at random, for as long as is asked: uploads of good and broken payloads, actions in
//! any order and with any patience, clients that are killed or send garbage. In the end the kernel
//! answers, its memory is what it was at the start, and every CPU has gone on.

use anyhow::{Context, Result, ensure};
use std::env;
use std::time::{Duration, Instant};
use xsplice_ctl::calls::{ActionKind, KernelTimeout, Waived};
use xsplice_tests::kernel::{Counters, Kernel, number, values};

use super::super::Check;
use super::bench::{
    BYE, Bench, CPU_LIMIT, HELLO, HOT, HOT_AGAIN, Payload, REPLACE, STATE, unload_all,
};
use super::clients::{Draws, misbehave, seed};

pub(crate) const CHECKS: &[Check] = &[("operators at random do no lasting harm", operators)];

/// Set: for so many seconds.
pub(crate) const SECONDS_VARIABLE: &str = "XSPLICE_OPERATORS_SECONDS";
/// How often it is said how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// How long is asked for; `None` when it is not.
pub(crate) fn duration() -> Result<Option<Duration>> {
    match env::var(SECONDS_VARIABLE) {
        Ok(text) => Ok(Some(Duration::from_secs(
            text.parse().context(SECONDS_VARIABLE)?,
        ))),
        Err(_) => Ok(None),
    }
}

/// What has to be as it was, once nothing is loaded.
fn memory(kernel: &Kernel) -> Result<Counters> {
    values(&kernel.test("pages")?)
}

/// Loads each payload there is once, so that tables have the size that they keep.
fn warm_up(kernel: &Kernel, payloads: &[Payload]) -> Result<()> {
    for payload in payloads {
        payload.upload(kernel)?;
    }
    for payload in payloads {
        // Not every one goes on top of every other.
        let _ = kernel.act(ActionKind::Apply, payload.name)?;
    }
    unload_all(kernel)
}

/// One thing that an operator does.
fn one(draws: &mut Draws, kernel: &Kernel, guest: &Kernel, payloads: &[Payload]) -> Result<()> {
    let index = usize::try_from(draws.below(u32::try_from(payloads.len())?))?;
    let payload = &payloads[index];
    let kinds = [
        ActionKind::Apply,
        ActionKind::Apply,
        ActionKind::Apply,
        ActionKind::Revert,
        ActionKind::Revert,
        ActionKind::Unload,
        ActionKind::Replace,
        ActionKind::Check,
    ];
    let kind = kinds[usize::try_from(draws.below(8))?];
    match draws.below(20) {
        0..=3 => misbehave(draws, kernel, &payload.bytes)?,
        4..=5 => misbehave(draws, guest, &payload.bytes)?,
        6..=9 => {
            let _ = kernel.upload(payload.name, &payload.bytes)?;
        }
        10 => broken(draws, kernel, payload)?,
        11 => drop(kernel.list()?),
        12 => drop(kernel.call_text(xsplice_abi::channel::CALL_DUMP, "")?),
        13 => drop(kernel.test(["nmi on", "nmi off", "stats"][usize::try_from(draws.below(3))?])?),
        // With little patience it fails, which must change nothing.
        14 => {
            let timeout = KernelTimeout {
                ns: 1 + draws.below(100_000_000),
            };
            let _ = kernel.act_with(kind, payload.name, timeout, Waived::Nothing)?;
        }
        15 => {
            let _ = kernel.ask(kind, payload.name)?;
        }
        _ => {
            let _ = kernel.act(kind, payload.name)?;
        }
    }
    Ok(())
}

/// A payload with some bits changed; what is taken all the same is unloaded at once.
fn broken(draws: &mut Draws, kernel: &Kernel, payload: &Payload) -> Result<()> {
    let mut bytes = payload.bytes.clone();
    for _ in 0..=draws.below(4) {
        let at = usize::try_from(draws.below(u32::try_from(bytes.len())?))?;
        bytes[at] ^= 1 << draws.below(8);
    }
    let length = usize::try_from(draws.below(u32::try_from(bytes.len())?))?;
    if draws.below(3) == 0 {
        bytes.truncate(length);
    }
    if kernel.upload("broken", &bytes)?.is_ok() {
        let gone = kernel.ask(ActionKind::Unload, "broken")?;
        ensure!(gone == Ok(()), "unload broken: {gone:?}");
    }
    Ok(())
}

fn operators(bench: &mut Bench, cpus: u32) -> Result<()> {
    let lasts = duration()?.unwrap_or(Duration::from_secs(30));
    bench.keep_machines_for(lasts + Duration::from_secs(900));
    bench.stop(cpus);
    let (kernel, guest) = (bench.kernel(cpus)?, bench.guest(cpus)?);
    let original = bench.original()?;
    let mut payloads = Vec::new();
    for wanted in [&HELLO, &BYE, &HOT, &HOT_AGAIN, &REPLACE, &STATE] {
        payloads.push(bench.payload(wanted)?);
    }
    warm_up(&kernel, &payloads)?;
    let (before, counters) = (memory(&kernel)?, kernel.cpus()?);
    let seed = seed()?;
    let mut draws = Draws::new(seed);
    let begun = Instant::now();
    let mut told = begun;
    let mut turns = 0_u64;
    while begun.elapsed() < lasts {
        turns += 1;
        one(&mut draws, &kernel, &guest, &payloads)
            .with_context(|| format!("seed {seed}, turn {turns}"))?;
        if told.elapsed() > TOLD_EVERY {
            told = Instant::now();
            eprintln!("{} s: {turns} turns", begun.elapsed().as_secs());
        }
    }
    let said = || format!("seed {seed}, after {turns} turns");

    kernel.test("nmi off")?;
    settle(&kernel)?;
    // Clients upload under a name of their own.
    unload_all(&kernel).with_context(said)?;
    let after = memory(&kernel)?;
    ensure!(after == before, "{}: {before:?} became {after:?}", said());
    let info = kernel.info()?;
    ensure!(number(&info, "wrong")? == 0, "{}: {info:?}", said());
    ensure!(
        info.get("extra") == Some(&original.extra_version),
        "{}: {info:?}",
        said()
    );
    let now = kernel.wait_for_all_cpus(original.hot, CPU_LIMIT)?;
    for (now, before) in now.iter().zip(&counters) {
        let moved = |key: &str| now.get(key) > before.get(key);
        ensure!(
            moved("calls") && moved("safe_points"),
            "{}: {now:?}",
            said()
        );
    }
    eprintln!(
        "seed {seed}: {turns} turns in {} s",
        begun.elapsed().as_secs()
    );
    Ok(())
}

/// Waits for actions that nobody waited for.
fn settle(kernel: &Kernel) -> Result<()> {
    let deadline = Instant::now() + CPU_LIMIT;
    while kernel
        .list()?
        .iter()
        .any(|entry| entry.status.in_progress())
    {
        ensure!(Instant::now() < deadline, "an action does not end");
    }
    Ok(())
}
