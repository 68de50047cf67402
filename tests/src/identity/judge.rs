//! Judges the objects of a project with the command itself: each against itself, and those of two
//! builds against each other.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::build::in_parallel;
use crate::tools;
use crate::xen::process::run_quiet;

/// What the command ends with when nothing that matters differs.
const NO_CHANGE: i32 = 3;
/// What it says then.
const SAID: &str = "no functional change";
/// Sections of the report that must be empty when an object is compared with itself.
const LISTS: [&str; 6] = [
    "functions",
    "data",
    "special_sections",
    "ignored",
    "accepted",
    "refusals",
];

/// Compares each of `objects` below `tree` with itself, as it is and with a byte appended;
/// returns what is wrong, one text an object.
///
/// # Errors
/// When the command cannot be run.
pub fn against_itself(tree: &Path, objects: &[String], jobs: usize) -> Result<Vec<String>> {
    let scratch = tempfile::tempdir()?;
    let numbered: Vec<(usize, &String)> = objects.iter().enumerate().collect();
    let wrong = in_parallel(jobs, &numbered, |(number, object)| {
        let original = tree.join(object);
        let mut bytes =
            fs::read(&original).with_context(|| format!("{}: not read", original.display()))?;
        bytes.push(0);
        let longer = scratch.path().join(format!("{number}.o"));
        fs::write(&longer, bytes)?;
        let mut wrong = Vec::new();
        let run = tools::run("xsplice-diff", [&original, &original], scratch.path())?;
        if run.status != Some(NO_CHANGE) || !run.stdout.contains(SAID) {
            wrong.push(format!(
                "{object}: {:?}: {}{}",
                run.status, run.stdout, run.stderr
            ));
        }
        let arguments = [
            "--json".as_ref(),
            "-".as_ref(),
            original.as_os_str(),
            longer.as_os_str(),
        ];
        let run = tools::run("xsplice-diff", arguments, scratch.path())?;
        if run.status != Some(NO_CHANGE) {
            wrong.push(format!(
                "{object} and a byte: {:?}: {}",
                run.status, run.stderr
            ));
        }
        match serde_json::from_str::<Value>(&run.stdout) {
            Ok(report) => {
                for list in LISTS {
                    if report[list] != Value::Array(Vec::new()) {
                        wrong.push(format!("{object}: {list}: {}", report[list]));
                    }
                }
            }
            Err(error) => wrong.push(format!("{object}: no report: {error}")),
        }
        fs::remove_file(&longer)?;
        Ok(wrong)
    })?;
    Ok(wrong.into_iter().flatten().collect())
}

/// What two builds of one object differ in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Byte for byte the same.
    Equal,
    /// The files differ, but not in anything that another program finds once debug information
    /// is gone.
    DebugInformation,
    /// They differ beyond debug information.
    Real,
}

/// One object that two builds made.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Path inside both trees.
    pub object: String,
    /// As binutils find it.
    pub difference: Difference,
    /// What the differ says, as `KIND NAME`.
    pub says: BTreeSet<String>,
    /// What it still says when the first build's path is replaced by the second's, so that the
    /// path is not what differs.
    pub beside_path: BTreeSet<String>,
    /// The same in full, for a person.
    pub report: String,
}

/// Compares the objects of two builds that both have.
///
/// # Errors
/// When the command or binutils cannot be run, or a pair cannot be compared.
pub fn against_other(
    first: &Path,
    second: &Path,
    objects: &[String],
    jobs: usize,
) -> Result<Vec<Pair>> {
    let paths = [first, second].map(|tree| tree.as_os_str().as_bytes());
    ensure!(
        paths[0].len() == paths[1].len(),
        "the two paths cannot stand for each other: {} and {}",
        first.display(),
        second.display()
    );
    let scratch = tempfile::tempdir()?;
    let numbered: Vec<(usize, &String)> = objects.iter().enumerate().collect();
    in_parallel(jobs, &numbered, |(number, object)| {
        let pair = [first.join(object), second.join(object)];
        let difference = difference(&pair[0], &pair[1])?;
        let (says, report) = said(&pair[0], &pair[1])?;
        let beside_path = if says.is_empty() {
            BTreeSet::new()
        } else {
            let moved = scratch.path().join(format!("{number}.o"));
            let bytes = fs::read(&pair[0])?;
            fs::write(&moved, replaced(&bytes, paths[0], paths[1]))?;
            said(&moved, &pair[1])?.0
        };
        Ok(Pair {
            object: (*object).clone(),
            difference,
            says,
            beside_path,
            report,
        })
    })
}

/// `bytes` with every `from` replaced by `to`, which is as long.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while let Some(rest) = bytes.get_mut(at..at + from.len()) {
        if rest == from {
            rest.copy_from_slice(to);
            at += from.len();
        } else {
            at += 1;
        }
    }
    bytes
}

/// What the differ says of two objects, and its report.
fn said(first: &Path, second: &Path) -> Result<(BTreeSet<String>, String)> {
    let arguments = [
        "--json".as_ref(),
        "-".as_ref(),
        first.as_os_str(),
        second.as_os_str(),
    ];
    let run = tools::run("xsplice-diff", arguments, Path::new("."))?;
    let report: Value = serde_json::from_str(&run.stdout)
        .with_context(|| format!("{}: {:?}: {}", second.display(), run.status, run.stderr))?;
    let says = listed(&report)?;
    ensure!(
        run.status == Some(NO_CHANGE) || !says.is_empty(),
        "{}: {:?} without a word: {}",
        second.display(),
        run.status,
        run.stderr
    );
    Ok((says, run.stdout))
}

/// The report as `KIND NAME`.
fn listed(report: &Value) -> Result<BTreeSet<String>> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let list = |key: &str| {
        report[key]
            .as_array()
            .with_context(|| format!("the report has no {key}"))
    };
    let mut says = BTreeSet::new();
    for function in list("functions")? {
        let reasons = function["reasons"]
            .as_array()
            .context("a function has no reasons")?;
        for reason in reasons {
            says.insert(format!(
                "{} {}",
                text(&reason["kind"]),
                text(&function["name"])
            ));
        }
    }
    for refusal in list("refusals")? {
        let place = match &refusal["symbol"] {
            Value::Null => &refusal["section"],
            symbol => symbol,
        };
        says.insert(format!("{} {}", text(&refusal["code"]), text(place)));
    }
    for ignored in list("ignored")? {
        says.insert(format!("ignored {}", text(&ignored["name"])));
    }
    Ok(says)
}

/// What binutils, which know nothing of functions, find.
fn difference(first: &Path, second: &Path) -> Result<Difference> {
    let read =
        |path: &Path| fs::read(path).with_context(|| format!("{}: not read", path.display()));
    if read(first)? == read(second)? {
        return Ok(Difference::Equal);
    }
    let scratch = tempfile::tempdir()?;
    let mut stripped = Vec::new();
    for (name, path) in [("first", first), ("second", second)] {
        let output = scratch.path().join(name);
        run_quiet(
            Command::new("objcopy")
                .args(["--strip-debug", "--remove-section=.comment"])
                .arg(path)
                .arg(&output),
        )?;
        stripped.push(read(&output)?);
    }
    Ok(if stripped[0] == stripped[1] {
        Difference::DebugInformation
    } else {
        Difference::Real
    })
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn a_path_is_replaced_wherever_it_stands() {
        assert_eq!(replaced(b"/a/x:/a/x", b"/a/", b"/b/"), b"/b/x:/b/x");
        assert_eq!(replaced(b"/a", b"/a/", b"/b/"), b"/a");
    }
}
