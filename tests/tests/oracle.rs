//! Judges payloads by behaviour: for programs and edits made from seeds, the running base with
//! the payload applied must answer every call as an image linked from the patched tree does.
//!
//! "No functional change" is held to the same: then the two images themselves must agree. A
//! refusal is always safe, so only its share is bounded. `XSPLICE_ORACLE_SECONDS` and
//! `XSPLICE_ORACLE_SEED` say how long to go on and where to begin; a failure prints its seed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use xsplice_test_objects::mutate::Choices;
use xsplice_tests::case::BASE;
use xsplice_tests::host_platform::HostPlatform;
use xsplice_tests::live::{Image, Workshop};
use xsplice_tests::operator::{Act, act, upload};
use xsplice_tests::programs::{FILES, Program};

const LINES: [&str; 14] = [
    "gcc -O2 -fpie -ffunction-sections -fdata-sections -fcf-protection=none",
    "gcc -O2 -fpic -fvisibility=hidden -ffunction-sections -fdata-sections -fcf-protection=full",
    "gcc -O2 -fpie",
    "gcc -O3 -fpie -g",
    "gcc -Os -fpic -fvisibility=hidden -fcf-protection=none",
    "gcc -O0 -fpic -fcf-protection=none",
    "gcc -O1 -fpic -g -ffunction-sections",
    "clang -O2 -fpie -ffunction-sections -fdata-sections",
    "clang -O1 -fpic -fvisibility=hidden",
    "clang -O3 -fpic -g",
    // Variables that share a section, in the order of the text.
    "gcc -O1 -fpie -fno-toplevel-reorder",
    "gcc -Os -fpie -fno-toplevel-reorder -g",
    "gcc -O2 -fpic -fno-toplevel-reorder -fvisibility=hidden -fno-plt",
    "gcc -O2 -fpie -fpatchable-function-entry=5 -fno-common -fno-jump-tables",
];

/// What came out of one seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Patched,
    Unchanged,
    Refused,
}

#[test]
fn patched_code_behaves_as_the_patched_source_says() {
    let setting = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let seconds = Duration::from_secs(setting("XSPLICE_ORACLE_SECONDS").unwrap_or(20));
    let first = setting("XSPLICE_ORACLE_SEED").unwrap_or(1);
    let last = setting("XSPLICE_ORACLE_LAST").unwrap_or(u64::MAX);
    let began = Instant::now();
    let mut outcomes: BTreeMap<Outcome, u32> = BTreeMap::new();
    let mut refusals: BTreeMap<String, u32> = BTreeMap::new();
    let mut wrong = Vec::new();
    for seed in first..=last {
        if began.elapsed() > seconds {
            break;
        }
        // Wrong code may end the process: with --nocapture the last line says where.
        eprintln!("seed {seed}");
        match one(seed, &mut refusals) {
            Ok(outcome) => *outcomes.entry(outcome).or_default() += 1,
            Err(error) => wrong.push(format!("seed {seed}: {error:#}")),
        }
    }
    println!("{outcomes:?}; refusals {refusals:?}");
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
    let count = |outcome| outcomes.get(&outcome).copied().unwrap_or(0);
    assert!(
        count(Outcome::Patched) > 0,
        "nothing was patched: {outcomes:?}"
    );
    assert!(
        count(Outcome::Refused) <= count(Outcome::Patched),
        "most edits are refused: {outcomes:?} {refusals:?}"
    );
}

#[test]
fn the_programs_answer_the_same_when_they_are_asked_again_and_differ_when_edited() -> Result<()> {
    let mut differing = 0;
    for seed in 0..12 {
        let mut choices = Choices::new(seed);
        let program = Program::random(&mut choices);
        let mut edited = program.clone();
        edited.edit(&mut choices);
        let shop = Workshop::new(&format!("{} -fwrapv -w", LINES[choices.below(LINES.len())]))?;
        for (tree, program) in [("one", &program), ("two", &program), ("edited", &edited)] {
            let texts = FILES
                .iter()
                .enumerate()
                .map(|(index, name)| (*name, program.text(index)));
            let texts: Vec<(&str, String)> = texts.collect();
            let source: Vec<(&str, &str)> = texts
                .iter()
                .map(|(name, text)| (*name, text.as_str()))
                .collect();
            shop.compile(tree, &source)?;
        }
        let calls = program.callable();
        let mut found = Vec::new();
        for tree in ["one", "two", "edited"] {
            let image = shop.link_at(tree, &format!("{tree}.elf"), PREMISE_ADDRESS)?;
            found.push(answers(&image.map()?, &image, &calls)?);
        }
        ensure!(
            found[0] == found[1],
            "seed {seed}: one program answers in two ways"
        );
        differing += u32::from(found[0] != found[2]);
    }
    ensure!(
        differing >= 3,
        "edits hardly ever show in what a program answers: {differing} of 12"
    );
    Ok(())
}

fn one(seed: u64, refusals: &mut BTreeMap<String, u32>) -> Result<Outcome> {
    let mut choices = Choices::new(seed);
    let line = LINES[choices.below(LINES.len())];
    let original = Program::random(&mut choices);
    let mut patched = original.clone();
    let edits: Vec<String> = (0..1 + choices.below(3))
        .map(|_| patched.edit(&mut choices))
        .collect();
    let about = || format!("{line}; {}", edits.join("; "));
    let shop = Workshop::new(&format!("{line} -fwrapv -w"))?;
    for (tree, program) in [("original", &original), ("patched", &patched)] {
        let texts: Vec<(&str, String)> = FILES
            .iter()
            .enumerate()
            .map(|(index, name)| (*name, program.text(index)))
            .collect();
        let source: Vec<(&str, &str)> = texts
            .iter()
            .map(|(name, text)| (*name, text.as_str()))
            .collect();
        shop.compile(tree, &source)?;
    }
    // One address for both: the images are mapped one after the other.
    let base = shop.link_at("original", BASE, ADDRESS)?;
    let reference = shop.link_at("patched", "reference", ADDRESS)?;
    let calls = original.callable();
    let wanted = answers(&reference.map()?, &reference, &calls)?;
    let run = shop.build("original", "patched", "out.xsplice", &[])?;
    match run.status {
        Some(0) => {
            let payload = std::fs::read(shop.folder().join("out.xsplice"))?;
            let runtime = base.boot()?;
            let before = runtime.platform().snapshot();
            upload(&runtime, "fix", &payload)
                .map_err(|rc| anyhow::anyhow!("upload: {rc}: {:?}", runtime.platform().log_lines()))
                .with_context(about)?;
            act(&runtime, "fix", Act::Apply)
                .map_err(|rc| anyhow::anyhow!("apply: {rc}: {:?}", runtime.platform().log_lines()))
                .with_context(about)?;
            compare(&answers(runtime.platform(), &base, &calls)?, &wanted).with_context(about)?;
            act(&runtime, "fix", Act::Revert)
                .map_err(|rc| anyhow::anyhow!("revert: {rc}"))
                .with_context(about)?;
            let after = runtime.platform().snapshot();
            // The first mapping is the code.
            ensure!(
                before[0] == after[0],
                "revert left the text changed: {}",
                about()
            );
            Ok(Outcome::Patched)
        }
        Some(3) => {
            compare(&answers(&base.map()?, &base, &calls)?, &wanted)
                .context("the tools say that nothing changed")
                .with_context(about)?;
            Ok(Outcome::Unchanged)
        }
        Some(2) => {
            let report: serde_json::Value = serde_json::from_str(&run.stdout)?;
            for refusal in report["refusals"]
                .as_array()
                .context("exit 2 has refusals")?
            {
                *refusals.entry(refusal["code"].to_string()).or_default() += 1;
            }
            Ok(Outcome::Refused)
        }
        _ => bail!("{}: {run:?}", about()),
    }
}

const ADDRESS: u64 = 0x1000_0000;
/// The tests of this file may run at once.
const PREMISE_ADDRESS: u64 = 0x4000_0000;

/// What the functions called `names` answer, in a fixed order of calls that also goes through the
/// state they keep.
fn answers(platform: &HostPlatform, image: &Image, names: &[String]) -> Result<Vec<(String, i32)>> {
    let mut found = Vec::new();
    for round in 0..3_i64 {
        for name in names {
            let address = image.address(name)?;
            for argument in 0..7_i64 {
                // SAFETY: the program's functions take two ints, return one, call each other
                // downwards only and touch nothing but their own data; this thread alone patches.
                let result =
                    unsafe { platform.call(address, argument * 5 + round, argument + round) };
                let result = i32::from_ne_bytes(result.to_ne_bytes()[..4].try_into()?);
                found.push((
                    format!("{name}({}, {})", argument * 5 + round, argument + round),
                    result,
                ));
            }
        }
    }
    Ok(found)
}

fn compare(found: &[(String, i32)], wanted: &[(String, i32)]) -> Result<()> {
    for (found, wanted) in found.iter().zip(wanted) {
        ensure!(
            found == wanted,
            "{} is {}, and {} in the patched build",
            found.0,
            found.1,
            wanted.1
        );
    }
    Ok(())
}
