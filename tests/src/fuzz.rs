//! Feeds mutated files to the readers of every room and looks for what must never come: a panic,
//! a run that takes too long.
//!
//! Each target starts from the committed cases. A finding names the target, the case, the seed
//! and the mutations; [`replay`] runs one seed again.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use xsplice_abi::profile;
use xsplice_diff::{Options, diff_objects, extract, originals, take_whole};
use xsplice_link::verify::{Against, NamedFile, verify};
use xsplice_link::{Base, LinkOptions, inspect, link};

use crate::case::{self, BASE, Case, Side};
use crate::mutate::{Choices, Mutation, mutate};

/// What gets the mutated file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The differ, the patched object mutated.
    Patched,
    /// The differ, the original object mutated.
    Original,
    /// The linker, the extract mutated.
    Extract,
    /// The linker, the base mutated.
    Base,
    /// `inspect`, `verify` and the loader's rules, the payload mutated.
    Payload,
}

impl Target {
    /// All.
    pub const ALL: [Target; 5] = [
        Target::Patched,
        Target::Original,
        Target::Extract,
        Target::Base,
        Target::Payload,
    ];

    /// Its name on a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Target::Patched => "patched",
            Target::Original => "original",
            Target::Extract => "extract",
            Target::Base => "base",
            Target::Payload => "payload",
        }
    }
}

/// The files of a case that targets start from.
#[derive(Clone, Debug)]
pub struct Seed {
    name: String,
    original: Vec<u8>,
    patched: Vec<u8>,
    /// Base, extract and payload, when the case comes that far.
    linked: Option<(Vec<u8>, Vec<u8>, Vec<u8>)>,
}

/// A fault that a mutation brought to light.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Which target.
    pub target: Target,
    /// Which case it started from.
    pub case: String,
    /// Which choices.
    pub seed: u64,
    /// What they did.
    pub mutations: Vec<Mutation>,
    /// What happened.
    pub fault: String,
}

/// Longest that one run may take. The files have a few kilobytes.
const RUN_LIMIT: Duration = Duration::from_secs(2);

/// The committed cases of one object, as far as the tools take them.
///
/// # Errors
/// When the cases cannot be read.
pub fn seeds() -> Result<Vec<Seed>> {
    let mut seeds = Vec::new();
    for case in case::all()? {
        if let Some(seed) = seed(&case)? {
            seeds.push(seed);
        }
    }
    Ok(seeds)
}

fn seed(case: &Case) -> Result<Option<Seed>> {
    let objects = case::files(&case.folder.join(Side::Patched.folder()))?;
    // The first object stands for the case; most have one.
    let Some(object) = objects.first() else {
        return Ok(None);
    };
    let original = case.folder.join(Side::Original.folder()).join(object);
    if !original.exists() {
        return Ok(None);
    }
    let original = std::fs::read(original)?;
    let patched = std::fs::read(case.folder.join(Side::Patched.folder()).join(object))?;
    let base = std::fs::read(case.folder.join(BASE)).ok();
    let linked = base.and_then(|base| {
        let diff = diff_objects(object, &original, &patched, &Options::default()).ok()?;
        let extract = extract::write(diff.extract.as_ref()?);
        let parsed = Base::parse(BASE, &base).ok()?;
        let options = LinkOptions::new("fuzz", &profile::XSPLICE);
        let payload = link(&parsed, &[extract::read(&extract).ok()?], &options)
            .ok()?
            .bytes;
        Some((base, extract, payload))
    });
    Ok(Some(Seed {
        name: case.name.clone(),
        original,
        patched,
        linked,
    }))
}

/// Mutates and runs for `time`, beginning with `first_seed`; returns how many runs there were and
/// what they found.
///
/// # Errors
/// When there is nothing to start from.
pub fn run(
    targets: &[Target],
    seeds: &[Seed],
    first_seed: u64,
    time: Duration,
) -> Result<(u64, Vec<Finding>)> {
    seeds.first().context("no seed to start from")?;
    let began = Instant::now();
    let mut runs = 0;
    let mut findings: Vec<Finding> = Vec::new();
    for number in first_seed.. {
        if began.elapsed() > time {
            break;
        }
        for target in targets {
            let mut choices = Choices::new(number);
            let seed = &seeds[choices.below(seeds.len())];
            let Some((mutations, outcome)) = replay(*target, seed, &mut choices) else {
                continue;
            };
            runs += 1;
            if let Err(fault) = outcome {
                // One finding a place is enough.
                if !findings.iter().any(|known| known.fault == fault) {
                    findings.push(Finding {
                        target: *target,
                        case: seed.name.clone(),
                        seed: number,
                        mutations,
                        fault,
                    });
                }
            }
        }
    }
    Ok((runs, findings))
}

/// One run; `None` when `seed` has no file for `target`.
pub fn replay(
    target: Target,
    seed: &Seed,
    choices: &mut Choices,
) -> Option<(Vec<Mutation>, Result<(), String>)> {
    let mut file = match target {
        Target::Patched => seed.patched.clone(),
        Target::Original => seed.original.clone(),
        Target::Base => seed.linked.as_ref()?.0.clone(),
        Target::Extract => seed.linked.as_ref()?.1.clone(),
        Target::Payload => seed.linked.as_ref()?.2.clone(),
    };
    let mutations = mutate(&mut file, choices);
    let outcome = guarded(|| feed(target, seed, &file));
    Some((mutations, outcome))
}

/// Whatever the rooms answer is fine, as long as they answer.
fn feed(target: Target, seed: &Seed, file: &[u8]) {
    let options = Options::default();
    match target {
        Target::Patched => {
            if let Ok(diff) = diff_objects("fuzz.o", &seed.original, file, &options) {
                through_a_file(&diff);
            }
            if let Ok(diff) = take_whole("fuzz.o", file, &options) {
                through_a_file(&diff);
            }
        }
        Target::Original => {
            if let Ok(diff) = diff_objects("fuzz.o", file, &seed.patched, &options) {
                through_a_file(&diff);
            }
            let _ = originals("fuzz.o", file);
        }
        Target::Extract | Target::Base => {
            let Some((base, extract, _)) = &seed.linked else {
                return;
            };
            let (base, extract) = match target {
                Target::Base => (file, extract.as_slice()),
                _ => (base.as_slice(), file),
            };
            let Ok(extract) = extract::read(extract) else {
                return;
            };
            let Ok(base) = Base::parse(BASE, base) else {
                return;
            };
            for profile in profile::ALL {
                let _ = link(
                    &base,
                    std::slice::from_ref(&extract),
                    &LinkOptions::new("fuzz", profile),
                );
            }
        }
        Target::Payload => {
            let Some((base, _, good)) = &seed.linked else {
                return;
            };
            let _ = inspect::inspect("fuzz", file);
            let Ok(base) = Base::parse(BASE, base) else {
                return;
            };
            let (subject, below) = (
                NamedFile {
                    path: "fuzz",
                    bytes: file,
                },
                NamedFile {
                    path: "below",
                    bytes: good,
                },
            );
            for (payload, stack) in [(subject, &[][..]), (subject, &[below]), (below, &[subject])] {
                let _ = verify(
                    payload,
                    Against {
                        base: &base,
                        stack,
                        deny: &[],
                        signer: None,
                    },
                );
            }
        }
    }
}

/// Serialises the report and takes the extract through its file form.
fn through_a_file(diff: &xsplice_diff::ObjectDiff<'_>) {
    serde_json::to_string(diff).expect("a report can always be written");
    if let Some(found) = &diff.extract {
        let file = extract::write(found);
        extract::read(&file).expect("what was written can be read");
    }
}

thread_local! {
    static PLACE: Cell<Option<String>> = const { Cell::new(None) };
}

/// Runs `act`; a panic or a run that takes too long is a fault.
fn guarded(act: impl FnOnce()) -> Result<(), String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        panic::set_hook(Box::new(|info| {
            let place = info.location().map_or("?".to_owned(), ToString::to_string);
            PLACE.set(Some(format!("panic at {place}")));
        }));
    });
    let began = Instant::now();
    let outcome = panic::catch_unwind(AssertUnwindSafe(act));
    if outcome.is_err() {
        return Err(PLACE.take().unwrap_or_else(|| "panic".to_owned()));
    }
    if began.elapsed() > RUN_LIMIT {
        return Err(format!("took more than {RUN_LIMIT:?}"));
    }
    Ok(())
}
