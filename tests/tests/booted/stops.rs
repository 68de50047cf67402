//! The rendezvous on real CPUs: those that do not come, do not stop, do not leave; NMIs that arrive
//! meanwhile; two CPUs that act at once.
//!
//! A CPU is delayed until the check releases it, so that no check depends on how fast the host is.

use anyhow::{Context, Result, bail, ensure};
use std::thread;
use std::time::{Duration, Instant};
use xsplice_abi::Errno;
use xsplice_ctl::calls::{ActionKind, KernelTimeout, State, Waived};
use xsplice_tests::kernel::{Counters, Kernel, number, values};
use xsplice_tests::limit::scaled;

use super::super::Check;
use super::bench::{Bench, CPU_LIMIT, HOT, Payload};

pub(crate) const SHORT: &[Check] = &[
    (
        "a CPU that does not come is -EBUSY and named, and changes nothing",
        late_to_come,
    ),
    (
        "a CPU that comes and does not stop is -EBUSY and named, and changes nothing",
        late_to_stop,
    ),
    (
        "a CPU that is slow to leave is waited for, but not for ever",
        slow_to_leave,
    ),
    (
        "NMIs that arrive while text is written are held, counted and delivered",
        nmis_are_held,
    ),
    (
        "two CPUs that act on one payload at once never harm it",
        |bench, cpus| storm(bench, cpus, 50),
    ),
    (
        "CPUs that halt and have no timer come to every action by its kick alone",
        no_kick_is_lost,
    ),
];
pub(crate) const LONG: &[Check] = &[(
    "two CPUs act on one payload a thousand times back to back",
    |bench, cpus| storm(bench, cpus, 500),
)];

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

/// Whether the log says that the last action is not left by this CPU, if not by it alone.
fn names_as_inside(log: &str, cpu: u32) -> bool {
    let name = format!("CPU{cpu}");
    log.lines()
        .filter_map(|line| line.split_once("the last action is not left by: "))
        .any(|(_, names)| names.split(", ").any(|named| named == name))
}

/// For actions that a delayed CPU is to fail. The delayed CPU alone must be the reason, so this is
/// as long as the others may need.
const IMPATIENT: KernelTimeout = KernelTimeout { ns: 1_000_000_000 };
/// How long a CPU is delayed at most, should nobody release it, in milliseconds. The channel does
/// not answer while the first CPU waits for it with interrupts off, so it cannot be for ever.
const DELAY_MS: u64 = 60_000;
/// How long a CPU is slow that nobody can release meanwhile: less than the kernel waits.
const SHORT_DELAY_MS: u64 = 200;
/// How long a CPU stays away so that another one comes first and is the master. With two CPUs the
/// one that is not asked for the action would else nearly always come first.
const HEAD_START_MS: u64 = 100;
/// How often a check waits for the delayed CPU to be a follower, and not the master.
const ATTEMPTS: u32 = 50;

/// Whether the CPU is spending its delay.
fn is_delayed(kernel: &Kernel, cpu: u32) -> Result<bool> {
    let counters = kernel.cpus()?;
    let counters = counters.get(cpu as usize).context("no such CPU")?;
    Ok(*counters.get("delayed").context("delayed")? == 1)
}

/// Keeps the CPU away for a moment, so that it is a follower of the next action.
fn let_others_come_first(kernel: &Kernel, cpu: u32) -> Result<()> {
    kernel.test(&format!("hang {cpu} {HEAD_START_MS}"))?;
    until("away", || is_delayed(kernel, cpu))
}

fn until(what: &str, mut reached: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + scaled(CPU_LIMIT)?;
    while !reached()? {
        ensure!(
            Instant::now() < deadline,
            "{what}: not within {CPU_LIMIT:?}"
        );
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn impatient(kernel: &Kernel, payload: &Payload, kind: ActionKind) -> Result<Result<(), Errno>> {
    kernel.act_with(kind, payload.name, IMPATIENT, Waived::Nothing)
}

/// The action failed for a late CPU and left everything as it was.
fn nothing_changed(kernel: &Kernel, payload: &Payload, values: &Counters) -> Result<()> {
    let status = kernel.get(payload.name)?.context("it is loaded")?;
    ensure!(status.state == State::Checked, "{status:?}");
    let rc = Errno::from_return(status.rc);
    ensure!(rc == Some(Errno::EBUSY), "{status:?}");
    ensure!(kernel.values()? == *values, "{:?}", kernel.values()?);
    Ok(())
}

/// The payload goes on and comes off, on every CPU.
fn works_on(kernel: &Kernel, payload: &Payload, original: u32) -> Result<()> {
    kernel.wait_for_all_cpus(original, CPU_LIMIT)?;
    payload.act(kernel, ActionKind::Apply)?;
    kernel.wait_for_all_cpus(payload.expected.hot, CPU_LIMIT)?;
    payload.act(kernel, ActionKind::Revert)?;
    kernel.wait_for_all_cpus(original, CPU_LIMIT)?;
    Ok(())
}

fn late_to_come(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, hot, original) = (bench.kernel(cpus)?, bench.payload(&HOT)?, bench.original()?);
    let away = cpus - 1;
    hot.upload(&kernel)?;
    let before = kernel.values()?;
    let mut watch = Watch::start(bench, cpus)?;
    kernel.test(&format!("hang {away} {DELAY_MS}"))?;
    until("away", || is_delayed(&kernel, away))?;
    let answer = impatient(&kernel, &hot, ActionKind::Apply)?;
    ensure!(answer == Err(Errno::EBUSY), "{answer:?}");
    nothing_changed(&kernel, &hot, &before)?;
    let log = watch.new_lines()?;
    ensure!(log.contains("did not come to the safe point"), "{log}");
    ensure!(log.contains(&format!("CPU{away}")), "not named: {log}");
    ensure!(
        is_delayed(&kernel, away)?,
        "the premise: it was away all the time"
    );
    kernel.test(&format!("release {away}"))?;
    works_on(&kernel, &hot, original.hot)
}

fn late_to_stop(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, hot, original) = (bench.kernel(cpus)?, bench.payload(&HOT)?, bench.original()?);
    let slow = cpus - 1;
    hot.upload(&kernel)?;
    let before = kernel.values()?;
    for _ in 0..ATTEMPTS {
        let mut watch = Watch::start(bench, cpus)?;
        kernel.test(&format!("slow-stop {slow} {DELAY_MS}"))?;
        let_others_come_first(&kernel, slow)?;
        let answer = impatient(&kernel, &hot, ActionKind::Apply)?;
        if !is_delayed(&kernel, slow)? {
            // It came first and was the master, or not all came in time: once more.
            kernel.test(&format!("release {slow}"))?;
            if answer.is_ok() {
                hot.act(&kernel, ActionKind::Revert)?;
            }
            continue;
        }
        ensure!(answer == Err(Errno::EBUSY), "{answer:?}");
        nothing_changed(&kernel, &hot, &before)?;
        let log = watch.new_lines()?;
        ensure!(log.contains("did not disable interrupts in time"), "{log}");
        ensure!(log.contains(&format!("CPU{slow}")), "not named: {log}");
        // It is inside still: the next action may not begin.
        let next = impatient(&kernel, &hot, ActionKind::Apply)?;
        ensure!(next == Err(Errno::EBUSY), "{next:?}");
        let log = watch.new_lines()?;
        ensure!(names_as_inside(&log, slow), "not named: {log}");
        kernel.test(&format!("release {slow}"))?;
        return works_on(&kernel, &hot, original.hot);
    }
    bail!("the slow CPU was never a follower that all others waited for");
}

fn slow_to_leave(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, hot, original) = (bench.kernel(cpus)?, bench.payload(&HOT)?, bench.original()?);
    let slow = cpus - 1;
    hot.upload(&kernel)?;
    // For a moment: the next action is asked for at once, and waits.
    kernel.test(&format!("slow-leave {slow} {SHORT_DELAY_MS}"))?;
    hot.act(&kernel, ActionKind::Apply)?;
    let waited_for = kernel.ask(ActionKind::Revert, hot.name)?;
    ensure!(waited_for == Ok(()), "{waited_for:?}");
    until("the revert has ended", || {
        Ok(!kernel.get(hot.name)?.context("loaded")?.in_progress())
    })?;
    kernel.test(&format!("release {slow}"))?;
    if kernel.get(hot.name)?.context("loaded")?.state == State::Applied {
        hot.act(&kernel, ActionKind::Revert)?;
    }

    for _ in 0..ATTEMPTS {
        let mut watch = Watch::start(bench, cpus)?;
        kernel.test(&format!("slow-leave {slow} {DELAY_MS}"))?;
        let_others_come_first(&kernel, slow)?;
        hot.act(&kernel, ActionKind::Apply)?;
        if !is_delayed(&kernel, slow)? {
            // It came first and was the master, which nobody waits for like this: once more.
            kernel.test(&format!("release {slow}"))?;
            hot.act(&kernel, ActionKind::Revert)?;
            continue;
        }
        let given_up = impatient(&kernel, &hot, ActionKind::Revert)?;
        ensure!(given_up == Err(Errno::EBUSY), "{given_up:?}");
        let log = watch.new_lines()?;
        ensure!(names_as_inside(&log, slow), "not named: {log}");
        let status = kernel.get(hot.name)?.context("loaded")?;
        ensure!(status.state == State::Applied, "{status:?}");
        kernel.test(&format!("release {slow}"))?;
        kernel.wait_for_all_cpus(hot.expected.hot, CPU_LIMIT)?;
        hot.act(&kernel, ActionKind::Revert)?;
        return works_on(&kernel, &hot, original.hot);
    }
    bail!("the slow CPU was the master {ATTEMPTS} times");
}

/// NMIs so far: taken, delivered, held.
fn nmis(kernel: &Kernel, command: &str) -> Result<(u64, u64, u64)> {
    let said = values(&kernel.test(command)?)?;
    let value = |key: &str| said.get(key).copied().with_context(|| format!("{said:?}"));
    Ok((value("nmis")?, value("delivered")?, value("held")?))
}

fn nmis_are_held(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, hot) = (bench.kernel(cpus)?, bench.payload(&HOT)?);
    let slow = cpus - 1;
    hot.upload(&kernel)?;
    let (before, _, held_before) = nmis(&kernel, "nmi on")?;
    until("NMIs come", || Ok(nmis(&kernel, "nmi")?.0 > before))?;
    for _ in 0..ATTEMPTS {
        // A follower that takes its time to serialise makes the zone so long that NMIs fall into
        // it.
        kernel.test(&format!("slow-leave {slow} {SHORT_DELAY_MS}"))?;
        hot.act(&kernel, ActionKind::Apply)?;
        kernel.test(&format!("release {slow}"))?;
        hot.act(&kernel, ActionKind::Revert)?;
        if nmis(&kernel, "nmi")?.2 > held_before + 1 {
            break;
        }
    }
    kernel.test("nmi off")?;
    // The sender stops at its next turn, and those under way arrive.
    until("all are delivered", || {
        let (taken, delivered, _) = nmis(&kernel, "nmi")?;
        thread::sleep(Duration::from_millis(100));
        let (still, _, _) = nmis(&kernel, "nmi")?;
        Ok(taken == delivered && taken == still)
    })?;
    let (_, _, held) = nmis(&kernel, "nmi")?;
    ensure!(held > held_before, "none was held");
    Ok(())
}

fn storm(bench: &mut Bench, cpus: u32, rounds: u32) -> Result<()> {
    let (kernel, hot, original) = (bench.kernel(cpus)?, bench.payload(&HOT)?, bench.original()?);
    hot.upload(&kernel)?;
    let epoch = number(&kernel.info()?, "epoch")?;
    kernel.test(&format!("storm {} {rounds} 4000", hot.name))?;
    let mut last = Counters::new();
    let mut progress = Instant::now();
    let tally = loop {
        let tally = values(&kernel.test("storm")?)?;
        if tally.get("running") == Some(&0) {
            break tally;
        }
        if tally != last {
            (last, progress) = (tally, Instant::now());
        }
        ensure!(
            progress.elapsed() < scaled(CPU_LIMIT)?,
            "no progress: {last:?}"
        );
        thread::sleep(Duration::from_millis(50));
    };
    let count = |what: &str| {
        tally
            .get(what)
            .copied()
            .with_context(|| format!("{tally:?}"))
    };
    for kind in ["apply", "revert"] {
        ensure!(count(kind)? == u64::from(rounds), "{tally:?}");
        ensure!(count(&format!("{kind}_other"))? == 0, "{tally:?}");
    }
    let info = kernel.info()?;
    ensure!(
        number(&info, "epoch")? == epoch + u64::from(2 * rounds),
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

/// How often CPUs that halt are asked.
const KICKS: u32 = 50;
/// How often a kick comes just before the halt.
const LATE_KICKS: u32 = 3;
/// How long a CPU stands before the halt meanwhile: less than the kernel waits for it.
const BEFORE_HALT_MS: u64 = 1500;

fn no_kick_is_lost(bench: &mut Bench, cpus: u32) -> Result<()> {
    let hot = bench.payload(&HOT)?;
    let kernel = bench.kernel_with(cpus, "workers=1 timer_hz=0")?;
    let halting = cpus - 1;
    hot.upload(&kernel)?;
    let act = |round: u32, kind: ActionKind| -> Result<()> {
        let answer = kernel.act(kind, hot.name)?;
        ensure!(answer == Ok(()), "round {round}: {kind}: {answer:?}");
        Ok(())
    };
    for round in 1..=KICKS {
        act(round, ActionKind::Apply)?;
        act(round, ActionKind::Revert)?;
    }
    let mut late = 0;
    for round in 1..=ATTEMPTS {
        kernel.test(&format!("slow-halt {halting} {BEFORE_HALT_MS}"))?;
        act(round, ActionKind::Apply)?;
        // If it was already on its way to the halt, it has stood there before that.
        late += u32::from(is_delayed(&kernel, halting)?);
        act(round, ActionKind::Revert)?;
        if late == LATE_KICKS {
            break;
        }
    }
    ensure!(late == LATE_KICKS, "{late} kicks came just before a halt");
    // Nothing but a kick brings a CPU that halts to its safe point.
    let counters = kernel.cpus()?;
    for cpu in &counters {
        ensure!(cpu.get("timers") == Some(&0), "the premise: {cpu:?}");
    }
    bench.stop(cpus);
    Ok(())
}
