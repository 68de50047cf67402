//! The bundled runtime's loader on a copy of that Xen's memory, asked in the same order for what
//! dom0 asks of the booted Xen: verdicts and error numbers side by side, each difference explained.
//!
//! Nothing that is patched runs here, so that what a hook decides is not seen: see [`EXPLAINED`].

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use xsplice_runtime::Runtime;
use xsplice_runtime::patch::memory::MemoryPlatform;

use super::scenario::{Placed, Scenario, Step};
use super::script::{Outcome, StepId};
use super::table::{Row, Table};
use crate::loader::Machine;
use crate::operator::{Act, act, upload};

/// Why the two may differ in a step, by a part of the scenario's name and by a word of the step:
/// what is done, or the end of the payload's name.
const EXPLAINED: [(&str, &str, &str); 7] = [
    (
        "prepost hooks fail",
        "apply",
        "the payload's pre-apply hook refuses; on a copy of the memory no hook runs",
    ),
    (
        "prepost hooks",
        "revert",
        "the payload's pre-revert hook refuses the first revert; on a copy of the memory no hook \
         runs, so that the first takes place and the second finds nothing to revert",
    ),
    (
        "apply fails",
        "apply",
        "the payload's apply hook refuses; on a copy of the memory no hook runs",
    ),
    (
        "revert fails",
        "revert",
        "the payload's revert hook gives an error; on a copy of the memory no hook runs",
    ),
    (
        "veto-hooks",
        "",
        "the payload's hooks refuse the first attempt; on a copy of the memory no hook runs",
    ),
    (
        "all-at-once",
        "veto-hooks",
        "the payload's hooks refuse the first attempt; on a copy of the memory no hook runs",
    ),
    (
        "trap ",
        "",
        "the bundled loader refuses what Xen's takes and gets wrong",
    ),
];

/// What one side did: nothing to say against it, or an error number.
type Answer = Result<(), i32>;

/// Steps that both sides are asked for, and what came of them.
#[derive(Debug, Default)]
pub struct Beside {
    /// By the scenario's name, in the order of its steps; `None` for a step that asks nothing of a
    /// loader.
    answers: BTreeMap<String, Vec<Option<Answer>>>,
    rows: Vec<Compared>,
}

/// One step on both sides.
#[derive(Debug)]
struct Compared {
    scenario: String,
    step: String,
    xen: Answer,
    ours: Answer,
    why: Option<&'static str>,
}

impl Beside {
    /// Runs the scenarios on copies of the image in `symbols`.
    ///
    /// # Errors
    /// When an image or a payload cannot be read.
    pub fn run(symbols: &Path, scenarios: &[Scenario]) -> Result<Beside> {
        let file = fs::read(symbols).with_context(|| symbols.display().to_string())?;
        let machine = Machine::new(&file)?;
        let mut answers = BTreeMap::new();
        for scenario in scenarios {
            let runtime = machine.boot(None)?;
            let steps = scenario.steps.iter();
            let answered: Result<Vec<_>> = steps
                .map(|step| answer(&runtime, step, &scenario.payloads))
                .collect();
            answers.insert(scenario.name.clone(), answered?);
        }
        Ok(Beside {
            answers,
            rows: Vec::new(),
        })
    }

    /// Holds what a boot did in a scenario beside what was done here.
    pub fn compare(
        &mut self,
        index: usize,
        scenario: &Scenario,
        outcomes: &BTreeMap<StepId, Outcome>,
        table: &mut Table,
    ) {
        let Some(answers) = self.answers.get(&scenario.name) else {
            return;
        };
        let begun = self.rows.len();
        for (number, (step, ours)) in scenario.steps.iter().zip(answers).enumerate() {
            let id = StepId {
                scenario: index,
                step: number,
            };
            let xen = outcomes.get(&id).and_then(said);
            if let (Some(ours), Some(xen)) = (ours, xen) {
                let why = (xen != *ours)
                    .then(|| explanation(scenario, step))
                    .flatten();
                self.rows.push(Compared {
                    scenario: scenario.name.clone(),
                    step: step.what.clone(),
                    xen,
                    ours: *ours,
                    why,
                });
            }
        }
        let rows = &self.rows[begun..];
        let differ = |row: &&Compared| row.xen != row.ours;
        let seen = match rows.iter().find(|row| differ(row) && row.why.is_none()) {
            Some(row) => Err(format!(
                "{}: Xen {}, the bundled loader {}",
                row.step,
                shown(row.xen),
                shown(row.ours)
            )),
            None => Ok(format!(
                "{} steps, {} differ and are explained",
                rows.len(),
                rows.iter().filter(differ).count()
            )),
        };
        table.add(Row {
            name: format!("beside {}", scenario.name),
            expected: "the bundled loader answers as Xen does".to_owned(),
            seen,
        });
    }

    /// All steps as a Markdown table.
    #[must_use]
    pub fn page(&self) -> String {
        let mut page = String::from(
            "| scenario | step | booted Xen | bundled loader | why they differ |\n\
             |---|---|---|---|---|\n",
        );
        for row in &self.rows {
            let why = match row.why {
                Some(why) => why,
                None if row.xen == row.ours => "",
                None => "NOT EXPLAINED",
            };
            let _ = writeln!(
                page,
                "| {} | {} | {} | {} | {why} |",
                row.scenario,
                row.step,
                shown(row.xen),
                shown(row.ours)
            );
        }
        page
    }
}

fn shown(answer: Answer) -> String {
    match answer {
        Ok(()) => "done".to_owned(),
        Err(errno) => format!("error {errno}"),
    }
}

fn explanation(scenario: &Scenario, step: &Step) -> Option<&'static str> {
    let holds = |(name, what, _): &&(&str, &str, &str)| {
        let is_it = |word: &str| word == *what || word.ends_with(&format!("-{what}"));
        let is_of_step = what.is_empty() || step.what.split(' ').any(is_it);
        scenario.name.contains(name) && is_of_step
    };
    EXPLAINED.iter().find(holds).map(|(_, _, why)| *why)
}

/// What the stock tool said; `None` when the guest died in it, or it named no error.
fn said(outcome: &Outcome) -> Option<Answer> {
    if outcome.status? == 0 {
        return Some(Ok(()));
    }
    let (_, rest) = outcome.output.split_once("Error ")?;
    let (number, _) = rest.split_once(':')?;
    Some(Err(number.parse().ok()?))
}

/// Asks the loader for what the step asks of Xen; `None` when it asks for nothing else than a look.
fn answer(
    runtime: &Runtime<'_, MemoryPlatform>,
    step: &Step,
    payloads: &[Placed],
) -> Result<Option<Answer>> {
    let mut words = step.command.split_ascii_whitespace();
    let (Some("xen-livepatch"), Some(verb), Some(name)) =
        (words.next(), words.next(), words.next())
    else {
        return Ok(None);
    };
    let rest: Vec<&str> = words.collect();
    let result = match (verb, rest.as_slice()) {
        ("upload", [file]) => {
            let placed = file.strip_prefix("/p/");
            let placed = payloads
                .iter()
                .find(|payload| Some(payload.name.as_str()) == placed)
                .with_context(|| format!("{file} is not placed"))?;
            let bytes =
                fs::read(&placed.path).with_context(|| placed.path.display().to_string())?;
            upload(runtime, name, &bytes)
        }
        ("apply", []) => act(runtime, name, Act::Apply),
        ("apply", ["--nodeps"]) => act(runtime, name, Act::ApplyAnyhow),
        ("revert", []) => act(runtime, name, Act::Revert),
        ("replace", []) => act(runtime, name, Act::Replace),
        ("unload", []) => act(runtime, name, Act::Unload),
        _ => return Ok(None),
    };
    Ok(Some(result.map_err(|code| -code)))
}

#[cfg(test)]
mod tests {
    use super::{Outcome, said};

    fn outcome(status: Option<i32>, output: &str) -> Outcome {
        Outcome {
            status,
            output: output.to_owned(),
            ..Outcome::default()
        }
    }

    #[test]
    fn the_stock_tool_names_the_error_number() {
        let refused = "Applying x... failed\nError 22: Invalid argument\n";
        assert_eq!(said(&outcome(Some(1), refused)), Some(Err(22)));
        assert_eq!(said(&outcome(Some(0), "done")), Some(Ok(())));
        assert_eq!(said(&outcome(Some(1), "killed")), None);
        assert_eq!(said(&outcome(None, refused)), None);
    }
}
