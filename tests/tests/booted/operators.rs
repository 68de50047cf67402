//! Operators at random, for as long as is asked: uploads of good, broken, unsigned and wrongly
//! signed payloads, actions in any order and with any patience, stacks of sixty payloads, clients
//! that are killed or send garbage. In the end the kernel answers, its memory is what it was at the
//! start, and every CPU has gone on.

use anyhow::{Context, Result, bail, ensure};
use std::env;
use std::time::{Duration, Instant};
use xsplice_abi::channel::CALL_DUMP;
use xsplice_abi::{Errno, profile, section};
use xsplice_ctl::calls::{ActionKind, KernelTimeout, State, Waived};
use xsplice_tests::breaks;
use xsplice_tests::edit::{Edit, ID_AT};
use xsplice_tests::kernel::{Counters, Kernel, number, values};

use super::super::Check;
use super::bench::{
    BYE, Bench, CPU_LIMIT, HELLO, HOT, HOT_AGAIN, Payload, REPLACE, STATE, unload_all,
};
use super::clients::{Draws, misbehave, seed};
use super::signatures::Identity;

pub(crate) const CHECKS: &[Check] = &[("operators at random do no lasting harm", operators)];

/// Set: for so many seconds.
pub(crate) const SECONDS_VARIABLE: &str = "XSPLICE_OPERATORS_SECONDS";
/// How often it is said how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// How many payloads a large stack has.
const STACKED: u16 = 60;
/// About so many other things happen between two large stacks.
const TURNS_BETWEEN_STACKS: u32 = 300;

/// A payload under a name of its own.
struct Piece {
    name: String,
    /// As the linker wrote it.
    unsigned: Vec<u8>,
    /// With the signature that the kernel asks for.
    signed: Vec<u8>,
}

/// Whom and what operators have.
struct Scene {
    kernel: Kernel,
    guest: Kernel,
    ours: Identity,
    other: Identity,
    /// Each can be uploaded at any time; not every one goes on top of every other.
    pieces: Vec<Piece>,
    /// They go on top of each other, the first at the bottom.
    stack: Vec<Piece>,
    /// What the hot function answers with any but the first of them in effect.
    on_stack: u32,
    replace: Payload,
}

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

impl Scene {
    /// Boots a kernel that asks for signatures, and makes the payloads.
    fn set(bench: &mut Bench, cpus: u32) -> Result<Scene> {
        let folder = tempfile::tempdir()?;
        let trusted = folder.path().join("trusted");
        let ours = Identity::new(&trusted, "/CN=the builder")?;
        let other = Identity::new(&folder.path().join("other"), "/CN=somebody else")?;
        let kernel = bench.kernel_that_trusts(cpus, &trusted.join("cert.pem"))?;
        let guest = bench.guest(cpus)?;
        let mut pieces = Vec::new();
        for wanted in [&HELLO, &BYE, &HOT, &HOT_AGAIN, &REPLACE, &STATE] {
            let payload = bench.payload(wanted)?;
            pieces.push(Piece::new(payload.name, payload.bytes, &ours)?);
        }
        let (bottom, above) = (bench.payload(&HOT)?, bench.payload(&HOT_AGAIN)?);
        let mut stack = vec![Piece::new("stack0", bottom.bytes, &ours)?];
        for level in 1..STACKED {
            let bytes = at_level(&above.bytes, level)?;
            stack.push(Piece::new(&format!("stack{level}"), bytes, &ours)?);
        }
        let mut replace = bench.payload(&REPLACE)?;
        replace.bytes = ours.sign(&replace.bytes)?;
        Ok(Scene {
            kernel,
            guest,
            ours,
            other,
            pieces,
            stack,
            on_stack: above.expected.hot,
            replace,
        })
    }

    /// Loads everything at once, so that tables have the size that they keep.
    fn warm_up(&self, draws: &mut Draws) -> Result<()> {
        for piece in &self.pieces {
            piece.upload(&self.kernel)?;
        }
        unload_all(&self.kernel)?;
        self.large_stack(draws)
    }

    /// One thing that an operator does.
    fn one(&self, draws: &mut Draws) -> Result<()> {
        if draws.below(TURNS_BETWEEN_STACKS) == 0 {
            return self.large_stack(draws);
        }
        let (kernel, piece) = (&self.kernel, draws.one_of(&self.pieces)?);
        let kind = *draws.one_of(&[
            ActionKind::Apply,
            ActionKind::Apply,
            ActionKind::Apply,
            ActionKind::Revert,
            ActionKind::Revert,
            ActionKind::Unload,
            ActionKind::Replace,
            ActionKind::Check,
        ])?;
        match draws.below(20) {
            0..=3 => misbehave(draws, kernel, &piece.signed)?,
            4..=5 => misbehave(draws, &self.guest, &piece.signed)?,
            6..=8 => {
                let _ = kernel.upload(&piece.name, &piece.signed)?;
            }
            9 => self.badly_signed(draws, piece)?,
            10 => self.broken(draws, piece)?,
            11 => drop(kernel.list()?),
            12 => drop(kernel.call_text(CALL_DUMP, "")?),
            13 => drop(kernel.test(draws.one_of(&["nmi on", "nmi off", "stats"])?)?),
            // With little patience it fails, which must change nothing. The tool wants none under
            // way that somebody else has asked for.
            14 => {
                settle(kernel)?;
                let timeout = KernelTimeout {
                    ns: 1 + draws.below(100_000_000),
                };
                let _ = kernel.act_with(kind, &piece.name, timeout, Waived::Nothing)?;
            }
            15 => {
                let _ = kernel.ask(kind, &piece.name)?;
            }
            _ => {
                settle(kernel)?;
                let _ = kernel.act(kind, &piece.name)?;
            }
        }
        Ok(())
    }

    /// Sixty payloads on top of each other, taken off in one of three ways.
    fn large_stack(&self, draws: &mut Draws) -> Result<()> {
        let kernel = &self.kernel;
        settle(kernel)?;
        unload_all(kernel)?;
        for piece in &self.stack {
            piece.upload(kernel)?;
        }
        for piece in &self.stack {
            piece.act(kernel, ActionKind::Apply)?;
        }
        kernel.wait_for_all_cpus(self.on_stack, CPU_LIMIT)?;
        match kernel.call_text(CALL_DUMP, "")? {
            Ok(text) => {
                let said = format!("payloads: {STACKED}, applied: {STACKED},");
                ensure!(text.contains(&said), "{text}");
            }
            Err(errno) => bail!("dump: {errno}"),
        }
        match draws.below(3) {
            0 => {
                self.replace.upload(kernel)?;
                self.replace.act(kernel, ActionKind::Replace)?;
                let applied = kernel.states()?.into_iter();
                let applied: Vec<_> = applied
                    .filter(|(_, state)| *state == State::Applied)
                    .collect();
                ensure!(
                    applied == [(self.replace.name.to_owned(), State::Applied)],
                    "{applied:?}"
                );
            }
            1 => {
                for piece in self.stack.iter().rev() {
                    piece.act(kernel, ActionKind::Revert)?;
                }
            }
            _ => {
                let below = draws.one_of(&self.stack[..self.stack.len() - 1])?;
                let answer = kernel.act(ActionKind::Revert, &below.name)?;
                ensure!(answer == Err(Errno::EBUSY), "{}: {answer:?}", below.name);
            }
        }
        unload_all(kernel)
    }

    /// Without the signature that the kernel asks for: always refused.
    fn badly_signed(&self, draws: &mut Draws, piece: &Piece) -> Result<()> {
        let (bytes, wanted) = match draws.below(3) {
            0 => (piece.unsigned.clone(), None),
            1 => (self.other.sign(&piece.unsigned)?, Some(Errno::ENOKEY)),
            _ => {
                let spoiled = draws.one_of(breaks::SIGNATURE)?;
                let mut bytes = piece.signed.clone();
                (spoiled.change)(&mut bytes, piece.unsigned.len());
                (bytes, Some(spoiled.errno))
            }
        };
        match (self.kernel.upload("unsigned", &bytes)?, wanted) {
            (Ok(()), _) => bail!("{} was taken without its signature", piece.name),
            (Err(errno), Some(wanted)) => ensure!(errno == wanted, "{errno}, not {wanted}"),
            (Err(_), None) => {}
        }
        Ok(())
    }

    /// A payload with some bits changed, and signed; what is taken all the same is unloaded.
    fn broken(&self, draws: &mut Draws, piece: &Piece) -> Result<()> {
        let mut bytes = piece.unsigned.clone();
        for _ in 0..=draws.below(4) {
            let at = usize::try_from(draws.below(u32::try_from(bytes.len())?))?;
            bytes[at] ^= 1 << draws.below(8);
        }
        let length = usize::try_from(draws.below(u32::try_from(bytes.len())?))?;
        if draws.below(3) == 0 {
            bytes.truncate(length);
        }
        let bytes = self.ours.sign(&bytes)?;
        if self.kernel.upload("broken", &bytes)?.is_ok() {
            let gone = self.kernel.ask(ActionKind::Unload, "broken")?;
            ensure!(gone == Ok(()), "unload broken: {gone:?}");
        }
        Ok(())
    }
}

impl Piece {
    fn new(name: &str, unsigned: Vec<u8>, identity: &Identity) -> Result<Piece> {
        Ok(Piece {
            name: name.to_owned(),
            signed: identity.sign(&unsigned)?,
            unsigned,
        })
    }

    /// Uploads it; it must be taken.
    fn upload(&self, kernel: &Kernel) -> Result<()> {
        match kernel.upload(&self.name, &self.signed)? {
            Ok(()) => Ok(()),
            Err(errno) => bail!("upload {}: {errno}", self.name),
        }
    }

    /// Carries out an action; it must succeed, if not at once because a CPU came too late.
    fn act(&self, kernel: &Kernel, kind: ActionKind) -> Result<()> {
        match kernel.persist(kind, &self.name)? {
            Ok(_) => Ok(()),
            Err(errno) => bail!("{kind} {}: {errno}", self.name),
        }
    }
}

/// The payload that stands `level` payloads above the bottom of a stack: `second`, which stands
/// right above it, with other ids.
fn at_level(second: &[u8], level: u16) -> Result<Vec<u8>> {
    let id = |level: u16| {
        let mut id = [0x5a; 20];
        id[..2].copy_from_slice(&level.to_le_bytes());
        id
    };
    let mut edit = Edit::new(second, &profile::XSPLICE);
    edit.put_own_id(&id(level)).context("it has a build-id")?;
    if level > 1 {
        let depends = edit.section(&edit.own(section::DEPENDS));
        depends
            .and_then(|note| edit.put_content(note, ID_AT, &id(level - 1)))
            .context("it depends on something")?;
    }
    Ok(edit.stamp())
}

fn operators(bench: &mut Bench, cpus: u32) -> Result<()> {
    let lasts = duration()?.unwrap_or(Duration::from_secs(30));
    bench.keep_machines_for(lasts + Duration::from_secs(1800));
    let original = bench.original()?;
    let scene = Scene::set(bench, cpus)?;
    let kernel = &scene.kernel;
    let seed = seed()?;
    let mut draws = Draws::new(seed);
    scene.warm_up(&mut draws)?;
    let (before, counters) = (memory(kernel)?, kernel.cpus()?);
    let begun = Instant::now();
    let mut told = begun;
    let mut turns = 0_u64;
    while begun.elapsed() < lasts {
        turns += 1;
        if let Err(error) = scene.one(&mut draws) {
            // Whether it is the port, or one connection.
            let now = match kernel.info() {
                Ok(_) => "a new connection is answered",
                Err(_) => "nor is a new connection answered",
            };
            return Err(error.context(format!("seed {seed}, turn {turns}; {now}")));
        }
        if told.elapsed() > TOLD_EVERY {
            told = Instant::now();
            eprintln!("{} s: {turns} turns", begun.elapsed().as_secs());
        }
    }
    let said = || format!("seed {seed}, after {turns} turns");

    kernel.test("nmi off")?;
    settle(kernel)?;
    // Clients upload under a name of their own.
    unload_all(kernel).with_context(said)?;
    let after = memory(kernel)?;
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
    // Later checks know no key.
    bench.stop(cpus);
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
