//! Memory that runs out, at each allocation in turn: an error number, and nothing changed.

#[macro_use]
#[path = "support/each_method.rs"]
mod each_method;
#[cfg(feature = "rsa")]
#[path = "support/identity.rs"]
mod identity;
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt;

use support::{A, AW, Caller, DATA, Extra, Maker, R64, Record, TEXT, base_symbols};
use xsplice_abi::Errno;
use xsplice_abi::action::{ACTION_APPLY, ACTION_REPLACE, ACTION_UNLOAD};
use xsplice_abi::channel::CALL_TEST;
use xsplice_abi::hook::HookArgument;
use xsplice_abi::hypercall::{Action, Get, OP_ACTION, OP_GET, OP_UPLOAD, Operation, Upload};
use xsplice_runtime::Base;
use xsplice_runtime::DumpCursor;
use xsplice_runtime::Policy;
use xsplice_runtime::Runtime;
use xsplice_runtime::SetupError;
use xsplice_runtime::channel::{ENCODED_BYTES_MAX, Frame, FrameError, Intake, Overrun, PREAMBLE};
use xsplice_runtime::patch::memory::{Event, MemoryPlatform};
use xsplice_runtime::platform::{
    Access, Interrupts, Level, MemoryFault, Platform, Region, RegionsExhausted,
};
use xsplice_runtime::read::deny::{self, ListError};
use xsplice_runtime::read::elf::ElfError;
use xsplice_runtime::read::symbols::{Symbols, SymbolsError};
use xsplice_runtime::rendezvous::Quiesced;
use xsplice_runtime::rendezvous::cpu::{CpuId, CpuSet};

std::thread_local! {
    /// Allocations of this thread that still succeed; `None` for all.
    static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    /// Bytes that this thread has, less those of others that it gave back.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

struct Running;

// SAFETY: every method hands its arguments on to the system's allocator, or returns null, which
// says that there is no memory.
unsafe impl GlobalAlloc for Running {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let has_run_out = LEFT.with(|left| match left.get() {
            None => false,
            Some(0) => true,
            Some(count) => {
                left.set(Some(count - 1));
                false
            }
        });
        if has_run_out {
            return core::ptr::null_mut();
        }
        HELD.with(|held| held.set(held.get().wrapping_add(layout.size())));
        // SAFETY: the caller keeps the contract of `alloc`, which is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.with(|held| held.set(held.get().wrapping_sub(layout.size())));
        // SAFETY: the memory came from `alloc` above, so from the system.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static MEMORY: Running = Running;

/// Runs `act` with `count` allocations left.
fn with_allocations<T>(count: usize, act: impl FnOnce() -> T) -> T {
    LEFT.with(|left| left.set(Some(count)));
    let result = act();
    LEFT.with(|left| left.set(None));
    result
}

/// A platform whose own memory never runs out: only the runtime's allocations are counted.
struct Unlimited(MemoryPlatform);

fn unlimited<T>(act: impl FnOnce() -> T) -> T {
    let before = LEFT.with(|left| left.replace(None));
    let result = act();
    LEFT.with(|left| left.set(before));
    result
}

macro_rules! unlimited_platform {
    ($($method:ident($($argument:ident: $kind:ty),*) $(-> $result:ty)?;)*) => {
        impl Platform for Unlimited {
            $(fn $method(&self, $($argument: $kind),*) $(-> $result)? {
                unlimited(|| self.0.$method($($argument),*))
            })*

            fn fill(&self, region: Region, bytes: &[u8]) {
                unlimited(|| self.0.fill(region, bytes));
            }
        }
    };
}

each_method_but_fill!(unlimited_platform);

fn runtime() -> Runtime<'static, Unlimited> {
    support::runtime_on(Unlimited(support::platform()), Policy::default())
}

/// With a payload that [`rich`] refers to.
fn kernel() -> Runtime<'static, Unlimited> {
    let runtime = runtime();
    let mut below = Maker::new(9);
    below.functions.insert("below", vec![0xc3; 16]);
    assert_eq!(runtime.upload("below", &below.write()), 0);
    runtime
}

/// A payload that has something of everything.
fn rich() -> Maker {
    let mut maker = Maker::new(1);
    maker.records.push(Record::replacing("f1"));
    maker.hooks = vec![("load", vec!["new"])];
    maker.sections = vec![
        Extra::new(".ex_table", A, &[0; 8])
            .relocated(0, 2, "new", 2)
            .relocated(4, 2, "new", 3),
        Extra::new(".bug_frames.0", A, &[0; 8]).relocated(0, 2, "new", 0),
        Extra::new(".data.x", AW, &[0; 16])
            .relocated(0, R64, "a.c#local", 0)
            .relocated(8, R64, "below", 0),
    ];
    maker.functions.insert("another", vec![0xc3; 16]);
    maker.with_word(DATA, TEXT, 1)
}

/// Uploads with so many allocations left.
fn upload_with(count: usize, runtime: &Runtime<'_, Unlimited>, name: &str, file: &[u8]) -> i32 {
    let (argument, mut area) = support::area(name, file);
    let upload = Upload {
        name: argument,
        size: (file.len() as u64).into(),
        payload_handle: u64::from(argument.size.get()).into(),
    };
    let mut operation = Operation::with(OP_UPLOAD, &upload);
    with_allocations(count, || runtime.call(&mut operation, &mut area))
}

/// How many regions were given and how many were released since it was asked last.
fn given_and_released(runtime: &Runtime<'_, Unlimited>) -> (usize, usize) {
    let events = runtime.platform().0.take_events();
    let count = |is_it: fn(&Event) -> bool| events.iter().filter(|event| is_it(event)).count();
    let given = count(|event| matches!(event, Event::Allocate(_)));
    (given, count(|event| matches!(event, Event::Release(_))))
}

#[test]
fn an_upload_that_runs_out_of_memory_changes_nothing() {
    let file = rich().write();
    // The lists of payloads have space for a few; then they are full.
    for others in [&[][..], &["two", "three", "four"]] {
        let mut failures = 0;
        for count in 0.. {
            let runtime = kernel();
            for (number, name) in (2..).zip(others) {
                assert_eq!(runtime.upload(name, &Maker::new(number).write()), 0);
            }
            let (before_given, _) = given_and_released(&runtime);
            let before = runtime.platform().0.snapshot();
            let result = upload_with(count, &runtime, "one", &file);
            if result == 0 {
                // Then no unload needs memory, nor loses a page, when a CPU does not flush.
                let (given, _) = given_and_released(&runtime);
                runtime.platform().0.set_deaf(CpuSet::first(1));
                for name in ["one", "below"].iter().chain(others) {
                    let unload = || runtime.schedule(name, ACTION_UNLOAD, 0);
                    assert_eq!(unload(), 0, "{name}");
                }
                runtime.platform().0.set_deaf(CpuSet::EMPTY);
                assert_eq!(runtime.upload("last", &Maker::new(8).write()), 0);
                let (_, released) = given_and_released(&runtime);
                assert_eq!(released, before_given + given, "after {count} allocations");
                break;
            }
            assert_eq!(result, Errno::ENOMEM.negated(), "after {count} allocations");
            let after = runtime.platform().0.snapshot();
            assert_eq!(after, before, "after {count} allocations");
            assert_eq!(runtime.upload("one", &file), 0, "with memory it works");
            failures += 1;
        }
        assert!(failures > 10, "only {failures} allocations were seen");
    }
}

#[test]
fn an_action_that_runs_out_of_memory_changes_nothing() {
    for action in [ACTION_APPLY, ACTION_REPLACE] {
        let mut failures = 0;
        for count in 0.. {
            let runtime = kernel();
            runtime.upload("one", &rich().write());
            assert_eq!(runtime.act("one", ACTION_APPLY), 0);
            let mut second = Maker::new(2);
            if action == ACTION_APPLY {
                second = second.stacked_on(1);
            }
            runtime.upload("two", &second.write());
            let _ = runtime.platform().0.take_events();
            let before = runtime.platform().0.snapshot();
            let (name, mut area) = support::area("two", &[]);
            let argument = Action {
                name,
                cmd: action.into(),
                ..Default::default()
            };
            let mut operation = Operation::with(OP_ACTION, &argument);
            let result = with_allocations(count, || runtime.call(&mut operation, &mut area));
            if result == 0 {
                runtime.stop();
                assert_eq!(runtime.get("two"), Ok((2, 0)));
                break;
            }
            assert_eq!(result, Errno::ENOMEM.negated(), "after {count} allocations");
            runtime.stop();
            assert_eq!(runtime.platform().0.snapshot(), before);
            let events = runtime.platform().0.take_events();
            assert!(
                !events
                    .iter()
                    .any(|event| matches!(event, Event::WriteText(..)))
            );
            assert_eq!(runtime.act("two", action), 0, "with memory it works");
            failures += 1;
        }
        assert!(
            failures > 0,
            "an action {action} allocates when it is prepared"
        );
    }
}

#[test]
fn nothing_allocates_inside_the_quiescent_zone() {
    let runtime = kernel();
    runtime.upload("one", &rich().write());
    runtime.upload("two", &Maker::new(2).write());
    for (name, action) in [("one", ACTION_APPLY), ("two", ACTION_REPLACE)] {
        assert_eq!(runtime.schedule(name, action, 0), 0);
        with_allocations(0, || runtime.stop());
        assert_eq!(runtime.get(name), Ok((2, 0)));
    }
}

#[test]
fn a_part_of_a_dump_that_finds_no_memory_says_so() {
    let runtime = kernel();
    runtime.upload("one", &rich().write());
    let mut failures = 0;
    for count in 0.. {
        let part = with_allocations(count, || runtime.dump_part(DumpCursor::default(), 65536));
        if let Ok(part) = part {
            assert_eq!(part.next, None);
            break;
        }
        failures += 1;
    }
    assert!(failures > 0, "a dump takes memory");
}

/// Calls `act` with ever more allocations until it does not fail, and says how often it failed.
fn failures<T, E: PartialEq + fmt::Debug>(
    wanted: &[E],
    act: impl Fn(usize) -> Result<T, E>,
) -> usize {
    for count in 0.. {
        match act(count) {
            Ok(_) => return count,
            Err(error) => assert!(wanted.contains(&error), "{count} allocations: {error:?}"),
        }
    }
    unreachable!("it succeeds some day")
}

#[test]
fn what_a_kernel_makes_of_its_base_finds_no_memory_and_says_so() {
    let file = rich().write();
    assert!(Symbols::from_elf(&file).is_ok());
    let from_elf = |count| with_allocations(count, || Symbols::from_elf(&file));
    let none = [
        SymbolsError::OutOfMemory,
        SymbolsError::Elf(ElfError::OutOfMemory),
    ];
    assert!(failures(&none, from_elf) > 2);
    let symbol = base_symbols().function_at(TEXT).unwrap();
    let new = |count| {
        let list = vec![symbol; 10];
        with_allocations(count, || Symbols::new(list))
    };
    assert_eq!(failures(&none, new), 1);

    let list = b"f0\nf1\nf3\na.c#local\nidle_loop\n";
    let parse = |count| with_allocations(count, || deny::parse(list));
    assert!(failures(&[ListError::OutOfMemory], parse) > 0);
    let denied = deny::parse(list).unwrap().leak();
    let runtime = |count| {
        let platform = Unlimited(support::platform());
        let base = Base {
            symbols: base_symbols(),
            build_id: &support::BASE_ID,
            text: TEXT..TEXT + support::TEXT_BYTES,
        };
        let policy = Policy {
            deny: denied,
            verifier: None,
        };
        with_allocations(count, || Runtime::new(platform, base, policy))
    };
    assert!(failures(&[SetupError::OutOfMemory], runtime) > 0);
}

/// Pages that nobody could note are lost, but not released before every TLB was flushed.
#[test]
fn without_memory_no_page_is_released_too_early() {
    let file = rich().write();
    let mut failures = 0;
    for count in 0.. {
        let runtime = kernel();
        assert_eq!(runtime.upload("first", &file), 0);
        let mut second = Maker::new(2);
        second.sections.push(Extra::new(".data.x", AW, &[0; 8]));
        assert_eq!(runtime.upload("second", &second.write()), 0);
        runtime.platform().0.set_deaf(CpuSet::first(1));
        for name in ["first", "second"] {
            assert_eq!(runtime.schedule(name, ACTION_UNLOAD, 0), 0);
        }
        let _ = runtime.platform().0.take_events();
        let result = upload_with(count, &runtime, "one", &file);
        let events = runtime.platform().0.take_events();
        // What was never protected is in no TLB.
        let given = |event: &Event| match event {
            Event::Protect(region, _) => Some(*region),
            _ => None,
        };
        let given: Vec<Region> = events.iter().filter_map(given).collect();
        let is_early = |event: &Event| match event {
            Event::Release(region) => given.contains(region),
            _ => false,
        };
        assert!(!events.iter().any(is_early), "{count}: {events:?}");
        if result == 0 {
            break;
        }
        assert_eq!(result, Errno::ENOMEM.negated());
        failures += 1;
    }
    assert!(failures > 10, "only {failures} allocations were seen");
}

#[test]
fn a_shadow_variable_that_finds_no_memory_is_not_there() {
    let runtime = runtime();
    let (shadows, platform) = (runtime.shadows(), runtime.platform());
    let attach = |count| {
        let result = with_allocations(count, || shadows.attach(platform, 1, 1, 24));
        assert_eq!(shadows.get(platform, 1, 1), result.ok());
        result
    };
    assert_eq!(failures(&[Errno::ENOMEM], attach), 2);
}

fn request() -> Frame {
    let operation = Operation::with(OP_GET, &Get::default());
    Frame::sysctl(77, operation, vec![7; 3000], 4000).unwrap()
}

#[test]
fn a_frame_that_finds_no_memory_is_neither_sent_nor_cut() {
    let length = |error: &FrameError| match error {
        FrameError::NoMemory { length } => *length,
        other => panic!("{other}"),
    };
    let mut request = request();
    let error = with_allocations(0, || request.encode()).unwrap_err();
    assert!(length(&error) > 3000);
    let error = with_allocations(0, || request.take_area()).unwrap_err();
    assert_eq!(length(&error), 1000);
}

#[test]
fn a_request_that_finds_no_memory_is_told_by_its_start_once() {
    let mut intake = Intake::new(ENCODED_BYTES_MAX);
    let wire = [PREAMBLE.to_vec(), request().encode().unwrap()].concat();
    intake.take_in(&wire).unwrap();
    let found = with_allocations(0, || intake.next_frame());
    assert!(matches!(found, Some(Err(FrameError::NoMemory { .. }))));
    let told = intake.take_unheld().expect("its start has come");
    assert_eq!(
        (told.sequence(), told.operation()),
        (77, request().operation())
    );
    assert_eq!(intake.take_unheld(), None);
    // The next one is read as ever.
    let next = Frame::request(CALL_TEST, 78, Vec::new()).unwrap();
    intake.take_in(&next.encode().unwrap()).unwrap();
    assert_eq!(intake.next_frame(), Some(Ok(next)));
}

#[test]
fn room_that_is_kept_needs_no_memory_and_is_all_that_is_kept() {
    const KEPT: usize = 1000;
    let mut intake = Intake::new(10 * KEPT);
    assert_eq!(intake.take_in(&[1]), Ok(()));
    assert_eq!(intake.next_frame(), None);
    let take_in = |intake: &mut Intake, bytes: usize| {
        let piece = vec![1; bytes];
        with_allocations(0, || intake.take_in(&piece))
    };
    with_allocations(0, || intake.keep_room(KEPT));
    assert_eq!(take_in(&mut intake, 1), Err(Overrun { bytes: 0 }));
    intake.begin();
    intake.keep_room(KEPT);
    let held = HELD.get();
    for _ in 0..3 {
        assert_eq!(take_in(&mut intake, KEPT), Ok(()));
        assert_eq!(take_in(&mut intake, 1), Err(Overrun { bytes: KEPT }));
        intake.settle();
        intake.begin();
        // More than that in two pieces while there is memory, which is given back.
        for bytes in [KEPT / 2, 3 * KEPT] {
            assert_eq!(intake.take_in(&vec![1; bytes]), Ok(()));
        }
        assert!(HELD.get() > held);
        assert_eq!(intake.next_frame(), None);
        assert_eq!(HELD.get(), held);
        assert_eq!(take_in(&mut intake, KEPT / 2), Ok(()));
        assert_eq!(intake.next_frame(), None);
    }
}

/// Nobody's upload can fail for want of memory, or end in a panic, before it is known who sent it.
#[cfg(feature = "rsa")]
#[test]
fn a_signature_is_checked_without_memory() {
    use xsplice_runtime::read::signature::{Signature, SignatureError, Verifier as _};
    use xsplice_runtime::read::trusted_key::TrustedKey;

    let identity = identity::Identity::new(1024);
    let key = TrustedKey::from_certificate(&identity.certificate()).unwrap();
    let good = identity.sign(b"content");
    let checked = |bytes: &[u8]| {
        let signature = Signature {
            signer: b"",
            key_id: key.key_id(),
            bytes,
        };
        with_allocations(0, || key.verify(&signature, b"content"))
    };
    assert_eq!(checked(&good), Ok(()));
    for wrong in [&good[1..], &[7; 128], &[7; 2_000_000]] {
        assert_eq!(checked(wrong), Err(SignatureError::Mismatch));
    }
}
