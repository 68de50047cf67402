//! Every interleaving of the rendezvous: the production steps, one access or effect a step, with
//! timeouts, NMIs, and CPUs coming and going wherever they can.
//!
//! Three CPUs with three actions and four with two keep every rule. Then each guard of the protocol
//! is taken away, and the search finds what it was for.

#[path = "support/explore.rs"]
mod explore;
#[path = "support/world.rs"]
mod world;

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;

use explore::{Model, Report, Steps, explore};
use world::{Around, CPUS, Cells, Cpu, Doing, World};
use xsplice_runtime::rendezvous::steps::{Guards, Opening, SafePoint, Sound, Standing, Status};

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
    /// CPUs come and go, each in two steps. One that begins while the set is frozen is sent away,
    /// and the set is not frozen while one is on its way.
    Changes,
    /// They come and go whenever they are outside: the platform does not keep its word.
    ChangesThoughFrozen,
}

/// NMIs that arrive, each at any moment on any CPU.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nmis {
    /// So many; masked ones wait.
    Held(u8),
    /// So many, and masked ones are delivered: the platform does not keep its word.
    NotHeld(u8),
}

struct Search<G> {
    cpus: usize,
    actions: u8,
    time: Time,
    online: Online,
    nmis: Nmis,
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
            Status::Refused if before != Doing::Opening(Opening::new()) => {
                // It was claimed, and a CPU was coming or going.
                next.ended += 1;
                next.refused += 1;
                doing = Doing::Running;
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

    /// An NMI on this CPU.
    fn nmi(&self, world: &World, cpu: usize) -> Result<World, &'static str> {
        let mut next = world.clone();
        next.nmis_to_come -= 1;
        if world.nmis_masked > 0 && matches!(self.nmis, Nmis::Held(_)) {
            next.nmis_held |= 1 << cpu;
        } else if world.cpus[cpu].is_stale {
            return Err("an NMI is handled by a CPU that has not serialised");
        }
        Ok(next)
    }

    /// A CPU comes or goes, by one step.
    fn change(&self, world: &World, cpu: usize) -> Option<World> {
        let (now, bit) = (&world.cpus[cpu], 1 << cpu);
        let begins = world.changing & bit == 0 && self.online == Online::Changes;
        let may = match self.online {
            Online::Fixed => false,
            Online::Changes if begins => world.frozen == 0 && world.changing == 0,
            Online::Changes | Online::ChangesThoughFrozen => now.doing == Doing::Running,
        };
        if !may || cpu == 0 {
            return None;
        }
        let mut next = world.clone();
        if begins {
            next.changing |= bit;
        } else {
            next.changing &= !bit;
            next.cpus[cpu].is_online = !now.is_online;
            next.cpus[cpu].is_stale = false;
        }
        Some(next)
    }
}

/// A step, as it is told.
struct Step {
    cpu: usize,
    what: What,
}

enum What {
    ComesOrGoes,
    HasAnNmi,
    /// Its next step, and whether time is up for it then.
    Does(Doing, bool),
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpu = self.cpu;
        match &self.what {
            What::ComesOrGoes => write!(out, "CPU{cpu} comes or goes"),
            What::HasAnNmi => write!(out, "CPU{cpu} has an NMI"),
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
            changing: 0,
            nmis_masked: 0,
            nmis_held: 0,
            nmis_to_come: match self.nmis {
                Nmis::Held(count) | Nmis::NotHeld(count) => count,
            },
            to_open: self.actions,
            opened: 0,
            refused: 0,
            acted: 0,
            ended: 0,
        }
    }

    fn steps(&self, world: &World, steps: &mut Steps<Self>) {
        for cpu in 0..self.cpus {
            let now = &world.cpus[cpu];
            if let Some(next) = self.change(world, cpu) {
                let what = What::ComesOrGoes;
                steps.push((Step { cpu, what }, Ok(next)));
            }
            if !now.is_online {
                continue;
            }
            if world.nmis_to_come > 0 {
                let what = What::HasAnNmi;
                steps.push((Step { cpu, what }, self.nmi(world, cpu)));
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
            && world.nmis_held == 0
            && world.frozen == 0
            && (self.time == Time::RunsOut || world.acted + world.refused == world.opened)
    }
}

const STATES_MAX: usize = 40_000_000;

fn search<G: Guards>(cpus: usize, actions: u8, time: Time, online: Online, nmis: Nmis) -> Report {
    let model = Search::<G> {
        cpus,
        actions,
        time,
        online,
        nmis,
        guards: PhantomData,
    };
    explore(&model, STATES_MAX)
}

#[track_caller]
fn assert_sound(cpus: usize, actions: u8, time: Time, online: Online) {
    assert_sound_with(Nmis::Held(0), cpus, actions, time, online);
}

#[track_caller]
fn assert_sound_with(nmis: Nmis, cpus: usize, actions: u8, time: Time, online: Online) {
    let report = search::<Sound>(cpus, actions, time, online, nmis);
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
    let online = Online::ChangesThoughFrozen;
    let report = search::<Sound>(2, 1, Time::RunsOut, online, Nmis::Held(0));
    assert!(!report.is_clean());
}

#[test]
fn nmis_that_arrive_in_any_step_of_any_cpu_meet_no_old_text_and_are_not_lost() {
    assert_sound_with(Nmis::Held(2), 2, 2, Time::RunsOut, Online::Fixed);
    assert_sound_with(Nmis::Held(1), 2, 2, Time::RunsOut, Online::Changes);
    assert_sound_with(Nmis::Held(1), 3, 1, Time::RunsOut, Online::Changes);
    assert_sound_with(Nmis::Held(2), 3, 1, Time::RunsOut, Online::Fixed);
    assert_sound_with(Nmis::Held(1), 3, 2, Time::RunsOut, Online::Fixed);
}

#[test]
fn a_platform_that_delivers_masked_nmis_is_found_out() {
    let report = search::<Sound>(2, 1, Time::Stands, Online::Fixed, Nmis::NotHeld(1));
    let found = report.faults();
    assert!(found.contains("has not serialised"), "{found}");
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
                    let report = search::<Mutant>(
                        cpus,
                        actions,
                        time,
                        Online::Fixed,
                        Nmis::Held(0),
                    );
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
