//! Every interleaving of the rendezvous: the production steps, one access or effect a step, with
//! timeouts and CPUs coming and going wherever they can.
//!
//! Three CPUs with three actions and four with two keep every rule. Then each guard of the protocol
//! is taken away, and the search finds what it was for.

#[path = "support/explore.rs"]
mod explore;

use core::sync::atomic::Ordering;
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;

use explore::{Model, Report, Steps, explore};
use xsplice_runtime::rendezvous::Quiesced;
use xsplice_runtime::rendezvous::cpu::{CpuId, CpuSet};
use xsplice_runtime::rendezvous::steps::{
    Effects, Freezing, Guards, Opening, Outcome, SafePoint, Sound, Standing, Status,
};
use xsplice_runtime::rendezvous::words::{Cell, Memory};

const CPUS: usize = 4;

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Doing {
    Running,
    Opening(Opening),
    SafePoint(SafePoint),
}

#[derive(Clone, Copy, Debug, Hash)]
struct Cpu {
    is_online: bool,
    doing: Doing,
    interrupts_on: bool,
    /// Text was written and the CPU has not serialised since.
    is_stale: bool,
    /// Number of the last action that it really joined.
    joined: u8,
}

#[derive(Clone, Debug, Hash)]
struct World {
    common: [u64; 5],
    own: [[u64; 3]; CPUS],
    cpus: [Cpu; CPUS],
    frozen: u8,
    frozen_set: u8,
    nmis_masked: u8,
    to_open: u8,
    opened: u8,
    acted: u8,
    ended: u8,
}

struct Cells(RefCell<([u64; 5], [[u64; 3]; CPUS])>);

impl Cells {
    fn with<T>(&self, cell: Cell, change: impl FnOnce(&mut u64) -> T) -> T {
        let mut cells = self.0.borrow_mut();
        let (common, own) = &mut *cells;
        change(match cell {
            Cell::Busy => &mut common[0],
            Cell::Join => &mut common[1],
            Cell::Phase => &mut common[2],
            Cell::Settled => &mut common[3],
            Cell::Left => &mut common[4],
            Cell::Request(cpu) => &mut own[cpu.index()][0],
            Cell::Joined(cpu) => &mut own[cpu.index()][1],
            Cell::Gone(cpu) => &mut own[cpu.index()][2],
        })
    }
}

impl Memory for Cells {
    fn load(&self, cell: Cell, _: Ordering) -> u64 {
        self.with(cell, |value| *value)
    }

    fn store(&self, cell: Cell, value: u64, _: Ordering) {
        self.with(cell, |place| *place = value);
    }

    fn swap(&self, cell: Cell, value: u64, _: Ordering) -> u64 {
        self.with(cell, |place| core::mem::replace(place, value))
    }

    fn exchange(&self, cell: Cell, current: u64, new: u64, _: Ordering) -> Result<(), u64> {
        self.with(cell, |place| {
            if *place == current {
                *place = new;
                Ok(())
            } else {
                Err(*place)
            }
        })
    }
}

/// The world around one step of one CPU.
struct Around<'w> {
    world: &'w mut World,
    cells: &'w Cells,
    cpu: usize,
    is_expired: bool,
    asked_for_time: bool,
    violated: Option<&'static str>,
}

impl Around<'_> {
    fn me(&mut self) -> &mut Cpu {
        &mut self.world.cpus[self.cpu]
    }

    fn violate(&mut self, what: &'static str) {
        self.violated.get_or_insert(what);
    }
}

impl Effects for Around<'_> {
    fn cpu(&self) -> CpuId {
        CpuId(u16::try_from(self.cpu).expect("few CPUs"))
    }

    fn freeze(&mut self) -> Freezing {
        self.world.frozen += 1;
        self.world.frozen_set = 0;
        for (bit, cpu) in self.world.cpus.iter().enumerate() {
            if cpu.is_online {
                self.world.frozen_set |= 1 << bit;
            }
        }
        Freezing::Frozen
    }

    fn online(&self) -> CpuSet {
        let mut set = CpuSet::EMPTY;
        for cpu in 0..u16::try_from(CPUS).expect("few CPUs") {
            if self.world.frozen_set & (1 << cpu) != 0 {
                set.insert(CpuId(cpu));
            }
        }
        set
    }

    fn thaw(&mut self) {
        match self.world.frozen.checked_sub(1) {
            Some(frozen) => self.world.frozen = frozen,
            None => self.violate("the online set is thawed twice"),
        }
    }

    fn kick(&mut self) {}

    fn is_expired(&mut self) -> bool {
        self.asked_for_time = true;
        self.is_expired
    }

    fn interrupts_off(&mut self) {
        self.me().interrupts_on = false;
    }

    fn interrupts_on(&mut self) {
        if self.me().is_stale {
            self.violate("interrupts are on before the CPU serialised");
        }
        self.me().interrupts_on = true;
    }

    fn mask_nmis(&mut self) {
        if self.world.nmis_masked > 0 {
            self.violate("NMIs are masked while another action has them masked");
        }
        self.world.nmis_masked += 1;
    }

    fn unmask_nmis(&mut self) {
        if self
            .world
            .cpus
            .iter()
            .any(|cpu| cpu.is_online && cpu.is_stale)
        {
            self.violate("NMIs are unmasked before every CPU serialised");
        }
        match self.world.nmis_masked.checked_sub(1) {
            Some(masked) => self.world.nmis_masked = masked,
            None => self.violate("NMIs are unmasked twice"),
        }
    }

    fn serialise(&mut self) {
        self.me().is_stale = false;
    }

    fn act(&mut self, _: &Quiesced) {
        if self.world.nmis_masked == 0 {
            self.violate("text is written while NMIs are delivered");
        }
        if self.me().interrupts_on {
            self.violate("text is written while the master takes interrupts");
        }
        let cpu = self.cpu;
        let others = self.world.cpus.iter().enumerate();
        let mut others = others.filter(|(index, other)| *index != cpu && other.is_online);
        let is_quiet = |other: &Cpu| match other.doing {
            Doing::SafePoint(machine) => {
                matches!(machine.standing(), Standing::Quiet(_)) && !other.interrupts_on
            }
            _ => false,
        };
        if !others.all(|(_, other)| is_quiet(other)) {
            self.violate("text is written while another CPU could execute it");
        }
        for other in &mut self.world.cpus {
            other.is_stale = other.is_online;
        }
        self.world.acted += 1;
    }

    fn finish(&mut self, outcome: Outcome) {
        self.world.ended += 1;
        if self.me().is_stale {
            self.violate("the master goes on before it serialised");
        }
        if let Outcome::LateToJoin(generation) = outcome {
            let opened = self.world.opened;
            for (cpu, id) in self.world.cpus.iter().zip(0..) {
                let noted = self.cells.load(Cell::Joined(CpuId(id)), Ordering::Relaxed);
                let is_named = noted != u64::from(generation);
                if cpu.is_online && cpu.joined != opened && !is_named {
                    self.violated
                        .get_or_insert("a CPU that did not come is not named");
                }
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Time {
    /// The master gives up whenever it can.
    RunsOut,
    /// It never does: then every action must be carried out.
    Stands,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Online {
    /// The same CPUs all the time.
    Fixed,
    /// CPUs come and go while the set is not frozen.
    Changes,
    /// They come and go whenever they are outside: the platform does not keep its word.
    ChangesThoughFrozen,
}

struct Search<G> {
    cpus: usize,
    actions: u8,
    time: Time,
    online: Online,
    guards: PhantomData<G>,
}

impl<G: Guards> Search<G> {
    fn step(&self, world: &World, cpu: usize, from: Doing, is_expired: bool) -> Option<Stepped> {
        let mut next = world.clone();
        let cells = Cells(RefCell::new((world.common, world.own)));
        let mut around = Around {
            world: &mut next,
            cells: &cells,
            cpu,
            is_expired,
            asked_for_time: false,
            violated: None,
        };
        let before = from;
        let mut doing = from;
        let status = match &mut doing {
            Doing::Running => return None,
            Doing::Opening(machine) => machine.step::<G>(&cells, &mut around),
            Doing::SafePoint(machine) => machine.step::<G>(&cells, &mut around),
        };
        let (asked_for_time, mut violated) = (around.asked_for_time, around.violated);
        (next.common, next.own) = cells.0.into_inner();
        match status {
            Status::Claimed if next.opened != next.ended => {
                violated = Some("an action is claimed while another is not over");
            }
            Status::Claimed => {
                next.to_open -= 1;
                next.opened += 1;
            }
            Status::Finished | Status::Refused => doing = Doing::Running,
            Status::WaitingOpen | Status::WaitingClosed | Status::Working => {}
        }
        if let (Doing::SafePoint(old), Doing::SafePoint(new)) = (before, doing)
            && old.standing() == Standing::Outside
            && new.standing() != Standing::Outside
        {
            next.cpus[cpu].joined = next.opened;
        }
        next.cpus[cpu].doing = doing;
        Some(Stepped {
            step: Step {
                cpu,
                what: What::Does(before, is_expired),
            },
            next: match violated {
                Some(what) => Err(what),
                None => Ok(next),
            },
            asked_for_time,
        })
    }
}

/// A step, as it is told.
struct Step {
    cpu: usize,
    what: What,
}

enum What {
    ComesOrGoes,
    /// Its next step, and whether time is up for it then.
    Does(Doing, bool),
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpu = self.cpu;
        match &self.what {
            What::ComesOrGoes => write!(out, "CPU{cpu} comes or goes"),
            What::Does(doing, false) => write!(out, "CPU{cpu} {doing:?}"),
            What::Does(doing, true) => write!(out, "CPU{cpu} {doing:?} (time is up)"),
        }
    }
}

struct Stepped {
    step: Step,
    next: Result<World, &'static str>,
    asked_for_time: bool,
}

impl<G: Guards> Model for Search<G> {
    type State = World;
    type Step = Step;

    fn initial(&self) -> World {
        let cpu = |index| Cpu {
            is_online: index < self.cpus,
            doing: Doing::Running,
            interrupts_on: true,
            is_stale: false,
            joined: 0,
        };
        World {
            common: [0; 5],
            own: [[0; 3]; CPUS],
            cpus: [cpu(0), cpu(1), cpu(2), cpu(3)],
            frozen: 0,
            frozen_set: 0,
            nmis_masked: 0,
            to_open: self.actions,
            opened: 0,
            acted: 0,
            ended: 0,
        }
    }

    fn steps(&self, world: &World, steps: &mut Steps<Self>) {
        for cpu in 0..self.cpus {
            let now = &world.cpus[cpu];
            let is_changing = match self.online {
                Online::Fixed => false,
                Online::Changes => world.frozen == 0,
                Online::ChangesThoughFrozen => true,
            };
            if now.doing == Doing::Running && cpu > 0 && is_changing {
                let mut next = world.clone();
                next.cpus[cpu].is_online = !now.is_online;
                next.cpus[cpu].is_stale = false;
                let what = What::ComesOrGoes;
                steps.push((Step { cpu, what }, Ok(next)));
            }
            if !now.is_online {
                continue;
            }
            let mut starts = vec![now.doing];
            if now.doing == Doing::Running {
                starts = vec![Doing::SafePoint(SafePoint::new())];
                if world.to_open > 0 {
                    starts.push(Doing::Opening(Opening::new()));
                }
            }
            for start in starts {
                let Some(stepped) = self.step(world, cpu, start, false) else {
                    continue;
                };
                let asked = stepped.asked_for_time && self.time == Time::RunsOut;
                steps.push((stepped.step, stepped.next));
                if asked && let Some(late) = self.step(world, cpu, start, true) {
                    steps.push((late.step, late.next));
                }
            }
        }
    }

    fn is_at_rest(&self, world: &World) -> bool {
        let is_idle = |cpu: &Cpu| cpu.doing == Doing::Running && cpu.interrupts_on;
        world.to_open == 0
            && world.common[0] == 0
            && world.cpus.iter().all(is_idle)
            && world.ended == world.opened
            && world.nmis_masked == 0
            && world.frozen == 0
            && (self.time == Time::RunsOut || world.acted == world.opened)
    }
}

const STATES_MAX: usize = 40_000_000;

fn search<G: Guards>(cpus: usize, actions: u8, time: Time, online: Online) -> Report {
    let model = Search::<G> {
        cpus,
        actions,
        time,
        online,
        guards: PhantomData,
    };
    explore(&model, STATES_MAX)
}

#[track_caller]
fn assert_sound(cpus: usize, actions: u8, time: Time, online: Online) {
    let report = search::<Sound>(cpus, actions, time, online);
    println!("{cpus} CPUs, {actions} actions: {} states", report.states);
    if let Some((what, (_, trace))) = report.violations.iter().next() {
        panic!("{what}:\n{}", trace.join("\n"));
    }
    assert_eq!(
        report.stuck,
        0,
        "stuck after:\n{}",
        report.stuck_trace.join("\n")
    );
    assert!(report.states > 100, "the search went somewhere");
}

#[test]
fn two_cpus_keep_every_rule_over_three_actions_with_timeouts() {
    assert_sound(2, 3, Time::RunsOut, Online::Fixed);
}

#[test]
fn three_cpus_keep_every_rule_over_two_actions_with_timeouts() {
    assert_sound(3, 2, Time::RunsOut, Online::Fixed);
}

#[test]
fn without_timeouts_no_request_is_lost() {
    assert_sound(2, 3, Time::Stands, Online::Fixed);
    assert_sound(3, 2, Time::Stands, Online::Fixed);
}

#[test]
fn cpus_may_come_and_go_between_actions() {
    assert_sound(2, 3, Time::RunsOut, Online::Changes);
    assert_sound(2, 3, Time::Stands, Online::Changes);
    assert_sound(3, 2, Time::RunsOut, Online::Changes);
}

#[test]
fn three_cpus_keep_every_rule_over_three_actions_with_timeouts() {
    assert_sound(3, 3, Time::RunsOut, Online::Fixed);
}

#[test]
fn four_cpus_keep_every_rule_over_two_actions() {
    assert_sound(4, 2, Time::Stands, Online::Fixed);
}

/// Twenty-five million states: more than a minute, and two gigabytes.
#[test]
fn four_cpus_keep_every_rule_over_two_actions_with_timeouts() {
    assert_sound(4, 2, Time::RunsOut, Online::Fixed);
}

#[test]
fn a_platform_that_lets_cpus_come_while_frozen_is_found_out() {
    let report = search::<Sound>(2, 1, Time::RunsOut, Online::ChangesThoughFrozen);
    assert!(!report.is_clean());
}

macro_rules! mutants {
    ($($test:ident: $guard:ident, $fault:literal;)*) => {$(
        #[test]
        fn $test() {
            struct Mutant;
            impl Guards for Mutant {
                const $guard: bool = false;
            }
            let mut found = String::new();
            // The smallest system that shows the fault is enough.
            for (cpus, actions) in [(2, 1), (2, 2), (3, 1), (2, 3), (3, 2)] {
                for time in [Time::Stands, Time::RunsOut] {
                    let report = search::<Mutant>(cpus, actions, time, Online::Fixed);
                    if !report.is_clean() {
                        found = report.faults();
                    }
                    if !report.is_clean() && found.contains($fault) {
                        println!("{cpus} CPUs, {actions} actions: {found}");
                        return;
                    }
                }
            }
            panic!("without {} the search finds: {found:?}", stringify!($guard));
        }
    )*};
}

mutants! {
    claiming_without_a_swap_lets_two_actions_in: CLAIMS_BY_SWAP, "another is not over";
    without_generations_the_late_are_not_named: NEW_GENERATION, "not named";
    requests_before_opening_are_lost: OPENS_BEFORE_REQUESTS, "never at rest";
    clearing_the_request_after_looking_loses_the_next: CLEARS_BEFORE_LOOKING, "never at rest";
    joining_without_a_swap_makes_two_masters: JOINS_BY_SWAP, "thawed twice";
    a_full_word_that_stays_open_is_joined_again: CLOSES_WHEN_FULL, "never at rest";
    a_timeout_that_does_not_close_is_joined_late: TIMEOUT_CLOSES, "never at rest";
    not_waiting_for_all_to_join_is_unsafe: WAITS_FOR_ALL, "could execute it";
    not_masking_nmis_is_unsafe: MASKS_NMIS, "NMIs are delivered";
    not_waiting_for_acknowledgements_is_unsafe: WAITS_FOR_ACKNOWLEDGEMENTS, "could execute it";
    acknowledging_before_interrupts_are_off_is_unsafe: OFF_BEFORE_ACKNOWLEDGING, "could execute it";
    a_master_that_takes_interrupts_is_unsafe: MASTER_OFF, "master takes interrupts";
    a_master_that_does_not_serialise_is_unsafe: MASTER_SERIALISES, "serialised";
    a_follower_that_does_not_serialise_is_unsafe: FOLLOWER_SERIALISES, "serialised";
    nmis_unmasked_by_the_master_come_too_early: LAST_UNMASKS, "before every CPU serialised";
    nmis_unmasked_after_leaving_meet_the_next_action: UNMASKS_BEFORE_LEAVING, "NMIs are masked while";
    without_the_exit_barrier_actions_overlap: EXIT_BARRIER, "NMIs are masked while";
}
