//! What became of each hunk: every line that the source patch changes is traced to the payload.
//!
//! The payload is made from two builds, not from the patch. This module proves that the builds are
//! those without and with the patch, and that what the patch changes is in the payload: each
//! changed line is followed through the line tables to a function or datum, and from there to the
//! differ's verdict. A hunk that leads nowhere is refused, because it is either not in the build or
//! not in the payload.

mod evidence;
mod fate;
mod line;
mod outcome;
pub(crate) mod paths;
mod stamps;
mod wording;

use serde::Serialize;
use xsplice_diff::ObjectDiff;
use xsplice_diff::verdict::accept::of_hunk;
use xsplice_diff::verdict::kinds::{Accepted, RefusalCode};
use xsplice_diff::verdict::refusal::Refusal;

use crate::compare::merged::Merged;
use crate::inputs::Input;
use crate::inputs::dependencies::Dependencies;
use crate::source::patch_file::PatchFile;

pub use outcome::Outcomes;

/// What became of a hunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// No code and no data comes from its lines: comments, declarations, macros.
    NoCode,
    /// What its lines removed is gone from the patched build, and nothing included uses it.
    Removed,
    /// What its lines became was left out: it is proven noise.
    Ignored,
    /// The author accepted what its lines became.
    Accepted,
    /// Its code or data is in the payload.
    Payload,
    /// There is no line table to tell, or what its lines became was left out by name.
    NotProvable,
    /// Refused, by the differ or because it led nowhere.
    Refused,
}

impl Fate {
    /// The fate in words of the report.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Fate::NoCode => "no code",
            Fate::Removed => "removed",
            Fate::Ignored => "ignored",
            Fate::Accepted => "accepted",
            Fate::Payload => "in payload",
            Fate::NotProvable => "not provable",
            Fate::Refused => "refused",
        }
    }
}

/// A function or datum that a hunk leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct HunkItem {
    /// The object.
    pub object: String,
    /// Its symbol.
    pub name: String,
}

/// A hunk and its fate, as the JSON report has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HunkReport {
    /// The file, without what git puts in front.
    pub file: String,
    /// First line before, from 1.
    pub old_start: u64,
    /// First line after, from 1.
    pub new_start: u64,
    /// How many lines are removed and added.
    pub lines: usize,
    /// Line of the patch with its `@@`, from 1.
    pub patch_line: usize,
    /// What became of it.
    pub fate: Fate,
    /// Functions and data that it leads to, in order.
    pub functions: Vec<HunkItem>,
    /// The evidence.
    pub why: String,
    /// The value that accepted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<String>,
    /// Objects that hold code or data of it, of which nothing is known: they were left out by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// The result for a patch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hunks {
    /// Every hunk, in the order of the patch.
    pub reports: Vec<HunkReport>,
    /// Refusals of hunks that led nowhere and were not accepted.
    pub refusals: Vec<Refusal>,
    /// Values that accepted a hunk, as given.
    pub matched: Vec<String>,
    /// Hunks that were accepted, each with what it would have been refused for.
    pub accepted: Vec<Accepted>,
    /// How the refused hunks can be accepted.
    pub acceptable: Vec<String>,
}

/// The inputs of the decision.
#[derive(Clone, Copy, Debug)]
pub struct Trees<'a> {
    /// The objects of both trees.
    pub inputs: &'a [Input],
    /// Objects that were left out by name, opened all the same.
    pub left_out: &'a [Input],
    /// Merged objects whose differences were all found in their parts.
    pub merged: &'a Merged,
    /// What differs.
    pub diffs: &'a [ObjectDiff<'a>],
    /// Files that the build's own dependency lists name, where it left any.
    pub dependencies: &'a Dependencies<'a>,
}

/// Follows every hunk of `patch`. `accept` holds what the author accepts.
#[must_use]
pub fn follow(patch: &PatchFile, trees: &Trees<'_>, accept: &[String]) -> Hunks {
    let evidence = evidence::gather(patch, trees);
    let outcomes = Outcomes::new(trees);
    let mut hunks = Hunks::default();
    for file in &patch.files {
        let sources = evidence.sources_of(file);
        for hunk in &file.hunks {
            let mut verdict = fate::decide(file, hunk, &sources, &outcomes, trees);
            if let Some(text) = stamps::written(hunk, trees.diffs)
                && verdict.fate != Fate::Refused
            {
                verdict.fate = Fate::Refused;
                verdict.refusal = Some(RefusalCode::HunkNotInPayload);
                verdict.why = format!(
                    "it writes {text:?}, which was taken for the date or time of the build and \
                     left out; take such texts along with --with-stamps"
                );
            }
            verdict.items.sort();
            verdict.items.dedup();
            let shown = file.shown();
            let mut report = HunkReport {
                file: shown.to_owned(),
                old_start: hunk.old_start,
                new_start: hunk.new_start,
                lines: hunk.changes.len(),
                patch_line: hunk.patch_line,
                fate: verdict.fate,
                functions: verdict.items,
                why: verdict.why,
                accepted: None,
                left_out: verdict.left_out,
            };
            if let Some(code) = verdict.refusal {
                let lines = hunk.new_start..=hunk.new_end().saturating_sub(1).max(hunk.new_start);
                for given in accept {
                    if let Some(what) = of_hunk(given, &report.file, &lines) {
                        report.accepted.get_or_insert(what);
                        hunks.matched.push(given.clone());
                    }
                }
                if let Some(what) = &report.accepted {
                    report.fate = Fate::Accepted;
                    hunks.accepted.push(Accepted {
                        object: shown.to_owned(),
                        what: what.clone(),
                        symbol: None,
                        code,
                        message: report.why.clone(),
                    });
                } else {
                    let start = hunk.new_start;
                    let problem = format!(
                        "{}; if that is right, accept it with --accept hunk:{shown}:{start}",
                        report.why
                    );
                    let place = format!("{}:{} ({shown}:{start})", patch.path, hunk.patch_line);
                    let mut refusal = Refusal::new(code, shown, problem).named(place);
                    refusal.shared = verdict.shared.map(|shared| {
                        format!(
                            "{shared}; if that is right, accept each with --accept hunk:FILE:LINE, \
                             or all of a file with --accept hunk:FILE"
                        )
                    });
                    hunks.refusals.push(refusal);
                    hunks.acceptable.push(format!("hunk:{shown}:{start}"));
                }
            }
            hunks.reports.push(report);
        }
    }
    hunks
}
