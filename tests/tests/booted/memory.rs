//! Memory that runs out in the kernel, at each allocation of each request in turn: the request says
//! so, and nothing else has happened.

use anyhow::{Context, Result, ensure};
use xsplice_abi::Errno;
use xsplice_abi::channel::{CALL_DUMP, CALL_INFO, CALL_TEST};
use xsplice_ctl::calls::{ActionKind, State};
use xsplice_tests::kernel::{Answer, Kernel, values};

use super::super::Check;
use super::bench::{Bench, HELLO, HOT, Payload};

pub(crate) const CHECKS: &[Check] = &[(
    "whichever allocation of a request fails, it says so and nothing has changed",
    each_allocation,
)];

/// More allocations than any request makes.
const ALLOCATIONS_MAX: u32 = 2000;

type Request<'a> = &'a dyn Fn() -> Result<Answer<()>>;

/// Asks again and again, with one allocation more that succeeds each time, until all do. Gives how
/// many failed.
fn until_there_is_enough(kernel: &Kernel, what: &str, request: Request<'_>) -> Result<u32> {
    let mut failed = 0;
    for nth in 1..ALLOCATIONS_MAX {
        let before = kernel.states()?;
        kernel.test(&format!("fail {nth}"))?;
        let answer = request().with_context(|| format!("{what}: allocation {nth}"))?;
        let has_failed = has_failed(kernel)?;
        match answer {
            Ok(()) if !has_failed => return Ok(failed),
            // Some can do without: they try again later, or have no room to spare.
            Ok(()) => {}
            Err(errno) => {
                ensure!(
                    has_failed && errno == Errno::ENOMEM,
                    "{what}: allocation {nth}: {errno}"
                );
                failed += 1;
                let after = kernel.states()?;
                ensure!(
                    before == after,
                    "{what}: allocation {nth}: {before:?} became {after:?}"
                );
                continue;
            }
        }
        undo(kernel)?;
    }
    anyhow::bail!("{what}: there is never enough")
}

/// Whether the allocation that was to fail has; from now on none is to.
fn has_failed(kernel: &Kernel) -> Result<bool> {
    match kernel.call_text(CALL_TEST, "fail 0")? {
        Ok(text) => Ok(values(&text)?.get("left") == Some(&0)),
        // It was left over for this request.
        Err(Errno::ENOMEM) => Ok(false),
        Err(errno) => anyhow::bail!("fail 0: {errno}"),
    }
}

/// Takes back what a request has done.
fn undo(kernel: &Kernel) -> Result<()> {
    for (name, state) in kernel.states()? {
        if name == HOT.name {
            continue;
        }
        if state == State::Applied {
            let answer = kernel.persist(ActionKind::Revert, &name)?;
            ensure!(answer.is_ok(), "revert {name}: {answer:?}");
        }
        let answer = kernel.ask(ActionKind::Unload, &name)?;
        ensure!(answer == Ok(()), "unload {name}: {answer:?}");
    }
    Ok(())
}

fn heap_bytes(kernel: &Kernel) -> Result<u64> {
    let pages = values(&kernel.test("pages")?)?;
    pages.get("heap").copied().context("heap")
}

fn each_allocation(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, hello, hot) = (
        bench.kernel(cpus)?,
        bench.payload(&HELLO)?,
        bench.payload(&HOT)?,
    );
    hot.upload(&kernel)?;
    load_and_unload(&kernel, &hello)?;
    let heap = heap_bytes(&kernel)?;

    let text = |call, request: &str| Ok(kernel.call_text(call, request)?.map(drop));
    let mut failed = 0;
    for (what, request) in [
        ("info", &(|| text(CALL_INFO, "")) as Request<'_>),
        ("dump", &|| text(CALL_DUMP, "")),
        ("stats", &|| text(CALL_TEST, "stats")),
        ("values", &|| text(CALL_TEST, "values")),
        ("upload", &|| kernel.upload(hello.name, &hello.bytes)),
    ] {
        let count = until_there_is_enough(&kernel, what, request)?;
        ensure!(count > 0, "{what} needs no memory?");
        failed += count;
        undo(&kernel)?;
    }
    ensure!(failed > 20, "only {failed} allocations failed");

    let check = || kernel.ask(ActionKind::Check, hot.name);
    until_there_is_enough(&kernel, "check", &check)?;

    load_and_unload(&kernel, &hello)?;
    let now = heap_bytes(&kernel)?;
    ensure!(
        now <= heap,
        "{heap} bytes of heap have become {now}: lost on the way out"
    );
    hot.act(&kernel, ActionKind::Unload)
}

fn load_and_unload(kernel: &Kernel, payload: &Payload) -> Result<()> {
    payload.upload(kernel)?;
    payload.act(kernel, ActionKind::Apply)?;
    payload.act(kernel, ActionKind::Revert)?;
    payload.act(kernel, ActionKind::Unload)
}
