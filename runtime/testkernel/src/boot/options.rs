//! The kernel's command line: `word` and `key=number` options.

use spin::Once;

/// Everything that the command line sets.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// `workers=`: how many CPUs run the target's functions; the others wait for interrupts.
    pub workers: u32,
    /// `timer_hz=`: timer interrupts a second on each CPU.
    pub timer_hz: u32,
    /// `nmi_hz=`: NMIs a second while a CPU sends them.
    pub nmi_hz: u32,
    /// `burst=`: how often a worker goes round its loop before it waits for the next interrupt; 0:
    /// it never waits.
    pub burst: u32,
    /// `exit_after_ms=`: the run ends with status [`crate::debug_ports::exit::Status::Done`] after
    /// this long.
    pub exit_after_ms: u64,
}

/// So many CPUs may be busy all the time; with more, the few cores of a host spend their time on
/// switching between them, and nothing is answered for seconds.
const BUSY_CPUS: u32 = 8;
/// Timer interrupts a second over all CPUs, above that number of CPUs.
const TIMERS_TOTAL_HZ: u32 = 800;
const TIMER_HZ: u32 = 100;
const TIMER_HZ_MIN: u32 = 10;
const BURST: u32 = 500;

impl Options {
    const DEFAULT: Options = Options {
        workers: u32::MAX,
        timer_hz: TIMER_HZ,
        nmi_hz: 50,
        burst: 0,
        exit_after_ms: 0,
    };

    /// The defaults for a machine of `cpus` CPUs.
    fn for_cpus(cpus: u32) -> Options {
        if cpus <= BUSY_CPUS {
            return Options::DEFAULT;
        }
        Options {
            timer_hz: (TIMERS_TOTAL_HZ / cpus).max(TIMER_HZ_MIN),
            nmi_hz: TIMER_HZ_MIN,
            burst: BURST,
            ..Options::DEFAULT
        }
    }

    /// Reads a command line; words that are not ours (QEMU adds some) are left alone.
    fn parse(line: &str, cpus: u32) -> Options {
        let mut options = Options::for_cpus(cpus);
        for word in line.split_ascii_whitespace() {
            let Some((key, value)) = word.split_once('=') else {
                continue;
            };
            let Ok(value) = value.parse::<u32>() else {
                continue;
            };
            match key {
                "workers" => options.workers = value,
                "timer_hz" => options.timer_hz = value,
                "nmi_hz" => options.nmi_hz = value,
                "burst" => options.burst = value,
                "exit_after_ms" => options.exit_after_ms = u64::from(value),
                _ => {}
            }
        }
        options
    }
}

static OPTIONS: Once<Options> = Once::new();

/// Reads the command line for a machine of `cpus` CPUs. Called once, by the first CPU.
pub fn set(line: &str, cpus: u32) {
    OPTIONS.call_once(|| Options::parse(line, cpus));
}

/// The options.
pub fn get() -> Options {
    OPTIONS.get().copied().unwrap_or(Options::DEFAULT)
}
