//! The rendezvous as it was posted on 24 March 2016 (patch 11/28, version 5), searched like ours.
//!
//! One action alone is right. Two in a row are not: its words are set again for the second while a
//! CPU may still be inside the first, and nothing tells the two apart. The search finds four
//! faults, each with the shortest interleaving that leads to it; `--nocapture` prints them:
//!
//! * text is written while another CPU takes interrupts: a CPU that left the first action late
//!   counts itself into the second one's `irq_semaphore`;
//! * nobody is master: a late CPU takes the first place between `semaphore = -1` and
//!   `do_work = 1`, fails to get the CPU maps and goes, and all others wait for it as followers;
//! * a deadlock without any timeout: the master waits for the IPI's acknowledgement of a CPU that
//!   waits, interrupts off, for the end of the action before;
//! * a lost request: a CPU clears its flag of the second action when it leaves the first.
//!
//! The model is our reading of that patch under sequential consistency, one access a step;
//! `get_cpu_maps` is a try-lock, and `smp_call_function` waits until every CPU took the interrupt.

#[path = "support/explore.rs"]
mod explore;

use std::fmt;

use explore::{Model, Report, Steps, explore};

const CPUS: usize = 3;

const UNSAFE: &str = "text is written while another CPU takes interrupts";
const NO_MASTER: &str = "everybody waits and nobody is master";
const DEADLOCK: &str = "the master waits for a CPU that waits, interrupts off, for the master";
const LOST: &str = "a CPU clears the request of an action that it has not joined";

/// What a CPU does next. The names are those of the patch's functions and variables.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum At {
    Running,
    // schedule_work, with payload_lock held.
    ScheduleMaps,
    ScheduleSemaphore,
    ScheduleIrqSemaphore,
    ScheduleReady,
    ScheduleDoWork,
    ScheduleFlag(usize),
    SchedulePutMaps,
    // check_for_xsplice_work.
    CheckDoWork,
    SkipClearFlag,
    IncSemaphore,
    // The master.
    MasterMaps,
    MasterFailedClearFlag,
    MasterFailedDoWork,
    MasterCall,
    MasterCallWait,
    MasterWaitCpus,
    MasterReady,
    MasterIncIrq,
    MasterWaitIrqs,
    MasterTimedOut,
    MasterIrqsOff,
    MasterPatch,
    MasterIrqsOn,
    MasterClearFlag,
    MasterDoWork,
    MasterPutMaps,
    // A follower.
    FollowerLoopDoWork,
    FollowerLoopReady,
    FollowerIrqsOff,
    FollowerIncIrq,
    FollowerWait,
    FollowerIrqsOn,
    FollowerClearFlag,
}

#[derive(Clone, Copy, Debug, Hash)]
struct Cpu {
    at: At,
    irqs_on: bool,
    work_to_do: bool,
    /// An IPI that the caller waits for.
    call_pending: bool,
    /// Action whose request the flag is; action that the CPU looked at or joined. Not part of the
    /// algorithm: they tell a lost request.
    flag_of: u8,
    looked_at: u8,
}

#[derive(Clone, Debug, Hash)]
struct World {
    semaphore: i8,
    irq_semaphore: i8,
    do_work: bool,
    ready: bool,
    maps_held: bool,
    payload_lock: bool,
    action: u8,
    to_schedule: u8,
    cpus: [Cpu; CPUS],
}

struct Original {
    cpus: usize,
    actions: u8,
    /// Whether the master may time out.
    times_out: bool,
}

impl Original {
    /// One step of one CPU; `late` chooses the timeout where there is a choice.
    fn step(&self, world: &World, cpu: usize, late: bool) -> Option<Result<World, &'static str>> {
        let mut next = world.clone();
        let total = i8::try_from(self.cpus).expect("few CPUs") - 1;
        let others = |world: &World, is: &dyn Fn(&Cpu) -> bool| {
            (0..self.cpus).any(|other| other != cpu && is(&world.cpus[other]))
        };
        let me = &mut next.cpus[cpu];
        let to = match me.at {
            At::Running => {
                if !me.work_to_do {
                    return None;
                }
                me.looked_at = me.flag_of;
                At::CheckDoWork
            }
            At::ScheduleMaps if next.maps_held => {
                next.payload_lock = false;
                At::Running
            }
            At::ScheduleMaps => {
                next.maps_held = true;
                At::ScheduleSemaphore
            }
            At::ScheduleSemaphore => {
                next.semaphore = -1;
                At::ScheduleIrqSemaphore
            }
            At::ScheduleIrqSemaphore => {
                next.irq_semaphore = -1;
                At::ScheduleReady
            }
            At::ScheduleReady => {
                next.ready = false;
                At::ScheduleDoWork
            }
            At::ScheduleDoWork => {
                next.do_work = true;
                next.action += 1;
                next.to_schedule -= 1;
                At::ScheduleFlag(0)
            }
            At::ScheduleFlag(other) => {
                next.cpus[other].work_to_do = true;
                next.cpus[other].flag_of = next.action;
                if other + 1 < self.cpus {
                    At::ScheduleFlag(other + 1)
                } else {
                    At::SchedulePutMaps
                }
            }
            At::SchedulePutMaps => {
                next.maps_held = false;
                next.payload_lock = false;
                At::Running
            }
            At::CheckDoWork if next.do_work => At::IncSemaphore,
            At::CheckDoWork => At::SkipClearFlag,
            At::SkipClearFlag | At::FollowerClearFlag => {
                if me.work_to_do && me.flag_of > me.looked_at {
                    return Some(Err(LOST));
                }
                me.work_to_do = false;
                At::Running
            }
            At::IncSemaphore => {
                next.semaphore += 1;
                me.looked_at = next.action;
                if next.semaphore == 0 {
                    At::MasterMaps
                } else {
                    At::FollowerLoopDoWork
                }
            }
            At::MasterMaps if next.maps_held => At::MasterFailedClearFlag,
            At::MasterMaps => {
                next.maps_held = true;
                At::MasterCall
            }
            At::MasterFailedClearFlag => {
                me.work_to_do = false;
                At::MasterFailedDoWork
            }
            At::MasterFailedDoWork => {
                next.do_work = false;
                At::Running
            }
            At::MasterCall => {
                for other in (0..self.cpus).filter(|other| *other != cpu) {
                    next.cpus[other].call_pending = true;
                }
                At::MasterCallWait
            }
            At::MasterCallWait if others(world, &|other| other.call_pending) => return None,
            At::MasterCallWait => At::MasterWaitCpus,
            At::MasterWaitCpus if next.semaphore == total => At::MasterReady,
            At::MasterWaitIrqs if next.irq_semaphore == total => At::MasterIrqsOff,
            At::MasterWaitCpus | At::MasterWaitIrqs if late => At::MasterTimedOut,
            At::MasterWaitCpus | At::MasterWaitIrqs => return None,
            At::MasterTimedOut => {
                next.do_work = false;
                At::MasterClearFlag
            }
            At::MasterReady => {
                next.ready = true;
                At::MasterIncIrq
            }
            At::MasterIncIrq => {
                next.irq_semaphore += 1;
                At::MasterWaitIrqs
            }
            At::MasterIrqsOff => {
                me.irqs_on = false;
                At::MasterPatch
            }
            At::MasterPatch if others(world, &|other| other.irqs_on) => return Some(Err(UNSAFE)),
            At::MasterPatch => At::MasterIrqsOn,
            At::MasterIrqsOn => {
                me.irqs_on = true;
                At::MasterClearFlag
            }
            At::MasterClearFlag => {
                me.work_to_do = false;
                At::MasterDoWork
            }
            At::MasterDoWork => {
                next.do_work = false;
                At::MasterPutMaps
            }
            At::MasterPutMaps => {
                next.maps_held = false;
                At::Running
            }
            At::FollowerLoopDoWork if next.do_work => At::FollowerLoopReady,
            At::FollowerLoopDoWork => At::FollowerIrqsOff,
            At::FollowerLoopReady if next.ready => At::FollowerIrqsOff,
            At::FollowerLoopReady => At::FollowerLoopDoWork,
            At::FollowerIrqsOff => {
                me.irqs_on = false;
                At::FollowerIncIrq
            }
            At::FollowerIncIrq => {
                next.irq_semaphore += 1;
                At::FollowerWait
            }
            At::FollowerWait if next.do_work => return None,
            At::FollowerWait => At::FollowerIrqsOn,
            At::FollowerIrqsOn => {
                me.irqs_on = true;
                At::FollowerClearFlag
            }
        };
        next.cpus[cpu].at = to;
        Some(self.judge(&next).map_or(Ok(next), Err))
    }

    /// States that nothing leads out of.
    fn judge(&self, world: &World) -> Option<&'static str> {
        let cpus = &world.cpus[..self.cpus];
        let waits = |cpu: &Cpu| {
            matches!(
                cpu.at,
                At::FollowerLoopDoWork | At::FollowerLoopReady | At::FollowerWait
            )
        };
        if world.do_work && !world.ready && cpus.iter().all(waits) {
            return Some(NO_MASTER);
        }
        let calls = cpus.iter().any(|cpu| cpu.at == At::MasterCallWait);
        let is_deaf = |cpu: &Cpu| cpu.call_pending && cpu.at == At::FollowerWait;
        if world.do_work && calls && cpus.iter().any(is_deaf) {
            return Some(DEADLOCK);
        }
        None
    }
}

/// A step, as it is told.
enum Step {
    Schedules(usize),
    TakesIpi(usize),
    Does(usize, At),
    TimesOut(usize, At),
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Schedules(cpu) => write!(out, "CPU{cpu} schedule_work"),
            Step::TakesIpi(cpu) => write!(out, "CPU{cpu} takes the IPI"),
            Step::Does(cpu, at) => write!(out, "CPU{cpu} {at:?}"),
            Step::TimesOut(cpu, at) => write!(out, "CPU{cpu} {at:?} (times out)"),
        }
    }
}

impl Model for Original {
    type State = World;
    type Step = Step;

    fn initial(&self) -> World {
        let cpu = Cpu {
            at: At::Running,
            irqs_on: true,
            work_to_do: false,
            call_pending: false,
            flag_of: 0,
            looked_at: 0,
        };
        World {
            semaphore: 0,
            irq_semaphore: 0,
            do_work: false,
            ready: false,
            maps_held: false,
            payload_lock: false,
            action: 0,
            to_schedule: self.actions,
            cpus: [cpu; CPUS],
        }
    }

    fn steps(&self, world: &World, steps: &mut Steps<Self>) {
        for cpu in 0..self.cpus {
            let now = &world.cpus[cpu];
            if now.at == At::Running && world.to_schedule > 0 && !world.payload_lock {
                // xsplice_action: the lock is taken, and a running action is refused.
                if !world.do_work {
                    let mut next = world.clone();
                    next.payload_lock = true;
                    next.cpus[cpu].at = At::ScheduleMaps;
                    steps.push((Step::Schedules(cpu), Ok(next)));
                }
            }
            if now.call_pending && now.irqs_on {
                let mut next = world.clone();
                next.cpus[cpu].call_pending = false;
                steps.push((Step::TakesIpi(cpu), Ok(next)));
            }
            for late in [false, true] {
                let can_be_late = matches!(now.at, At::MasterWaitCpus | At::MasterWaitIrqs);
                if late && !(can_be_late && self.times_out) {
                    continue;
                }
                if let Some(next) = self.step(world, cpu, late) {
                    let step = if late { Step::TimesOut } else { Step::Does };
                    steps.push((step(cpu, now.at), next));
                }
            }
        }
    }

    fn is_at_rest(&self, world: &World) -> bool {
        world.to_schedule == 0
            && !world.do_work
            && world.cpus.iter().all(|cpu| cpu.at == At::Running)
    }
}

fn search(cpus: usize, actions: u8, times_out: bool) -> Report {
    explore(
        &Original {
            cpus,
            actions,
            times_out,
        },
        20_000_000,
    )
}

#[track_caller]
fn assert_finds(report: &Report, fault: &str) {
    let found = report.violations.get(fault);
    let (count, trace) = found.unwrap_or_else(|| panic!("found only: {}", report.faults()));
    println!(
        "{fault}: {count} ways, the shortest of {} steps:",
        trace.len()
    );
    println!("    {}", trace.join("\n    "));
}

#[test]
fn one_action_alone_is_right() {
    for cpus in [2, 3] {
        let report = search(cpus, 1, true);
        println!("{cpus} CPUs, one action: {} states", report.states);
        assert!(report.is_clean(), "{cpus} CPUs: {}", report.faults());
    }
}

#[test]
fn text_is_written_while_a_cpu_of_the_last_action_takes_interrupts() {
    assert_finds(&search(2, 2, true), UNSAFE);
}

#[test]
fn a_late_cpu_takes_the_masters_place_and_leaves() {
    assert_finds(&search(2, 2, true), NO_MASTER);
}

#[test]
fn without_any_timeout_master_and_follower_wait_for_each_other() {
    assert_finds(&search(2, 2, false), DEADLOCK);
}

#[test]
fn a_request_is_cleared_with_the_one_before() {
    assert_finds(&search(2, 2, false), LOST);
}

#[test]
fn with_three_cpus_even_success_is_followed_by_unsafe_writes() {
    assert_finds(&search(3, 2, false), UNSAFE);
}
