//! Apply and revert over and over, with timers and NMIs, every CPU busy in the patched function.

use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use xsplice_ctl::calls::{ActionKind, State};
use xsplice_tests::kernel::{Kernel, number, values};

use super::super::Check;
use super::bench::{Bench, CPU_LIMIT, HOT, Payload, REPLACE};

pub(crate) const SHORT: &[Check] = &[(
    "uploads and unloads leave no page and no symbol behind",
    no_leak,
)];
pub(crate) const MEDIUM: &[Check] = &[(
    "200 rounds with timers and NMIs, no wrong result, every CPU goes on",
    |bench, cpus| rounds(bench, cpus, 200),
)];
pub(crate) const LONG: &[Check] = &[(
    "1,000 rounds with timers and NMIs, no wrong result, every CPU goes on",
    |bench, cpus| rounds(bench, cpus, 1000),
)];
pub(crate) const FEW: &[Check] = &[(
    "10 rounds with timers and NMIs, no wrong result, every CPU goes on",
    |bench, cpus| rounds(bench, cpus, 10),
)];

/// Carries out an action that must succeed; gives how often a CPU came too late for it.
fn persist(kernel: &Kernel, payload: &Payload, kind: ActionKind) -> Result<u32> {
    match kernel.persist(kind, payload.name)? {
        Ok(busy) => Ok(busy),
        Err(errno) => bail!("{kind}: {errno}"),
    }
}

fn rounds(bench: &mut Bench, cpus: u32, rounds: u32) -> Result<()> {
    let (kernel, original) = (bench.kernel(cpus)?, bench.original()?);
    let (hot, replace) = (bench.payload(&HOT)?, bench.payload(&REPLACE)?);
    kernel.test("nmi on")?;
    let (before, held) = (kernel.info()?, held(&kernel)?);
    let unused = Taken::of(&kernel)?;
    hot.upload(&kernel)?;
    replace.upload(&kernel)?;
    let taken = Taken::of(&kernel)?;
    ensure!(
        taken != unused,
        "the premise: payloads take pages and symbols"
    );
    let mut busy = 0;
    for round in 0..rounds {
        let after_round = || format!("round {round}");
        busy += persist(&kernel, &hot, ActionKind::Apply).with_context(after_round)?;
        kernel
            .wait_for_all_cpus(hot.expected.hot, CPU_LIMIT)
            .with_context(after_round)?;
        busy += persist(&kernel, &replace, ActionKind::Replace).with_context(after_round)?;
        kernel
            .wait_for_all_cpus(original.hot, CPU_LIMIT)
            .with_context(after_round)?;
        busy += persist(&kernel, &replace, ActionKind::Revert).with_context(after_round)?;
        kernel
            .wait_for_all_cpus(original.hot, CPU_LIMIT)
            .with_context(after_round)?;
        let wrong = number(&kernel.info()?, "wrong")?;
        ensure!(wrong == 0, "round {round}: {wrong} wrong results");
    }
    kernel.test("nmi off")?;
    let after = kernel.info()?;
    let grew = |key: &str| -> Result<u64> { Ok(number(&after, key)? - number(&before, key)?) };
    ensure!(grew("nmis")? > 0, "no NMI came");
    ensure!(grew("epoch")? >= u64::from(3 * rounds), "{after:?}");
    let states: BTreeMap<String, State> = kernel.states()?.into_iter().collect();
    ensure!(
        states.values().all(|state| *state == State::Checked),
        "{states:?}"
    );
    let now = Taken::of(&kernel)?;
    ensure!(now == taken, "{taken:?} became {now:?}");
    for payload in [&hot, &replace] {
        payload.act(&kernel, ActionKind::Unload)?;
    }
    let now = Taken::of(&kernel)?;
    ensure!(now == unused, "{unused:?} became {now:?}");
    println!(
        "{rounds} rounds at {cpus} CPUs: {} calls, {} NMIs, {} of them held, {busy} times -EBUSY",
        grew("calls")?,
        grew("nmis")?,
        self::held(&kernel)? - held
    );
    Ok(())
}

/// NMIs that were held back since boot.
fn held(kernel: &Kernel) -> Result<u64> {
    let said = values(&kernel.test("nmi")?)?;
    said.get("held").copied().context("held")
}

/// What payloads take of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Taken {
    /// Pages that are mapped for them.
    mapped: u64,
    /// These, and those that wait for a flush of the TLBs.
    pages: u64,
    symbols: u64,
}

impl Taken {
    fn of(kernel: &Kernel) -> Result<Taken> {
        let said = values(&kernel.test("pages")?)?;
        let value = |key: &str| said.get(key).copied().with_context(|| format!("{said:?}"));
        Ok(Taken {
            mapped: value("mapped")?,
            pages: value("taken")?,
            symbols: value("symbols")?,
        })
    }
}

fn no_leak(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, hot) = (bench.kernel(cpus)?, bench.payload(&HOT)?);
    let once = || -> Result<()> {
        hot.upload(&kernel)?;
        hot.act(&kernel, ActionKind::Apply)?;
        hot.act(&kernel, ActionKind::Revert)?;
        hot.act(&kernel, ActionKind::Unload)
    };
    // The first may still take what stays for good.
    once()?;
    let before = Taken::of(&kernel)?;
    for _ in 0..10 {
        once()?;
    }
    let after = Taken::of(&kernel)?;
    ensure!(before == after, "{before:?} became {after:?}");
    Ok(())
}
