//! The top of the page: what changes, what was proven, what to watch.

use xsplice_account::Account;
use xsplice_diff::html::Findings;
use xsplice_diff::html::cards::{self, Cards, names};
use xsplice_diff::html::text::{Text, count, grouped, size_u64};
use xsplice_link::options::BaseProof;
use xsplice_link::verify::Verdict;

use super::{Outcome, Page, checks};

pub(super) fn chapter(page: &Page<'_>, findings: &Findings<'_>) -> String {
    let lead = match page.outcome() {
        Outcome::Made => {
            "Read “What to watch” with care: it holds what no tool can decide for you."
        }
        Outcome::Refused => {
            "No payload was made. Every reason is listed below, each with its ways out."
        }
        Outcome::NoChange if page.report.changes.accepted.is_empty() => {
            "Both trees do the same. Nothing was linked, and there is nothing to apply."
        }
        Outcome::NoChange => {
            "What differs was accepted by hand, and no hook sets it. Nothing was linked, and the \
             running system stays as it is."
        }
    };
    let cards = Cards {
        changes: changes(page, findings),
        proven: proven(page, findings),
        watch: watch(page, findings),
    };
    cards.chapter(lead)
}

fn changes(page: &Page<'_>, findings: &Findings<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    let replaced = match page.outcome() {
        Outcome::Refused => "would be replaced",
        Outcome::Made | Outcome::NoChange => "replaced",
    };
    cards::changes(&mut lines, findings, replaced);
    let inputs = &page.report.inputs;
    if let (Some(payload), Some(base)) = (&page.report.payload, &inputs.base)
        && payload.depends != base.build_id
    {
        lines.push(format!(
            "it stacks on <code class=\"id\">{}</code>{}, which must be applied before it",
            Text(&payload.depends),
            match &inputs.stacks_on {
                Some(given) if *given != payload.depends => format!(" ({})", Text(given)),
                _ => String::new(),
            }
        ));
    }
    lines.push(format!(
        "objects that are equal byte for byte: {} of {}",
        grouped(inputs.equal),
        grouped(inputs.objects)
    ));
    lines
}

fn proven(page: &Page<'_>, findings: &Findings<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(linked) = page.linked {
        if linked.proof == BaseProof::Required && !linked.payload.records.is_empty() {
            lines.push(format!(
                "the original code of <strong>{}</strong> is in the base, byte for byte, at the \
                 address that is patched",
                count(linked.payload.records.len(), "replaced function")
            ));
        }
        let of = |verdict: Verdict| {
            let checks = linked.verification.checks.iter();
            checks.filter(|check| check.verdict == verdict).count()
        };
        let passed = of(Verdict::Pass);
        lines.push(format!(
            "<a href=\"#checks\">{passed} of {} checks</a> of the finished payload passed, the \
             loader's own rules among them",
            passed + of(Verdict::Fail)
        ));
        let outlook = linked.verification.outlook.as_ref();
        if outlook.is_some_and(|one| one.writable.is_empty() && one.vetoing_hooks.is_empty()) {
            lines.push(
                "once reverted it may be applied again, and it can take part in REPLACE".to_owned(),
            );
        }
    }
    if let Some(proof) = &page.report.proof {
        let is_one = proof.proven + proof.constants == 1;
        lines.push(format!(
            "{} of the original tree {} in the base",
            checks::items(proof),
            if is_one { "is" } else { "are" }
        ));
    }
    if let Some(account) = page.report.account.as_ref().filter(|one| one.is_complete()) {
        lines.push(accounted(account));
    }
    lines.extend(super::hunks::verdicts(page).0);
    if page.outcome() == Outcome::NoChange && page.report.changes.accepted.is_empty() {
        lines.push(format!(
            "no function, datum or table entry differs in what it does, in {}",
            count(page.report.inputs.objects, "object")
        ));
    }
    cards::proven(&mut lines, findings);
    lines
}

/// What of the patched build was found where, by the look that shares no rule with the comparison.
fn accounted(account: &Account) -> String {
    let after = &account.after;
    let link = match account.link {
        Some(_) => "; the link of the patched build decided nothing in another way than the base's",
        None => "",
    };
    format!(
        "every byte of the patched build has a place: {} in the base, {} in the payload{link}",
        size_u64(after.in_base),
        size_u64(after.in_payload)
    )
}

fn watch(page: &Page<'_>, findings: &Findings<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    cards::watch_first(&mut lines, findings);
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
    cards::watch(&mut lines, findings);
    let not_in_base = &page.report.toolchain.not_in_base;
    if !not_in_base.is_empty() {
        lines.push(format!(
            "the original objects were compiled by what the base does not have: {}",
            Text(&not_in_base.join(", "))
        ));
    }
    if let Some(account) = &page.report.account
        && !account.link_compared
    {
        lines.push(
            "the patched build’s own link was not compared: it has no image that was found"
                .to_owned(),
        );
    }
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

/// What the linker and its checks leave to the reviewer.
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
    for overridden in &outlook.overridden {
        lines.push(format!(
            "<code>{}</code> replaces <code>{}</code> too: the code of it here must contain that \
             fix as well",
            Text(&overridden.payload),
            Text(&overridden.function)
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
