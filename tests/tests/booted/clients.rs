//! Clients that do everything that a client should not, by the hundred: whoever behaves is served
//! at once, on both ports, all the time.

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use std::env;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use xsplice_abi::Errno;
use xsplice_abi::channel::{AREA_BYTES_MAX, CALL_DUMP, CALL_INFO};
use xsplice_abi::hypercall::{List, OP_LIST, Operation};
use xsplice_ctl::calls::ActionKind;
use xsplice_runtime::channel::Frame;
use xsplice_tests::kernel::{Counters, Kernel};
use xsplice_tests::limit::scaled;
use zerocopy::byteorder::little_endian::{U32, U64};

use super::super::Check;
use super::attacks::{connect, unharmed, wire};
use super::bench::{Bench, HELLO};

/// Checks that take some seconds.
pub(crate) const SHORT: &[Check] = &[
    (
        "clients that leave, do not read or write garbage do not silence a port",
        some,
    ),
    (
        "a port whose device holds answers back is reached at once over the next connection",
        held_back,
    ),
    (
        "a flood on the unprivileged port takes nothing from the first CPU",
        flooded,
    ),
];

/// The same by the thousand.
pub(crate) const LONG: &[Check] = &[("thousands of such clients do not either", thousands)];

const SOME: u32 = 300;
const THOUSANDS: u32 = 6000;
/// Where the draws begin; set, there. A failure says where it began.
const SEED_VARIABLE: &str = "XSPLICE_SEED";
/// After so many clients, one that behaves asks on each port.
const CLIENTS_BETWEEN: u32 = 5;
const SERVED_WITHIN: Duration = Duration::from_secs(1);

/// Numbers that only look random.
pub(crate) struct Draws(u64);

impl Draws {
    /// Those that `seed` begins.
    pub(crate) fn new(seed: u64) -> Draws {
        Draws(seed)
    }

    /// Some number below `limit`.
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        u32::try_from((self.0 >> 33) % u64::from(limit)).unwrap_or_default()
    }

    /// One of them.
    pub(crate) fn one_of<'a, T>(&mut self, all: &'a [T]) -> Result<&'a T> {
        let index = self.below(u32::try_from(all.len())?);
        all.get(usize::try_from(index)?).context("none to draw")
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count)
            .map(|_| u8::try_from(self.below(256)).unwrap_or_default())
            .collect()
    }
}

/// Where draws begin.
pub(crate) fn seed() -> Result<u64> {
    match env::var(SEED_VARIABLE) {
        Ok(text) => text.parse().context(SEED_VARIABLE),
        Err(_) => Ok(1),
    }
}

/// A request whose answer is as long as one can be.
fn longest_answer(sequence: u32) -> Result<Vec<u8>> {
    let start = AREA_BYTES_MAX / 2;
    let list = List {
        nr: U32::new(1),
        metadata_handle: U64::new(start as u64),
        metadata_total_size: U32::new(u32::try_from(AREA_BYTES_MAX - start)?),
        ..List::default()
    };
    let operation = Operation::with(OP_LIST, &list);
    Ok(Frame::sysctl(sequence, operation, Vec::new(), AREA_BYTES_MAX)?.encode()?)
}

/// What one client sends.
fn request(draws: &mut Draws, payload: &[u8]) -> Result<Vec<u8>> {
    let sequence = draws.below(u32::MAX);
    let info = Frame::request(CALL_INFO, sequence, Vec::new())?.encode()?;
    let longest = longest_answer(sequence)?;
    Ok(match draws.below(12) {
        0 => Vec::new(),
        1 => info,
        2 => info.repeat(40),
        // More than the answers' way holds.
        3 => info.repeat(3000),
        4 => info[..info.len() / 2].to_vec(),
        5 => longest,
        6 => longest.repeat(3),
        7 => draws.bytes(3000),
        // No zero among them: an endless frame.
        8 => vec![1; 300_000],
        9 => wire("of-a-client", payload)?,
        10 => {
            let upload = wire("of-a-client", payload)?;
            let part = draws.below(u32::try_from(upload.len())?);
            upload[..usize::try_from(part)?].to_vec()
        }
        _ => Frame::request(CALL_DUMP, sequence, Vec::new())?
            .encode()?
            .repeat(20),
    })
}

/// How one client reads.
fn read(draws: &mut Draws, stream: &mut UnixStream) -> Result<()> {
    thread::sleep(Duration::from_millis(draws.below(6).into()));
    stream.set_read_timeout(Some(Duration::from_millis(5)))?;
    let (size, reads) = match draws.below(4) {
        0 => (100, 1),
        1 => (10, 20),
        2 => (100_000, 10),
        _ => return Ok(()),
    };
    let mut buffer = vec![0; size];
    for _ in 0..reads {
        // Cut off, or nothing there: that is one more way to misbehave.
        if stream.read(&mut buffer).unwrap_or(0) == 0 {
            break;
        }
    }
    Ok(())
}

/// One client that does not do what it should.
pub(crate) fn misbehave(draws: &mut Draws, kernel: &Kernel, payload: &[u8]) -> Result<()> {
    let mut stream = connect(kernel)?;
    // What the host's end cannot take at once is not waited for.
    stream.set_write_timeout(Some(Duration::from_millis(20)))?;
    let _ = stream.write_all(&request(draws, payload)?);
    read(draws, &mut stream)
}

fn some(bench: &mut Bench, cpus: u32) -> Result<()> {
    clients_that_leave(bench, cpus, SOME)
}

fn thousands(bench: &mut Bench, cpus: u32) -> Result<()> {
    clients_that_leave(bench, cpus, THOUSANDS)
}

fn clients_that_leave(bench: &mut Bench, cpus: u32, clients: u32) -> Result<()> {
    let (kernel, guest) = (bench.kernel(cpus)?, bench.guest(cpus)?);
    let hello = bench.payload(&HELLO)?;
    let seed = seed()?;
    let mut draws = Draws::new(seed);
    let limit = scaled(SERVED_WITHIN)?;
    for client in 1..=clients {
        let said = || format!("seed {seed}, after {client} clients");
        let port = if draws.below(2) == 0 { &kernel } else { &guest };
        misbehave(&mut draws, port, &hello.bytes)?;
        if client % CLIENTS_BETWEEN != 0 {
            continue;
        }
        let begun = Instant::now();
        kernel.info().with_context(said)?;
        let by_kernel = begun.elapsed();
        let answer = guest.call_text(CALL_INFO, "").with_context(said)?;
        ensure!(answer == Err(Errno::EPERM), "{}: {answer:?}", said());
        let by_guest = begun.elapsed() - by_kernel;
        ensure!(
            by_kernel < limit && by_guest < limit,
            "{}: served after {by_kernel:?} and {by_guest:?}",
            said()
        );
    }
    // What they uploaded is there, as if they had stayed.
    if kernel.get("of-a-client")?.is_some() {
        let gone = kernel.ask(ActionKind::Unload, "of-a-client")?;
        ensure!(gone == Ok(()), "{gone:?}");
    }
    unharmed(bench, &kernel, &hello)
}

/// How often the device is brought to hold answers back; it does not every time.
const HELD_BACK_ROUNDS: u32 = 12;
/// How long the kernel stands between making room for what arrives and answering.
const SLOW_SEND_MS: u64 = 300;
/// As long, and some more.
const STOPPED: Duration = Duration::from_millis(400);
/// More than a port takes in while the kernel does not look.
const FLOOD_BYTES: usize = 900_000;

/// A client fills the port while the kernel is about to answer it, and leaves while the device is
/// not looking either: then the kernel's answer is the first that meets the broken connection, and
/// what QEMU does about that inside the write makes it hold back what is written to the next one.
fn held_back(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, guest) = (bench.kernel(cpus)?, bench.guest(cpus)?);
    let process = i32::try_from(bench.process(cpus)?)?;
    let group = Pid::from_raw(process).context("no process is number 0")?;
    let limit = scaled(SERVED_WITHIN)?;
    for round in 1..=HELD_BACK_ROUNDS {
        kernel.test(&format!("slow-send 0 {SLOW_SEND_MS}"))?;
        let mut stream = connect(&guest)?;
        stream.set_write_timeout(Some(Duration::from_millis(20)))?;
        stream.write_all(&Frame::request(CALL_INFO, round, Vec::new())?.encode()?)?;
        // The kernel has it; what follows it has not.
        thread::sleep(Duration::from_millis(20));
        let _ = stream.write_all(&vec![1; FLOOD_BYTES]);
        kill_process_group(group, Signal::STOP)?;
        thread::sleep(STOPPED);
        drop(stream);
        kill_process_group(group, Signal::CONT)?;
        let begun = Instant::now();
        let answer = guest.call_text(CALL_INFO, "")?;
        let took = begun.elapsed();
        ensure!(answer == Err(Errno::EPERM), "round {round}: {answer:?}");
        ensure!(took < limit, "round {round}: served after {took:?}");
    }
    Ok(())
}

/// How long the first CPU's share is looked at.
const SHARE_OVER: Duration = Duration::from_secs(1);
/// Most by which a flood may divide it: CPUs of the host are shared, and what used to be lost to a
/// flood was a factor of thousands.
const SHARE_DIVISOR: u64 = 4;
/// So many requests on one connection of the flood.
const FLOOD_REQUESTS: usize = 500;

/// Calls of the first CPU, which serves the ports, for each thousand of the second.
fn share_of_the_first(kernel: &Kernel) -> Result<u64> {
    let calls = |cpus: &[Counters], cpu: usize| -> Result<u64> {
        let counters = cpus.get(cpu).context("two CPUs")?;
        Ok(*counters.get("calls").context("calls")?)
    };
    let before = kernel.cpus()?;
    thread::sleep(scaled(SHARE_OVER)?);
    let after = kernel.cpus()?;
    let [first, second] =
        [0, 1].map(|cpu| -> Result<u64> { Ok(calls(&after, cpu)? - calls(&before, cpu)?) });
    let second = second?;
    ensure!(second > 0, "the second CPU stands still");
    Ok(first? * 1000 / second)
}

/// Requests for the longest answers, one connection after the other, until `is_over`. Some of what
/// comes back is read.
fn flood(guest: &Kernel, is_over: &AtomicBool) -> Result<u32> {
    let requests = longest_answer(1)?.repeat(FLOOD_REQUESTS);
    let mut connections = 0;
    let mut draws = Draws::new(1);
    while !is_over.load(Ordering::Relaxed) {
        let mut stream = connect(guest)?;
        stream.set_write_timeout(Some(Duration::from_millis(20)))?;
        let _ = stream.write_all(&requests);
        read(&mut draws, &mut stream)?;
        connections += 1;
    }
    Ok(connections)
}

fn flooded(bench: &mut Bench, cpus: u32) -> Result<()> {
    let (kernel, guest) = (bench.kernel(cpus)?, bench.guest(cpus)?);
    let hello = bench.payload(&HELLO)?;
    let calm = share_of_the_first(&kernel)?;
    let is_over = AtomicBool::new(false);
    let (under, connections) = thread::scope(|scope| -> Result<_> {
        let flooding = scope.spawn(|| flood(&guest, &is_over));
        let under = share_of_the_first(&kernel).and_then(|share| {
            hello.upload(&kernel)?;
            for kind in [ActionKind::Apply, ActionKind::Revert, ActionKind::Unload] {
                hello.act(&kernel, kind)?;
            }
            Ok(share)
        });
        is_over.store(true, Ordering::Relaxed);
        let connections = flooding
            .join()
            .map_err(|_| anyhow!("the flood panicked"))??;
        Ok((under?, connections))
    })?;
    let after = share_of_the_first(&kernel)?;
    let said = format!("{calm} calm, {under} under {connections} connections, {after} after");
    ensure!(connections > 3, "the premise: {said}");
    for share in [under, after] {
        ensure!(share * SHARE_DIVISOR >= calm, "calls of a thousand: {said}");
    }
    unharmed(bench, &kernel, &hello)
}
