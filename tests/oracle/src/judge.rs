//! Judges one change: builds both versions, makes payloads, and asks all images.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use xsplice_test_objects::mutate::Choices;

use crate::machine::Machine;
use crate::matrix::{Line, Matrix};
use crate::program::{Edit, Program};
use crate::workshop::{Bench, ORIGINAL, PATCHED, Workshop};

/// A program, what was edited, and how both are built.
#[derive(Clone, Debug)]
pub struct Change {
    /// Before.
    pub original: Program,
    /// Behind.
    pub patched: Program,
    /// What was done.
    pub edits: Vec<Edit>,
    /// Compiler and linker.
    pub line: Line,
    /// Whether the tools see the image that was linked from the patched tree.
    pub image: PatchedImage,
}

/// Whether the tools see the patched image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchedImage {
    /// They do.
    Seen,
    /// They do not.
    Unseen,
}

impl Change {
    /// The change that belongs to a seed.
    #[must_use]
    pub fn random(seed: u64, matrix: &Matrix) -> Change {
        let mut choices = Choices::new(seed);
        let line = matrix.choose(&mut choices);
        let mut original = Program::random(matrix.machine(), &mut choices);
        let mut patched = original.clone();
        let count = 1 + choices.below(3);
        let edits = (0..count).map(|_| patched.edit(&mut choices)).collect();
        if line.has_general_registers_alone() {
            original.leave_out_floating();
            patched.leave_out_floating();
        }
        Change {
            original,
            patched,
            edits,
            line,
            image: match choices.below(2) {
                0 => PatchedImage::Seen,
                _ => PatchedImage::Unseen,
            },
        }
    }

    /// Whether a payload can carry all of it, going by what was edited.
    #[must_use]
    pub fn can_be_carried(&self) -> bool {
        self.edits.iter().all(|edit| edit.can_be_carried)
    }

    /// Whether refusals with these codes are all for what no payload can do, as only the compiled
    /// code shows.
    ///
    /// * `interior-reference`: a writable table holds places inside a function, perhaps changed
    ///   since; whatever is done, it leads to the old code. `changed-data` of such a table says the
    ///   same: the places moved, and nobody edited the table.
    /// * `foreign-section`, of functions with room for tracers: the image has a table of the places
    ///   where these write. A loader takes no further entries for it, so new code would be missing
    ///   there; and where the entry of the old code leads, the loader writes its jump.
    /// * `unknown-relocation`, of code that is not position-independent: its addresses have 32
    ///   bits, and a loader promises a place near the base, not one below 2 GiB.
    /// * `foreign-section`, of fix-ups of faults on AArch64: Xen's loader refuses them there.
    /// * `proof-failed` and `unknown-relocation` on AArch64, of code that goes through a GOT:
    ///   loaders there take none of its relocations, and what linkers make of them is not followed.
    /// * `ambiguous-target` on AArch64, of code that counts from one variable to another by numbers
    ///   that no loader changes; where a table of labels is among them, also what is said of it.
    /// * `function-too-small`: a jump would overwrite what stands behind the function.
    #[must_use]
    pub fn nothing_can_carry(&self, refusals: &[Refusal]) -> bool {
        let is_arm64 = self.original.machine() == Machine::Arm64;
        let has_anchors = self.line.has_anchors();
        let is_ambiguous = refusals.iter().any(|one| one.code == "ambiguous-target");
        let is_such = |refusal: &Refusal| match refusal.code.as_str() {
            "interior-reference" | "changed-rodata" | "changed-section"
                if has_anchors && is_ambiguous =>
            {
                true
            }
            "interior-reference" => self.original.has_writable_label_table(),
            "changed-data" => {
                self.original.has_writable_label_table() && is_label_table(&refusal.symbol)
            }
            "foreign-section" => {
                (self.line.has_entries_for_tracers()
                    && refusal.section == "__patchable_function_entries")
                    || (is_arm64 && refusal.section == ".ex_table")
            }
            "ambiguous-target" => has_anchors,
            "proof-failed" => is_arm64 && self.line.goes_through_got(),
            "unknown-relocation" if is_arm64 => self.line.goes_through_got(),
            "unknown-relocation" => self.line.is_absolute(),
            "function-too-small" => true,
            _ => false,
        };
        refusals.iter().all(is_such)
    }

    /// One line about it.
    #[must_use]
    pub fn shown(&self) -> String {
        let edits: Vec<&str> = self.edits.iter().map(|edit| edit.what.as_str()).collect();
        format!(
            "{}; {:?}; {:?}; {}",
            self.line.compile,
            self.line.link,
            self.image,
            edits.join("; ")
        )
    }
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A payload, and every call is answered as in the patched image.
    Right(Shows),
    /// No payload because nothing changed, and both images answer alike.
    Unchanged,
    /// No payload, for these reasons.
    Refused(Vec<Refusal>),
    /// Refused by the account alone, and without it the payload or "no change" is right: one of
    /// the two looks is wrong.
    Disagree(Vec<Refusal>),
    /// A payload, and a call is answered in another way.
    WrongPayload(String),
    /// No payload because nothing changed, and a call is answered in another way.
    SilentMiss(String),
}

/// A reason for which no payload is made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// Its code.
    pub code: String,
    /// The section that it is about, or nothing.
    pub section: String,
    /// The symbol that it is about, or nothing.
    pub symbol: String,
    /// What the report says.
    pub message: String,
}

/// Whether a symbol is one of the tables of labels of the programs, as compilers call them.
fn is_label_table(symbol: &str) -> bool {
    symbol.split('.').any(|part| part == "go")
}

/// Whether what was patched shows in what the calls answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// The base alone answers otherwise.
    Yes,
    /// It does not.
    No,
}

impl Outcome {
    /// Whether xsplice is at fault.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        matches!(self, Outcome::WrongPayload(_) | Outcome::SilentMiss(_))
    }
}

/// What judges changes.
#[derive(Debug)]
pub struct Judge {
    bench: Bench,
    commands: PathBuf,
}

impl Judge {
    /// For a machine, with the commands in a folder.
    ///
    /// # Errors
    /// When the runner does not compile, or something is not here that it needs.
    pub fn new(machine: Machine, commands: &Path) -> Result<Judge> {
        Ok(Judge {
            bench: Bench::new(machine)?,
            commands: commands.to_owned(),
        })
    }

    /// Judges a change.
    ///
    /// # Errors
    /// When something cannot be built or run: a fault of the oracle, or of a tool.
    pub fn judge(&self, change: &Change) -> Result<Outcome> {
        let shop = Workshop::new(&self.bench, change.line)?;
        let mut keep = change.original.callable();
        keep.extend(Program::setups());
        shop.compile(&change.original, &change.patched)?;
        let base = shop.link(ORIGINAL, "base", &keep)?;
        let reference = shop.link(PATCHED, "reference", &keep)?;
        let calls = calls(&change.original);
        let wanted = self.bench.answers(&reference, None, &calls)?;
        ensure!(
            wanted.contains("warm") && !wanted.contains("ended by"),
            "the patched program itself fails: {wanted}"
        );
        let seen = match change.image {
            PatchedImage::Seen => "reference",
            PatchedImage::Unseen => "none",
        };
        let outcome = self.one(&shop, &base, &wanted, &calls, &["--patched-base", seen])?;
        let Outcome::Refused(refusals) = &outcome else {
            return Ok(outcome);
        };
        if refusals
            .iter()
            .all(|refusal| refusal.code == "not-accounted")
        {
            let without = self.one(&shop, &base, &wanted, &calls, &["--no-account"])?;
            if matches!(without, Outcome::Right(_) | Outcome::Unchanged) {
                return Ok(Outcome::Disagree(refusals.clone()));
            }
        }
        Ok(outcome)
    }

    /// Makes payloads with further arguments, and judges them.
    fn one(
        &self,
        shop: &Workshop,
        base: &Path,
        wanted: &str,
        calls: &str,
        further: &[&str],
    ) -> Result<Outcome> {
        let mut outcome = Outcome::Unchanged;
        let abis = self.bench.machine().platform().abis;
        for (which, &(abi, prefix)) in abis.iter().enumerate() {
            let run = self.build(shop, abi, further)?;
            let is_first = which == 0;
            let found = match run.status {
                0 => {
                    let payload = shop.path().join("out");
                    let found = self.bench.answers(base, Some((&payload, prefix)), calls)?;
                    match difference(&found, wanted) {
                        Some(what) => Outcome::WrongPayload(format!("{abi}: {what}")),
                        None if is_first => {
                            let before = self.bench.answers(base, None, calls)?;
                            Outcome::Right(match before == wanted {
                                true => Shows::No,
                                false => Shows::Yes,
                            })
                        }
                        None => Outcome::Right(Shows::No),
                    }
                }
                3 => {
                    let found = self.bench.answers(base, None, calls)?;
                    difference(&found, wanted).map_or(Outcome::Unchanged, Outcome::SilentMiss)
                }
                2 => Outcome::Refused(refusals(&run.report)?),
                status => bail!("{abi}: exit {status}: {}", run.told),
            };
            if found.is_fault() {
                return Ok(found);
            }
            let goes_on = matches!(found, Outcome::Right(_));
            if is_first {
                outcome = found;
            }
            if !goes_on {
                break;
            }
        }
        Ok(outcome)
    }

    fn build(&self, shop: &Workshop, abi: &str, further: &[&str]) -> Result<Run> {
        let report = shop.path().join("report.json");
        let mut words = vec!["--orig", ORIGINAL, "--patched", PATCHED, "--base", "base"];
        words.extend(["-n", "fix", "-o", "out", "-j", "1", "-q", "--abi", abi]);
        words.extend(["--json", "report.json"]);
        words.extend(further);
        let command = self.commands.join("xsplice-build");
        let ended = self.bench.command(&command, shop.path(), &words)?;
        let status = ended.status.code().context("the tool was killed")?;
        let report = match status {
            0 | 2 | 3 => serde_json::from_slice(&fs::read(report)?)?,
            _ => Value::Null,
        };
        Ok(Run {
            status,
            report,
            told: ended.told,
        })
    }
}

struct Run {
    status: i32,
    report: Value,
    told: String,
}

/// A report's refusals, each once.
fn refusals(report: &Value) -> Result<Vec<Refusal>> {
    let list = report["refusals"].as_array();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut refusals: Vec<Refusal> = list
        .context("a refusal has reasons")?
        .iter()
        .map(|refusal| Refusal {
            code: text(&refusal["code"]),
            section: text(&refusal["section"]),
            symbol: text(&refusal["symbol"]),
            message: text(&refusal["message"]),
        })
        .collect();
    refusals.sort();
    refusals.dedup();
    ensure!(!refusals.is_empty(), "a refusal without a reason");
    Ok(refusals)
}

/// What is called, for the runner.
fn calls(program: &Program) -> String {
    let mut text = String::new();
    for name in Program::setups() {
        let _ = writeln!(text, "before {name} 11 2\nbefore {name} 5 3");
    }
    for round in 0..2 {
        for name in program.callable() {
            for argument in 0..5 {
                let _ = writeln!(
                    text,
                    "call {name} {} {}",
                    argument * 7 + round,
                    argument + round
                );
            }
        }
    }
    text
}

/// The first line in which two answers differ.
fn difference(found: &str, wanted: &str) -> Option<String> {
    let mut lines = found.lines().zip(wanted.lines());
    match lines.find(|(found, wanted)| found != wanted) {
        Some((found, wanted)) => Some(format!("{found}, and in the patched image {wanted}")),
        None if found.lines().count() != wanted.lines().count() => Some(format!(
            "it ends: {}",
            found.lines().last().unwrap_or_default()
        )),
        None => None,
    }
}
