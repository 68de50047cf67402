//! Actions in every order, each with its error number.

use anyhow::{Result, ensure};
use xsplice_abi::Errno;
use xsplice_ctl::calls::{ActionKind, State, Waived};
use xsplice_tests::kernel::{CPU_TIMEOUT, Kernel};

use super::super::Check;
use super::bench::{BYE, Bench, CPU_LIMIT, HELLO, HOT, HOT_AGAIN, Payload, REPLACE, STATE};

pub(crate) const CHECKS: &[Check] = &[
    (
        "apply changes what the kernel says and revert brings it back",
        apply_and_revert,
    ),
    (
        "every CPU gets the new function and then the old one",
        on_every_cpu,
    ),
    ("a stacked payload goes on top and comes off first", stacked),
    ("replace takes everything out and puts itself in", replaced),
    (
        "a payload out of order is refused, and taken with nodeps",
        out_of_order,
    ),
    (
        "a payload with writable data is not applied twice",
        writable_data,
    ),
    (
        "an applied payload is neither unloaded nor applied again",
        wrong_state,
    ),
    (
        "check tells whether apply would work and changes nothing",
        checked,
    ),
    ("an unknown payload is -ENOENT to every action", unknown),
];

fn extra(kernel: &Kernel) -> Result<String> {
    Ok(kernel.info()?.remove("extra").unwrap_or_default())
}

fn says(kernel: &Kernel, payload: &Payload) -> Result<()> {
    let said = extra(kernel)?;
    ensure!(
        said == payload.expected.extra_version,
        "{}: the kernel says {said:?}",
        payload.name
    );
    Ok(())
}

fn states(kernel: &Kernel, wanted: &[(&str, State)]) -> Result<()> {
    let found = kernel.states()?;
    let found: Vec<(&str, State)> = found
        .iter()
        .map(|(name, state)| (name.as_str(), *state))
        .collect();
    ensure!(found == wanted, "{found:?} instead of {wanted:?}");
    Ok(())
}

fn apply_and_revert(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, hello, original) = (
        bench.kernel(cpus)?,
        bench.payload(&HELLO)?,
        bench.original()?,
    );
    ensure!(
        hello.expected.extra_version != original.extra_version,
        "the premise"
    );
    hello.upload(&kernel)?;
    states(&kernel, &[("hello", State::Checked)])?;
    ensure!(
        extra(&kernel)? == original.extra_version,
        "an upload changes nothing"
    );
    for _ in 0..2 {
        hello.act(&kernel, ActionKind::Apply)?;
        states(&kernel, &[("hello", State::Applied)])?;
        says(&kernel, &hello)?;
        hello.act(&kernel, ActionKind::Revert)?;
        states(&kernel, &[("hello", State::Checked)])?;
        ensure!(extra(&kernel)? == original.extra_version, "still patched");
    }
    hello.act(&kernel, ActionKind::Unload)?;
    states(&kernel, &[])
}

fn on_every_cpu(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, hot, original) = (bench.kernel(cpus)?, bench.payload(&HOT)?, bench.original()?);
    ensure!(hot.expected.hot != original.hot, "the premise");
    hot.upload(&kernel)?;
    hot.act(&kernel, ActionKind::Apply)?;
    let counters = kernel.wait_for_all_cpus(hot.expected.hot, CPU_LIMIT)?;
    ensure!(counters.len() == cpus as usize, "{} CPUs", counters.len());
    hot.act(&kernel, ActionKind::Revert)?;
    kernel.wait_for_all_cpus(original.hot, CPU_LIMIT)?;
    Ok(())
}

fn stacked(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, original) = (bench.kernel(cpus)?, bench.original()?);
    let (hello, bye) = (bench.payload(&HELLO)?, bench.payload(&BYE)?);
    for payload in [&hello, &bye] {
        payload.upload(&kernel)?;
        payload.act(&kernel, ActionKind::Apply)?;
        says(&kernel, payload)?;
    }
    // The lower one is not on top, however often it is asked for.
    hello.refused(&kernel, ActionKind::Revert, Errno::EBUSY)?;
    says(&kernel, &bye)?;
    bye.act(&kernel, ActionKind::Revert)?;
    says(&kernel, &hello)?;
    hello.act(&kernel, ActionKind::Revert)?;
    ensure!(extra(&kernel)? == original.extra_version, "still patched");
    Ok(())
}

fn replaced(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, original) = (bench.kernel(cpus)?, bench.original()?);
    let (hot, again, replace) = (
        bench.payload(&HOT)?,
        bench.payload(&HOT_AGAIN)?,
        bench.payload(&REPLACE)?,
    );
    for payload in [&hot, &again] {
        payload.upload(&kernel)?;
        payload.act(&kernel, ActionKind::Apply)?;
    }
    kernel.wait_for_all_cpus(again.expected.hot, CPU_LIMIT)?;
    replace.upload(&kernel)?;
    replace.act(&kernel, ActionKind::Replace)?;
    states(
        &kernel,
        &[
            ("hot", State::Checked),
            ("hot2", State::Checked),
            ("replace", State::Applied),
        ],
    )?;
    says(&kernel, &replace)?;
    kernel.wait_for_all_cpus(original.hot, CPU_LIMIT)?;
    Ok(())
}

fn out_of_order(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, hello, bye) = (
        bench.kernel(cpus)?,
        bench.payload(&HELLO)?,
        bench.payload(&BYE)?,
    );
    let hot = bench.payload(&HOT)?;
    for payload in [&hello, &bye, &hot] {
        payload.upload(&kernel)?;
    }
    // Made for what hello leaves, so not before hello ...
    bye.refused(&kernel, ActionKind::Apply, Errno::EINVAL)?;
    // ... and what is made for the base not on top of another.
    hello.act(&kernel, ActionKind::Apply)?;
    hot.refused(&kernel, ActionKind::Apply, Errno::EINVAL)?;
    says(&kernel, &hello)?;
    let forced = kernel.act_with(ActionKind::Apply, hot.name, CPU_TIMEOUT, Waived::Dependency)?;
    ensure!(forced == Ok(()), "{forced:?}");
    kernel.wait_for_all_cpus(hot.expected.hot, CPU_LIMIT)?;
    says(&kernel, &hello)
}

fn writable_data(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, state) = (bench.kernel(cpus)?, bench.payload(&STATE)?);
    state.upload(&kernel)?;
    state.act(&kernel, ActionKind::Apply)?;
    state.act(&kernel, ActionKind::Revert)?;
    state.refused(&kernel, ActionKind::Apply, Errno::EINVAL)?;
    // From its file it is as new.
    state.act(&kernel, ActionKind::Unload)?;
    state.upload(&kernel)?;
    state.act(&kernel, ActionKind::Apply)
}

fn wrong_state(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, hello) = (bench.kernel(cpus)?, bench.payload(&HELLO)?);
    hello.upload(&kernel)?;
    hello.refused(&kernel, ActionKind::Revert, Errno::EINVAL)?;
    hello.act(&kernel, ActionKind::Apply)?;
    for kind in [ActionKind::Unload, ActionKind::Apply, ActionKind::Replace] {
        hello.refused(&kernel, kind, Errno::EINVAL)?;
    }
    says(&kernel, &hello)
}

fn checked(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, original) = (bench.kernel(cpus)?, bench.original()?);
    let (hello, bye) = (bench.payload(&HELLO)?, bench.payload(&BYE)?);
    for payload in [&hello, &bye] {
        payload.upload(&kernel)?;
    }
    let before = kernel.states()?;
    hello.act(&kernel, ActionKind::Check)?;
    bye.refused(&kernel, ActionKind::Check, Errno::EINVAL)?;
    ensure!(kernel.states()? == before, "a check changes nothing");
    ensure!(
        extra(&kernel)? == original.extra_version,
        "a check changes nothing"
    );
    hello.act(&kernel, ActionKind::Apply)?;
    bye.act(&kernel, ActionKind::Check)
}

fn unknown(bench: &mut Bench, cpus: u32) -> Result<()> {
    let kernel = bench.kernel(cpus)?;
    for kind in [
        ActionKind::Unload,
        ActionKind::Revert,
        ActionKind::Apply,
        ActionKind::Replace,
        ActionKind::Check,
    ] {
        let answer = kernel.ask(kind, "nobody")?;
        ensure!(answer == Err(Errno::ENOENT), "{kind}: {answer:?}");
    }
    ensure!(kernel.get("nobody")?.is_none(), "get");
    Ok(())
}
