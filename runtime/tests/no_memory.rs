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

use support::{A, AW, Caller, Extra, Maker, R64, Record};
use xsplice_abi::Errno;
use xsplice_abi::action::{ACTION_APPLY, ACTION_REPLACE};
use xsplice_abi::hook::HookArgument;
use xsplice_abi::hypercall::{Action, OP_ACTION, OP_UPLOAD, Operation, Upload};
use xsplice_runtime::DumpCursor;
use xsplice_runtime::Policy;
use xsplice_runtime::Runtime;
use xsplice_runtime::patch::memory::{Event, MemoryPlatform};
use xsplice_runtime::platform::{
    Access, Interrupts, Level, MemoryFault, Platform, Region, RegionsExhausted,
};
use xsplice_runtime::rendezvous::Quiesced;
use xsplice_runtime::rendezvous::cpu::{CpuId, CpuSet};

std::thread_local! {
    /// Allocations of this thread that still succeed; `None` for all.
    static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
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
        // SAFETY: the caller keeps the contract of `alloc`, which is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
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

fn rich() -> Maker {
    let mut maker = Maker::new(1);
    maker.records.push(Record::replacing("f1"));
    maker.hooks = vec![("load", vec!["new"])];
    maker.sections = vec![
        Extra::new(".ex_table", A, &[0; 8])
            .relocated(0, 2, "new", 2)
            .relocated(4, 2, "new", 3),
        Extra::new(".bug_frames.0", A, &[0; 8]).relocated(0, 2, "new", 0),
        Extra::new(".data.x", AW, &[0; 8]).relocated(0, R64, "a.c#local", 0),
    ];
    maker
}

#[test]
fn an_upload_that_runs_out_of_memory_changes_nothing() {
    let file = rich().write();
    let (name, area) = support::area("one", &file);
    let mut failures = 0;
    for count in 0.. {
        let runtime = runtime();
        let before = runtime.platform().0.snapshot();
        let upload = Upload {
            name,
            size: (file.len() as u64).into(),
            payload_handle: u64::from(name.size.get()).into(),
        };
        let mut operation = Operation::with(OP_UPLOAD, &upload);
        let mut area = area.clone();
        let result = with_allocations(count, || runtime.call(&mut operation, &mut area));
        if result == 0 {
            break;
        }
        assert_eq!(result, Errno::ENOMEM.negated(), "after {count} allocations");
        assert_eq!(
            runtime.platform().0.snapshot(),
            before,
            "after {count} allocations"
        );
        assert_eq!(runtime.upload("one", &file), 0, "with memory it works");
        failures += 1;
    }
    assert!(failures > 10, "only {failures} allocations were seen");
}

#[test]
fn an_action_that_runs_out_of_memory_changes_nothing() {
    for action in [ACTION_APPLY, ACTION_REPLACE] {
        let mut failures = 0;
        for count in 0.. {
            let runtime = runtime();
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
    let runtime = runtime();
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
    let runtime = runtime();
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
