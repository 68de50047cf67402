//! Apply and revert over and over, with timers and NMIs, every CPU busy in the patched function.

use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};
use xsplice_abi::Errno;
use xsplice_ctl::calls::{ActionKind, Dependencies, KernelTimeout, State};
use xsplice_tests::kernel::{Kernel, number, values};
use xsplice_tests::limit::scaled;

use super::super::Check;
use super::bench::{Bench, CPU_LIMIT, HOT, Payload, REPLACE};

pub const SHORT: &[Check] = &[
    ("uploads and unloads leave no page behind", no_leak),
    (
        "a CPU that does not come is -EBUSY and named, and changes nothing",
        late,
    ),
    (
        "a CPU that is slow to leave is waited for, but not for ever",
        slow_to_leave,
    ),
    (
        "two CPUs that act on one payload at once never harm it",
        storm,
    ),
];
pub const MEDIUM: &[Check] = &[(
    "200 rounds with timers and NMIs, no wrong result, every CPU goes on",
    |bench, cpus| rounds(bench, cpus, 200),
)];
pub const LONG: &[Check] = &[(
    "1,000 rounds with timers and NMIs, no wrong result, every CPU goes on",
    |bench, cpus| rounds(bench, cpus, 1000),
)];
pub const FEW: &[Check] = &[(
    "10 rounds with timers and NMIs, no wrong result, every CPU goes on",
    |bench, cpus| rounds(bench, cpus, 10),
)];

/// Many emulated CPUs on few real ones may not all come in time: -EBUSY, nothing changed, again.
const ATTEMPTS: u32 = 20;
/// A replace among so many applies.
const REPLACE_EVERY: u32 = 10;

/// Carries out `kind`, again while the kernel says that a CPU did not come. Gives how often it did.
fn persist(kernel: &Kernel, payload: &Payload, kind: ActionKind) -> Result<u32> {
    for busy in 0..ATTEMPTS {
        let before = kernel.get(payload.name)?.context("it is loaded")?.state;
        match kernel.act(kind, payload.name)? {
            Ok(()) => return Ok(busy),
            Err(Errno::EBUSY) => {
                let after = kernel.get(payload.name)?.context("it is loaded")?.state;
                ensure!(after == before, "-EBUSY, but {before} became {after}");
            }
            Err(errno) => bail!("{kind}: {errno}"),
        }
    }
    bail!("{kind}: -EBUSY {ATTEMPTS} times");
}

fn rounds(bench: &mut Bench, cpus: u32, rounds: u32) -> Result<()> {
    let (kernel, original) = (bench.kernel(cpus)?, bench.original()?);
    let (hot, replace) = (bench.payload(&HOT)?, bench.payload(&REPLACE)?);
    kernel.test("nmi on")?;
    let before = kernel.info()?;
    hot.upload(&kernel)?;
    replace.upload(&kernel)?;
    let pages = kernel.test("pages")?;
    let mut busy = 0;
    for round in 0..rounds {
        let after_round = || format!("round {round}");
        busy += persist(&kernel, &hot, ActionKind::Apply).with_context(after_round)?;
        kernel
            .wait_for_all_cpus(hot.expected.hot, CPU_LIMIT)
            .with_context(after_round)?;
        if round % REPLACE_EVERY == 0 {
            busy += persist(&kernel, &replace, ActionKind::Replace).with_context(after_round)?;
            kernel
                .wait_for_all_cpus(original.hot, CPU_LIMIT)
                .with_context(after_round)?;
            busy += persist(&kernel, &replace, ActionKind::Revert).with_context(after_round)?;
        } else {
            busy += persist(&kernel, &hot, ActionKind::Revert).with_context(after_round)?;
        }
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
    ensure!(grew("epoch")? >= u64::from(2 * rounds), "{after:?}");
    let states: BTreeMap<String, State> = kernel.states()?.into_iter().collect();
    ensure!(
        states.values().all(|state| *state == State::Checked),
        "{states:?}"
    );
    let now = kernel.test("pages")?;
    ensure!(
        mapped(&now)? == mapped(&pages)?,
        "pages: {pages} became {now}"
    );
    println!(
        "{rounds} rounds at {cpus} CPUs: {} calls, {busy} times -EBUSY",
        grew("calls")?
    );
    Ok(())
}

fn mapped(pages: &str) -> Result<(u64, u64)> {
    let value = |key: &str| -> Result<u64> {
        let word = pages
            .split_whitespace()
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        word.with_context(|| format!("{key} in {pages:?}"))?
            .parse()
            .context("a number")
    };
    Ok((value("mapped")?, value("taken")?))
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
    let before = mapped(&kernel.test("pages")?)?;
    for _ in 0..10 {
        once()?;
    }
    let after = mapped(&kernel.test("pages")?)?;
    ensure!(
        before == after,
        "pages mapped and taken: {before:?} became {after:?}"
    );
    Ok(())
}

/// The kernel's log from now on.
struct Watch<'a> {
    bench: &'a mut Bench,
    cpus: u32,
    start: usize,
}

impl Watch<'_> {
    fn start(bench: &mut Bench, cpus: u32) -> Result<Watch<'_>> {
        let start = bench.log(cpus)?.len();
        Ok(Watch { bench, cpus, start })
    }

    fn new_lines(&mut self) -> Result<String> {
        Ok(self.bench.log(self.cpus)?.split_off(self.start))
    }
}

/// Shorter than the CPU below is away.
const IMPATIENT: KernelTimeout = KernelTimeout { ns: 300_000_000 };

/// Whose timer has not ticked for so long is away.
const GONE: Duration = Duration::from_millis(300);

/// Timer interrupts of a CPU since boot.
fn timers(kernel: &Kernel, cpu: u32) -> Result<u64> {
    let counters = kernel.cpus()?;
    let counters = counters.get(cpu as usize).context("no such CPU")?;
    counters.get("timers").copied().context("no timers")
}

fn late(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, hot, original) = (bench.kernel(cpus)?, bench.payload(&HOT)?, bench.original()?);
    let away = cpus - 1;
    hot.upload(&kernel)?;
    let mut watch = Watch::start(bench, cpus)?;
    kernel.test(&format!("hang {away} 6000"))?;
    // It goes once more through its loop first.
    loop {
        let before = timers(&kernel, away)?;
        thread::sleep(GONE);
        if timers(&kernel, away)? == before {
            break;
        }
    }
    let answer = kernel.act_with(
        ActionKind::Apply,
        hot.name,
        IMPATIENT,
        Dependencies::Enforced,
    )?;
    ensure!(answer == Err(Errno::EBUSY), "{answer:?}");
    let status = kernel.get(hot.name)?.context("it is loaded")?;
    ensure!(status.state == State::Checked, "{status:?}");
    ensure!(
        Errno::from_return(status.rc) == Some(Errno::EBUSY),
        "{status:?}"
    );
    let log = watch.new_lines()?;
    ensure!(log.contains(&format!("CPU{away}")), "not named: {log}");
    kernel.wait_for_all_cpus(original.hot, CPU_LIMIT)?;
    // And the system works on.
    hot.act(&kernel, ActionKind::Apply)?;
    kernel.wait_for_all_cpus(hot.expected.hot, CPU_LIMIT)?;
    Ok(())
}

fn slow_to_leave(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, hot, original) = (bench.kernel(cpus)?, bench.payload(&HOT)?, bench.original()?);
    let slow = cpus - 1;
    hot.upload(&kernel)?;
    kernel.test(&format!("slow-leave {slow} 200"))?;
    hot.act(&kernel, ActionKind::Apply)?;
    let waited_for = kernel.ask(ActionKind::Revert, hot.name)?;
    ensure!(waited_for == Ok(()), "{waited_for:?}");
    kernel.wait_for_all_cpus(original.hot, CPU_LIMIT)?;

    for _ in 0..ATTEMPTS {
        let mut watch = Watch::start(bench, cpus)?;
        kernel.test(&format!("slow-leave {slow} 3000"))?;
        hot.act(&kernel, ActionKind::Apply)?;
        let given_up = kernel.ask(ActionKind::Revert, hot.name)?;
        let log = watch.new_lines()?;
        // Whoever comes first is the master, which says so when all is done: then the slow CPU made
        // the action slow, and nobody had to leave behind it.
        if log.contains(&format!("cpu{slow}: xsplice: hot: apply finished")) {
            kernel.wait_for_all_cpus(original.hot, CPU_LIMIT)?;
            continue;
        }
        ensure!(given_up == Err(Errno::EBUSY), "{given_up:?}");
        ensure!(log.contains(&format!("CPU{slow}")), "not named: {log}");
        kernel.wait_for_all_cpus(hot.expected.hot, CPU_LIMIT)?;
        return hot.act(&kernel, ActionKind::Revert);
    }
    bail!("the slow CPU was the master {ATTEMPTS} times");
}

/// How often each of the two CPUs acts in a storm.
const STORM_ROUNDS: u32 = 50;

fn storm(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, hot, original) = (bench.kernel(cpus)?, bench.payload(&HOT)?, bench.original()?);
    hot.upload(&kernel)?;
    let epoch = number(&kernel.info()?, "epoch")?;
    kernel.test(&format!("storm {} {STORM_ROUNDS} 4000", hot.name))?;
    let deadline = Instant::now() + scaled(CPU_LIMIT)?;
    let tally = loop {
        let tally = values(&kernel.test("storm")?)?;
        if tally.get("running") == Some(&0) {
            break tally;
        }
        ensure!(Instant::now() < deadline, "still going on: {tally:?}");
        thread::sleep(Duration::from_millis(50));
    };
    for kind in ["apply", "revert"] {
        let count = |what: &str| tally.get(&format!("{kind}{what}")).copied();
        ensure!(count("") == Some(STORM_ROUNDS.into()), "{tally:?}");
        ensure!(count("_other") == Some(0), "{tally:?}");
    }
    let info = kernel.info()?;
    ensure!(
        number(&info, "epoch")? == epoch + u64::from(2 * STORM_ROUNDS),
        "{info:?}"
    );
    ensure!(number(&info, "wrong")? == 0, "{info:?}");
    let status = kernel.get(hot.name)?.context("it is loaded")?;
    ensure!(
        status.state == State::Checked && status.rc == 0,
        "{status:?}"
    );
    kernel.wait_for_all_cpus(original.hot, CPU_LIMIT)?;
    Ok(())
}
