//! Calls the tools under test: makes payloads from two trees, and judges what was said of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::build::Tree;
use super::change::{Change, Verdict};
use super::process::output_of;

/// Exit statuses of the build tools.
pub const DONE: i32 = 0;
/// See [`DONE`].
pub const REFUSED: i32 = 2;
const NO_CHANGE: i32 = 3;

/// The commands under test.
#[derive(Debug, Clone)]
pub struct Tools {
    directory: PathBuf,
    jobs: usize,
}

/// What `xsplice-build` said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A payload, with the functions it replaces (`object:name`) and brings (`+object:name`), each
    /// with the kinds of its reasons in brackets.
    Payload(Vec<String>),
    /// A payload, and the report says of this many functions that a structure's layout changed.
    Ripples(usize),
    /// Refused with these codes and messages.
    Refused(Vec<(String, String)>),
    /// Nothing changed.
    NoChange,
    /// It could not run.
    Failed(String),
}

/// What a payload is to be stacked on, and for which hypervisor.
#[derive(Debug, Clone, Default)]
pub struct Stacking {
    /// `--depends`: the payload below, or the base.
    pub depends: Option<String>,
    /// `--xen-depends`: the hypervisor.
    pub xen_depends: Option<String>,
}

impl Tools {
    /// The tools in `directory`.
    pub fn new(directory: &Path, jobs: usize) -> Result<Self> {
        for tool in ["xsplice-build", "xsplice-diff", "xsplice-link"] {
            if !directory.join(tool).is_file() {
                bail!(
                    "{}: no {tool} there; `cargo build --release -p {tool}` makes it",
                    directory.display()
                );
            }
        }
        Ok(Self {
            directory: directory.to_owned(),
            jobs,
        })
    }

    /// A command line of one of the tools.
    pub fn command(&self, tool: &str) -> Command {
        Command::new(self.directory.join(tool))
    }

    /// Makes a payload from two trees at `output`.
    pub fn build(
        &self,
        name: &str,
        original: &Tree,
        patched: &Tree,
        output: &Path,
        stacking: &Stacking,
    ) -> Result<Said> {
        let mut command = self.command("xsplice-build");
        command
            .arg("--orig")
            .arg(&original.directory)
            .arg("--patched")
            .arg(&patched.directory)
            .arg("--base")
            .arg(original.symbols())
            .args(["--abi", "livepatch", "--name", name, "--json", "-"])
            .arg("--jobs")
            .arg(self.jobs.to_string())
            .arg("--output")
            .arg(output);
        if let Some(depends) = &stacking.depends {
            command.args(["--depends", depends]);
        }
        if let Some(depends) = &stacking.xen_depends {
            command.args(["--xen-depends", depends]);
        }
        let result = output_of(&mut command)?;
        let report = output.with_extension("json");
        fs::write(&report, &result.stdout)
            .and_then(|()| fs::write(output.with_extension("messages"), &result.stderr))
            .with_context(|| format!("cannot write {}", report.display()))?;
        Ok(heard(&result, function_in_object))
    }

    /// What `xsplice-diff` says of one object; names of functions come without the object's.
    pub fn diff(&self, original: &Path, patched: &Path) -> Result<Said> {
        let mut command = self.command("xsplice-diff");
        command
            .args(["--abi", "livepatch", "--json", "-"])
            .arg(original)
            .arg(patched);
        Ok(heard(&output_of(&mut command)?, function_alone))
    }
}

/// What a tool said, by its exit status and its report.
fn heard(result: &Output, name: fn(&Value) -> String) -> Said {
    let errors = first_lines(&result.stderr);
    match (result.status.code(), serde_json::from_slice(&result.stdout)) {
        (Some(DONE), Ok(report)) => match rippling(&report) {
            0 => Said::Payload(functions(&report, name)),
            count => Said::Ripples(count),
        },
        (Some(REFUSED), Ok(report)) => Said::Refused(refusals(&report)),
        (Some(NO_CHANGE), Ok(_)) => Said::NoChange,
        (Some(DONE | REFUSED | NO_CHANGE), Err(error)) => Said::Failed(format!(
            "{}, and no JSON report: {error}: {errors}",
            result.status
        )),
        _ => Said::Failed(format!("{}: {errors}", result.status)),
    }
}

/// Enough of a message for the table; the rest is beside the payload.
fn first_lines(text: &[u8]) -> String {
    const LINES: usize = 4;
    let text = String::from_utf8_lossy(text);
    text.trim()
        .lines()
        .take(LINES)
        .collect::<Vec<_>>()
        .join(" / ")
}

fn field(item: &Value, key: &str) -> String {
    item.get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn list<'a>(report: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    report
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn function_alone(function: &Value) -> String {
    field(function, "name")
}

fn function_in_object(function: &Value) -> String {
    format!("{}:{}", field(function, "object"), field(function, "name"))
}

/// The functions of a report as `NAME (kind of reason, ...)`, with a plus if new.
fn functions(report: &Value, name: fn(&Value) -> String) -> Vec<String> {
    let mut functions: Vec<String> = list(report, "functions")
        .map(|function| {
            let sign = if field(function, "status") == "new" {
                "+"
            } else {
                ""
            };
            let mut kinds: Vec<String> = list(function, "reasons")
                .map(|reason| field(reason, "kind"))
                .collect();
            kinds.sort_unstable();
            kinds.dedup();
            format!("{sign}{} ({})", name(function), kinds.join(", "))
        })
        .collect();
    functions.sort();
    functions
}

/// How many functions the report labels as changed by a structure's layout alone.
fn rippling(report: &Value) -> usize {
    list(report, "functions")
        .filter(|function| {
            list(function, "reasons").any(|reason| field(reason, "kind") == "layout-only")
        })
        .count()
}

fn refusals(report: &Value) -> Vec<(String, String)> {
    list(report, "refusals")
        .map(|refusal| (field(refusal, "code"), field(refusal, "message")))
        .collect()
}

/// What is wrong with what the tool said of a change, if anything.
pub fn judge(change: &Change, said: &Said) -> Result<(), String> {
    match (change.verdict, said) {
        (Verdict::NoChange, Said::NoChange) | (Verdict::Ripples, Said::Ripples(_)) => Ok(()),
        // With debug information the layout itself is known, and refused.
        (Verdict::Ripples, Said::Refused(reasons))
            if reasons.iter().all(|(found, _)| found == "changed-layout") =>
        {
            Ok(())
        }
        (Verdict::Refused(code), Said::Refused(reasons))
            if reasons.iter().any(|(found, _)| found == code) =>
        {
            Ok(())
        }
        (Verdict::RefusedAlone(code), Said::Refused(reasons))
            if reasons.len() == 1 && reasons[0].0 == code =>
        {
            Ok(())
        }
        (Verdict::Payload(functions), Said::Payload(found)) if are(found, functions) => Ok(()),
        _ => Err(describe(said)),
    }
}

/// Whether these functions were found, with these reasons, and no others.
fn are(found: &[String], wanted: &[&str]) -> bool {
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    wanted == *found
}

/// A verdict in a line, for the table.
pub fn describe(said: &Said) -> String {
    match said {
        Said::Payload(functions) => format!("payload: {}", functions.join(" ")),
        Said::Refused(reasons) => {
            let mut codes: Vec<&str> = reasons.iter().map(|(code, _)| code.as_str()).collect();
            codes.sort_unstable();
            codes.dedup();
            format!("refused: {}", codes.join(" "))
        }
        Said::Ripples(count) => format!("a structure's layout changed, {count} functions"),
        Said::NoChange => "no functional change".to_owned(),
        Said::Failed(why) => format!("could not run: {why}"),
    }
}

/// What is expected of a change, in a line.
pub fn expected(change: &Change) -> String {
    match change.verdict {
        Verdict::Payload(functions) => format!("payload: {}", functions.join(" ")),
        Verdict::Refused(code) => format!("refused: {code}"),
        Verdict::RefusedAlone(code) => format!("refused for one reason: {code}"),
        Verdict::Ripples => "recognised as a structure's layout".to_owned(),
        Verdict::NoChange => "no functional change".to_owned(),
    }
}
