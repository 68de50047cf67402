//! Single tests: which there are, what they come by, and whether one fails with a change.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use wait_timeout::ChildExt as _;

use crate::change::Change;
use crate::copy::Program;

/// One test.
#[derive(Clone, Debug)]
pub struct Trial {
    program: Program,
    name: String,
    time: Duration,
}

impl Trial {
    /// Program and name.
    #[must_use]
    pub fn shown(&self) -> String {
        format!("{}: {}", self.program.name, self.name)
    }
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// This test fails.
    Caught(String),
    /// This test does not end.
    NeverEnds(String),
    /// Every test that comes by passes.
    LeftOver,
    /// So many pass, and more were not wanted.
    PutOff(usize),
    /// No test comes by.
    Unreached,
}

/// Every test of programs that passes, by what it comes by.
#[derive(Debug)]
pub struct Trials {
    trials: Vec<Trial>,
    /// By the number of a change, the fastest first.
    by_change: HashMap<u32, Vec<usize>>,
    /// For each of the trials.
    reaches: Vec<HashSet<u32>>,
    /// Those that cannot be asked what they come by: a test of allocations fails when it is noted.
    unasked: Vec<usize>,
}

/// A change may make a test slow; what takes this much longer never ends.
const PATIENCE: u32 = 10;
const TIME_MIN: Duration = Duration::from_secs(10);
/// What a change counts that one test alone comes by.
const RARITY: usize = 1 << 20;
const BASELINE_TIME: Duration = Duration::from_secs(60);

impl Trials {
    /// Runs each test alone; those that `is_wanted` turns down, or that fail or take a minute
    /// without a change, are left out.
    ///
    /// # Errors
    /// When a program does not list its tests.
    pub fn find(
        programs: &[Program],
        jobs: usize,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<Trials> {
        let mut trials = Vec::new();
        for program in programs {
            let listed = Command::new(&program.path)
                .args(["--list", "--format", "terse"])
                .current_dir(&program.folder)
                .output()
                .with_context(|| program.name.clone())?;
            for line in String::from_utf8(listed.stdout)?.lines() {
                let Some(name) = line.strip_suffix(": test") else {
                    continue;
                };
                // A kind of tests in front is no part of the name.
                let name = match name
                    .strip_prefix('[')
                    .and_then(|kind| kind.split_once("] "))
                {
                    Some((_, name)) => name,
                    None => name,
                };
                if is_wanted(name) {
                    trials.push(Trial {
                        program: program.clone(),
                        name: name.to_owned(),
                        time: Duration::ZERO,
                    });
                }
            }
        }
        let scratch = tempfile::tempdir()?;
        let runs = in_parallel(trials.len(), jobs, |index| {
            let reached = scratch.path().join(index.to_string());
            let started = Instant::now();
            let setting = ("XSPLICE_REACHED", reached.to_string_lossy().into_owned());
            let passed = passes(&trials[index], &setting, BASELINE_TIME) == Some(true);
            let time = started.elapsed();
            let bytes = fs::read(reached).unwrap_or_default();
            let numbers: HashSet<u32> = bytes
                .chunks_exact(4)
                .map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
                .collect();
            (passed, time, numbers)
        });
        let mut by_change: HashMap<u32, Vec<usize>> = HashMap::new();
        let mut unasked = Vec::new();
        let mut reaches = Vec::new();
        for (index, (passed, time, numbers)) in runs.into_iter().enumerate() {
            trials[index].time = time;
            if passed {
                for number in &numbers {
                    by_change.entry(*number).or_default().push(index);
                }
                reaches.push(numbers);
                continue;
            }
            reaches.push(HashSet::new());
            let unchanged = ("XSPLICE_MUTANT", "0".to_owned());
            if passes(&trials[index], &unchanged, BASELINE_TIME) == Some(true) {
                unasked.push(index);
            } else {
                eprintln!("fails or is slow as it is: {}", trials[index].shown());
            }
        }
        for reached_by in by_change.values_mut() {
            reached_by.sort_by_key(|&index| trials[index].time);
        }
        Ok(Trials {
            trials,
            by_change,
            reaches,
            unasked,
        })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.trials.len()
    }

    /// What becomes of each change, in their order; `told` hears of each. A change is put off
    /// after `most` tests that pass.
    pub fn fates(
        &self,
        changes: &[Change],
        jobs: usize,
        most: usize,
        told: impl Fn(&Change, &Fate) + Sync,
    ) -> Vec<Fate> {
        // What caught the last changes of a file is likely to catch the next.
        let lately: Mutex<HashMap<String, Vec<usize>>> = Mutex::default();
        // The numbers of a file's changes follow each other.
        let mut of_file: HashMap<&str, RangeInclusive<u32>> = HashMap::new();
        for change in changes {
            let number = change.number;
            let range = of_file.entry(&change.file).or_insert(number..=number);
            *range = *range.start().min(&number)..=*range.end().max(&number);
        }
        in_parallel(changes.len(), jobs, |index| {
            let change = &changes[index];
            let recent = {
                let lately = lately.lock().expect("no thread panics with it");
                lately.get(&change.file).cloned().unwrap_or_default()
            };
            let near = of_file[change.file.as_str()].clone();
            let (fate, by) = self.fate(change.number, near, &recent, most);
            if let Some(by) = by {
                let mut lately = lately.lock().expect("no thread panics with it");
                let list = lately.entry(change.file.clone()).or_default();
                list.retain(|&other| other != by);
                list.insert(0, by);
                list.truncate(12);
            }
            told(change, &fate);
            fate
        })
    }

    /// The tests that come by a change, those first that together come by all changes of `near`,
    /// and by what few come by before what all do.
    fn ordered(&self, number: u32, near: RangeInclusive<u32>, recent: &[usize]) -> Vec<usize> {
        let mut rest = self.by_change.get(&number).cloned().unwrap_or_default();
        let mut order = Vec::new();
        let mut open: HashSet<u32> = near.collect();
        let mut take = |at: usize, rest: &mut Vec<usize>, open: &mut HashSet<u32>| {
            let index = rest.remove(at);
            open.retain(|one| !self.reaches[index].contains(one));
            order.push(index);
        };
        for index in recent {
            if let Some(at) = rest.iter().position(|one| one == index) {
                take(at, &mut rest, &mut open);
            }
        }
        loop {
            let gain = |index: usize| {
                let reached = &self.reaches[index];
                let new = open.iter().filter(|one| reached.contains(one));
                new.map(|one| RARITY / self.by_change.get(one).map_or(1, Vec::len))
                    .sum::<usize>()
            };
            let gains = rest
                .iter()
                .enumerate()
                .map(|(at, index)| (gain(*index), at));
            // Of equals the fastest.
            let best = gains.max_by_key(|(gain, at)| (*gain, std::cmp::Reverse(*at)));
            match best {
                Some((1.., at)) => take(at, &mut rest, &mut open),
                _ => break,
            }
        }
        order.extend(rest);
        order
    }

    fn fate(
        &self,
        number: u32,
        near: RangeInclusive<u32>,
        recent: &[usize],
        most: usize,
    ) -> (Fate, Option<usize>) {
        let ordered = self.ordered(number, near, recent);
        let setting = ("XSPLICE_MUTANT", number.to_string());
        let all = ordered.iter().chain(&self.unasked).copied();
        for (passed, index) in all.enumerate() {
            if passed == most {
                return (Fate::PutOff(most), None);
            }
            let trial = &self.trials[index];
            match passes(trial, &setting, TIME_MIN.max(trial.time * PATIENCE)) {
                Some(true) => {}
                Some(false) => return (Fate::Caught(trial.shown()), Some(index)),
                None => return (Fate::NeverEnds(trial.shown()), Some(index)),
            }
        }
        let fate = if ordered.is_empty() {
            Fate::Unreached
        } else {
            Fate::LeftOver
        };
        (fate, None)
    }
}

/// Whether a test passes, if it ends in time.
fn passes(trial: &Trial, setting: &(&str, String), time: Duration) -> Option<bool> {
    let child = Command::new(&trial.program.path)
        .args(["--exact", &trial.name, "--test-threads", "1"])
        .env(setting.0, &setting.1)
        // Else each test of the commands would ask cargo whether they are built.
        .env("XSPLICE_BIN_DIR", &trial.program.commands)
        .current_dir(&trial.program.folder)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        return Some(false);
    };
    match child.wait_timeout(time) {
        Ok(Some(status)) => Some(status.success()),
        _ => {
            end(&mut child);
            None
        }
    }
}

/// Ends a test and the commands that it called, which would go on without it.
fn end(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
}

/// The answers for 0 to `count`, computed by several threads.
fn in_parallel<T: Send>(count: usize, jobs: usize, one: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let made = Mutex::new(Vec::with_capacity(count));
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    let answer = one(index);
                    made.lock()
                        .expect("no thread panics with it")
                        .push((index, answer));
                }
            });
        }
    });
    let mut made = made.into_inner().expect("no thread panics with it");
    made.sort_by_key(|(index, _)| *index);
    made.into_iter().map(|(_, answer)| answer).collect()
}
