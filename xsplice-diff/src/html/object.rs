//! The page of `xsplice-diff`: what differs between two builds of one object.

use std::fmt::Write;

use sha1::{Digest, Sha1};
use xsplice_abi::Profile;
use xsplice_abi::hex::Hex;

use crate::report::object_diff::{ObjectDiff, Verdict};

use super::cards::{self, Cards};
use super::text::{Text, code, size};
use super::{Chapter, Findings, Maker, Masthead, Tone, document, evidence, functions, layouts};

/// Everything that the page is made from.
#[derive(Debug)]
pub struct Page<'a> {
    /// The ABI.
    pub abi: &'static Profile,
    /// The comparison.
    pub diff: &'a ObjectDiff<'a>,
    /// What the chapters show of it; of this diff alone.
    pub findings: Findings<'a>,
    /// The original.
    pub original: File<'a>,
    /// The patched object.
    pub patched: File<'a>,
}

/// One of the two objects.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// Its path, as given.
    pub path: &'a str,
    /// All of it.
    pub bytes: &'a [u8],
}

/// The whole page.
#[must_use]
pub fn render(page: &Page<'_>) -> String {
    let findings = &page.findings;
    let hooks = page.diff.extract.as_ref().map(evidence::hooks_of);
    let hooks = hooks.unwrap_or_default();
    let (tone, outcome) = match page.diff.verdict() {
        Verdict::Changed => (Tone::Good, "Can be patched"),
        Verdict::Refused => (Tone::Bad, "Refused"),
        Verdict::Unchanged => (Tone::Plain, "No functional change"),
    };
    let masthead = Masthead {
        kicker: format!("One object · {} ABI", page.abi.name),
        title: &page.diff.object,
        tone,
        outcome,
        beside: String::new(),
    };
    let chapters = vec![
        Chapter::new("verdicts", "Verdicts", verdicts(page, &hooks)),
        Chapter::new(
            "accepted",
            "Accepted differences",
            evidence::accepted(findings),
        ),
        Chapter::new("refusals", "Refusals", evidence::refusals(findings)),
        Chapter::new(functions::ANCHOR, "Functions", functions::chapter(findings)),
        Chapter::new("layouts", "Layouts", layouts::chapter(findings)),
        Chapter::new("data", "Data", evidence::data(findings)),
        Chapter::new("special", "Special sections", evidence::special(findings)),
        Chapter::new("hooks", "Hooks", evidence::hooks(&hooks)),
        Chapter::new("notes", "Notes", evidence::notes(findings)),
        Chapter::new(
            "ignored",
            "Ignored differences",
            evidence::ignored(findings),
        ),
        Chapter::new("kinds", "What the reasons mean", functions::kinds(findings)),
        Chapter::new("inputs", "Inputs and identities", identities(page)),
    ];
    let maker = Maker {
        tool: "xsplice-diff",
        version: env!("CARGO_PKG_VERSION"),
    };
    document(maker, &masthead, &findings.functions, chapters)
}

fn verdicts(page: &Page<'_>, hooks: &[evidence::Hook]) -> String {
    let findings = &page.findings;
    let (lead, replaced) = match page.diff.verdict() {
        Verdict::Changed => (
            "This page is of one object alone. Whether the running image was linked from its \
             original, and whether a payload can be made, <code>xsplice-build</code> says.",
            "to be replaced",
        ),
        Verdict::Refused => (
            "No payload can carry this. Every reason is listed below, each with its ways out.",
            "would be replaced",
        ),
        Verdict::Unchanged => (
            "Both objects do the same. There is nothing to patch.",
            "replaced",
        ),
    };
    let mut cards = Cards::default();
    cards::changes(&mut cards.changes, findings, replaced);
    if page.original.bytes == page.patched.bytes {
        let same = "the two files are equal byte for byte".to_owned();
        cards.proven.push(same);
    }
    cards::proven(&mut cards.proven, findings);
    cards::watch_first(&mut cards.watch, findings);
    cards::watch(&mut cards.watch, findings);
    if !hooks.is_empty() {
        cards.watch.push(format!(
            "<a href=\"#hooks\">hooks</a> run around the payload's actions: {}",
            cards::names(hooks.iter().map(|hook| hook.kind.as_str()))
        ));
    }
    cards.chapter(lead)
}

fn identities(page: &Page<'_>) -> String {
    let mut rows: Vec<(&str, String)> = Vec::new();
    for (name, sum, file) in [
        ("Original", "SHA-1 of the original", page.original),
        ("Patched", "SHA-1 of the patched", page.patched),
    ] {
        let named = format!("{}, {}", code(file.path), size(file.bytes.len()));
        rows.push((name, named));
        rows.push((sum, code(&digest(file.bytes))));
    }
    layouts::toolchains(&mut rows, &page.findings);
    let mut out = evidence::facts(&rows);
    let _ = write!(
        out,
        "<p>Without this tool: <code>objdump -dr {}</code> shows the code, and \
         <code>sha1sum</code> must print the sums above.</p>",
        Text(page.patched.path)
    );
    out
}

fn digest(bytes: &[u8]) -> String {
    Hex(&Sha1::digest(bytes)).to_string()
}
