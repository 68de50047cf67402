//! What a stop of all CPUs costs in the booted test kernel, measured and judged: `bench-kernel`.
//!
//! Instructions inside the quiescent zone are counted by the emulator and are the same on every
//! host; they have a budget. Times depend on the host's cores and load and
//! have none.

mod many;
mod parsing;
mod stops;
mod uploads;
mod zone;

use anyhow::{Result, ensure};
use std::fmt;
use std::num::NonZero;
use std::path::Path;
use std::thread;
use std::time::Duration;
use xsplice_ctl::calls::{ActionKind, State};

use crate::kernel::{Kernel, number};
use crate::qemu::{Machine, Pace, Running};
use many::Many;
use parsing::Parsing;
use stops::Stops;
use uploads::Uploads;
use zone::Zone;

/// How long a machine lives, before the factor.
const MACHINE_LIMIT: Duration = Duration::from_secs(900);
/// How long a kernel has to boot.
const BOOT_LIMIT: Duration = Duration::from_secs(60);
/// CPUs of the machines whose stops are timed, and how many rounds of apply and revert each makes.
const STOPS: [(u32, usize); 3] = [(2, 50), (4, 50), (16, 10)];

/// All figures.
#[derive(Clone, Debug)]
pub struct Figures {
    zone: Zone,
    parsing: Parsing,
    stops: Vec<Stops>,
    uploads: Uploads,
}

/// A booted kernel.
struct Booted {
    running: Running,
    kernel: Kernel,
}

impl Figures {
    /// Builds the kernel and its payloads with the commands in `tools`, boots, and measures.
    ///
    /// # Errors
    /// When something cannot be built, booted or patched.
    pub fn measure(tools: &Path) -> Result<Figures> {
        let many = Many::build(tools)?;
        let zone =
            Booted::boot(&many, 1, Pace::Counted)?.with(|kernel| Zone::count(kernel, &many))?;
        let parsing =
            Booted::boot(&many, 1, Pace::Counted)?.with(|kernel| Parsing::count(kernel, &many))?;
        let mut stops = Vec::new();
        for (cpus, rounds) in STOPS {
            let booted = Booted::boot(&many, cpus, Pace::Free)?;
            stops.push(booted.with(|kernel| Stops::time(kernel, &many, cpus, rounds))?);
        }
        let uploads =
            Booted::boot(&many, 2, Pace::Free)?.with(|kernel| Uploads::time(kernel, &many))?;
        Ok(Figures {
            zone,
            parsing,
            stops,
            uploads,
        })
    }

    /// Whether the budgets are kept.
    #[must_use]
    pub fn is_within_budget(&self) -> bool {
        self.zone.is_within_budget() && self.parsing.is_within_budget()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}\n{}\n{}", self.zone, self.parsing, stops::Heading)?;
        for stops in &self.stops {
            write!(out, "{stops}")?;
        }
        write!(out, "\n{}", self.uploads)?;
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        write!(
            out,
            "
Beside the figures of the 2016 patch series
  \"about 100 us on a 72 CPU system, whether idle or fully loaded\": the time to apply a patch, on
  72 processors that all run at once. The times above cannot be compared with it: here the CPUs
  are threads of an emulator that take turns on {cores} cores, and most of what is measured is how
  long the host takes to run the thread that everybody waits for. What can be compared is the
  work done while nothing else runs, and that is the count of instructions: at one instruction a
  nanosecond, {one} us for one record and {all} us for {records}, the rendezvous of one CPU included.
  \"up to 30 ms before timing out\": the same default here. It can be compared where the CPUs have
  cores of their own; with more CPUs than cores the host alone may take longer, so that the tests
  ask for seconds.
",
            one = self.zone.microseconds(1),
            all = self.zone.microseconds(many::FUNCTIONS),
            records = many::FUNCTIONS,
        )
    }
}

impl Booted {
    fn boot(many: &Many, cpus: u32, pace: Pace) -> Result<Booted> {
        let machine = Machine {
            kernel: many.kernel(),
            cpus,
            options: "exit_after_ms=0".to_owned(),
            certificate: None,
            pace,
            limit: MACHINE_LIMIT,
            folder: many.folder().join(format!("machine{cpus}-{pace:?}")),
        };
        let running = machine.boot()?;
        let kernel = Kernel {
            socket: machine.control_path(),
        };
        let booted = Booted { running, kernel };
        let up = |info: &_| number(info, "cpus").ok() == Some(u64::from(cpus));
        match booted.kernel.wait_until("boot", BOOT_LIMIT, up) {
            Ok(()) => Ok(booted),
            Err(error) => Err(error.context(booted.running.log_tail())),
        }
    }

    /// Measures, and ends the machine.
    fn with<T>(self, measure: impl FnOnce(&Kernel) -> Result<T>) -> Result<T> {
        measure(&self.kernel).map_err(|error| error.context(self.running.log_tail()))
    }
}

/// Carries out an action that must succeed.
fn act(kernel: &Kernel, kind: ActionKind, name: &str) -> Result<()> {
    let answer = kernel.persist(kind, name)?;
    ensure!(answer.is_ok(), "{kind} {name}: {answer:?}");
    Ok(())
}

/// Uploads a payload that must be taken.
fn upload(kernel: &Kernel, name: &str, payload: &[u8]) -> Result<()> {
    let answer = kernel.upload(name, payload)?;
    ensure!(answer == Ok(()), "upload {name}: {answer:?}");
    ensure!(
        kernel.states()? == [(name.to_owned(), State::Checked)],
        "{name} is not there alone"
    );
    Ok(())
}

/// The value in the middle; of an even number the upper one.
fn median<T: Ord + Copy>(values: &mut [T]) -> Option<T> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_in_the_middle_of_what_is_sorted() {
        assert_eq!(median(&mut [9, 1, 5]), Some(5));
        assert_eq!(median(&mut [2, 1]), Some(2));
        assert_eq!(median::<u8>(&mut []), None);
    }
}
