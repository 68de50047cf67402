//! The refusals of the cases and their remedies: whatever option the message of a refusal gives is
//! given, until nothing that is refused has one any more. Each kind of remedy must lead to a
//! payload, or to the end that is documented for what was accepted and is set by no hook.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use xsplice_tests::case::{self, BASE, Case, Side};
use xsplice_tests::tools;

/// A change of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    /// One option more.
    Add(&'static str, String),
    /// Another value of an option.
    Set(&'static str, String),
}

/// No case has more than this.
const NO_LIMIT: &str = "1000000";

/// What a refusal says that a machine can do.
fn remedies(refusal: &Value) -> Vec<Change> {
    let message = refusal["message"].as_str().unwrap();
    let mut found = Vec::new();
    for behind in message.split("--accept ").skip(1) {
        let value = behind.split(' ').next().unwrap();
        found.push(Change::Add("--accept", value.to_owned()));
    }
    if let Some((_, behind)) = message.split_once("--ignore-object '") {
        let value = behind.split('\'').next().unwrap();
        found.push(Change::Add("--ignore-object", value.to_owned()));
    }
    for option in ["--max-functions", "--max-bytes"] {
        if message.contains(&format!("{option} allows")) {
            found.push(Change::Set(option, NO_LIMIT.to_owned()));
        }
    }
    if let Some((_, behind)) = message.split_once("build for it with --abi ") {
        let name = behind.split(',').next().unwrap();
        found.push(Change::Set("--abi", name.to_owned()));
    }
    if message.contains("give the other one's name with --abi") {
        let section = refusal["section"].as_str().unwrap();
        let abi = ["livepatch", "xsplice"].into_iter();
        let mut abi = abi.filter(|abi| section.starts_with(&format!(".{abi}.")));
        found.push(Change::Set("--abi", abi.next().unwrap().to_owned()));
    }
    found
}

/// Puts a change into a command line.
fn change(words: &mut Vec<String>, change: &Change) {
    match change {
        Change::Add(option, value) => {
            words.extend([(*option).to_owned(), value.clone()]);
        }
        Change::Set(option, value) => {
            if let Some(at) = words.iter().position(|word| word == option) {
                words.drain(at..at + 2);
            }
            words.extend([(*option).to_owned(), value.clone()]);
        }
    }
}

/// The command line of a case, without the program: the whole way when it has a base.
fn words_of(case: &Case, folder: &Path) -> (&'static str, Vec<String>) {
    let own = case.description.arguments.iter().cloned();
    let fixed = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    if case.description.link.is_some() {
        let words = fixed("--orig original --patched patched -n x -o x.xsplice --json - --base");
        let words = words.into_iter().chain([BASE.to_owned()]).chain(own);
        return ("xsplice-build", words.collect());
    }
    let objects = case::files(&folder.join(Side::Patched.folder())).unwrap();
    let pair = Side::BOTH.map(|side| format!("{}/{}", side.folder(), objects[0]));
    let words = fixed("--json -").into_iter().chain(pair).chain(own);
    ("xsplice-diff", words.collect())
}

/// Follows the remedies of a case until nothing that is refused has one; which options they were,
/// and how it ended.
fn follow(case: &Case) -> Option<(BTreeSet<String>, i32)> {
    let folder = tempfile::tempdir().unwrap();
    case.lay_out(folder.path()).unwrap();
    let (tool, mut words) = words_of(case, folder.path());
    let mut followed: Vec<Change> = Vec::new();
    loop {
        let run = tools::run(tool, &words, folder.path()).unwrap();
        let status = run.status.unwrap();
        assert!(
            matches!(status, 0 | 2 | 3),
            "{}: {words:?}\n{run:?}",
            case.name
        );
        let report: Value = serde_json::from_str(&run.stdout).unwrap();
        let refusals = report["refusals"].as_array().unwrap().iter();
        let mut asked: Vec<Change> = refusals.flat_map(remedies).collect();
        asked.dedup();
        // Done as it was told, a refusal must not come again.
        let again = asked.iter().find(|change| followed.contains(change));
        assert_eq!(again, None, "{}: {words:?}\n{}", case.name, run.stderr);
        if asked.is_empty() {
            let name = |change: &Change| match change {
                Change::Add(option, value) => {
                    format!("{option} {}", value.split(':').next().unwrap())
                }
                Change::Set(option, _) => (*option).to_owned(),
            };
            let names: BTreeSet<String> = followed.iter().map(name).collect();
            return (!names.is_empty()).then_some((names, status));
        }
        for one in &asked {
            if !followed.contains(one) {
                change(&mut words, one);
                followed.push(one.clone());
            }
        }
    }
}

#[test]
fn the_remedies_of_the_cases_lead_to_a_payload() {
    let mut ends: BTreeMap<String, Vec<(i32, String)>> = BTreeMap::new();
    for case in case::all().unwrap() {
        let is_open = case.description.pending.is_some() || case.description.expect.status != 2;
        if is_open {
            continue;
        }
        if let Some((names, status)) = follow(&case) {
            for name in names {
                ends.entry(name)
                    .or_default()
                    .push((status, case.name.clone()));
            }
        }
    }
    // Every word that accepts something by name, and every other option of a refusal.
    let words = xsplice_diff::verdict::accept::accept_value("?")
        .unwrap_err()
        .to_string();
    let (_, words) = words.split_once("one of ").unwrap();
    let (words, _) = words.split_once(", or ").unwrap();
    let accepted = words.split(", ").filter(|word| *word != "hunk");
    let accepted = accepted
        .chain(["toolchain"])
        .map(|word| format!("--accept {word}"));
    let others = [
        "--ignore-object ",
        "--max-functions",
        "--max-bytes",
        "--abi",
    ];
    for wanted in accepted.chain(others.map(str::to_owned)) {
        let found: Vec<_> = ends
            .iter()
            .filter(|(name, _)| name.starts_with(wanted.as_str()))
            .flat_map(|(_, ends)| ends)
            .collect();
        // 3 is the end of what was accepted and is set by no hook: nothing is left to patch.
        let is_good = found.iter().any(|(status, _)| matches!(status, 0 | 3));
        assert!(is_good, "{wanted}: leads to no payload: {found:?}");
    }
    let made = ends.values().flatten().filter(|(status, _)| *status == 0);
    assert!(made.count() > 20, "{ends:?}");
}
