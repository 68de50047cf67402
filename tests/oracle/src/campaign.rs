//! Many seeds one after the other, with counts; what is wrong is made small and kept.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::judge::{Change, Judge, Outcome, Shows};
use crate::machine::Machine;
use crate::matrix::Matrix;
use crate::program::{FILES, Program};

/// How far to go.
#[derive(Clone, Debug)]
pub struct Limits {
    /// What programs are made for.
    pub machine: Machine,
    /// The first seed.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// No new seed after this.
    pub time: Duration,
    /// How many are judged at a time.
    pub threads: usize,
    /// Where programs that come out wrong are kept.
    pub keep: Option<PathBuf>,
}

/// Of many seeds, so many are named.
const SEEDS_SHOWN: usize = 8;

/// What came out, counted.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Payloads that are right.
    pub right: u64,
    /// Of them, those whose base alone answers otherwise.
    pub telling: u64,
    /// Nothing changed, rightly.
    pub unchanged: u64,
    /// Refused.
    pub refused: u64,
    /// Changes that a payload can carry.
    pub carriable: u64,
    /// Of them, refused ones: seeds by their codes, which stand there together.
    pub needless: BTreeMap<String, Vec<u64>>,
    /// Refused seeds by code; of several codes of one change each.
    pub codes: BTreeMap<String, Vec<u64>>,
    /// Seeds that the account alone refused, without need, and what it said first.
    pub disagree: Vec<(u64, String)>,
    /// Seeds that came out wrong, and how.
    pub wrong: Vec<(u64, String)>,
    /// Seeds that could not be judged, and why.
    pub broken: Vec<(u64, String)>,
}

impl Counts {
    /// How many were judged.
    #[must_use]
    pub fn judged(&self) -> u64 {
        self.right + self.unchanged + self.refused + self.wrong.len() as u64
    }

    /// The counts for people.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut text = format!(
            "{} programs: {} right ({} show in the answers), {} no change, {} refused, \
             {} wrong; {} could not be judged\n\
             of {} changes that a payload can carry, {} were refused\n",
            self.judged(),
            self.right,
            self.telling,
            self.unchanged,
            self.refused,
            self.wrong.len(),
            self.broken.len(),
            self.carriable,
            self.needless.values().map(Vec::len).sum::<usize>(),
        );
        list(&mut text, &self.needless);
        let _ = writeln!(text, "of all refusals, by code:");
        list(&mut text, &self.codes);
        let _ = writeln!(
            text,
            "refused by the account alone, without need: {}",
            self.disagree.len()
        );
        for (seed, what) in self.disagree.iter().take(SEEDS_SHOWN) {
            let _ = writeln!(text, "  seed {seed}: {what}");
        }
        for (seed, what) in self.wrong.iter().chain(&self.broken) {
            let _ = writeln!(text, "seed {seed}: {what}");
        }
        text
    }

    fn add(&mut self, judged: &Judged) {
        let (seed, shown) = (judged.seed, &judged.shown);
        let outcome = match &judged.outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                self.broken.push((seed, format!("{error:#}; {shown}")));
                return;
            }
        };
        self.carriable += u64::from(judged.is_carriable);
        match outcome {
            Outcome::Right(shows) => {
                self.right += 1;
                self.telling += u64::from(*shows == Shows::Yes);
            }
            Outcome::Unchanged => self.unchanged += 1,
            Outcome::Refused(refusals) | Outcome::Disagree(refusals) => {
                self.refused += 1;
                let mut codes: Vec<String> = refusals.iter().map(|one| one.code.clone()).collect();
                codes.dedup();
                if judged.is_carriable {
                    let together = codes.join(", ");
                    self.needless.entry(together).or_default().push(seed);
                }
                for code in codes {
                    self.codes.entry(code.clone()).or_default().push(seed);
                }
                if let (Outcome::Disagree(_), Some(first)) = (outcome, refusals.first()) {
                    self.disagree.push((seed, first.message.clone()));
                }
            }
            Outcome::WrongPayload(what) => {
                let what = format!("wrong payload: {what}; {shown}");
                self.wrong.push((seed, what));
            }
            Outcome::SilentMiss(what) => {
                let what = format!("silent miss: {what}; {shown}");
                self.wrong.push((seed, what));
            }
        }
    }
}

/// Seeds by what they are filed under, the first of each.
fn list(text: &mut String, seeds: &BTreeMap<String, Vec<u64>>) {
    for (code, seeds) in seeds {
        let first = &seeds[..seeds.len().min(SEEDS_SHOWN)];
        let _ = writeln!(text, "  {:6} {code}, as of {first:?}", seeds.len());
    }
}

/// What became of one seed.
struct Judged {
    seed: u64,
    shown: String,
    is_carriable: bool,
    outcome: Result<Outcome>,
}

/// Judges seed after seed with the commands of a folder, on several threads; `progress` is told of
/// each count that ends in 100.
///
/// # Errors
/// When what came out wrong cannot be kept, or no judge be made.
pub fn run(commands: &Path, limits: &Limits, progress: impl Fn(&Counts)) -> Result<Counts> {
    let next = AtomicU64::new(limits.first);
    let end = limits.first.saturating_add(limits.count);
    let (matrix, began) = (Matrix::here(limits.machine), Instant::now());
    let mut all = BTreeMap::new();
    thread::scope(|threads| -> Result<()> {
        let (sender, receiver) = mpsc::channel();
        let mut workers = Vec::new();
        for _ in 0..limits.threads {
            let (sender, next, matrix) = (sender.clone(), &next, &matrix);
            workers.push(threads.spawn(move || -> Result<()> {
                let judge = Judge::new(limits.machine, commands)?;
                while began.elapsed() < limits.time {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    let change = Change::random(seed, matrix);
                    let outcome = judge.judge(&change);
                    if let (Ok(outcome), Some(folder)) = (&outcome, &limits.keep)
                        && outcome.is_fault()
                    {
                        let small = smaller(&judge, &change);
                        keep(&folder.join(format!("seed-{seed}")), &small)?;
                    }
                    let judged = Judged {
                        seed,
                        shown: change.shown(),
                        is_carriable: is_carriable(&change, &outcome),
                        outcome,
                    };
                    if sender.send(judged).is_err() {
                        break;
                    }
                }
                Ok(())
            }));
        }
        drop(sender);
        let mut so_far = Counts::default();
        for judged in receiver {
            so_far.add(&judged);
            if so_far.judged() % 100 == 0 {
                progress(&so_far);
            }
            all.insert(judged.seed, judged);
        }
        for worker in workers {
            worker.join().expect("a judge does not panic")?;
        }
        Ok(())
    })?;
    // In the order of the seeds, whoever was quicker.
    let mut counts = Counts::default();
    all.values().for_each(|judged| counts.add(judged));
    Ok(counts)
}

/// Whether a payload could carry a change, going by the edits and by why it was refused.
fn is_carriable(change: &Change, outcome: &Result<Outcome>) -> bool {
    let is_out_of_reach = match outcome {
        Ok(Outcome::Refused(refusals)) => change.nothing_can_carry(refusals),
        _ => false,
    };
    change.can_be_carried() && !is_out_of_reach
}

/// The same change with fewer statements, still wrong.
fn smaller(judge: &Judge, change: &Change) -> Change {
    const TRIES_MAX: usize = 80;
    let is_wrong = |change: &Change| judge.judge(change).is_ok_and(|outcome| outcome.is_fault());
    let mut small = change.clone();
    let mut tries = 0;
    let functions = small.original.functions.len();
    for function in (0..functions).rev() {
        let mut line = small.original.functions[function].body.len();
        while line > 0 && tries < TRIES_MAX {
            line -= 1;
            tries += 1;
            let mut next = small.clone();
            let gone = next.original.functions[function].body.remove(line);
            // The patched version loses the same statement, wherever it stands there.
            let body = &mut next.patched.functions[function].body;
            let shown = format!("{gone:?}");
            if let Some(same) = body.iter().position(|other| format!("{other:?}") == shown) {
                body.remove(same);
            } else {
                continue;
            }
            if is_wrong(&next) {
                small = next;
            }
        }
    }
    small
}

/// Writes both versions and how they are built.
fn keep(folder: &Path, change: &Change) -> Result<()> {
    for (tree, program) in [("original", &change.original), ("patched", &change.patched)] {
        let tree = folder.join(tree);
        fs::create_dir_all(&tree)?;
        for (index, name) in FILES.iter().enumerate() {
            fs::write(tree.join(name), program.text(index))?;
        }
    }
    let mut before = Vec::new();
    for name in Program::setups() {
        before.push(serde_json::json!([name, 11, 2]));
    }
    let names = change.original.callable();
    let calls: Vec<_> = names
        .iter()
        .flat_map(|name| (0..5).map(move |a| serde_json::json!([name, a * 7, a])))
        .collect();
    let description = serde_json::json!({
        "claim": change.shown(),
        "compile": format!("{} -fwrapv -w", change.line.compile),
        "before": before,
        "calls": calls,
    });
    let text = serde_json::to_string_pretty(&description)?;
    fs::write(folder.join("behaviour.json"), text + "\n")?;
    Ok(())
}
