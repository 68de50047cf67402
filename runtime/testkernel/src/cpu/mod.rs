//! What each CPU keeps about itself: number, APIC id, counters.
//!
//! Everything is atomic, so that any CPU may read another's figures; each field has one writer.

pub(crate) mod apic;
pub(crate) mod clock;
pub(crate) mod delays;
pub(crate) mod features;
pub(crate) mod gates;
pub(crate) mod nmi;
pub(crate) mod smp;
pub(crate) mod tlb;

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use x86_64::VirtAddr;
use x86_64::instructions::interrupts;
use x86_64::registers::model_specific::GsBase;

/// Most CPUs that the kernel starts. `ap_stacks` of asm/ap.S has as many entries.
pub(crate) const CPUS_MAX: usize = 64;

/// One CPU's own figures. GS points at it.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Cpu {
    /// Its number; read through GS, so it stands first.
    number: AtomicU32,
    /// Its local APIC's id.
    pub apic_id: AtomicU32,
    /// Set once it can take interrupts.
    pub online: AtomicBool,
    /// Calls of target functions that its worker made and checked.
    pub calls: AtomicU64,
    /// Timer interrupts taken.
    pub timers: AtomicU64,
    /// NMIs taken, held ones included.
    pub nmis: AtomicU64,
    /// NMIs that arrived while they were held, and have not been delivered yet.
    pub nmis_held: AtomicU64,
    /// NMIs whose handler ran.
    pub nmis_delivered: AtomicU64,
    /// Kick interrupts taken.
    pub kicks: AtomicU64,
    /// How many of them it has seen when it was about to halt.
    kicks_seen: AtomicU64,
    /// Passes through its safe point.
    pub safe_points: AtomicU64,
    /// What the hot function last gave it.
    pub last_value: AtomicU32,
    /// How long it is to spin with interrupts off at its next turn, in nanoseconds; a test sets it.
    pub hang_ns: AtomicU64,
    /// How long it is to take, as a follower, before it next holds interrupts back, in nanoseconds;
    /// a test sets it.
    pub slow_stop_ns: AtomicU64,
    /// How long it is to take, as a follower, when it next serialises, in nanoseconds; a test sets
    /// it.
    pub slow_leave_ns: AtomicU64,
    /// How long the first CPU is to take before it next answers on the unprivileged port, having
    /// made room for what arrives there, in nanoseconds; a test sets it.
    pub slow_send_ns: AtomicU64,
    /// Whether it is spending one of these.
    pub is_delayed: AtomicBool,
    /// Set to end what it is spending.
    pub delay_ends: AtomicBool,
    /// What its timer is to do, packed; see [`Cpu::set_timer`].
    timer_wanted: AtomicU32,
    /// What its timer does, packed.
    timer_set: AtomicU32,
}

/// What a CPU's timer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimerSetting {
    /// Interrupts `hz` times a second; never for 0.
    Interrupt {
        /// Times a second.
        hz: u32,
    },
    /// Gives the CPU, and through it all others, an NMI `hz` times a second.
    Nmi {
        /// Times a second.
        hz: u32,
    },
}

const TIMER_NMI: u32 = 1 << 31;

impl TimerSetting {
    const fn pack(self) -> u32 {
        match self {
            TimerSetting::Interrupt { hz } => hz & !TIMER_NMI,
            TimerSetting::Nmi { hz } => hz | TIMER_NMI,
        }
    }

    const fn unpack(packed: u32) -> TimerSetting {
        let hz = packed & !TIMER_NMI;
        if packed & TIMER_NMI == 0 {
            TimerSetting::Interrupt { hz }
        } else {
            TimerSetting::Nmi { hz }
        }
    }
}

impl Cpu {
    const fn new() -> Cpu {
        Cpu {
            number: AtomicU32::new(0),
            apic_id: AtomicU32::new(0),
            online: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            timers: AtomicU64::new(0),
            nmis: AtomicU64::new(0),
            nmis_held: AtomicU64::new(0),
            nmis_delivered: AtomicU64::new(0),
            kicks: AtomicU64::new(0),
            kicks_seen: AtomicU64::new(0),
            safe_points: AtomicU64::new(0),
            last_value: AtomicU32::new(0),
            hang_ns: AtomicU64::new(0),
            slow_stop_ns: AtomicU64::new(0),
            slow_leave_ns: AtomicU64::new(0),
            slow_send_ns: AtomicU64::new(0),
            is_delayed: AtomicBool::new(false),
            delay_ends: AtomicBool::new(false),
            timer_wanted: AtomicU32::new(0),
            timer_set: AtomicU32::new(0),
        }
    }

    /// Asks this CPU to set its timer, which it does at its next turn.
    pub(crate) fn set_timer(&self, setting: TimerSetting) {
        self.timer_wanted.store(setting.pack(), Ordering::Relaxed);
    }

    /// Whether this CPU is, or is about to be, the one that sends NMIs.
    pub(crate) fn sends_nmis(&self) -> bool {
        self.timer_wanted.load(Ordering::Relaxed) & TIMER_NMI != 0
    }

    /// Halts this CPU, the running one, until the next interrupt: a tick or a kick. What a kick
    /// tells of may have been looked at just before it came: so a halt that follows one, however
    /// long ago, returns at once. Interrupts are off while that is found out, and on from the
    /// instruction on that halts.
    pub(crate) fn halt(&self) {
        interrupts::disable();
        let kicks = self.kicks.load(Ordering::Relaxed);
        if self.kicks_seen.swap(kicks, Ordering::Relaxed) == kicks {
            interrupts::enable_and_hlt();
        } else {
            interrupts::enable();
        }
    }

    /// Whether its timer wakes it now and then.
    pub(crate) fn timer_ticks(&self) -> bool {
        self.timer_set.load(Ordering::Relaxed) & !TIMER_NMI != 0
    }

    /// What the timer is to be set to, if that is not what it does; it then counts as set.
    pub(crate) fn timer_to_set(&self) -> Option<TimerSetting> {
        let wanted = self.timer_wanted.load(Ordering::Relaxed);
        (self.timer_set.swap(wanted, Ordering::Relaxed) != wanted)
            .then(|| TimerSetting::unpack(wanted))
    }
}

static CPUS: [Cpu; CPUS_MAX] = [const { Cpu::new() }; CPUS_MAX];
static COUNT: AtomicU32 = AtomicU32::new(1);

/// Makes the running CPU number `number`. Must come first on each CPU: [`current`] reads GS.
pub(crate) fn adopt(number: u32) {
    let cpu = by_number(number).expect("CPUs are numbered below CPUS_MAX");
    cpu.number.store(number, Ordering::Relaxed);
    GsBase::write(VirtAddr::from_ptr(cpu));
}

/// The CPU with this number, online or not.
pub(crate) fn by_number(number: u32) -> Option<&'static Cpu> {
    CPUS.get(usize::try_from(number).ok()?)
}

/// The running CPU's number.
pub(crate) fn current_number() -> u32 {
    let number: u32;
    // SAFETY: GS points at this CPU's `Cpu`, whose first field is the number; boot code and
    // `ap_main` call `adopt` before anything else.
    unsafe {
        core::arch::asm!(
            "mov {0:e}, gs:[0]",
            out(reg) number,
            options(nostack, readonly, preserves_flags)
        );
    };
    number
}

/// The running CPU.
pub(crate) fn current() -> &'static Cpu {
    by_number(current_number()).expect("adopt() checked the number")
}

/// How many CPUs there are, counted once at boot.
pub(crate) fn count() -> u32 {
    COUNT.load(Ordering::Relaxed)
}

/// Fixes the number of CPUs.
pub(crate) fn set_count(count: u32) {
    COUNT.store(count, Ordering::Relaxed);
}

/// Every CPU that has come up, with its number.
pub(crate) fn all() -> impl Iterator<Item = (u32, &'static Cpu)> {
    (0..)
        .zip(CPUS.iter())
        .take(usize::try_from(count()).unwrap_or(CPUS_MAX))
}
