//! Callers without the right, and payloads that did not arrive as they were sent: an error, nothing
//! changed, and the next upload works.

use anyhow::{Context, Result, ensure};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};
use xsplice_abi::Errno;
use xsplice_abi::action::{
    ACTION_APPLY, ACTION_CHECK, ACTION_REPLACE, ACTION_REVERT, ACTION_UNLOAD,
};
use xsplice_abi::channel::{CALL_DUMP, CALL_INFO, CALL_TEST};
use xsplice_abi::hypercall::{
    Action, Get, List, Name, OP_ACTION, OP_GET, OP_LIST, OP_UPLOAD, Operation, Upload,
};
use xsplice_ctl::calls::{ActionKind, State};
use xsplice_runtime::channel::{Frame, PREAMBLE};
use xsplice_tests::kernel::{CPU_TIMEOUT, Kernel};
use xsplice_tests::limit::scaled;
use zerocopy::byteorder::little_endian::{U16, U32, U64};

use super::super::Check;
use super::bench::{Bench, CPU_LIMIT, HELLO, HOT, Payload};

pub(crate) const CHECKS: &[Check] = &[
    ("the unprivileged port is refused everything", unprivileged),
    (
        "a truncated payload is refused and the whole one taken",
        truncated,
    ),
    (
        "a payload with flipped bits never harms the kernel",
        flipped,
    ),
    (
        "an upload cut in the middle by closing the channel leaves nothing",
        cut,
    ),
    (
        "a client killed between upload and apply leaves a payload that others may use",
        killed_before_apply,
    ),
    (
        "a client killed after it asked for an action does not stop it",
        killed_after_asking,
    ),
    (
        "a frame with a flipped bit is dropped and the next one answered",
        flipped_frame,
    ),
];

/// Where an area of ours has its name and its payload.
const NAME_AT: usize = 16;
const PAYLOAD_AT: usize = 256;

/// An upload as it is sent.
fn upload(name: &str, payload: &[u8]) -> (Operation, Vec<u8>) {
    let (described, mut area) = named(name);
    area.resize(PAYLOAD_AT, 0);
    area.extend_from_slice(payload);
    let argument = Upload {
        name: described,
        size: U64::new(payload.len() as u64),
        payload_handle: U64::new(PAYLOAD_AT as u64),
    };
    (Operation::with(OP_UPLOAD, &argument), area)
}

pub(crate) fn named(name: &str) -> (Name, Vec<u8>) {
    let mut area = vec![0; NAME_AT];
    area.extend_from_slice(name.as_bytes());
    area.push(0);
    let described = Name {
        name_handle: U64::new(NAME_AT as u64),
        size: U16::new(u16::try_from(name.len() + 1).expect("a short name")),
        pad: [U16::ZERO; 3],
    };
    (described, area)
}

/// The bytes on the wire.
pub(crate) fn wire(name: &str, payload: &[u8]) -> Result<Vec<u8>> {
    let (operation, area) = upload(name, payload);
    let length = area.len();
    Ok(Frame::sysctl(1, operation, area, length)?.encode()?)
}

/// A new connection, which begins as each does.
pub(crate) fn connect(kernel: &Kernel) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(&kernel.socket)?;
    stream.write_all(&PREAMBLE)?;
    Ok(stream)
}

/// Nothing is loaded, nothing has changed, and a good payload works.
pub(crate) fn unharmed(bench: &mut Bench, kernel: &Kernel, good: &Payload) -> Result<()> {
    let entries = kernel.list()?;
    ensure!(entries.is_empty(), "left behind: {entries:?}");
    let original = bench.original()?.extra_version;
    ensure!(
        kernel.info()?.get("extra") == Some(&original),
        "the kernel has changed"
    );
    good.upload(kernel)?;
    good.act(kernel, ActionKind::Apply)?;
    let patched = kernel.info()?;
    ensure!(
        patched.get("extra") == Some(&good.expected.extra_version),
        "{patched:?}"
    );
    good.act(kernel, ActionKind::Revert)?;
    good.act(kernel, ActionKind::Unload)
}

fn unprivileged(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, guest) = (bench.kernel(cpus)?, bench.guest(cpus)?);
    let hello = bench.payload(&HELLO)?;
    hello.upload(&kernel)?;
    let (described, area) = named(hello.name);
    let mut calls = vec![
        upload("intruder", &hello.bytes),
        (
            Operation::with(
                OP_GET,
                &Get {
                    name: described,
                    ..Get::default()
                },
            ),
            area.clone(),
        ),
        (Operation::with(OP_LIST, &List::default()), area.clone()),
        // Not even that an operation is unknown is told.
        (Operation::with(99, &List::default()), area.clone()),
    ];
    for cmd in [
        ACTION_UNLOAD,
        ACTION_REVERT,
        ACTION_APPLY,
        ACTION_REPLACE,
        ACTION_CHECK,
    ] {
        let action = Action {
            name: described,
            cmd: U32::new(cmd),
            ..Action::default()
        };
        calls.push((Operation::with(OP_ACTION, &action), area.clone()));
    }
    for (operation, area) in &calls {
        let (answer, left) = guest.call(operation, area)?;
        ensure!(answer == Err(Errno::EPERM), "{operation:?}: {answer:?}");
        ensure!(left == *operation, "told something: {left:?}");
    }
    for call in [CALL_INFO, CALL_DUMP, CALL_TEST] {
        let answer = guest.call_text(call, "stats")?;
        ensure!(answer == Err(Errno::EPERM), "call {call}: {answer:?}");
    }
    // The same from the other port is no question of rights.
    for (operation, area) in &calls[1..3] {
        let (answer, _) = kernel.call(operation, area)?;
        ensure!(answer == Ok(()), "{operation:?}: {answer:?}");
    }
    ensure!(
        kernel.states()? == [(hello.name.to_owned(), State::Checked)],
        "changed"
    );
    hello.act(&kernel, ActionKind::Unload)
}

fn truncated(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, hello) = (bench.kernel(cpus)?, bench.payload(&HELLO)?);
    let length = hello.bytes.len();
    // Every header byte, then about a hundred places; the last byte is the section table's.
    let places = (0..64)
        .chain((64..length).step_by(length / 100))
        .chain([length - 1]);
    for cut in places {
        let answer = kernel.upload(hello.name, &hello.bytes[..cut])?;
        ensure!(answer.is_err(), "{cut} of {length} bytes were taken");
    }
    unharmed(bench, &kernel, &hello)
}

fn flipped(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, hello, hot) = (
        bench.kernel(cpus)?,
        bench.payload(&HELLO)?,
        bench.payload(&HOT)?,
    );
    let bits = hot.bytes.len() * 8;
    let (mut refused, mut taken) = (0, 0);
    // About three hundred bits all over the file; 8 and the step share no factor for any length.
    for bit in (0..bits).step_by((bits / 300) | 1) {
        let mut bytes = hot.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        match kernel.upload("flipped", &bytes)? {
            Err(_) => refused += 1,
            // Not every bit matters to a loader: another instruction is a payload too. It is
            // loaded and can be unloaded, but never put into effect here.
            Ok(()) => {
                taken += 1;
                let gone = kernel.ask(ActionKind::Unload, "flipped")?;
                ensure!(gone == Ok(()), "bit {bit}: unload: {gone:?}");
            }
        }
        let entries = kernel.list()?;
        ensure!(entries.is_empty(), "bit {bit}: left behind: {entries:?}");
    }
    ensure!(
        refused > taken / 4,
        "only {refused} refused, {taken} taken: are they looked at?"
    );
    unharmed(bench, &kernel, &hello)
}

fn cut(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, hello) = (bench.kernel(cpus)?, bench.payload(&HELLO)?);
    let wire = wire(hello.name, &hello.bytes)?;
    // Without its last zero byte alone it is whole, and the next connection begins with another.
    for part in [1, 40, wire.len() / 2, wire.len() - 2, wire.len() - 1] {
        let mut stream = connect(&kernel)?;
        stream.write_all(&wire[..part])?;
        drop(stream);
        let entries = kernel.list()?;
        ensure!(
            entries.is_empty(),
            "{part} of {} bytes: {entries:?}",
            wire.len()
        );
    }
    unharmed(bench, &kernel, &hello)
}

/// Sends a request to the end and is gone before the answer.
fn send_and_die(kernel: &Kernel, operation: Operation, area: Vec<u8>) -> Result<()> {
    let length = area.len();
    let wire = Frame::sysctl(1, operation, area, length)?.encode()?;
    let mut stream = connect(kernel)?;
    stream.write_all(&wire)?;
    // Until the kernel has read it, the host's end may not close: QEMU would drop what it holds.
    stream.set_read_timeout(Some(scaled(CPU_LIMIT)?))?;
    let answered = stream.read(&mut [0])?;
    ensure!(answered == 1, "no answer began");
    Ok(())
}

fn killed_before_apply(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, hello) = (bench.kernel(cpus)?, bench.payload(&HELLO)?);
    let (operation, area) = upload(hello.name, &hello.bytes);
    send_and_die(&kernel, operation, area)?;
    ensure!(
        kernel.states()? == [(hello.name.to_owned(), State::Checked)],
        "{:?}",
        kernel.states()?
    );
    let original = bench.original()?.extra_version;
    ensure!(
        kernel.info()?.get("extra") == Some(&original),
        "in effect without an apply"
    );
    // Whoever comes next may go on with it, or take it out.
    hello.act(&kernel, ActionKind::Apply)?;
    hello.act(&kernel, ActionKind::Revert)?;
    hello.act(&kernel, ActionKind::Unload)?;
    unharmed(bench, &kernel, &hello)
}

fn killed_after_asking(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, hello) = (bench.kernel(cpus)?, bench.payload(&HELLO)?);
    hello.upload(&kernel)?;
    let (described, area) = named(hello.name);
    let action = Action {
        name: described,
        cmd: U32::new(ACTION_APPLY),
        timeout_ns: U32::new(CPU_TIMEOUT.ns),
        ..Action::default()
    };
    send_and_die(&kernel, Operation::with(OP_ACTION, &action), area)?;
    let deadline = Instant::now() + scaled(CPU_LIMIT)?;
    let status = loop {
        let status = kernel.get(hello.name)?.context("it is loaded")?;
        if !status.in_progress() {
            break status;
        }
        ensure!(Instant::now() < deadline, "it does not end");
        thread::sleep(Duration::from_millis(10));
    };
    match Errno::from_return(status.rc) {
        None => ensure!(status.state == State::Applied, "{status:?}"),
        // A CPU did not come in time: nothing has changed.
        Some(errno) => ensure!(
            errno == Errno::EBUSY && status.state == State::Checked,
            "{status:?}"
        ),
    }
    if status.state == State::Applied {
        hello.act(&kernel, ActionKind::Revert)?;
    }
    hello.act(&kernel, ActionKind::Unload)?;
    unharmed(bench, &kernel, &hello)
}

fn flipped_frame(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, hello) = (bench.kernel(cpus)?, bench.payload(&HELLO)?);
    let wire = wire(hello.name, &hello.bytes)?;
    for at in (0..wire.len() - 1).step_by(wire.len() / 40) {
        let mut damaged = wire.clone();
        damaged[at] ^= 0x10;
        let mut stream = connect(&kernel)?;
        stream.write_all(&damaged)?;
        drop(stream);
        let entries = kernel.list()?;
        ensure!(entries.is_empty(), "byte {at}: {entries:?}");
    }
    unharmed(bench, &kernel, &hello)
}
