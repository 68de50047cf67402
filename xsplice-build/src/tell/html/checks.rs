//! The end of the page: every check of the payload, and the identities of what went in.

use std::fmt::Write;

use xsplice_diff::html::evidence::facts;
use xsplice_diff::html::text::{Text, code, count, size};
use xsplice_diff::html::{Findings, layouts};
use xsplice_link::verify::Verdict;

use super::Page;
use crate::compare::proof::ProofSummary;

/// What the base holds of the original tree, counted.
pub(super) fn items(proof: &ProofSummary) -> String {
    let functions = count(proof.proven, "function");
    match proof.constants {
        0 => functions,
        constants => format!("{functions} and {}", count(constants, "constant")),
    }
}

pub(super) fn chapter(page: &Page<'_>) -> String {
    let Some(linked) = page.linked else {
        return String::new();
    };
    let mut out = String::from(
        "<p>The finished file was read again, by a second reader and by the loader's own, and held \
         against the base.</p><ul class=\"checks\">",
    );
    for check in &linked.verification.checks {
        let (class, word) = match check.verdict {
            Verdict::Pass => ("good", "passed"),
            Verdict::Fail => ("bad", "failed"),
            Verdict::NotAsked => ("plain", "not asked"),
        };
        let _ = write!(
            out,
            "<li><span class=\"pill {class}\">{word}</span> <code>{}</code> <span>{}</span></li>",
            Text(check.check.name()),
            Text(&check.message)
        );
    }
    out.push_str("</ul>");
    out
}

pub(super) fn identities(page: &Page<'_>, findings: &Findings<'_>) -> String {
    let inputs = &page.report.inputs;
    let mut rows: Vec<(&str, String)> = vec![
        ("Original", code(&inputs.original)),
        ("Patched", code(&inputs.patched)),
        (
            "Objects",
            format!(
                "{}, {} equal",
                count(inputs.objects, "object"),
                inputs.equal
            ),
        ),
    ];
    if let Some(base) = &inputs.base {
        rows.push(("Base", code(&base.path)));
        rows.push(("Base build-id", code(&base.build_id)));
    }
    if let Some(proof) = &page.report.proof {
        rows.push((
            "Of the original tree",
            format!(
                "in the base byte for byte: {} of {}; not in it: {}",
                items(proof),
                count(proof.objects, "linked object"),
                count(proof.absent, "function")
            ),
        ));
        for (name, list) in [
            ("In the base otherwise", &proof.failed),
            ("Constants in it otherwise", &proof.failed_constants),
            ("Others linked instead", &proof.superseded),
            ("Not linked", &proof.unlinked),
            ("Not compared", &proof.foreign),
        ] {
            if !list.is_empty() {
                let all: Vec<String> = list.iter().map(|one| code(one)).collect();
                rows.push((name, all.join("<br>")));
            }
        }
    }
    if let Some(payload) = &page.report.payload {
        rows.push((
            "Payload",
            format!("{}, {}", code(&payload.path), size(payload.size)),
        ));
        rows.push(("Payload build-id", code(&payload.build_id)));
        rows.push(("Depends on", code(&payload.depends)));
        rows.push(("SHA-1 of the file", code(&payload.sha1)));
    }
    layouts::toolchains(&mut rows, findings);
    if let Some(base) = &page.report.toolchain.base {
        if !base.compiled_by.is_unknown() {
            let said = Text(&base.compiled_by.said()).to_string();
            rows.push(("Base compiled by", said));
        }
        if let Some(linker) = &base.linker {
            rows.push(("Base linked by", Text(linker).to_string()));
        }
    }
    if let Some(linked) = page.linked {
        rows.push((
            "Looked up by the loader",
            undefined(&linked.inspection.undefined),
        ));
        for (key, value) in &linked.inspection.metadata {
            rows.push(("In .modinfo", code(&format!("{key}={value}"))));
        }
    }
    let mut out = facts(&rows);
    if let Some(payload) = &page.report.payload {
        let path = Text(&payload.path);
        let _ = write!(
            out,
            "<p>Without this tool: <code>readelf -aW {path}</code> shows all of it, and \
             <code>sha1sum {path}</code> must print the sum above.</p>"
        );
    }
    out
}

fn undefined(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let all: Vec<String> = names.iter().map(|name| code(name)).collect();
    all.join(" ")
}
