//! Memory that runs out in the kernel, at each allocation of each request in turn: the request says
//! so, and nothing else has happened.

use anyhow::{Context, Result, ensure};
use std::thread;
use std::time::{Duration, Instant};
use xsplice_abi::channel::{AREA_BYTES_MAX, CALL_DUMP, CALL_INFO, CALL_TEST};
use xsplice_abi::hypercall::{Get, List, OP_GET, OP_LIST, Operation};
use xsplice_abi::{Errno, profile};
use xsplice_ctl::calls::{ActionKind, State};
use xsplice_tests::edit::Edit;
use xsplice_tests::kernel::{Answer, Kernel, values};
use xsplice_tests::limit::scaled;
use zerocopy::byteorder::little_endian::{U32, U64};

use super::super::Check;
use super::attacks::named;
use super::bench::{Bench, CPU_LIMIT, HELLO, HOT, Payload, REPLACE};

pub(crate) const CHECKS: &[Check] = &[
    (
        "whichever allocation of a request fails, it says so and nothing has changed",
        each_allocation,
    ),
    ("a dump larger than any answer comes to its end", large_dump),
];

/// More allocations than any request makes.
const ALLOCATIONS_MAX: u32 = 2000;

type Request<'a> = &'a dyn Fn() -> Result<Answer<()>>;
/// What has to be done before a request.
type Before<'a> = &'a dyn Fn() -> Result<()>;

/// Asks again and again, with one allocation more that succeeds each time, until all do. Gives how
/// many failed.
fn until_there_is_enough(
    kernel: &Kernel,
    what: &str,
    prepare: Before<'_>,
    request: Request<'_>,
) -> Result<u32> {
    let mut failed = 0;
    prepare()?;
    for nth in 1..ALLOCATIONS_MAX {
        let before = kernel.states()?;
        kernel.test(&format!("fail {nth}"))?;
        let answer = request().with_context(|| format!("{what}: allocation {nth}"))?;
        let has_failed = has_failed(kernel)?;
        match answer {
            Ok(()) if !has_failed => {
                undo(kernel)?;
                return Ok(failed);
            }
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
        prepare()?;
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

/// Takes back what a request has done, an action that is under way included.
fn undo(kernel: &Kernel) -> Result<()> {
    let deadline = Instant::now() + scaled(CPU_LIMIT)?;
    while kernel
        .list()?
        .iter()
        .any(|entry| entry.status.in_progress())
    {
        ensure!(Instant::now() < deadline, "an action does not end");
        thread::sleep(Duration::from_millis(5));
    }
    let states = kernel.states()?;
    let others = || states.iter().filter(|(name, _)| name != HOT.name).rev();
    for (name, _) in others().filter(|(_, state)| *state == State::Applied) {
        let answer = kernel.persist(ActionKind::Revert, name)?;
        ensure!(answer.is_ok(), "revert {name}: {answer:?}");
    }
    for (name, _) in others() {
        let answer = kernel.ask(ActionKind::Unload, name)?;
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
    // Tables keep the size that they have had.
    let replace = bench.payload(&REPLACE)?;
    hello.upload(&kernel)?;
    hello.act(&kernel, ActionKind::Apply)?;
    replace.upload(&kernel)?;
    replace.act(&kernel, ActionKind::Replace)?;
    undo(&kernel)?;
    let heap = heap_bytes(&kernel)?;

    let text = |call, request: &str| Ok(kernel.call_text(call, request)?.map(drop));
    let nothing = || Ok(());
    let mut failed = 0;
    for (what, request) in [
        ("info", &(|| text(CALL_INFO, "")) as Request<'_>),
        ("dump", &|| text(CALL_DUMP, "")),
        ("stats", &|| text(CALL_TEST, "stats")),
        ("values", &|| text(CALL_TEST, "values")),
        ("mappings", &|| text(CALL_TEST, "mappings")),
        ("times", &|| text(CALL_TEST, "times")),
        ("storm", &|| text(CALL_TEST, "storm")),
        ("start of a storm", &|| text(CALL_TEST, "storm none 0 1")),
        ("upload", &|| kernel.upload(hello.name, &hello.bytes)),
    ] {
        let count = until_there_is_enough(&kernel, what, &nothing, request)?;
        ensure!(
            count > 0 || what.contains("storm"),
            "{what} needs no memory?"
        );
        failed += count;
    }
    ensure!(failed > 20, "only {failed} allocations failed");
    of_actions(bench, &kernel)?;

    load_and_unload(&kernel, &hello)?;
    let now = heap_bytes(&kernel)?;
    ensure!(
        now <= heap,
        "{heap} bytes of heap have become {now}: lost on the way out"
    );
    hot.act(&kernel, ActionKind::Unload)
}

/// The same of what is asked of payloads that are loaded. An action is only asked for: its own part
/// needs no memory, or the kernel would say what it said when it was asked.
fn of_actions(bench: &mut Bench, kernel: &Kernel) -> Result<()> {
    let (hello, replace) = (bench.payload(&HELLO)?, bench.payload(&REPLACE)?);
    let loaded = || hello.upload(kernel);
    let applied = || {
        hello.upload(kernel)?;
        hello.act(kernel, ActionKind::Apply)
    };
    let replaceable = || {
        applied()?;
        replace.upload(kernel)
    };
    let (described, area) = named(hello.name);
    let get = Operation::with(
        OP_GET,
        &Get {
            name: described,
            ..Get::default()
        },
    );
    // One array behind the other.
    let list = List {
        nr: U32::new(1),
        status_handle: U64::new(0),
        len_handle: U64::new(8),
        metadata_len_handle: U64::new(16),
        name_handle: U64::new(64),
        name_total_size: U32::new(128),
        metadata_handle: U64::new(256),
        metadata_total_size: U32::new(4096),
        ..List::default()
    };
    let (list, room) = (Operation::with(OP_LIST, &list), vec![0; 64 * 1024]);
    let call = |operation: &Operation, area: &[u8]| Ok(kernel.call(operation, area)?.0);
    let ask = |kind, name: &str| kernel.ask(kind, name);
    for (what, prepare, request) in [
        (
            "get",
            &loaded as Before<'_>,
            &(|| call(&get, &area)) as Request<'_>,
        ),
        ("list", &loaded, &|| call(&list, &room)),
        ("check", &loaded, &|| ask(ActionKind::Check, hello.name)),
        ("apply", &loaded, &|| ask(ActionKind::Apply, hello.name)),
        ("revert", &applied, &|| ask(ActionKind::Revert, hello.name)),
        ("replace", &replaceable, &|| {
            ask(ActionKind::Replace, replace.name)
        }),
        ("unload", &loaded, &|| ask(ActionKind::Unload, hello.name)),
    ] {
        until_there_is_enough(kernel, what, prepare, request)?;
    }
    Ok(())
}

/// How much the payloads of a large dump have to tell, each.
const METADATA_BYTES: usize = 1_500_000;
/// How many there are: more than an answer holds, together.
const TELLING: u8 = 4;

fn large_dump(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, hello) = (bench.kernel(cpus)?, bench.payload(&HELLO)?);
    for number in 0..TELLING {
        let mut edit = Edit::new(&hello.bytes, &profile::XSPLICE);
        let mut word = vec![b'a' + number; METADATA_BYTES];
        word.push(0);
        edit.append_metadata(&word).context("it has metadata")?;
        let bytes = edit.stamp();
        let answer = kernel.upload(&format!("telling{number}"), &bytes)?;
        ensure!(answer == Ok(()), "upload {number}: {answer:?}");
    }
    let text = kernel.call_text(CALL_DUMP, "")?;
    let text = text.map_err(|errno| anyhow::anyhow!("dump: {errno}"))?;
    ensure!(
        text.len() > AREA_BYTES_MAX,
        "the premise: {} bytes would fit into an answer",
        text.len()
    );
    for number in 0..TELLING {
        let letter = char::from(b'a' + number);
        let told = text
            .lines()
            .filter_map(|line| line.strip_prefix("  metadata: "))
            .filter(|word| word.len() == METADATA_BYTES && word.chars().all(|at| at == letter));
        ensure!(told.count() == 1, "what {number} has to tell is not whole");
    }
    for number in 0..TELLING {
        let gone = kernel.ask(ActionKind::Unload, &format!("telling{number}"))?;
        ensure!(gone == Ok(()), "unload {number}: {gone:?}");
    }
    Ok(())
}

fn load_and_unload(kernel: &Kernel, payload: &Payload) -> Result<()> {
    payload.upload(kernel)?;
    payload.act(kernel, ActionKind::Apply)?;
    payload.act(kernel, ActionKind::Revert)?;
    payload.act(kernel, ActionKind::Unload)
}
