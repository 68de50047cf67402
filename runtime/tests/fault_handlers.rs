//! A fault handler that interrupts its own CPU in the middle of a change of the tables it reads: it
//! gives up, and never waits for what it has interrupted.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;
use std::sync::OnceLock;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use xsplice_runtime::payload::PayloadId;
use xsplice_runtime::payload::directory::{Directory, Listing};
use xsplice_runtime::payload::tables::Exception;

const FAULT: u64 = 0x1000;
const RESUME: u64 = 0x2000;

static TABLES: OnceLock<Directory> = OnceLock::new();

thread_local! {
    /// What the handler was told at each allocation of this thread; `None` while it handles none.
    static TOLD: RefCell<Option<Vec<Option<u64>>>> = const { RefCell::new(None) };
}

/// A fault at each allocation.
fn fault() {
    // Taken out meanwhile, so that the handler's own allocations are none.
    let Some(mut told) = TOLD
        .try_with(|told| told.try_borrow_mut().ok()?.take())
        .ok()
        .flatten()
    else {
        return;
    };
    if let Some(tables) = TABLES.get() {
        told.push(tables.exception(FAULT));
    }
    TOLD.with(|place| *place.borrow_mut() = Some(told));
}

struct Faulting;

// SAFETY: every method hands its arguments on to the system's allocator.
unsafe impl GlobalAlloc for Faulting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        fault();
        // SAFETY: the caller keeps the contract of `alloc`, which is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the memory came from `alloc` above, so from the system.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static MEMORY: Faulting = Faulting;

fn listing(id: u32) -> Listing {
    let exceptions = vec![Exception {
        fault: FAULT,
        resume: RESUME,
    }];
    Listing {
        id: PayloadId(id),
        payload: b"one\0".to_vec(),
        names: Vec::new(),
        symbols: Vec::new(),
        new: Vec::new(),
        exceptions: if id == 0 { exceptions } else { Vec::new() },
        bugs: Vec::new(),
        regions: Vec::new(),
    }
}

#[test]
fn a_fault_while_the_tables_change_is_not_waited_for() {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let platform = support::platform();
        let tables = TABLES.get_or_init(Directory::default);
        assert!(tables.add(&platform, listing(0)).is_ok());
        TOLD.with(|told| *told.borrow_mut() = Some(Vec::with_capacity(4096)));
        // The list grows several times with its lock held.
        for id in 1..100 {
            assert!(tables.add(&platform, listing(id)).is_ok());
        }
        let seen = TOLD.with(|told| told.borrow_mut().take());
        tell.send(seen).expect("somebody listens");
    });
    let seen = told
        .recv_timeout(Duration::from_secs(100))
        .expect("the handler comes back")
        .expect("it was asked");
    assert!(seen.contains(&Some(RESUME)), "between changes it is told");
    assert!(seen.contains(&None), "it came in the middle of a change");
    let tables = TABLES.get().expect("made above");
    assert_eq!(tables.exception(FAULT), Some(RESUME));
    assert_eq!(tables.exception(FAULT + 1), None);
}
