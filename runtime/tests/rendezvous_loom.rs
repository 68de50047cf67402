//! Memory orders of the rendezvous, by loom: the production steps and words over loom's atomics.
//!
//! What CPUs share beside the words (the text, the prepared action, the frozen online set, the
//! held NMIs) is cells that the effects touch: loom reports two accesses that the protocol itself
//! does not order. After the last action its opener claims the next one, so that the way out is
//! checked as well. Time is up at a question of the master's that the scene chooses.
//!
//! Each search visits all that its bound on preemptions allows; those of three CPUs with more than
//! one preemption have a make target of their own (`make loom`). Then one access after the other
//! loses a half of its memory order, and loom finds the fault. Orders that are stronger than they
//! have to be are listed in docs/runtime-mutants.md; how a CPU waits, and why that keeps a search
//! short, stands in `support/watched.rs`.

#[path = "support/watched.rs"]
mod watched;

use core::sync::atomic::{self, Ordering};
use std::rc::Rc;
use std::{sync, time};

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::atomic::AtomicU64;
use loom::thread;
use watched::{Access, Asking, Loses, Newest, Waiting, WatchedWords};
use xsplice_runtime::rendezvous::Quiesced;
use xsplice_runtime::rendezvous::cpu::{CpuId, CpuSet};
use xsplice_runtime::rendezvous::steps::{
    Effects, Freezing, Opening, Outcome, SafePoint, Sound, Standing, Status,
};
use xsplice_runtime::rendezvous::words::{Cell, Memory, Stage};

/// What is searched.
#[derive(Clone, Copy, Debug)]
struct Scene {
    cpus: u16,
    actions: u32,
    /// From which question on time is up for the master of the first action; 0: never.
    late_at: u32,
    /// How often a CPU is interrupted in favour of another one, at most.
    preemptions: Option<usize>,
    weak: &'static [(Access, Loses)],
}

struct Shared {
    scene: Scene,
    words: WatchedWords,
    /// No more requests will come.
    is_over: AtomicU64,
    /// The same, for a CPU that waits for a request.
    has_ended: std::cell::Cell<bool>,
    text: UnsafeCell<()>,
    /// What the opener prepares, the master carries out and records the result of.
    action: UnsafeCell<()>,
    frozen: UnsafeCell<()>,
    nmis: UnsafeCell<()>,
}

impl Shared {
    fn new(scene: Scene) -> Shared {
        let asking = if scene.asks_again() {
            Asking::BySwap
        } else {
            Asking::ByStore
        };
        Shared {
            scene,
            words: WatchedWords::new(scene.cpus, scene.weak, asking),
            is_over: AtomicU64::new(0),
            has_ended: std::cell::Cell::new(false),
            text: UnsafeCell::new(()),
            action: UnsafeCell::new(()),
            frozen: UnsafeCell::new(()),
            nmis: UnsafeCell::new(()),
        }
    }

    /// What a CPU does that executes the text: read it.
    fn execute(&self) {
        self.text.with(|_| ());
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
    fn claim(&mut self) -> Opening {
        let words = &self.shared.words;
        let mut machine = Opening::new();
        loop {
            words.wait_while(|| words.newest(Cell::Busy) != 0);
            if machine.step::<Sound>(words, self) == Status::Claimed {
                break;
            }
            machine = Opening::new();
        }
        self.shared.action.with_mut(|_| ());
        machine
    }

    fn open(&mut self) {
        let words = &self.shared.words;
        let mut machine = self.claim();
        while machine.step::<Sound>(words, self) != Status::Finished {}
    }

    /// Claims the action after the last one, has all to itself, and abandons it.
    fn claim_the_next(&mut self) {
        let words = &self.shared.words;
        let mut machine = self.claim();
        self.freeze();
        self.mask_nmis();
        machine.abandon();
        machine.step::<Sound>(words, self);
    }

    /// Executes the text until asked to come; false when nobody will ask any more.
    fn is_asked(&self) -> bool {
        let shared = self.shared;
        let request = Cell::Request(CpuId(self.id));
        shared.execute();
        let is_over = || shared.scene.asks_again() && shared.has_ended.get();
        loop {
            let words = &shared.words;
            words.wait_while(|| words.newest(request) == 0 && !is_over());
            if words.load(request, Ordering::Relaxed) != 0 {
                return true;
            }
            if is_over() && shared.is_over.load(Ordering::Relaxed) != 0 {
                return false;
            }
            // What it found is old: like looking later.
            words.give_up();
            thread::yield_now();
        }
    }

    /// Executes the text until asked to come, then comes; false when nobody will ask any more.
    fn take_part(&mut self) -> bool {
        if !self.is_asked() {
            return false;
        }
        let words = &self.shared.words;
        self.visits += 1;
        self.questions = 0;
        let mut machine = SafePoint::new();
        let mut has_joined = false;
        loop {
            words.wait_while(|| self.would_look_in_vain(&machine));
            let asked = self.questions;
            match machine.step::<Sound>(words, self) {
                Status::Finished => break,
                // Time passes without anything new in the word.
                Status::WaitingOpen | Status::WaitingClosed
                    if self.questions > asked && self.questions < self.shared.scene.late_at =>
                {
                    thread::yield_now();
                }
                // What it found is old: like looking later.
                Status::WaitingOpen | Status::WaitingClosed => {
                    words.give_up();
                    thread::yield_now();
                }
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

    fn may_be_late(&self) -> bool {
        self.visits == 1 && self.shared.scene.late_at > 0
    }

    /// Whether the next step looks for something that is not there, and will not notice either that
    /// time has passed.
    fn would_look_in_vain(&self, machine: &SafePoint) -> bool {
        let mut probe = *machine;
        let mut waiting = Waiting {
            cpu: CpuId(self.id),
            may_be_late: self.may_be_late(),
        };
        machine.is_waiting()
            && matches!(
                probe.step::<Sound>(&Newest(&self.shared.words), &mut waiting),
                Status::WaitingOpen | Status::WaitingClosed
            )
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
        self.may_be_late() && self.questions >= self.shared.scene.late_at
    }

    /// Handlers run up to this moment, and execute the text. That of an NMI has to find them masked
    /// by now, but where the action may be given up: then the master unmasks them at once, nothing
    /// is written, and a CPU that is late comes here afterwards.
    fn interrupts_off(&mut self) {
        self.shared.execute();
        if self.shared.scene.late_at == 0 {
            self.shared.nmis.with(|_| ());
        }
    }

    /// And from this moment on.
    fn interrupts_on(&mut self) {
        self.shared.execute();
    }

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
            weak: &[],
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

    const fn weakened(mut self, weak: &'static [(Access, Loses)]) -> Scene {
        self.weak = weak;
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
        if self.actions == 0 {
            cpu.claim_the_next();
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
        let followed = sync::Arc::new(atomic::AtomicU64::new(0));
        let counted_followed = sync::Arc::clone(&followed);
        let start = time::Instant::now();
        builder.check(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            // Loom runs its threads one at a time, on one of the system's. Its own counted
            // reference would be one more word that they share.
            let shared = Rc::new(Shared::new(self));
            let mut first = Cpu::new(&shared, 0);
            let others: Vec<_> = (1..self.cpus)
                .map(|id| {
                    let shared = Rc::clone(&shared);
                    thread::spawn(move || self.follow(&shared, id))
                })
                .collect();
            for _ in 0..self.actions {
                first.open();
                first.take_part();
            }
            first.claim_the_next();
            shared.is_over.store(1, Ordering::Relaxed);
            shared.has_ended.set(true);
            let (mut acted, mut late) = (first.acted, first.given_up);
            for other in others {
                let (more_acted, more_late) = other.join().expect("its panic was reported");
                acted += more_acted;
                late += more_late;
            }
            counted_late.fetch_add(u64::from(late), Ordering::Relaxed);
            let is_followed = u64::from(!shared.words.is_given_up());
            counted_followed.fetch_add(is_followed, Ordering::Relaxed);
            assert_eq!(acted + late, self.actions, "each action ends once");
            assert!(late == 0 || self.late_at > 0, "nobody was late");
        });
        let late = given_up.load(Ordering::Relaxed);
        println!(
            "{self:?}: {} executions, {} to their end, {late} actions given up, {:?}",
            executions.load(Ordering::Relaxed),
            followed.load(Ordering::Relaxed),
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
fn two_cpus_that_claim_and_abandon_completely() {
    Scene::new(2, 0).search();
}

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

#[test]
fn three_cpus_and_one_action_that_switch_where_they_wait() {
    Scene::new(3, 1).bounded(0).search();
    Scene::new(3, 1).late_at(1).bounded(0).search();
    Scene::new(3, 1).late_at(2).bounded(0).search();
}

/// Some seconds each on an idle machine; the third bound takes minutes.
#[test]
#[ignore = "minutes: make loom"]
fn three_cpus_and_one_action_with_two_preemptions() {
    Scene::new(3, 1).bounded(2).search();
    Scene::new(3, 1).late_at(1).bounded(2).search();
    Scene::new(3, 1).late_at(2).bounded(2).search();
}

#[test]
#[ignore = "minutes: make loom"]
fn three_cpus_and_one_action_with_three_preemptions() {
    Scene::new(3, 1).bounded(3).search();
}

/// Loom's words for two accesses to a cell that nothing orders.
macro_rules! races {
    ($($test:ident: $access:expr, $loses:ident in $scene:expr;)*) => {$(
        #[test]
        #[should_panic(expected = "Causality violation")]
        fn $test() {
            $scene.weakened(&[($access, Loses::$loses)]).search();
        }
    )*};
}

/// Either acquires what the opener prepared.
#[test]
#[should_panic(expected = "Causality violation")]
fn a_join_read_and_exchanged_without_acquire_shows_no_prepared_action() {
    let weak = &[
        (Access::ReadJoin, Loses::Acquire),
        (Access::ExchangeJoin, Loses::Acquire),
    ];
    let scene = Scene::new(2, 2).late_at(1).bounded(1);
    scene.weakened(weak).search();
}

races! {
    a_claim_that_does_not_acquire_meets_the_action_before: Access::ClaimBusy, Acquire
        in Scene::new(2, 1).bounded(2);
    a_claim_given_back_without_release_lets_the_next_in_too_early: Access::GiveBusyBack, Release
        in Scene::new(2, 1).bounded(2);
    a_claim_abandoned_without_release_leaves_its_preparation_behind: Access::GiveBusyBack, Release
        in Scene::new(2, 0);
    a_join_opened_without_release_shows_a_cpu_with_an_old_request_no_prepared_action:
        Access::OpenJoin, Release in Scene::new(2, 2).late_at(1).bounded(1);
    a_phase_read_without_acquire_lets_old_text_be_executed: Access::ReadPhase, Acquire
        in Scene::new(2, 1).bounded(2);
    a_ready_without_release_shows_a_follower_nmis_that_are_not_masked:
        Access::StorePhase(Stage::Ready), Release in Scene::new(2, 1).bounded(2);
    an_acknowledgement_without_release_lets_text_be_written_while_it_is_executed:
        Access::ExchangePhase(Stage::Ready), Release in Scene::new(2, 1).bounded(2);
    a_done_without_release_lets_old_text_be_executed: Access::StorePhase(Stage::Done), Release
        in Scene::new(2, 1).bounded(2);
    settling_without_acquire_lets_nmis_in_before_all_serialised: Access::ExchangeSettled, Acquire
        in Scene::new(3, 1).bounded(0);
    settling_without_release_lets_nmis_in_before_all_serialised: Access::ExchangeSettled, Release
        in Scene::new(3, 1).bounded(0);
    leaving_without_acquire_thaws_under_the_master: Access::ExchangeLeft, Acquire
        in Scene::new(2, 1).bounded(2);
    leaving_without_release_thaws_under_the_master: Access::ExchangeLeft, Release
        in Scene::new(2, 1).bounded(2);
}

/// What a CPU sees after its request is old: it finds nothing to join, and is not asked again.
macro_rules! losses {
    ($($test:ident: $access:expr, $loses:ident;)*) => {$(
        #[test]
        #[should_panic(expected = "a request is lost")]
        fn $test() {
            Scene::new(2, 1).bounded(2).weakened(&[($access, Loses::$loses)]).search();
        }
    )*};
}

losses! {
    a_request_without_release_is_lost: Access::AskACpu, Release;
    a_request_cleared_without_acquire_is_lost: Access::ClearTheRequest, Acquire;
}
