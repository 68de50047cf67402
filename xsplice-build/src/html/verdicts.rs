//! The top of the page: what changes, what was proven, what to watch.

use std::fmt::Write;

use xsplice_diff::report::{Reason, Status};
use xsplice_link::options::BaseProof;
use xsplice_link::verify::Verdict;

use super::changes::Function;
use super::text::{Text, count, grouped, size_u64};
use super::{Outcome, Page, checks, layouts};

/// How many names a line of a card shows before it says "and N more".
const NAMES_SHOWN_MAX: usize = 4;

pub fn chapter(page: &Page<'_>, functions: &[Function<'_>]) -> String {
    let mut out = String::new();
    let lead = match page.outcome() {
        Outcome::Made => {
            "Read “What to watch” with care: it holds what no tool can decide for you."
        }
        Outcome::Refused => {
            "No payload was made. Every reason is listed below, each with its ways out."
        }
        Outcome::NoChange => {
            "Both trees do the same. Nothing was linked, and there is nothing to apply."
        }
    };
    let _ = write!(out, "<p class=\"lead\">{lead}</p>\n<div class=\"cards\">");
    card(
        &mut out,
        "change",
        "What changes",
        &changes(page, functions),
    );
    card(&mut out, "proof", "What was proven", &proven(page));
    card(&mut out, "watch", "What to watch", &watch(page, functions));
    out.push_str("</div>");
    out
}

/// One card; its lines are HTML.
fn card(out: &mut String, class: &str, title: &str, lines: &[String]) {
    let _ = write!(out, "<div class=\"card {class}\"><h3>{title}</h3>");
    if lines.is_empty() {
        out.push_str("<p class=\"none\">Nothing.</p>");
    } else {
        out.push_str("<ul>");
        for line in lines {
            let _ = write!(out, "<li>{line}</li>");
        }
        out.push_str("</ul>");
    }
    out.push_str("</div>");
}

fn changes(page: &Page<'_>, functions: &[Function<'_>]) -> Vec<String> {
    let mut lines = Vec::new();
    let of = |status: Status| functions.iter().filter(move |f| f.change.status == status);
    let old: u64 = of(Status::Changed).map(|f| f.change.old_size).sum();
    let new: u64 = of(Status::Changed).map(|f| f.change.new_size).sum();
    let replaced = match page.outcome() {
        Outcome::Refused => "would be replaced",
        Outcome::Made | Outcome::NoChange => "replaced",
    };
    match of(Status::Changed).count() {
        0 => {}
        number => lines.push(format!(
            "<strong>{}</strong> {replaced}: {} become {}",
            count(number, "function"),
            size_u64(old),
            size_u64(new)
        )),
    }
    match of(Status::New).count() {
        0 => {}
        number => lines.push(format!(
            "<strong>{}</strong> added: {}",
            count(number, "function"),
            names(of(Status::New).map(|f| f.change.name.as_str()))
        )),
    }
    if !page.report.data.is_empty() {
        lines.push(format!(
            "<strong>{}</strong>: {}",
            count(page.report.data.len(), "datum").replace("datums", "data"),
            names(page.report.data.iter().map(|data| data.name.as_str()))
        ));
    }
    let entries: u64 = page.report.special_sections.iter().map(|s| s.entries).sum();
    if entries > 0 {
        lines.push(format!(
            "<a href=\"#special\">{}</a> of special sections travel along",
            if entries == 1 {
                "1 entry".to_owned()
            } else {
                format!("{entries} entries")
            }
        ));
    }
    let inputs = &page.report.inputs;
    lines.push(format!(
        "of {}, {} are equal byte for byte",
        count(inputs.objects, "object"),
        grouped(inputs.equal)
    ));
    lines
}

fn proven(page: &Page<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(linked) = page.linked {
        if linked.proof == BaseProof::Required && !linked.payload.records.is_empty() {
            lines.push(format!(
                "the original code of <strong>{}</strong> is in the base, byte for byte, at the \
                 address that is patched",
                count(linked.payload.records.len(), "replaced function")
            ));
        }
        let checks = &linked.verification.checks;
        let passed = checks
            .iter()
            .filter(|check| check.verdict == Verdict::Pass)
            .count();
        lines.push(format!(
            "<a href=\"#checks\">{} of {} checks</a> of the finished payload passed, the loader's own \
             rules among them",
            passed,
            checks.len()
        ));
    }
    if let Some(proof) = &page.report.proof {
        lines.push(format!(
            "{} of the original tree are in the base",
            checks::items(proof)
        ));
    }
    lines.extend(super::hunks::verdicts(page).0);
    layouts::proven(&mut lines, page);
    if !page.report.ignored.is_empty() {
        lines.push(format!(
            "<a href=\"#ignored\">{}</a> shown not to matter",
            count(page.report.ignored.len(), "difference")
        ));
    }
    lines
}

fn watch(page: &Page<'_>, functions: &[Function<'_>]) -> Vec<String> {
    let mut lines = Vec::new();
    if !page.report.refusals.is_empty() {
        lines.push(format!(
            "<a href=\"#refusals\"><strong>{}</strong></a> stand in the way",
            count(page.report.refusals.len(), "refusal")
        ));
    }
    if !page.report.accepted.is_empty() {
        lines.push(format!(
            "<a href=\"#accepted\"><strong>{}</strong></a> would have been refused and was \
             acknowledged by hand",
            count(page.report.accepted.len(), "difference")
        ));
    }
    lines.extend(super::hunks::verdicts(page).1);
    let proof = page.report.proof.as_ref();
    for (otherwise, what) in [
        (proof.map_or(0, |proof| proof.failed.len()), "function"),
        (
            proof.map_or(0, |proof| proof.failed_constants.len()),
            "constant",
        ),
    ] {
        if otherwise == 0 {
            continue;
        }
        lines.push(format!(
            "<strong>{}</strong> of the original tree are in the base otherwise than compiled: is \
             this the tree that it was linked from?",
            count(otherwise, what)
        ));
    }
    layouts::watch(&mut lines, page);
    labels(&mut lines, functions);
    linked(&mut lines, page);
    for (names_of, what) in [
        (
            &page.report.inputs.removed,
            "only in the original tree: what it defines stays as it is",
        ),
        (&page.report.inputs.ignored_objects, "left out by name"),
    ] {
        if !names_of.is_empty() {
            lines.push(format!(
                "{} {what}",
                names(names_of.iter().map(String::as_str))
            ));
        }
    }
    lines
}

/// What the differ said of functions beside its reasons.
fn labels(lines: &mut Vec<String>, functions: &[Function<'_>]) {
    let labelled = |is: fn(&Reason) -> bool| {
        functions
            .iter()
            .filter(move |f| f.change.reasons.iter().any(is))
    };
    // With debug information the types themselves are named.
    let layout =
        labelled(|reason| matches!(reason, Reason::LayoutOnly { types } if types.is_empty()));
    match layout.count() {
        0 => {}
        number => lines.push(format!(
            "<strong>{}</strong> differ in displacements alone, as when the layout of a structure \
             changes: see whether one did, for objects in the old layout exist",
            count(number, "function")
        )),
    }
    let noise: Vec<_> = labelled(|reason| matches!(reason, Reason::LooksLikeLineNumbers)).collect();
    if !noise.is_empty() {
        lines.push(format!(
            "{} may differ in line numbers alone, which needs <code>-g</code> and a function that is \
             known to report to prove: {}",
            count(noise.len(), "function"),
            names(noise.iter().map(|f| f.change.name.as_str()))
        ));
    }
    let stamps: Vec<_> = labelled(|reason| matches!(reason, Reason::LooksLikeBuildStamp)).collect();
    if !stamps.is_empty() {
        lines.push(format!(
            "{} may differ in a date, time or build number alone, which every build writes anew: {}",
            count(stamps.len(), "function"),
            names(stamps.iter().map(|f| f.change.name.as_str()))
        ));
    }
}

/// What the linker and its checks leave to a person.
fn linked(lines: &mut Vec<String>, page: &Page<'_>) {
    let Some(linked) = page.linked else { return };
    if linked.proof == BaseProof::Skipped {
        lines.push(
            "<strong>The base proof was switched off.</strong> Nothing says that these objects are \
             of the build that runs"
                .to_owned(),
        );
    }
    let failed = linked
        .verification
        .checks
        .iter()
        .filter(|check| check.verdict == Verdict::Fail)
        .count();
    if failed > 0 {
        lines.push(format!(
            "<a href=\"#checks\"><strong>{}</strong></a> of the payload failed",
            count(failed, "check")
        ));
    }
    if !linked.inspection.hooks.is_empty() {
        lines.push(format!(
            "<a href=\"#hooks\">hooks</a> run around its actions: {}",
            names(linked.inspection.hooks.iter().map(|hook| hook.kind))
        ));
    }
    let Some(outlook) = &linked.verification.outlook else {
        return;
    };
    if outlook.writable.is_empty() && outlook.vetoing_hooks.is_empty() {
        lines.push(
            "once reverted it may be applied again, and it can take part in REPLACE".to_owned(),
        );
    }
    if !outlook.writable.is_empty() {
        lines.push(
            "it brings writable data: once reverted, upload it anew before it is applied again"
                .to_owned(),
        );
    }
    if !outlook.vetoing_hooks.is_empty() {
        lines.push(format!(
            "it cannot take part in REPLACE: {} may veto",
            names(outlook.vetoing_hooks.iter().copied())
        ));
    }
    if !outlook.state.is_empty() {
        lines.push(format!(
            "lost when it is replaced or unloaded: {}",
            names(outlook.state.iter().map(String::as_str))
        ));
    }
    for escape in &outlook.escapes {
        lines.push(format!(
            "<code>{}</code> of {} still runs the older code of <code>{}</code>",
            Text(&escape.place),
            Text(&escape.payload),
            Text(&escape.function)
        ));
    }
}

/// The first few names, and how many more there are.
fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<&str> = all.collect();
    let mut out = String::new();
    for (index, name) in all.iter().take(NAMES_SHOWN_MAX).enumerate() {
        let gap = if index == 0 { "" } else { ", " };
        let _ = write!(out, "{gap}<code>{}</code>", Text(name));
    }
    if all.len() > NAMES_SHOWN_MAX {
        let _ = write!(out, " and {} more", all.len() - NAMES_SHOWN_MAX);
    }
    out
}
