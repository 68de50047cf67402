//! Runs commands and measures what each run costs, by what the kernel accounts to its process.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use wait4::Wait4 as _;

/// What one run cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// From before the process began to after it ended.
    pub wall: Duration,
    /// Time of all its threads outside the kernel. The kernel samples on which side of it a thread
    /// is, so that one short run tells little.
    pub user: Duration,
    /// Time of all its threads on both sides, which the kernel counts exactly.
    pub cpu: Duration,
    /// Largest resident set. Pages of mapped files count, with as many as were touched.
    pub peak_bytes: u64,
}

/// A command that is measured, and the exit statuses that mean that it did its work.
#[derive(Debug)]
pub struct Measured {
    command: Command,
    expected: &'static [i32],
    costs: Vec<Cost>,
}

impl Measured {
    /// Nothing is measured yet.
    #[must_use]
    pub fn new(mut command: Command, expected: &'static [i32]) -> Measured {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Measured {
            command,
            expected,
            costs: Vec::new(),
        }
    }

    /// Runs it once.
    ///
    /// # Errors
    /// When it cannot be started, or ends otherwise than expected.
    pub fn run(&mut self) -> Result<Cost> {
        let command = &mut self.command;
        let started = Instant::now();
        let mut child = command
            .spawn()
            .with_context(|| format!("{command:?}: not started"))?;
        let used = child
            .wait4()
            .with_context(|| format!("{command:?}: not waited for"))?;
        let wall = started.elapsed();
        ensure!(
            used.status
                .code()
                .is_some_and(|code| self.expected.contains(&code)),
            "{command:?}: {}, expected {:?}; run it by hand to see why",
            used.status,
            self.expected
        );
        Ok(Cost {
            wall,
            user: used.rusage.utime,
            cpu: used.rusage.utime + used.rusage.stime,
            peak_bytes: used.rusage.maxrss,
        })
    }

    /// The costs of all measured runs.
    #[must_use]
    pub fn costs(&self) -> Costs<'_> {
        Costs(&self.costs)
    }
}

/// Runs each of `measured` once to warm the caches, and then `rounds` times in turn, so that
/// whatever else the machine does falls on all of them alike.
///
/// # Errors
/// As for [`Measured::run`].
pub fn interleave(measured: &mut [&mut Measured], rounds: usize) -> Result<()> {
    for one in measured.iter_mut() {
        one.run()?;
    }
    for _ in 0..rounds {
        for one in measured.iter_mut() {
            let cost = one.run()?;
            one.costs.push(cost);
        }
    }
    Ok(())
}

/// The costs of several runs of one command.
#[derive(Clone, Copy, Debug)]
pub struct Costs<'a>(pub &'a [Cost]);

impl Costs<'_> {
    /// Median of the wall time.
    #[must_use]
    pub fn wall(self) -> Duration {
        self.median(|cost| cost.wall)
    }

    /// Median of the user time.
    #[must_use]
    pub fn user(self) -> Duration {
        self.median(|cost| cost.user)
    }

    /// Median of the time on both sides of the kernel.
    #[must_use]
    pub fn cpu(self) -> Duration {
        self.median(|cost| cost.cpu)
    }

    /// The largest of the peaks.
    #[must_use]
    pub fn peak_bytes(self) -> u64 {
        let peaks = self.0.iter().map(|cost| cost.peak_bytes);
        peaks.max().unwrap_or(0)
    }

    /// The upper of the two middle ones for an even number of runs: the one that flatters less.
    fn median(self, of: impl Fn(&Cost) -> Duration) -> Duration {
        let mut all: Vec<Duration> = self.0.iter().map(of).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::{Cost, Costs, Measured, interleave};

    #[test]
    fn the_median_leaves_out_what_an_unlucky_run_took() {
        let costs = [1, 900, 2, 3, 2].map(|ms| Cost {
            wall: Duration::from_millis(ms),
            user: Duration::from_millis(ms),
            cpu: Duration::from_millis(ms),
            peak_bytes: ms,
        });
        assert_eq!(Costs(&costs).wall(), Duration::from_millis(2));
        assert_eq!(Costs(&costs).peak_bytes(), 900);
    }

    #[test]
    fn a_run_that_ends_otherwise_than_expected_is_no_measurement() {
        let mut right = Measured::new(Command::new("true"), &[0]);
        let mut wrong = Measured::new(Command::new("false"), &[0]);
        interleave(&mut [&mut right], 3).expect("true ends with 0");
        assert!(right.costs().peak_bytes() > 0);
        assert!(interleave(&mut [&mut wrong], 1).is_err());
    }
}
