//! Watches one run: panics, processor time, memory, and runs that never end.

use std::cell::Cell;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;
use rustix::time::{ClockId, clock_gettime};

use super::Input;
use super::kept;

/// Processor time that one run may take. The files have a few kilobytes.
pub const TIME_MAX: Duration = Duration::from_secs(2);
/// Wall time after which a run counts as one that never ends, and the process ends instead.
const HANG: Duration = Duration::from_secs(120);

/// Bytes that a run may take whatever its input: tables that do not depend on it, and functions
/// that share constants, up to what `described_size` lets through.
pub const MEMORY_CONSTANT_BYTES: usize = 4 << 20;
/// Times its input that a run may take beyond that.
pub const MEMORY_FACTOR: usize = 64;

/// What a run took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Processor time.
    pub time: Duration,
    /// Memory at its peak, beyond what was there before, in bytes.
    pub memory_bytes: usize,
    /// Size of the input in bytes.
    pub input_bytes: usize,
}

impl Spent {
    /// Bytes of memory for each byte of input.
    #[must_use]
    pub fn share(&self) -> usize {
        self.memory_bytes / self.input_bytes.max(1)
    }
}

/// What must never come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A panic, with its place and message.
    Panic {
        /// File, line and column.
        place: String,
        /// What it said.
        message: String,
    },
    /// A run that took too long.
    Slow(Spent),
    /// A run that took too much memory.
    Greedy(Spent),
}

impl Fault {
    /// Whether the two probably have one cause.
    #[must_use]
    pub fn is_like(&self, other: &Fault) -> bool {
        match (self, other) {
            (Fault::Panic { place, .. }, Fault::Panic { place: known, .. }) => place == known,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Panic { place, message } => write!(out, "panic at {place}: {message}"),
            Fault::Slow(spent) => {
                write!(out, "took {:?}, more than {TIME_MAX:?}", spent.time)
            }
            Fault::Greedy(spent) => write!(
                out,
                "took {} bytes of memory for {} bytes of input, more than {MEMORY_FACTOR} times \
                 as much and {MEMORY_CONSTANT_BYTES}",
                spent.memory_bytes, spent.input_bytes
            ),
        }
    }
}

thread_local! {
    static PANIC: Cell<Option<(String, String)>> = const { Cell::new(None) };
    /// Whether this thread is in a watched run: other panics are told as always.
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}

/// The run that is under way: since when, and what it is.
type Running = Option<(Instant, String, Input)>;

static RUNNING: Mutex<Running> = Mutex::new(None);

/// Watches runs. Memory is counted where [`PeakAlloc`] is the program's allocator.
#[derive(Debug)]
pub struct Guard(());

impl Guard {
    /// From now on panics of watched runs are recorded and not printed, and a run that never ends
    /// ends the process with status 1, its input kept below `hangs`.
    #[must_use]
    pub fn new(hangs: PathBuf) -> Guard {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let told_as_always = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                if !WATCHED.get() {
                    return told_as_always(info);
                }
                let place = info.location().map_or("?".to_owned(), ToString::to_string);
                let message = info.payload_as_str().unwrap_or("?").to_owned();
                PANIC.set(Some((place, message)));
            }));
            thread::spawn(move || watch_for_hangs(&hangs));
        });
        Guard(())
    }

    /// Whether memory is counted in this program.
    #[must_use]
    pub fn counts_memory() -> bool {
        const PROBE_BYTES: usize = 1 << 16;
        let before = PeakAlloc.current_usage();
        let probe = std::hint::black_box(vec![1_u8; PROBE_BYTES]);
        let counted = PeakAlloc.current_usage().saturating_sub(before);
        drop(probe);
        // Other threads of the program, the test runner's among them, free a little meanwhile.
        counted >= PROBE_BYTES / 2
    }

    /// Runs `act` on `input`; `about` says which run it is.
    ///
    /// # Errors
    /// When it panics, takes too long or takes too much.
    pub fn watch(
        &self,
        about: &dyn Fn() -> String,
        input: &Input,
        act: impl FnOnce(),
    ) -> Result<Spent, Fault> {
        set_running(Some((Instant::now(), about(), input.clone())));
        PeakAlloc.reset_peak_usage();
        let before = PeakAlloc.current_usage();
        let began = processor_time();
        WATCHED.set(true);
        let outcome = panic::catch_unwind(AssertUnwindSafe(act));
        WATCHED.set(false);
        let spent = Spent {
            time: processor_time().saturating_sub(began),
            memory_bytes: PeakAlloc.peak_usage().saturating_sub(before),
            input_bytes: input.bytes(),
        };
        set_running(None);
        if outcome.is_err() {
            let (place, message) = PANIC.take().unwrap_or_default();
            return Err(Fault::Panic { place, message });
        }
        if spent.time > TIME_MAX {
            return Err(Fault::Slow(spent));
        }
        let allowed = MEMORY_CONSTANT_BYTES.saturating_add(spent.input_bytes * MEMORY_FACTOR);
        if spent.memory_bytes > allowed {
            return Err(Fault::Greedy(spent));
        }
        Ok(spent)
    }
}

/// Processor time of this thread, which other load on the machine does not lengthen.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

fn set_running(run: Running) {
    *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = run;
}

fn watch_for_hangs(folder: &Path) {
    const LOOK_EVERY: Duration = Duration::from_secs(2);
    loop {
        thread::sleep(LOOK_EVERY);
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, about, input)) = &*running
            && since.elapsed() > HANG
        {
            eprintln!(
                "{about}: does not end; its files are in {}",
                folder.display()
            );
            if let Err(error) = kept::write_input(folder, input) {
                eprintln!("{error:#}");
            }
            std::process::exit(1);
        }
    }
}
