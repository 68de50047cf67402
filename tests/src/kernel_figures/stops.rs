//! How long it takes until all CPUs stand still and until they all run again.

use anyhow::{Context, Result, ensure};
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};
use xsplice_ctl::calls::ActionKind;

use super::many::Many;
use super::{act, median, upload};
use crate::kernel::{Counters, Kernel, values};
use crate::limit::scaled;

/// How long the last CPU may take to run again after its action has ended.
const RUN_LIMIT: Duration = Duration::from_secs(60);

/// The stops of one machine, in nanoseconds, sorted.
#[derive(Clone, Debug)]
pub(super) struct Stops {
    cpus: u32,
    stopping: Vec<u64>,
    acting: Vec<u64>,
    releasing: Vec<u64>,
}

impl Stops {
    /// Times `rounds` rounds of apply and revert of one function.
    pub(super) fn time(kernel: &Kernel, many: &Many, cpus: u32, rounds: usize) -> Result<Stops> {
        let name = "many1";
        upload(kernel, name, many.payload(1)?)?;
        let mut stops = Stops {
            cpus,
            stopping: Vec::new(),
            acting: Vec::new(),
            releasing: Vec::new(),
        };
        for _ in 0..rounds {
            for kind in [ActionKind::Apply, ActionKind::Revert] {
                act(kernel, kind, name)?;
                stops.note(&moments(kernel)?)?;
            }
        }
        act(kernel, ActionKind::Unload, name)?;
        for times in [&mut stops.stopping, &mut stops.acting, &mut stops.releasing] {
            times.sort_unstable();
        }
        Ok(stops)
    }

    fn note(&mut self, moments: &Counters) -> Result<()> {
        let between = |start: &str, end: &str| -> Result<u64> {
            let at = |key: &str| moments.get(key).context("a moment is missing");
            at(end)?
                .checked_sub(*at(start)?)
                .with_context(|| format!("{start} comes after {end}: {moments:?}"))
        };
        self.stopping.push(between("requested", "stopped")?);
        self.acting.push(between("stopped", "released")?);
        self.releasing.push(between("released", "running")?);
        Ok(())
    }
}

/// When each part of the last action happened, once all of it has.
fn moments(kernel: &Kernel) -> Result<Counters> {
    let deadline = Instant::now() + scaled(RUN_LIMIT)?;
    loop {
        // The action has ended when its master says so; the last follower may still be on its way.
        let moments = values(&kernel.test("times")?)?;
        if moments.get("running").is_some_and(|running| *running != 0) {
            return Ok(moments);
        }
        ensure!(
            Instant::now() < deadline,
            "not every CPU runs again: {moments:?}"
        );
        thread::sleep(Duration::from_millis(1));
    }
}

/// What stands above the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heading;

impl fmt::Display for Heading {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        writeln!(
            out,
            "Stops of all CPUs (emulated, a thread each, {cores} cores; us: median, least to most)"
        )?;
        writeln!(
            out,
            "  CPUs stops  {:<32}{:<28}release to all running",
            "request to all stopped", "work"
        )
    }
}

/// Microseconds: the median, the least and the most.
struct Spread<'a>(&'a [u64]);

impl fmt::Display for Spread<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = |ns: Option<u64>| ns.map_or(0, |ns| ns.div_ceil(1000));
        let middle = us(median(&mut self.0.to_vec()));
        let (least, most) = (us(self.0.first().copied()), us(self.0.last().copied()));
        out.pad(&format!("{middle} ({least} to {most})"))
    }
}

impl fmt::Display for Stops {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "  {:>4} {:>5}  {:<32}{:<28}{}",
            self.cpus,
            self.stopping.len(),
            Spread(&self.stopping),
            Spread(&self.acting),
            Spread(&self.releasing)
        )
    }
}
