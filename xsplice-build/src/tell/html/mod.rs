//! The report that a hotpatch is signed off by: one self-contained HTML page.
//!
//! The frame, and the chapters that need only the comparison, come from the differ
//! ([`xsplice_diff::html`]). This module adds what only a whole run knows: where the patch lands,
//! the hunks, the checks of the payload, the identities of all inputs. It also decides the order,
//! which follows a reviewer's questions: what changes, what was proven, what needs a closer look.

mod checks;
mod hunks;
mod map;
mod verdicts;

use std::collections::HashMap;
use std::fmt::Write;

use xsplice_abi::Profile;
use xsplice_diff::ObjectDiff;
use xsplice_diff::html::changes::Function;
use xsplice_diff::html::evidence::{self, Hook};
use xsplice_diff::html::text::{Text, count, size};
use xsplice_diff::html::{
    Callers, Chapter, Findings, Maker, Masthead, RefusalText, Tone, document, functions, layouts,
};
use xsplice_link::Base;
use xsplice_link::Payload;
use xsplice_link::inspect::{HookLine, Inspection};
use xsplice_link::layout::record::RecordPlan;
use xsplice_link::verify::Verification;

use crate::tell::report::Report;

/// Everything that the page is made from.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// The payload's name.
    pub name: &'a str,
    /// The ABI.
    pub abi: &'static Profile,
    /// What the JSON report says.
    pub report: &'a Report<'a>,
    /// The comparisons, with their extracts: the code is shown from these.
    pub diffs: &'a [ObjectDiff<'a>],
    /// Who refers to the functions of the comparisons.
    pub callers: &'a Callers,
    /// The image and what was linked against it; `None` when nothing was.
    pub linked: Option<Linked<'a>>,
}

/// What is known once a payload was made.
#[derive(Clone, Copy, Debug)]
pub struct Linked<'a> {
    /// The image.
    pub base: &'a Base<'a>,
    /// The payload.
    pub payload: &'a Payload,
    /// What is in it.
    pub inspection: &'a Inspection,
    /// Whether the loader would take it.
    pub verification: &'a Verification,
    /// Whether the replaced functions were compared with the base.
    pub proof: xsplice_link::options::BaseProof,
}

/// The outcome of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Made,
    Refused,
    NoChange,
}

impl Page<'_> {
    fn outcome(&self) -> Outcome {
        if !self.report.refusals.is_empty() {
            Outcome::Refused
        } else if self.linked.is_some() {
            Outcome::Made
        } else {
            Outcome::NoChange
        }
    }
}

/// The whole page.
#[must_use]
pub fn render(page: &Page<'_>) -> String {
    let report = page.report;
    let refusals = report.refusals.iter().map(|refusal| RefusalText {
        code: xsplice_diff::html::word(refusal.code),
        message: refusal.to_string(),
    });
    let mut findings = Findings::new(
        page.diffs,
        report.changes.layouts.changes,
        refusals.collect(),
        page.callers,
    );
    findings.accepted_hunks = &report.accepted_hunks;
    let plans = plans(page, &findings);
    for (function, plan) in findings.functions.iter_mut().zip(&plans) {
        let Some(plan) = plan else { continue };
        let expected = match plan.expect.len() {
            0 => "nothing: the loader does not look at the old bytes".to_owned(),
            length => format!("its first {length} bytes, as the base has them"),
        };
        let address = format!("<code>{:#x}</code>", plan.old_addr);
        function.facts = vec![("Replaces", address), ("Loader expects", expected)];
    }
    let hooks = hooks(page);
    let chapters = vec![
        Chapter::new("verdicts", "Verdicts", verdicts::chapter(page, &findings)),
        Chapter::new(
            "accepted",
            "Accepted differences",
            evidence::accepted(&findings),
        ),
        Chapter::new("refusals", "Refusals", evidence::refusals(&findings)),
        Chapter::new(
            "map",
            "Where it lands",
            map::chapter(page, &findings, &plans),
        ),
        Chapter::new(
            functions::ANCHOR,
            "Functions",
            functions::chapter(&findings),
        ),
        Chapter::new("hunks", "Hunks of the patch", hunks::chapter(page)),
        Chapter::new("layouts", "Layouts", layouts::chapter(&findings)),
        Chapter::new("data", "Data", evidence::data(&findings)),
        Chapter::new("special", "Special sections", evidence::special(&findings)),
        Chapter::new("hooks", "Hooks", evidence::hooks(&hooks)),
        Chapter::new("notes", "Notes", evidence::notes(&findings)),
        Chapter::new(
            "ignored",
            "Ignored differences",
            evidence::ignored(&findings),
        ),
        Chapter::new("checks", "Checks of the payload", checks::chapter(page)),
        Chapter::new(
            "kinds",
            "What the reasons mean",
            functions::kinds(&findings),
        ),
        Chapter::new(
            "inputs",
            "Inputs and identities",
            checks::identities(page, &findings),
        ),
    ];
    let maker = Maker {
        tool: "xsplice-build",
        version: env!("CARGO_PKG_VERSION"),
    };
    document(maker, &masthead(page), &findings.functions, chapters)
}

/// For each function where it lands; `None` for a new one, and when nothing was linked.
fn plans<'a>(page: &Page<'a>, findings: &Findings<'_>) -> Vec<Option<&'a RecordPlan>> {
    let records: &'a [RecordPlan] = match page.linked {
        Some(linked) => &linked.payload.records,
        None => &[],
    };
    // The base qualifies locals by their file: `file#name`.
    let bare = |plan: &'a RecordPlan| plan.name.rsplit('#').next().unwrap_or(&plan.name);
    let mut by_name: HashMap<(&str, &str), &RecordPlan> = HashMap::new();
    for plan in records {
        by_name.insert((&plan.object, bare(plan)), plan);
    }
    let plan = |function: &Function<'_>| {
        let record = function.record?;
        let key = (function.change.object.as_str(), record.name.as_str());
        by_name.get(&key).copied()
    };
    findings.functions.iter().map(plan).collect()
}

/// The hooks of the payload, as its reader found them.
fn hooks(page: &Page<'_>) -> Vec<Hook> {
    let hooks = page
        .linked
        .iter()
        .flat_map(|linked| &linked.inspection.hooks);
    let of = |hook: &HookLine| Hook {
        kind: hook.kind.to_owned(),
        functions: hook.functions.clone(),
        order: page.abi.hook_order,
    };
    hooks.map(of).collect()
}

fn masthead<'a>(page: &'a Page<'_>) -> Masthead<'a> {
    let (tone, outcome) = match page.outcome() {
        Outcome::Made => (Tone::Good, "Payload made"),
        Outcome::Refused => (Tone::Bad, "Refused"),
        Outcome::NoChange => (Tone::Plain, "No functional change"),
    };
    let mut beside = String::new();
    if let Some(payload) = &page.report.payload {
        let _ = write!(
            beside,
            " <span>{} in {}</span> <code class=\"id\">{}</code>",
            count(payload.functions, "replaced function"),
            size(payload.size),
            Text(&payload.build_id)
        );
    }
    Masthead {
        kicker: format!("Live patch · {} ABI", page.abi.name),
        title: page.name,
        tone,
        outcome,
        beside,
    }
}
