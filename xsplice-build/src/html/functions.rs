//! Each function: its reasons, sizes, calls and code.

use std::collections::BTreeSet;
use std::fmt::Write;

use xsplice_diff::disassembly::Code;
use xsplice_diff::report::{Reason, Status};

use super::changes::Function;
use super::text::{Text, grouped};
use super::{code, manual};
use crate::code_page;

pub fn chapter(functions: &[Function<'_>]) -> String {
    let mut out = String::new();
    for function in functions {
        article(&mut out, function);
    }
    out
}

fn article(out: &mut String, function: &Function<'_>) {
    let change = function.change;
    let (class, word) = match change.status {
        Status::Changed => ("changed", "changed"),
        Status::New => ("new", "new"),
    };
    let _ = write!(
        out,
        "<article class=\"function\" id=\"{}\"><header><h3><code>{}</code></h3>\
         <span class=\"pill {class}\">{word}</span></header><dl class=\"facts\">",
        function.anchor,
        Text(&change.name)
    );
    fact(
        out,
        "Object",
        &format!("<code>{}</code>", Text(&change.object)),
    );
    if let Some(source) = &change.source {
        let place = format!("{}:{}", source.file, source.line);
        fact(
            out,
            "First difference",
            &format!("<code>{}</code>", Text(&place)),
        );
    }
    if let Some(file) = change.file.as_deref().filter(|file| *file != change.object) {
        fact(out, "Local to", &format!("<code>{}</code>", Text(file)));
    }
    fact(
        out,
        "Size",
        &sizes(change.status, change.old_size, change.new_size),
    );
    if let Some(plan) = function.plan {
        fact(
            out,
            "Replaces",
            &format!("<code>{:#x}</code>", plan.old_addr),
        );
        let expected = match plan.expect.len() {
            0 => "nothing: the loader does not look at the old bytes".to_owned(),
            length => format!("its first {length} bytes, as the base has them"),
        };
        fact(out, "Loader expects", &expected);
    }
    if let Some(calls) = calls(function) {
        fact(out, "Calls", &calls);
    }
    out.push_str("</dl>");
    reasons(out, &change.reasons);
    code::comparison(out, function);
    out.push_str("</article>\n");
}

fn fact(out: &mut String, name: &str, html: &str) {
    let _ = write!(out, "<div><dt>{name}</dt><dd>{html}</dd></div>");
}

fn sizes(status: Status, old: u64, new: u64) -> String {
    let bytes = |number: u64| grouped(usize::try_from(number).unwrap_or(usize::MAX));
    match status {
        Status::New => format!("{} bytes", bytes(new)),
        Status::Changed if old == new => format!("{} bytes, as before", bytes(new)),
        Status::Changed => {
            let (sign, by) = if new > old {
                ('+', new - old)
            } else {
                ('−', old - new)
            };
            format!(
                "{} → {} bytes ({sign}{})",
                bytes(old),
                bytes(new),
                bytes(by)
            )
        }
    }
}

fn reasons(out: &mut String, reasons: &[Reason]) {
    out.push_str("<h4>Why it travels</h4><ol class=\"reasons\">");
    for reason in reasons {
        let kind = kind(reason);
        let _ = write!(
            out,
            "<li><a class=\"kind\" href=\"#{}\"><code>{kind}</code></a> {}</li>",
            kind_anchor(&kind),
            Text(&reason.to_string())
        );
    }
    out.push_str("</ol>");
}

fn kind(reason: &Reason) -> String {
    let value = serde_json::to_value(reason).unwrap_or_default();
    value["kind"].as_str().unwrap_or_default().to_owned()
}

/// Where the meaning of a kind stands; kinds are a closed list.
fn kind_anchor(kind: &str) -> String {
    format!("kind-{kind}")
}

/// What the kinds of reasons on this page mean, and what to look at; one entry each.
pub fn kinds(functions: &[Function<'_>]) -> String {
    let reasons = functions.iter().flat_map(|one| &one.change.reasons);
    let kinds: BTreeSet<String> = reasons.map(kind).collect();
    let mut out = String::new();
    for kind in &kinds {
        let Ok(page) = code_page::find(kind) else {
            continue;
        };
        let _ = write!(
            out,
            "<article class=\"meaning\" id=\"{}\"><h3><code>{kind}</code></h3>{}</article>",
            kind_anchor(kind),
            manual::html(page.text)
        );
    }
    out
}

/// What the new code calls; calls that came or went are marked.
fn calls(function: &Function<'_>) -> Option<String> {
    let new = called(function.new.as_ref()?);
    let old = function.old.as_ref().map(called);
    let mut out = Vec::new();
    for name in &new {
        let is_added = old.as_ref().is_some_and(|old| !old.contains(name));
        out.push(if is_added {
            format!("<ins><code>{}</code></ins>", Text(name))
        } else {
            format!("<code>{}</code>", Text(name))
        });
    }
    for name in old.iter().flatten().filter(|name| !new.contains(*name)) {
        out.push(format!("<del><code>{}</code></del>", Text(name)));
    }
    (!out.is_empty()).then(|| out.join(" "))
}

fn called<'code>(code: &'code Code<'_>) -> BTreeSet<&'code str> {
    code.fields
        .iter()
        .filter(|field| field.is_call())
        .map(|field| field.target.as_str())
        .collect()
}
