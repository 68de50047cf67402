//! Times of the phases of the last action, for the dump and the benchmarks: they show how long all
//! CPUs were stopped.
//!
//! Each is written at most once in an action, which adds hardly any time to the quiescent zone.

use core::sync::atomic::{AtomicU64, Ordering};

/// Moments of the last action, in nanoseconds of [`crate::platform::Platform::now_ns`]; 0 for what
/// has not happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Milestones {
    /// The hypercall opened it.
    pub requested_ns: u64,
    /// Every CPU stood at its safe point with interrupts off.
    pub stopped_ns: u64,
    /// Text was written; the CPUs were let go next.
    pub released_ns: u64,
    /// The last CPU had serialised and takes interrupts again.
    pub running_ns: u64,
}

impl Milestones {
    /// From the request until all CPUs stood still; `None` if that did not happen.
    #[must_use]
    pub fn stopping_ns(&self) -> Option<u64> {
        between(self.requested_ns, self.stopped_ns)
    }

    /// How long all CPUs stood still.
    #[must_use]
    pub fn acting_ns(&self) -> Option<u64> {
        between(self.stopped_ns, self.released_ns)
    }

    /// From there until every CPU ran again.
    #[must_use]
    pub fn releasing_ns(&self) -> Option<u64> {
        between(self.released_ns, self.running_ns)
    }
}

fn between(start: u64, end: u64) -> Option<u64> {
    (end != 0).then_some(end)?.checked_sub(start)
}

/// [`Milestones`] that several CPUs write.
#[derive(Debug, Default)]
pub struct Recorder {
    requested: AtomicU64,
    stopped: AtomicU64,
    released: AtomicU64,
    running: AtomicU64,
}

impl Recorder {
    /// A new action, requested now. The rendezvous orders this before all that follows.
    pub fn request(&self, now_ns: u64) {
        self.requested.store(now_ns, Ordering::Relaxed);
        for later in [&self.stopped, &self.released, &self.running] {
            later.store(0, Ordering::Relaxed);
        }
    }

    /// Every CPU stands still.
    pub fn stop(&self, now_ns: u64) {
        self.stopped.store(now_ns, Ordering::Relaxed);
    }

    /// Text is written.
    pub fn release(&self, now_ns: u64) {
        self.released.store(now_ns, Ordering::Relaxed);
    }

    /// The last CPU runs.
    pub fn run(&self, now_ns: u64) {
        self.running.store(now_ns, Ordering::Relaxed);
    }

    /// What was written so far.
    #[must_use]
    pub fn read(&self) -> Milestones {
        Milestones {
            requested_ns: self.requested.load(Ordering::Relaxed),
            stopped_ns: self.stopped.load(Ordering::Relaxed),
            released_ns: self.released.load(Ordering::Relaxed),
            running_ns: self.running.load(Ordering::Relaxed),
        }
    }
}
