//! Feeds mutated files to the readers of every room and looks for what must never come: a panic,
//! a run that takes too long, a run that takes more memory than a small multiple of its input.
//!
//! Each target starts from the committed cases. A finding names the target, the case, the seed
//! and the mutations, and holds the files themselves: [`kept`] stores them, and a test feeds all
//! stored ones again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xsplice_abi::profile;
use xsplice_abi::signature::{ALGORITHM_RSA, HASH_SHA256, ID_TYPE_X509, MAGIC, Trailer};
use xsplice_diff::Options;
use xsplice_diff::diff_objects;
use xsplice_diff::extract;
use xsplice_link::Base;
use xsplice_link::LinkOptions;
use xsplice_link::link;
use xsplice_link::sign::Signer;
use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::U32;

use crate::case::{self, BASE, Case, Side};
use xsplice_test_objects::mutate::{Choices, Mutation, mutate};

pub mod feed;
pub mod guard;
pub mod kept;

use feed::feed;
use guard::{Fault, Guard, Spent};

/// What gets the mutated file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The differ, the patched object mutated.
    Patched,
    /// The differ, the original object mutated.
    Original,
    /// The differ, both objects mutated.
    Both,
    /// The differ, the objects of two cases, the patched one mutated.
    Crossed,
    /// The linker, the extract mutated.
    Extract,
    /// The linker, the base mutated.
    Base,
    /// `inspect`, `verify` and the loader's rules, the payload mutated.
    Payload,
    /// The same with a signature behind the payload.
    Signed,
}

impl Target {
    /// All.
    pub const ALL: [Target; 8] = [
        Target::Patched,
        Target::Original,
        Target::Both,
        Target::Crossed,
        Target::Extract,
        Target::Base,
        Target::Payload,
        Target::Signed,
    ];

    /// Its name on a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Target::Patched => "patched",
            Target::Original => "original",
            Target::Both => "both",
            Target::Crossed => "crossed",
            Target::Extract => "extract",
            Target::Base => "base",
            Target::Payload => "payload",
            Target::Signed => "signed",
        }
    }
}

/// The files of a case that targets start from.
#[derive(Clone, Debug)]
pub struct Seed {
    name: String,
    original: Vec<u8>,
    patched: Vec<u8>,
    /// When the case comes that far.
    linked: Option<Linked>,
}

#[derive(Clone, Debug)]
struct Linked {
    base: Vec<u8>,
    extract: Vec<u8>,
    payload: Vec<u8>,
}

/// The files of one run, mutated; those that the target does not look at are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// The original object.
    pub original: Vec<u8>,
    /// The patched object.
    pub patched: Vec<u8>,
    /// The base image.
    pub base: Vec<u8>,
    /// The extract.
    pub extract: Vec<u8>,
    /// The payload.
    pub payload: Vec<u8>,
    /// A payload that nothing was done to, to be stacked with the other.
    pub sound: Vec<u8>,
}

impl Input {
    /// Size of all files together, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        [
            &self.original,
            &self.patched,
            &self.base,
            &self.extract,
            &self.payload,
            &self.sound,
        ]
        .iter()
        .map(|file| file.len())
        .sum()
    }
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
    pub fault: Fault,
    /// The files that made it happen.
    pub input: Input,
}

/// When to stop; whichever comes first.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// After this time.
    pub time: Duration,
    /// After this many runs.
    pub runs: u64,
}

/// What all runs gave.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many there were, by target in the order of the targets given.
    pub runs: Vec<u64>,
    /// What they found, each place once.
    pub findings: Vec<Finding>,
    /// The run that took the most memory for a byte of its input: its target, seed and what it
    /// took.
    pub greediest: Option<(Target, u64, Spent)>,
    /// The run that took the most time.
    pub slowest: Option<(Target, u64, Spent)>,
}

impl Outcome {
    /// Runs of all targets.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.runs.iter().sum()
    }
}

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
    let base = std::fs::read(case.built.join(BASE)).ok();
    let linked = base.and_then(|base| {
        let diff = diff_objects(object, &original, &patched, &Options::default()).ok()?;
        let extract = extract::write(diff.extract.as_ref()?);
        let parsed = Base::parse(BASE, &base).ok()?;
        let options = LinkOptions::new("fuzz", &profile::XSPLICE);
        let payload = link(&parsed, &[extract::read(&extract).ok()?], &options)
            .ok()?
            .bytes;
        Some(Linked {
            base,
            extract,
            payload,
        })
    });
    Ok(Some(Seed {
        name: case.name.clone(),
        original,
        patched,
        linked,
    }))
}

/// The certificate whose key id the signatures of the target [`Target::Signed`] carry.
///
/// # Errors
/// When it cannot be read.
pub fn signer() -> Result<Signer> {
    let path = kept::folder().join("signer.pem");
    let pem = std::fs::read(&path).with_context(|| format!("{}: not read", path.display()))?;
    Ok(Signer::from_certificate("signer.pem", &pem)?)
}

/// Key id of `signer.pem`.
const KEY_ID: [u8; 20] = [
    0x33, 0x2a, 0xd6, 0x03, 0x59, 0x11, 0x21, 0xf5, 0x6d, 0x36, 0x89, 0xb5, 0x7d, 0xff, 0x90, 0x9a,
    0x15, 0x8e, 0x1d, 0x8d,
];

/// A payload with a signature behind it that is well-formed and of no worth.
fn signed(payload: &[u8]) -> Vec<u8> {
    const NAME: &[u8] = b"CN=Signer of mutated payloads";
    const SIGNATURE: [u8; 256] = [0x5a; 256];
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).expect("it has less than 256 bytes");
    let trailer = Trailer {
        algorithm: ALGORITHM_RSA,
        hash: HASH_SHA256,
        id_type: ID_TYPE_X509,
        signer_bytes: length(NAME),
        key_id_bytes: length(&KEY_ID),
        pad: [0; 3],
        signature_bytes: U32::new(256),
    };
    [
        payload,
        NAME,
        &KEY_ID,
        &SIGNATURE,
        trailer.as_bytes(),
        MAGIC,
    ]
    .concat()
}

/// Mutates and runs up to `limit`, beginning with `first_seed`.
///
/// # Errors
/// When there is nothing to start from.
pub fn run(
    targets: &[Target],
    seeds: &[Seed],
    first_seed: u64,
    limit: Limit,
    guard: &Guard,
) -> Result<Outcome> {
    ensure!(!seeds.is_empty(), "no seed to start from");
    let signer = signer()?;
    let began = Instant::now();
    let mut outcome = Outcome {
        runs: vec![0; targets.len()],
        ..Outcome::default()
    };
    for number in first_seed.. {
        if began.elapsed() > limit.time || outcome.total() >= limit.runs {
            break;
        }
        for (index, target) in targets.iter().enumerate() {
            let mut choices = Choices::new(number);
            let Some((case, mutations, input)) = prepare(*target, seeds, &mut choices) else {
                continue;
            };
            outcome.runs[index] += 1;
            let about = || format!("{} of case {case}, seed {number}", target.name());
            let verdict = guard.watch(&about, &input, || feed(*target, &input, &signer));
            match verdict {
                Ok(spent) => {
                    let record = (*target, number, spent);
                    if outcome
                        .greediest
                        .is_none_or(|(_, _, most)| spent.share() > most.share())
                    {
                        outcome.greediest = Some(record);
                    }
                    if outcome
                        .slowest
                        .is_none_or(|(_, _, most)| spent.time > most.time)
                    {
                        outcome.slowest = Some(record);
                    }
                }
                // One finding a place is enough.
                Err(fault) if !outcome.findings.iter().any(|one| one.fault.is_like(&fault)) => {
                    outcome.findings.push(Finding {
                        target: *target,
                        case: case.to_owned(),
                        seed: number,
                        mutations,
                        fault,
                        input,
                    });
                }
                Err(_) => {}
            }
        }
    }
    Ok(outcome)
}

/// The files of one run and what was done to them; `None` when the chosen case has no file for
/// `target`.
pub fn prepare<'seeds>(
    target: Target,
    seeds: &'seeds [Seed],
    choices: &mut Choices,
) -> Option<(&'seeds str, Vec<Mutation>, Input)> {
    let seed = &seeds[choices.below(seeds.len())];
    let mut input = Input::default();
    let spoiled = match target {
        Target::Patched | Target::Original | Target::Both | Target::Crossed => {
            input.original.clone_from(&seed.original);
            input.patched.clone_from(&seed.patched);
            match target {
                Target::Original => &mut input.original,
                Target::Both => {
                    mutate(&mut input.original, choices);
                    &mut input.patched
                }
                Target::Crossed => {
                    let other = &seeds[choices.below(seeds.len())];
                    input.patched.clone_from(&other.patched);
                    &mut input.patched
                }
                _ => &mut input.patched,
            }
        }
        Target::Extract | Target::Base => {
            let linked = seed.linked.as_ref()?;
            input.base.clone_from(&linked.base);
            input.extract.clone_from(&linked.extract);
            match target {
                Target::Base => &mut input.base,
                _ => &mut input.extract,
            }
        }
        Target::Payload | Target::Signed => {
            let linked = seed.linked.as_ref()?;
            input.base.clone_from(&linked.base);
            input.sound.clone_from(&linked.payload);
            input.payload = match target {
                Target::Signed => signed(&linked.payload),
                _ => linked.payload.clone(),
            };
            &mut input.payload
        }
    };
    let mutations = mutate(spoiled, choices);
    Some((&seed.name, mutations, input))
}
