//! The report that a hotpatch is signed off by: one self-contained HTML page.
//!
//! It asks nothing of the network and runs no scripts (its own content policy forbids both), so
//! that it can be mailed, archived and read in ten years. Names of symbols, sections and files
//! come from objects that need not be friendly: everything goes through [`text::Text`].
//!
//! What it says is what the [`Report`] says; this module decides only the order, which is that
//! of a reviewer's questions: what changes, what was proven, what must I look at myself.

mod changes;
mod checks;
mod code;
mod evidence;
mod functions;
mod hunks;
mod layouts;
mod manual;
mod map;
mod text;
mod verdicts;

use std::fmt::Write;

use xsplice_abi::Profile;
use xsplice_diff::ObjectDiff;
use xsplice_link::inspect::Inspection;
use xsplice_link::verify::Verification;
use xsplice_link::{Base, Payload};

use crate::report::Report;
use changes::{Function, functions_of};
use text::{Text, count};

const TEMPLATE: &str = include_str!("html/page.html");
const STYLE: &str = include_str!("html/style.css");

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

/// What the run came to.
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

/// A chapter of the page: where its link leads, and what it is called.
struct Chapter {
    anchor: &'static str,
    title: &'static str,
    body: String,
}

/// The whole page.
#[must_use]
pub fn render(page: &Page<'_>) -> String {
    let functions = functions_of(page);
    let chapters: Vec<Chapter> = [
        ("verdicts", "Verdicts", verdicts::chapter(page, &functions)),
        ("refusals", "Refusals", evidence::refusals(page)),
        ("map", "Where it lands", map::chapter(page, &functions)),
        ("functions", "Functions", functions::chapter(&functions)),
        ("hunks", "Hunks of the patch", hunks::chapter(page)),
        ("layouts", "Layouts", layouts::chapter(page)),
        ("data", "Data", evidence::data(page)),
        ("special", "Special sections", evidence::special(page)),
        ("hooks", "Hooks", evidence::hooks(page)),
        ("accepted", "Accepted differences", evidence::accepted(page)),
        ("ignored", "Ignored differences", evidence::ignored(page)),
        ("checks", "Checks of the payload", checks::chapter(page)),
        (
            "kinds",
            "What the reasons mean",
            functions::kinds(&functions),
        ),
        ("inputs", "Inputs and identities", checks::identities(page)),
    ]
    .into_iter()
    .filter(|(_, _, body)| !body.is_empty())
    .map(|(anchor, title, body)| Chapter {
        anchor,
        title,
        body,
    })
    .collect();
    fill(&[
        ("title", &Text(page.name).to_string()),
        ("style", STYLE),
        ("masthead", &masthead(page)),
        ("navigation", &navigation(&chapters, &functions)),
        ("body", &body(&chapters)),
        ("tool", page.report.tool),
        ("version", page.report.version),
    ])
}

/// Fills the template in one pass: what is put in is not looked at again, so that no name can
/// pull another part of the page in.
fn fill(values: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let mut rest = TEMPLATE;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let (name, after) = after
            .split_once("}}")
            .expect("the template closes what it opens");
        let value = values.iter().find(|(key, _)| *key == name);
        out.push_str(value.expect("every place of the template has a value").1);
        rest = after;
    }
    out.push_str(rest);
    out
}

fn masthead(page: &Page<'_>) -> String {
    let (class, word) = match page.outcome() {
        Outcome::Made => ("good", "Payload made"),
        Outcome::Refused => ("bad", "Refused"),
        Outcome::NoChange => ("plain", "No functional change"),
    };
    let mut out = String::new();
    let _ = write!(
        out,
        "<p class=\"kicker\">Live patch · {} ABI</p>\n<h1>{}</h1>\n\
         <p class=\"status\"><span class=\"pill {class}\">{word}</span>",
        Text(page.abi.name),
        Text(page.name)
    );
    if let Some(payload) = &page.report.payload {
        let _ = write!(
            out,
            " <span>{} in {}</span> <code class=\"id\">{}</code>",
            count(payload.functions, "replaced function"),
            text::size(payload.size),
            Text(&payload.build_id)
        );
    }
    out.push_str("</p>");
    out
}

fn navigation(chapters: &[Chapter], functions: &[Function<'_>]) -> String {
    let mut out = String::from("<ul>");
    for chapter in chapters {
        let _ = write!(
            out,
            "<li><a href=\"#{}\">{}</a>",
            chapter.anchor, chapter.title
        );
        if chapter.anchor == "functions" {
            out.push_str("<ul>");
            for function in functions {
                let _ = write!(
                    out,
                    "<li><a href=\"#{}\">{}</a></li>",
                    function.anchor,
                    Text(&function.change.name)
                );
            }
            out.push_str("</ul>");
        }
        out.push_str("</li>");
    }
    out.push_str("</ul>");
    out
}

fn body(chapters: &[Chapter]) -> String {
    let mut out = String::new();
    for chapter in chapters {
        let _ = write!(
            out,
            "<section id=\"{0}\" aria-labelledby=\"{0}-title\">\n<h2 id=\"{0}-title\">{1}</h2>\n{2}\n</section>\n",
            chapter.anchor, chapter.title, chapter.body
        );
    }
    out
}

#[cfg(test)]
mod tests;
