//! Memory orders of the rendezvous, by loom: the production steps over loom's atomics.
//!
//! The text is a cell that the master writes and that every CPU reads when it goes on: loom
//! reports any of these that is not ordered by the protocol itself. Two CPUs at an open action are
//! searched completely; with the opening, and with two actions, under a bound on preemptions;
//! three CPUs for some seconds (`XSPLICE_LOOM_SECONDS`), which is no proof.

use core::sync::atomic::Ordering;
use std::time::Duration;

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::AtomicU64;
use loom::thread;
use xsplice_runtime::cpu::{CpuId, CpuSet};
use xsplice_runtime::rendezvous::Quiesced;
use xsplice_runtime::rendezvous::steps::{
    Effects, Freezing, Opening, Outcome, SafePoint, Sound, Status,
};
use xsplice_runtime::rendezvous::words::{Cell, Memory};

struct Shared {
    cells: Vec<AtomicU64>,
    cpus: u16,
    text: UnsafeCell<()>,
}

impl Shared {
    fn new(cpus: u16) -> Shared {
        Shared {
            cells: (0..5 + 3 * cpus).map(|_| AtomicU64::new(0)).collect(),
            cpus,
            text: UnsafeCell::new(()),
        }
    }

    fn cell(&self, cell: Cell) -> &AtomicU64 {
        let own = |cpu: CpuId, word: usize| 5 + 3 * cpu.index() + word;
        &self.cells[match cell {
            Cell::Busy => 0,
            Cell::Join => 1,
            Cell::Phase => 2,
            Cell::Settled => 3,
            Cell::Left => 4,
            Cell::Request(cpu) => own(cpu, 0),
            Cell::Joined(cpu) => own(cpu, 1),
            Cell::Gone(cpu) => own(cpu, 2),
        }]
    }

    /// What a CPU does that executes the text: read it.
    fn execute(&self) {
        self.text.with(|_| ());
    }
}

impl Memory for Shared {
    fn load(&self, cell: Cell, order: Ordering) -> u64 {
        self.cell(cell).load(order)
    }

    fn store(&self, cell: Cell, value: u64, order: Ordering) {
        self.cell(cell).store(value, order);
    }

    fn swap(&self, cell: Cell, value: u64, order: Ordering) -> u64 {
        self.cell(cell).swap(value, order)
    }

    fn exchange(&self, cell: Cell, current: u64, new: u64, order: Ordering) -> Result<(), u64> {
        self.cell(cell)
            .compare_exchange(current, new, order, Ordering::Acquire)
            .map(drop)
    }
}

struct Cpu<'s> {
    shared: &'s Shared,
    id: u16,
    acted: u32,
}

impl Effects for Cpu<'_> {
    fn cpu(&self) -> CpuId {
        CpuId(self.id)
    }

    fn freeze(&mut self) -> Freezing {
        Freezing::Frozen
    }

    fn online(&self) -> CpuSet {
        CpuSet::first(self.shared.cpus)
    }

    fn thaw(&mut self) {}

    fn kick(&mut self) {}

    fn is_expired(&mut self) -> bool {
        false
    }

    fn interrupts_off(&mut self) {}

    fn interrupts_on(&mut self) {}

    fn mask_nmis(&mut self) {}

    fn unmask_nmis(&mut self) {}

    fn serialise(&mut self) {
        self.shared.execute();
    }

    fn act(&mut self, _: &Quiesced) {
        self.shared.text.with_mut(|_| ());
        self.acted += 1;
    }

    fn finish(&mut self, _: Outcome) {}
}

/// Opens one action, waiting for the last one to be over.
fn open(cpu: &mut Cpu<'_>) {
    let mut machine = Opening::new();
    loop {
        match machine.step::<Sound>(cpu.shared, cpu) {
            Status::Finished => return,
            Status::Refused => {
                machine = Opening::new();
                thread::yield_now();
            }
            _ => {}
        }
    }
}

/// Executes the text until asked to come, then takes part in one action.
fn take_part(cpu: &mut Cpu<'_>) {
    cpu.shared.execute();
    let request = Cell::Request(CpuId(cpu.id));
    while cpu.shared.load(request, Ordering::Relaxed) == 0 {
        thread::yield_now();
    }
    let mut machine = SafePoint::new();
    loop {
        match machine.step::<Sound>(cpu.shared, cpu) {
            Status::Finished => break,
            Status::WaitingOpen | Status::WaitingClosed => thread::yield_now(),
            _ => {}
        }
    }
    cpu.shared.execute();
}

fn check(cpus: u16, actions: u32, preemptions: Option<usize>) {
    let mut builder = Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 20_000;
    builder.check(move || {
        let shared = Arc::new(Shared::new(cpus));
        let others: Vec<_> = (1..cpus)
            .map(|id| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let mut cpu = Cpu {
                        shared: &shared,
                        id,
                        acted: 0,
                    };
                    for _ in 0..actions {
                        take_part(&mut cpu);
                    }
                    cpu.acted
                })
            })
            .collect();
        let mut first = Cpu {
            shared: &shared,
            id: 0,
            acted: 0,
        };
        for _ in 0..actions {
            open(&mut first);
            take_part(&mut first);
        }
        let acted: u32 = others.into_iter().map(|other| other.join().unwrap()).sum();
        assert_eq!(
            acted + first.acted,
            actions,
            "each action is carried out once"
        );
    });
}

/// One action that is open already, as one that a further CPU opened before these came.
fn check_open(cpus: u16, preemptions: Option<usize>) {
    let mut builder = Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 20_000;
    if cpus > 2 {
        let seconds = std::env::var("XSPLICE_LOOM_SECONDS").map_or(8, |text| {
            text.parse().expect("XSPLICE_LOOM_SECONDS is a number")
        });
        builder.max_duration = Some(Duration::from_secs(seconds));
    }
    builder.check(move || {
        let shared = Arc::new(Shared::new(cpus));
        let part = |shared: &Shared, id| {
            let mut cpu = Cpu {
                shared,
                id,
                acted: 0,
            };
            take_part(&mut cpu);
            cpu.acted
        };
        open(&mut Cpu {
            shared: &shared,
            id: 0,
            acted: 0,
        });
        let others: Vec<_> = (1..cpus)
            .map(|id| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || part(&shared, id))
            })
            .collect();
        let mut acted = part(&shared, 0);
        for other in others {
            acted += other.join().unwrap();
        }
        assert_eq!(acted, 1, "the action is carried out once");
    });
}

#[test]
fn two_cpus_at_an_open_action_completely() {
    check_open(2, None);
}

#[test]
fn two_cpus_and_one_action_completely() {
    check(2, 1, None);
}

#[test]
fn two_cpus_and_two_actions_with_bounded_preemptions() {
    check(2, 2, Some(2));
}

#[test]
fn three_cpus_at_an_open_action_for_eight_seconds() {
    check_open(3, Some(1));
}
