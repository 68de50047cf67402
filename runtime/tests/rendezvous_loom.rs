//! Memory orders of the rendezvous, by loom: the production steps over loom's atomics.
//!
//! What CPUs share beside the words (the text, the prepared action, the frozen online set, the
//! held NMIs) is cells that the effects touch: loom reports two accesses that the protocol itself
//! does not order. After the last action its opener claims the next one, so that the way out is
//! checked as well. Time is up at a question of the master's that the scene chooses.
//!
//! No search is cut short by a clock: each visits all that its bound on preemptions allows. Then
//! one word after the other loses its memory orders, and loom finds the fault.

use core::sync::atomic::{self, Ordering};
use std::{cell, sync, time};

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::AtomicU64;
use loom::thread;
use xsplice_runtime::rendezvous::Quiesced;
use xsplice_runtime::rendezvous::cpu::{CpuId, CpuSet};
use xsplice_runtime::rendezvous::steps::{
    Effects, Freezing, Opening, Outcome, SafePoint, Sound, Standing, Status,
};
use xsplice_runtime::rendezvous::words::{Cell, Memory};

/// A word, or the words of one kind of all CPUs, whose accesses are all relaxed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weak {
    Busy,
    Join,
    Phase,
    Settled,
    Left,
    Request,
}

/// What is searched.
#[derive(Clone, Copy, Debug)]
struct Scene {
    cpus: u16,
    actions: u32,
    /// From which question on time is up for the master of the first action; 0: never.
    late_at: u32,
    /// How often a CPU is interrupted in favour of another one, at most.
    preemptions: Option<usize>,
    weak: Option<Weak>,
}

struct Shared {
    scene: Scene,
    cells: Vec<AtomicU64>,
    /// What stands in them, outside of the model.
    newest: Vec<atomic::AtomicU64>,
    /// No more requests will come.
    is_over: AtomicU64,
    text: UnsafeCell<()>,
    /// What the opener prepares, the master carries out and records the result of.
    action: UnsafeCell<()>,
    frozen: UnsafeCell<()>,
    nmis: UnsafeCell<()>,
}

impl Shared {
    fn new(scene: Scene) -> Shared {
        let words = 5 + scene.cpus;
        Shared {
            scene,
            cells: (0..words).map(|_| AtomicU64::new(0)).collect(),
            newest: (0..words).map(|_| atomic::AtomicU64::new(0)).collect(),
            is_over: AtomicU64::new(0),
            text: UnsafeCell::new(()),
            action: UnsafeCell::new(()),
            frozen: UnsafeCell::new(()),
            nmis: UnsafeCell::new(()),
        }
    }

    /// `None` for the notes of who joined and left: nothing here reads them, and leaving them out
    /// leaves out the interleavings around them.
    fn index(cell: Cell) -> Option<usize> {
        match cell {
            Cell::Busy => Some(0),
            Cell::Join => Some(1),
            Cell::Phase => Some(2),
            Cell::Settled => Some(3),
            Cell::Left => Some(4),
            Cell::Request(cpu) => Some(5 + cpu.index()),
            Cell::Joined(_) | Cell::Gone(_) => None,
        }
    }

    fn newest(&self, cell: Cell) -> u64 {
        let index = Shared::index(cell).expect("the steps never read the notes");
        self.newest[index].load(Ordering::Relaxed)
    }

    fn order(&self, cell: Cell, order: Ordering) -> Ordering {
        let weak = match cell {
            Cell::Busy => Weak::Busy,
            Cell::Join => Weak::Join,
            Cell::Phase => Weak::Phase,
            Cell::Settled => Weak::Settled,
            Cell::Left => Weak::Left,
            Cell::Request(_) => Weak::Request,
            Cell::Joined(_) | Cell::Gone(_) => return order,
        };
        if self.scene.weak == Some(weak) {
            Ordering::Relaxed
        } else {
            order
        }
    }

    /// What a CPU does that executes the text: read it.
    fn execute(&self) {
        self.text.with(|_| ());
    }
}

/// The words as one CPU reads them.
struct Words<'s> {
    shared: &'s Shared,
    last: cell::Cell<Option<(Cell, u64)>>,
}

impl<'s> Words<'s> {
    fn of(shared: &'s Shared) -> Words<'s> {
        Words {
            shared,
            last: cell::Cell::new(None),
        }
    }

    fn read(&self, cell: Cell) -> &AtomicU64 {
        let index = Shared::index(cell).expect("the steps never read the notes");
        &self.shared.cells[index]
    }

    fn wrote(&self, cell: Cell, value: u64) {
        if let Some(index) = Shared::index(cell) {
            self.shared.newest[index].store(value, Ordering::Relaxed);
        }
    }

    fn has_read(&self, cell: Cell, value: u64) -> u64 {
        self.last.set(Some((cell, value)));
        value
    }

    /// Lets the others run until there is something new in the word that was read last. To read the
    /// same value of the same write once more changes nothing, so that no execution is lost; what
    /// is old already is read again.
    fn wait(&self) {
        let (cell, value) = self.last.get().expect("a CPU waits for what it has read");
        thread::yield_now();
        while self.shared.newest(cell) == value {
            thread::yield_now();
        }
    }
}

impl Memory for Words<'_> {
    fn load(&self, cell: Cell, order: Ordering) -> u64 {
        let value = self.read(cell).load(self.shared.order(cell, order));
        self.has_read(cell, value)
    }

    fn store(&self, cell: Cell, value: u64, order: Ordering) {
        if let Some(index) = Shared::index(cell) {
            let (word, order) = (&self.shared.cells[index], self.shared.order(cell, order));
            if self.shared.scene.asks_again() && matches!(cell, Cell::Request(_)) {
                // A swap reads what stands right before it, so a later request comes after the
                // clearing of the first one. Loom leaves a store and a swap unordered, and a CPU
                // could look away from the newer one for ever. The first CPU alone asks, so that it
                // goes on with nobody else's writes by this.
                word.swap(value, order);
            } else {
                word.store(value, order);
            }
            self.wrote(cell, value);
        }
    }

    fn swap(&self, cell: Cell, value: u64, order: Ordering) -> u64 {
        let found = self.read(cell).swap(value, self.shared.order(cell, order));
        self.wrote(cell, value);
        self.has_read(cell, found)
    }

    fn exchange(&self, cell: Cell, current: u64, new: u64, order: Ordering) -> Result<(), u64> {
        let success = self.shared.order(cell, order);
        let failure = self.shared.order(cell, Ordering::Acquire);
        match self
            .read(cell)
            .compare_exchange(current, new, success, failure)
        {
            Ok(_) => {
                self.wrote(cell, new);
                Ok(())
            }
            Err(found) => Err(self.has_read(cell, found)),
        }
    }
}

struct Cpu<'s> {
    shared: &'s Shared,
    id: u16,
    /// How often it came to its safe point.
    visits: u32,
    /// How often it asked whether time is up, in this visit.
    questions: u32,
    acted: u32,
    given_up: u32,
}

impl Cpu<'_> {
    fn new(shared: &Shared, id: u16) -> Cpu<'_> {
        Cpu {
            shared,
            id,
            visits: 0,
            questions: 0,
            acted: 0,
            given_up: 0,
        }
    }

    /// Claims the next action, as soon as the last one is over, and prepares it.
    fn claim(&mut self, words: &Words<'_>) -> Opening {
        let mut machine = Opening::new();
        while machine.step::<Sound>(words, self) != Status::Claimed {
            words.wait();
            machine = Opening::new();
        }
        self.shared.action.with_mut(|_| ());
        machine
    }

    fn open(&mut self) {
        let words = Words::of(self.shared);
        let mut machine = self.claim(&words);
        while machine.step::<Sound>(&words, self) != Status::Finished {}
    }

    /// Claims the action after the last one, has all to itself, and gives it back.
    fn claim_the_next(&mut self) {
        let words = Words::of(self.shared);
        let mut machine = self.claim(&words);
        self.freeze();
        self.mask_nmis();
        machine.abandon();
        machine.step::<Sound>(&words, self);
    }

    /// Executes the text until asked to come, then comes; false when nobody will ask any more.
    fn take_part(&mut self) -> bool {
        let words = Words::of(self.shared);
        let request = Cell::Request(CpuId(self.id));
        self.shared.execute();
        loop {
            if self.shared.newest(request) != 0 && words.load(request, Ordering::Relaxed) != 0 {
                break;
            }
            if self.shared.scene.asks_again() && self.shared.is_over.load(Ordering::Relaxed) != 0 {
                return false;
            }
            thread::yield_now();
        }
        self.visits += 1;
        self.questions = 0;
        let mut machine = SafePoint::new();
        let mut has_joined = false;
        loop {
            let asked = self.questions;
            match machine.step::<Sound>(&words, self) {
                Status::Finished => break,
                // Time passes without anything new in the word.
                Status::WaitingOpen | Status::WaitingClosed
                    if self.questions > asked && self.questions < self.shared.scene.late_at =>
                {
                    thread::yield_now();
                }
                Status::WaitingOpen | Status::WaitingClosed => words.wait(),
                _ => has_joined |= machine.standing() != Standing::Outside,
            }
        }
        assert!(
            has_joined || self.shared.scene.late_at > 0,
            "a request is lost"
        );
        self.shared.execute();
        true
    }
}

impl Effects for Cpu<'_> {
    fn cpu(&self) -> CpuId {
        CpuId(self.id)
    }

    fn freeze(&mut self) -> Freezing {
        self.shared.frozen.with_mut(|_| ());
        Freezing::Frozen
    }

    /// Not through the cell: behind a lock in the runtime, since an opener may still look at it
    /// when the action has been given up.
    fn online(&self) -> CpuSet {
        CpuSet::first(self.shared.scene.cpus)
    }

    fn thaw(&mut self) {
        self.shared.frozen.with_mut(|_| ());
    }

    fn kick(&mut self) {
        self.shared.frozen.with(|_| ());
    }

    fn is_expired(&mut self) -> bool {
        self.questions += 1;
        let late_at = self.shared.scene.late_at;
        self.visits == 1 && late_at > 0 && self.questions >= late_at
    }

    fn interrupts_off(&mut self) {}

    fn interrupts_on(&mut self) {}

    fn mask_nmis(&mut self) {
        self.shared.nmis.with_mut(|_| ());
    }

    fn unmask_nmis(&mut self) {
        self.shared.nmis.with_mut(|_| ());
    }

    /// Before this no NMI may arrive.
    fn serialise(&mut self) {
        self.shared.execute();
        self.shared.nmis.with(|_| ());
    }

    fn act(&mut self, _: &Quiesced) {
        self.shared.action.with_mut(|_| ());
        self.shared.text.with_mut(|_| ());
        self.acted += 1;
    }

    /// Names the late CPUs of the frozen set, records the result.
    fn finish(&mut self, outcome: Outcome) {
        self.shared.frozen.with(|_| ());
        self.shared.action.with_mut(|_| ());
        if !matches!(outcome, Outcome::Acted(_)) {
            self.given_up += 1;
        }
    }
}

impl Scene {
    const fn new(cpus: u16, actions: u32) -> Scene {
        Scene {
            cpus,
            actions,
            late_at: 0,
            preemptions: None,
            weak: None,
        }
    }

    const fn bounded(mut self, preemptions: usize) -> Scene {
        self.preemptions = Some(preemptions);
        self
    }

    const fn late_at(mut self, question: u32) -> Scene {
        self.late_at = question;
        self
    }

    const fn without(mut self, weak: Weak) -> Scene {
        self.weak = Some(weak);
        self
    }

    /// Whether a CPU may be asked to come to an action before it came to the one before.
    const fn asks_again(self) -> bool {
        self.late_at > 0 && self.actions > 1
    }

    /// The part of every CPU but the first: how many actions it carried out and gave up.
    fn follow(self, shared: &Shared, id: u16) -> (u32, u32) {
        let mut cpu = Cpu::new(shared, id);
        if self.asks_again() {
            // One request may be of two actions, when the first is given up.
            while cpu.take_part() {}
        } else {
            for _ in 0..self.actions {
                cpu.take_part();
            }
        }
        (cpu.acted, cpu.given_up)
    }

    /// Visits every execution within the bound.
    fn search(self) {
        let mut builder = Builder::new();
        builder.preemption_bound = self.preemptions;
        builder.max_branches = BRANCHES_MAX;
        builder.max_duration = None;
        builder.max_permutations = None;
        let executions = sync::Arc::new(atomic::AtomicU64::new(0));
        let counted = sync::Arc::clone(&executions);
        let given_up = sync::Arc::new(atomic::AtomicU64::new(0));
        let counted_late = sync::Arc::clone(&given_up);
        let start = time::Instant::now();
        builder.check(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            let shared = Arc::new(Shared::new(self));
            let mut first = Cpu::new(&shared, 0);
            let others: Vec<_> = (1..self.cpus)
                .map(|id| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || self.follow(&shared, id))
                })
                .collect();
            for _ in 0..self.actions {
                first.open();
                first.take_part();
            }
            first.claim_the_next();
            shared.is_over.store(1, Ordering::Relaxed);
            let (mut acted, mut late) = (first.acted, first.given_up);
            for other in others {
                let (more_acted, more_late) = other.join().expect("its panic was reported");
                acted += more_acted;
                late += more_late;
            }
            counted_late.fetch_add(u64::from(late), Ordering::Relaxed);
            assert_eq!(acted + late, self.actions, "each action ends once");
            assert!(late == 0 || self.late_at > 0, "nobody was late");
        });
        let late = given_up.load(Ordering::Relaxed);
        println!(
            "{self:?}: {} executions, {late} actions given up, {:?}",
            executions.load(Ordering::Relaxed),
            start.elapsed()
        );
        assert_eq!(
            late > 0,
            self.late_at > 0,
            "actions are given up where time is up, and nowhere else"
        );
    }
}

/// Steps of one execution; more means that it goes round for ever.
const BRANCHES_MAX: usize = 20_000;

#[test]
fn two_cpus_and_one_action_completely() {
    Scene::new(2, 1).search();
}

#[test]
fn two_cpus_and_one_action_that_may_be_late_at_once_completely() {
    Scene::new(2, 1).late_at(1).search();
}

#[test]
fn two_cpus_and_one_action_that_may_be_late_after_a_while_completely() {
    Scene::new(2, 1).late_at(2).search();
}

#[test]
fn two_cpus_and_two_actions_with_two_preemptions() {
    Scene::new(2, 2).bounded(2).search();
}

#[test]
fn two_cpus_and_an_action_after_one_that_may_be_late_with_two_preemptions() {
    Scene::new(2, 2).late_at(1).bounded(2).search();
    Scene::new(2, 2).late_at(2).bounded(2).search();
}

/// With one preemption more it goes on for more than five minutes.
#[test]
fn three_cpus_and_one_action_that_switch_where_they_wait() {
    Scene::new(3, 1).bounded(0).search();
    Scene::new(3, 1).late_at(1).bounded(0).search();
    Scene::new(3, 1).late_at(2).bounded(0).search();
}

/// Loom's words for two accesses to a cell that nothing orders.
macro_rules! races {
    ($($test:ident: $weak:ident in $scene:expr;)*) => {$(
        #[test]
        #[should_panic(expected = "Causality violation")]
        fn $test() {
            $scene.without(Weak::$weak).search();
        }
    )*};
}

races! {
    a_weak_busy_lets_the_next_claim_in_too_early: Busy in Scene::new(2, 1).bounded(2);
    a_weak_join_shows_a_cpu_with_an_old_request_no_prepared_action: Join
        in Scene::new(2, 2).late_at(1).bounded(1);
    a_weak_phase_lets_text_be_written_while_it_is_executed: Phase in Scene::new(2, 1).bounded(2);
    a_weak_settled_lets_nmis_in_before_all_serialised: Settled in Scene::new(3, 1).bounded(0);
    a_weak_left_thaws_under_the_master: Left in Scene::new(2, 1).bounded(2);
}

/// What a CPU sees after its request is old: it finds nothing to join, and is not asked again.
#[test]
#[should_panic(expected = "a request is lost")]
fn a_weak_request_is_lost() {
    Scene::new(2, 1).bounded(2).without(Weak::Request).search();
}
