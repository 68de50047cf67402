//! What several CPUs ask of the hardware, in the order in which they ask: an emulator cannot show
//! that a serialising instruction is missing, a recording can.
//!
//! Each CPU is a thread that goes round its safe point. The platform notes what each asks for.

mod support;

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use support::{Caller, FUNCTIONS, Maker, Record, area, base_text, peek_on};
use xsplice_abi::Errno;
use xsplice_abi::action::{ACTION_APPLY, ACTION_REVERT};
use xsplice_abi::hook::HookArgument;
use xsplice_abi::hypercall::{Action, OP_ACTION, Operation, STATE_APPLIED, STATE_CHECKED};
use xsplice_runtime::Policy;
use xsplice_runtime::Runtime;
use xsplice_runtime::patch::memory::{Event, MemoryPlatform};
use xsplice_runtime::platform::{
    Access, Interrupts, Level, MemoryFault, Platform, Region, RegionsExhausted,
};
use xsplice_runtime::rendezvous::Quiesced;
use xsplice_runtime::rendezvous::cpu::{CpuId, CpuSet};
use zerocopy::byteorder::little_endian::U32;

const EBUSY: i32 = Errno::EBUSY.negated();
/// Long enough for threads of a busy host.
const PATIENT_NS: u32 = 4_000_000_000;
const IMPATIENT_NS: u32 = 50_000_000;
const NOBODY: u16 = u16::MAX;

thread_local! {
    static CPU: Cell<u16> = const { Cell::new(0) };
    static INTERRUPTS: Cell<Interrupts> = const { Cell::new(Interrupts::On) };
    static IS_MASTER: Cell<bool> = const { Cell::new(false) };
}

/// Notes who asks for what; what is not about CPUs is the platform's in memory.
struct Recorder {
    memory: MemoryPlatform,
    cpus: u16,
    started: Instant,
    notes: Mutex<Vec<(u16, Event)>>,
    /// This CPU stands still before it turns interrupts off, as a follower, until it is nobody.
    slow: AtomicU16,
    /// Whether it goes on once the master, having given up, waits for it to leave.
    is_let_go: AtomicBool,
    /// This one before it serialises, as a follower.
    slow_to_leave: AtomicU16,
    /// Who woke whom.
    kicks: Mutex<Vec<(CpuId, CpuSet)>>,
}

impl Recorder {
    fn note(&self, event: Event) {
        self.notes.lock().unwrap().push((CPU.get(), event));
    }

    fn take(&self) -> Vec<(u16, Event)> {
        std::mem::take(&mut *self.notes.lock().unwrap())
    }
}

macro_rules! of_memory {
    ($($method:ident($($argument:ident: $kind:ty),*) $(-> $result:ty)?;)*) => {
        $(fn $method(&self, $($argument: $kind),*) $(-> $result)? {
            self.memory.$method($($argument),*)
        })*
    };
}

impl Platform for Recorder {
    of_memory! {
        read(address: u64, into: &mut [u8]) -> Result<(), MemoryFault>;
        allocate(bytes: u64) -> Result<Region, RegionsExhausted>;
        fill(region: Region, bytes: &[u8]);
        protect(region: Region, access: Access);
        unmap(region: Region);
        flush_tlbs() -> Result<(), CpuSet>;
        release(region: Region);
        call_hook(address: u64, argument: Option<&HookArgument>) -> i32;
        has_feature(feature: u16) -> bool;
    }

    fn cpus(&self) -> usize {
        self.cpus.into()
    }

    fn freeze_online(&self) -> Option<CpuSet> {
        self.note(Event::Freeze);
        Some(CpuSet::first(self.cpus))
    }

    fn thaw_online(&self) {
        self.note(Event::Thaw);
    }

    fn kick(&self, cpus: &CpuSet) {
        self.kicks.lock().unwrap().push((self.current_cpu(), *cpus));
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap()
    }

    fn relax(&self, _: Interrupts) {
        if self.is_let_go.load(Ordering::SeqCst)
            && self
                .notes
                .lock()
                .unwrap()
                .contains(&(CPU.get(), Event::UnmaskNmis))
        {
            self.slow.store(NOBODY, Ordering::SeqCst);
        }
        thread::yield_now();
    }

    fn interrupts(&self) -> Interrupts {
        INTERRUPTS.get()
    }

    fn interrupts_off(&self) -> Interrupts {
        // The runtime's own short sections turn them off too; a slow CPU is slow in a rendezvous.
        while !IS_MASTER.get() && self.slow.load(Ordering::SeqCst) == CPU.get() {
            thread::yield_now();
        }
        self.note(Event::InterruptsOff);
        INTERRUPTS.replace(Interrupts::Off)
    }

    fn interrupts_restore(&self, before: Interrupts) {
        self.note(Event::InterruptsOn);
        INTERRUPTS.set(before);
    }

    fn mask_nmis(&self) {
        IS_MASTER.set(true);
        self.note(Event::MaskNmis);
    }

    fn unmask_nmis(&self) {
        IS_MASTER.set(false);
        self.note(Event::UnmaskNmis);
    }

    fn serialise(&self) {
        let is_master = IS_MASTER.replace(false);
        while !is_master && self.slow_to_leave.load(Ordering::SeqCst) == CPU.get() {
            thread::yield_now();
        }
        self.note(Event::Serialise);
    }

    fn open_text(&self, _: &Quiesced) {
        self.note(Event::OpenText);
    }

    fn close_text(&self, _: &Quiesced) {
        self.note(Event::CloseText);
    }

    fn write_text(&self, quiesced: &Quiesced, address: u64, bytes: &[u8]) {
        self.note(Event::WriteText(address, bytes.to_vec()));
        self.memory.write_text(quiesced, address, bytes);
    }

    fn write_word(&self, quiesced: &Quiesced, address: u64, value: u64) {
        self.note(Event::WriteWord(address, value));
        self.memory.write_word(quiesced, address, value);
    }

    fn current_cpu(&self) -> CpuId {
        CpuId(CPU.get())
    }

    fn log(&self, level: Level, line: fmt::Arguments<'_>) {
        self.note(Event::Log(level, line.to_string()));
    }
}

type System = Runtime<'static, Recorder>;

fn system(cpus: u16) -> System {
    let recorder = Recorder {
        memory: support::platform(),
        cpus,
        started: Instant::now(),
        notes: Mutex::default(),
        slow: AtomicU16::new(NOBODY),
        is_let_go: AtomicBool::new(false),
        slow_to_leave: AtomicU16::new(NOBODY),
        kicks: Mutex::default(),
    };
    support::runtime_on(recorder, Policy::default())
}

/// Runs `act` on CPU 0 while the CPUs of `others` go round their safe points.
fn with_cpus<T>(system: &System, others: &[u16], act: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let over = &over;
        for cpu in others {
            scope.spawn(move || {
                CPU.set(*cpu);
                while !over.load(Ordering::SeqCst) {
                    system.safe_point(CpuId(*cpu));
                    thread::yield_now();
                }
            });
        }
        CPU.set(0);
        // Set also when `act` panics: the scope waits for the threads.
        let _over = Over(over);
        act()
    })
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn schedule(system: &System, cmd: u32, timeout_ns: u32) -> i32 {
    let (name, mut area) = area("one", &[]);
    let action = Action {
        name,
        cmd: U32::new(cmd),
        timeout_ns: U32::new(timeout_ns),
        ..Action::default()
    };
    system.call(&mut Operation::with(OP_ACTION, &action), &mut area)
}

/// Schedules, and takes part until it is over.
fn act(system: &System, cmd: u32, timeout_ns: u32) -> i32 {
    let scheduled = schedule(system, cmd, timeout_ns);
    if scheduled != 0 {
        return scheduled;
    }
    loop {
        system.safe_point(CpuId(CPU.get()));
        match system.get("one") {
            Ok((_, rc)) if rc == Errno::EAGAIN.negated() => thread::yield_now(),
            other => return other.map_or_else(|error| error, |(_, rc)| rc),
        }
    }
}

/// The notes of one action, all of it: up to where the online set is thawed.
fn whole_action(system: &System) -> Vec<(u16, Event)> {
    let mut notes = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !notes.iter().any(|(_, event)| *event == Event::Thaw) {
        assert!(Instant::now() < deadline, "not over: {notes:?}");
        notes.extend(system.platform().take());
        thread::yield_now();
    }
    notes
}

/// Where the one note of this kind stands; of a CPU, if one is given.
#[track_caller]
fn once(notes: &[(u16, Event)], wanted: &Event, of: Option<u16>) -> usize {
    let is_wanted = |(cpu, event): &(u16, Event)| event == wanted && of.is_none_or(|of| of == *cpu);
    let mut found = (0..).zip(notes).filter(|(_, note)| is_wanted(note));
    let (at, _) = found
        .next()
        .unwrap_or_else(|| panic!("no {wanted:?} of {of:?} in {notes:#?}"));
    assert!(
        found.next().is_none(),
        "two {wanted:?} of {of:?} in {notes:#?}"
    );
    at
}

#[test]
fn every_cpu_stops_before_text_is_written_and_serialises_before_it_goes_on() {
    let system = system(4);
    let mut maker = Maker::new(1);
    maker.records.push(Record::replacing("f1"));
    assert_eq!(system.upload("one", &maker.write()), 0);
    with_cpus(&system, &[1, 2, 3], || {
        for round in 0..200 {
            let _ = system.platform().take();
            let cmd = [ACTION_APPLY, ACTION_REVERT][round % 2];
            assert_eq!(act(&system, cmd, PATIENT_NS), 0);
            let notes = whole_action(&system);
            let mask = once(&notes, &Event::MaskNmis, None);
            let open = once(&notes, &Event::OpenText, None);
            let close = once(&notes, &Event::CloseText, None);
            let unmask = once(&notes, &Event::UnmaskNmis, None);
            let (master, _) = notes[mask];
            assert_eq!((notes[open].0, notes[close].0), (master, master));
            for (at, (cpu, event)) in notes.iter().enumerate() {
                if matches!(event, Event::WriteText(..)) {
                    assert!(open < at && at < close && *cpu == master, "{notes:#?}");
                }
            }
            for cpu in 0..4 {
                let off = once(&notes, &Event::InterruptsOff, Some(cpu));
                let serialise = once(&notes, &Event::Serialise, Some(cpu));
                let on = once(&notes, &Event::InterruptsOn, Some(cpu));
                assert!(mask < off && off < open, "CPU{cpu}: {notes:#?}");
                assert!(close < serialise && serialise < on, "CPU{cpu}: {notes:#?}");
                assert!(serialise < unmask, "CPU{cpu}: {notes:#?}");
                // The master's own interrupts do not wait for the slowest CPU.
                assert!(cpu == master || on < unmask, "CPU{cpu}: {notes:#?}");
            }
            assert!(unmask < once(&notes, &Event::Thaw, None), "{notes:#?}");
        }
    });
}

/// CPUs may halt until somebody wakes them, and whoever waits for them is awake.
#[test]
fn whoever_leads_an_action_wakes_all_others_and_not_itself() {
    let system = system(3);
    assert_eq!(system.upload("one", &Maker::new(1).write()), 0);
    with_cpus(&system, &[1, 2], || {
        for cmd in [ACTION_APPLY, ACTION_REVERT] {
            let _ = system.platform().take();
            system.platform().kicks.lock().unwrap().clear();
            assert_eq!(act(&system, cmd, PATIENT_NS), 0);
            let notes = whole_action(&system);
            let (master, _) = notes[once(&notes, &Event::MaskNmis, None)];
            let mut others = CpuSet::first(3);
            others.remove(CpuId(master));
            // To come, and to stop.
            let kicks = system.platform().kicks.lock().unwrap().clone();
            assert_eq!(kicks, [(CpuId(master), others); 2]);
        }
    });
}

fn logged(notes: &[(u16, Event)], what: &str) -> bool {
    notes
        .iter()
        .any(|(_, event)| matches!(event, Event::Log(Level::Error, line) if line.contains(what)))
}

fn wrote(notes: &[(u16, Event)]) -> bool {
    notes
        .iter()
        .any(|(_, event)| matches!(event, Event::OpenText | Event::WriteText(..)))
}

#[test]
fn a_cpu_that_never_comes_is_named_and_nothing_is_masked_or_written() {
    let system = system(3);
    assert_eq!(system.upload("one", &Maker::new(1).write()), 0);
    let before = system.platform().memory.snapshot();
    with_cpus(&system, &[1], || {
        let _ = system.platform().take();
        assert_eq!(act(&system, ACTION_APPLY, IMPATIENT_NS), EBUSY);
        let notes = whole_action(&system);
        assert!(logged(
            &notes,
            "did not come to the safe point in time: CPU2"
        ));
        assert!(!wrote(&notes), "{notes:#?}");
        assert!(!notes.iter().any(|(_, event)| *event == Event::MaskNmis));
        assert_eq!(system.platform().memory.snapshot(), before);
        assert_eq!(system.get("one"), Ok((STATE_CHECKED, EBUSY)));
    });
    // It comes for the next one.
    with_cpus(&system, &[1, 2], || {
        assert_eq!(act(&system, ACTION_APPLY, PATIENT_NS), 0);
    });
}

/// An apply for which CPU 2 comes and does not stop: its result and notes.
fn act_with_slow_cpu(system: &System) -> (i32, Vec<(u16, Event)>) {
    let recorder = system.platform();
    // Whoever comes first is the master, who is never slow: until it is not CPU 2.
    loop {
        let _ = recorder.take();
        recorder.slow.store(2, Ordering::SeqCst);
        let result = act(system, ACTION_APPLY, IMPATIENT_NS);
        let notes = recorder.take();
        let has_stopped = notes.contains(&(2, Event::MaskNmis));
        if !has_stopped && logged(&notes, "did not disable interrupts in time") {
            return (result, notes);
        }
        recorder.slow.store(NOBODY, Ordering::SeqCst);
        if result == 0 {
            assert_eq!(act(system, ACTION_REVERT, PATIENT_NS), 0);
        }
    }
}

#[test]
fn a_cpu_that_stops_too_late_and_leaves_is_not_said_to_be_inside() {
    let system = system(3);
    assert_eq!(system.upload("one", &Maker::new(1).write()), 0);
    with_cpus(&system, &[1, 2], || {
        let recorder = system.platform();
        recorder.is_let_go.store(true, Ordering::SeqCst);
        // It has a while to leave, which a busy host may not give it.
        let is_seen = |_| {
            let (result, notes) = act_with_slow_cpu(&system);
            assert_eq!(result, EBUSY);
            logged(&notes, "still inside: none")
        };
        assert!((0..10).any(is_seen), "it is said to be inside");
    });
}

#[test]
fn a_cpu_that_comes_and_does_not_stop_is_named_and_waited_for_before_the_next_action() {
    let system = system(3);
    assert_eq!(system.upload("one", &Maker::new(1).write()), 0);
    let before = system.platform().memory.snapshot();
    with_cpus(&system, &[1, 2], || {
        let recorder = system.platform();
        let (result, notes) = act_with_slow_cpu(&system);
        assert!(logged(
            &notes,
            "did not disable interrupts in time; still inside: CPU2",
        ));
        assert_eq!(result, EBUSY);
        assert!(!wrote(&notes), "{notes:#?}");
        let mask = once(&notes, &Event::MaskNmis, None);
        let unmask = once(&notes, &Event::UnmaskNmis, None);
        assert!(
            mask < unmask && notes[mask].0 == notes[unmask].0,
            "NMIs are taken again while it is inside: {notes:#?}"
        );
        assert_eq!(recorder.memory.snapshot(), before);
        assert_eq!(system.get("one"), Ok((STATE_CHECKED, EBUSY)));
        assert_eq!(act(&system, ACTION_APPLY, IMPATIENT_NS), EBUSY);
        assert!(logged(
            &recorder.take(),
            "the last action is not left by: CPU2"
        ));
        recorder.slow.store(NOBODY, Ordering::SeqCst);
        let notes = whole_action(&system);
        assert!(
            !notes.iter().any(|(_, event)| *event == Event::UnmaskNmis),
            "once: {notes:#?}"
        );
        assert_eq!(act(&system, ACTION_APPLY, PATIENT_NS), 0);
    });
}

#[test]
fn the_next_action_waits_for_a_cpu_that_is_about_to_leave_the_last_one() {
    let system = system(2);
    assert_eq!(system.upload("one", &Maker::new(1).write()), 0);
    with_cpus(&system, &[1], || {
        let recorder = system.platform();
        // Until CPU 1 follows.
        loop {
            let _ = recorder.take();
            recorder.slow_to_leave.store(1, Ordering::SeqCst);
            assert_eq!(act(&system, ACTION_APPLY, PATIENT_NS), 0);
            if recorder.take().contains(&(0, Event::MaskNmis)) {
                break;
            }
            assert_eq!(act(&system, ACTION_REVERT, PATIENT_NS), 0);
        }
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(50));
                recorder.slow_to_leave.store(NOBODY, Ordering::SeqCst);
            });
            assert_eq!(act(&system, ACTION_REVERT, PATIENT_NS), 0);
        });
    });
}

/// Actions of each kind in the test below: a thousand together.
const ROUNDS: u64 = 500;

#[test]
fn two_cpus_act_back_to_back_a_thousand_times() {
    let system = system(3);
    assert_eq!(system.upload("one", &Maker::new(1).write()), 0);
    let epoch = system.epoch();
    let begin = Barrier::new(2);
    let acts = |cpu: u16, cmd: u32, from: u32| {
        CPU.set(cpu);
        begin.wait();
        let mut done = 0;
        while done < ROUNDS {
            system.safe_point(CpuId(cpu));
            if system.get("one").is_ok_and(|(state, _)| state != from) {
                thread::yield_now();
                continue;
            }
            // The other's action may not be over, or this state older than it: refused then.
            let before = system.epoch();
            match schedule(&system, cmd, PATIENT_NS) {
                0 => loop {
                    system.safe_point(CpuId(cpu));
                    // The two kinds alternate: the epoch tells whether this one was done.
                    if system.epoch() != before {
                        done += 1;
                        break;
                    }
                    if system.get("one") != Ok((from, Errno::EAGAIN.negated())) {
                        break;
                    }
                    thread::yield_now();
                },
                error => assert!([EBUSY, Errno::EINVAL.negated()].contains(&error), "{error}"),
            }
        }
        // The other one still needs this CPU.
        while system.epoch() < epoch + 2 * ROUNDS {
            system.safe_point(CpuId(cpu));
            thread::yield_now();
        }
    };
    with_cpus(&system, &[2], || {
        thread::scope(|scope| {
            scope.spawn(|| acts(1, ACTION_APPLY, STATE_CHECKED));
            acts(0, ACTION_REVERT, STATE_APPLIED);
        });
    });
    assert_eq!(system.epoch(), epoch + 2 * ROUNDS);
    assert_eq!(system.get("one"), Ok((STATE_CHECKED, 0)));
    let (_, _, f0) = FUNCTIONS[0];
    assert_eq!(peek_on(system.platform(), f0, 32), base_text()[..32]);
}
