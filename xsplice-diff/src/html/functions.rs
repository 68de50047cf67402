//! Each function: its reasons, sizes, calls, callers and code.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;

use crate::tell::code_page;
use crate::tell::disassembly::Code;
use crate::tell::referrers::{How, Referrer, When};
use crate::verdict::kinds::{Reason, Status};

use super::changes::Function;
use super::code::Differing;
use super::evidence::table;
use super::text::{Text, grouped};
use super::{Findings, code, manual};

/// Where the chapter's link leads.
pub const ANCHOR: &str = "functions";

/// Up to this many functions all code is shown at once. With more the page is a long way to scroll,
/// and what differs in one function is out of sight before its end.
const OPEN_MAX: usize = 8;

/// Callers, or holders of an address, are named up to this number, before "and N more".
const REFERRERS_SHOWN_MAX: usize = 12;

/// Every function.
#[must_use]
pub fn chapter(findings: &Findings<'_>) -> String {
    if findings.functions.is_empty() {
        return String::new();
    }
    let places = Places::new(&findings.functions);
    let has_code = findings.functions.iter().any(|one| one.new.is_some());
    let about_code = if has_code {
        "Code is in AT&amp;T syntax, each instruction with its offset in the function in \
         hexadecimal; what differs is marked. Addresses that the linker fills in are shown as \
         what they refer to (<code>@GOT</code>: through the global offset table), and jumps \
         inside a function as +offset."
    } else {
        "The code of an object is laid side by side once nothing in it is refused; until then \
         <code>objdump -dr</code> of both objects shows it."
    };
    let mut out = format!(
        "<p class=\"caption\">{about_code}</p>\
         <p class=\"caption\">Who calls a function, or holds its address, is read from {}. A call \
         through a pointer shows as an address that is held.</p>",
        Text(findings.callers_from)
    );
    let folding = Folding::of(findings.functions.len());
    let mut articles = String::new();
    let mut rows = Vec::new();
    for function in &findings.functions {
        let differing = article(&mut articles, function, &places, folding);
        rows.push(overview_row(function, differing));
    }
    if folding == Folding::Folded {
        let headings = ["Function", "Status", "Size", "Rows that differ", "Object"];
        out.push_str(&table(&headings, rows.into_iter()));
        out.push_str(
            "<p class=\"caption\">Each function is folded; a link to it, here or elsewhere on the \
             page, opens it.</p>",
        );
    }
    out.push_str(&articles);
    out
}

/// Whether functions are folded below an overview.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Folding {
    /// They are few: all is open, and nothing needs an overview.
    Open,
    /// They are many.
    Folded,
}

impl Folding {
    /// For so many functions.
    pub(super) fn of(functions: usize) -> Folding {
        if functions > OPEN_MAX {
            Folding::Folded
        } else {
            Folding::Open
        }
    }
}

/// The row of a function in the overview.
fn overview_row(function: &Function<'_>, differing: Option<Differing>) -> Vec<String> {
    let change = function.change;
    let differing = differing.map_or_else(String::new, |differing| differing.to_string());
    vec![
        linked(&change.name, Some(function)),
        status(change.status).to_owned(),
        sizes(change.status, change.old_size, change.new_size),
        differing,
        format!("<code>{}</code>", Text(&change.object)),
    ]
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Changed => "changed",
        Status::New => "new",
    }
}

/// Anchors of functions on the page, by name.
struct Places<'a> {
    by_name: HashMap<&'a str, Vec<&'a Function<'a>>>,
}

impl<'a> Places<'a> {
    fn new(functions: &'a [Function<'a>]) -> Places<'a> {
        let mut by_name: HashMap<&str, Vec<&Function<'_>>> = HashMap::new();
        for function in functions {
            let named = by_name.entry(function.change.name.as_str()).or_default();
            named.push(function);
        }
        Places { by_name }
    }

    /// The function that this name means in `object`: its own local, or the only global.
    fn seen_from(&self, object: &str, name: &str) -> Option<&'a Function<'a>> {
        let named = self.by_name.get(name)?;
        let mut own = named.iter().filter(|one| one.change.object == object);
        if let Some(first) = own.next() {
            // Two locals have this name, so it cannot be told which is meant.
            return own.next().is_none().then_some(*first);
        }
        let mut shared = named.iter().filter(|one| one.change.file.is_none());
        let first = shared.next()?;
        shared.next().is_none().then_some(*first)
    }
}

/// A name, as a link where it is on the page.
fn linked(name: &str, place: Option<&Function<'_>>) -> String {
    match place {
        Some(function) => format!(
            "<a href=\"#{}\"><code>{}</code></a>",
            function.anchor,
            Text(name)
        ),
        None => format!("<code>{}</code>", Text(name)),
    }
}

/// A function; how much of its code differs.
fn article(
    out: &mut String,
    function: &Function<'_>,
    places: &Places<'_>,
    folding: Folding,
) -> Option<Differing> {
    let mut body = String::new();
    facts(&mut body, function, places);
    reasons(&mut body, &function.change.reasons);
    let differing = code::comparison(&mut body, function);
    let (name, word) = (&function.change.name, status(function.change.status));
    let title = format!(
        "<header><h3><code>{}</code></h3><span class=\"pill {word}\">{word}</span></header>",
        Text(name)
    );
    let anchor = &function.anchor;
    let _ = match folding {
        Folding::Open => write!(
            out,
            "<article class=\"function\" id=\"{anchor}\">{title}{body}</article>"
        ),
        // The place that links lead to is inside: browsers open what is folded around it.
        Folding::Folded => write!(
            out,
            "<article class=\"function folded\">{title}<details><summary>Reasons, callers and \
             code of <code>{}</code></summary>\
             <div id=\"{anchor}\">{body}</div></details></article>",
            Text(name)
        ),
    };
    out.push('\n');
    differing
}

fn facts(out: &mut String, function: &Function<'_>, places: &Places<'_>) {
    let change = function.change;
    out.push_str("<dl class=\"facts\">");
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
    for (name, html) in &function.facts {
        fact(out, name, html);
    }
    if let Some(calls) = calls(function, places) {
        fact(out, "Calls", &calls);
    }
    for (how, what) in [
        (How::Calls, "Called by"),
        (How::TakesAddress, "Address taken by"),
        (How::Holds, "Address is in"),
    ] {
        if let Some(referrers) = referrers(function, how, places) {
            fact(out, what, &referrers);
        }
    }
    if function.referrers.is_empty() {
        fact(out, "Called by", "nothing in these objects");
    }
    out.push_str("</dl>");
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
    out.push_str("<h4>Why it is included</h4><ol class=\"reasons\">");
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

/// Those that refer to a function in one way; what is on the page comes first, what only ran at
/// boot last.
fn referrers(function: &Function<'_>, how: How, places: &Places<'_>) -> Option<String> {
    let place = |one: &Referrer| match places.seen_from(&one.object, &one.name) {
        Some(place) if place.change.object == one.object => Some(place),
        _ => None,
    };
    let all = function.referrers.iter().filter(|one| one.how == how);
    let mut all: Vec<_> = all.map(|one| (place(one), one)).collect();
    all.sort_by_key(|(place, one)| (place.is_none(), one.when));
    let mut shown: Vec<String> = Vec::new();
    for (place, one) in all.iter().take(REFERRERS_SHOWN_MAX) {
        let mut html = linked(&one.name, *place);
        if one.object != function.change.object {
            let _ = write!(html, " of <code>{}</code>", Text(&one.object));
        } else if place.is_some_and(|place| place.anchor == function.anchor) {
            html.push_str(" itself");
        }
        if one.when == When::AtBoot {
            html.push_str(" (at boot)");
        }
        shown.push(html);
    }
    let more = all.len() - shown.len();
    let mut html = shown.join(", ");
    if more > 0 {
        let _ = write!(html, " and {} more", grouped(more));
    }
    (!html.is_empty()).then_some(html)
}

fn kind(reason: &Reason) -> String {
    let value = serde_json::to_value(reason).unwrap_or_default();
    value["kind"].as_str().unwrap_or_default().to_owned()
}

/// Anchor of the meaning of a kind; kinds are a closed list.
fn kind_anchor(kind: &str) -> String {
    format!("kind-{kind}")
}

/// What the kinds of reasons on this page mean, and what to look at; one entry each.
#[must_use]
pub fn kinds(findings: &Findings<'_>) -> String {
    let reasons = findings
        .functions
        .iter()
        .flat_map(|one| &one.change.reasons);
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

/// What the new code calls, out-of-line parts included; added and removed calls are marked. Jumps
/// into its own parts are not calls.
fn calls(function: &Function<'_>, places: &Places<'_>) -> Option<String> {
    let is_own = |name: &&str| function.parts.iter().any(|part| part.name == *name);
    let new = called(
        function
            .new
            .iter()
            .chain(function.parts.iter().map(|part| &part.new)),
    );
    let old = function
        .old
        .iter()
        .chain(function.parts.iter().map(|part| &part.old));
    let old = function.old.is_some().then(|| called(old));
    let mut out = Vec::new();
    for name in new.iter().filter(|name| !is_own(name)) {
        let html = linked(name, places.seen_from(&function.change.object, name));
        let is_added = old.as_ref().is_some_and(|old| !old.contains(name));
        out.push(if is_added {
            format!("<ins>{html}</ins>")
        } else {
            html
        });
    }
    let gone = old.iter().flatten().filter(|name| !new.contains(*name));
    for name in gone.filter(|name| !is_own(name)) {
        out.push(format!("<del><code>{}</code></del>", Text(name)));
    }
    (!out.is_empty()).then(|| out.join(", "))
}

fn called<'code>(codes: impl Iterator<Item = &'code Code<'code>>) -> BTreeSet<&'code str> {
    codes
        .flat_map(Code::calls)
        .map(|field| field.target.as_str())
        .collect()
}
