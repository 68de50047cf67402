//! The page that a change is signed off by: self-contained HTML, of one object or of two trees.
//!
//! It uses no network and no scripts (its content security policy forbids both), so that it can be
//! mailed and archived. Names of symbols, sections and files come from objects that may be hostile:
//! all text goes through [`text::Text`].
//!
//! This module holds what both pages share: the frame, and every chapter that needs only the
//! comparison. [`object`] is the page of `xsplice-diff`; `xsplice-build` adds its own chapters.

pub mod cards;
pub mod changes;
mod code;
pub mod evidence;
pub mod functions;
pub mod layouts;
pub(crate) mod manual;
pub mod object;
pub mod text;

use std::fmt::Write;

use serde::Serialize;

use crate::debug_info::toolchain::Toolchains;
use crate::layouts::LayoutChange;
use crate::report::object_diff::{DataChange, ObjectDiff, SpecialSection};
use crate::tell::referrers::Referrer;
use crate::verdict::kinds::Accepted;
use crate::verdict::kinds::{Ignored, Note};
use changes::{Function, functions_of};
use text::Text;

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");

/// What the chapters of both pages are made from.
#[derive(Debug)]
pub struct Findings<'a> {
    /// The comparisons.
    pub diffs: &'a [ObjectDiff<'a>],
    /// Layouts that changed, each type once.
    pub layouts: &'a [LayoutChange],
    /// What the builds of all of them were compiled by.
    pub toolchains: Toolchains,
    /// The refusals.
    pub refusals: Vec<RefusalText>,
    /// The included functions.
    pub functions: Vec<Function<'a>>,
    /// Hunks of a patch that were accepted; a comparison alone has none.
    pub accepted_hunks: &'a [Accepted],
    /// Which relocations the callers were read from.
    pub callers_from: &'a str,
}

/// A refusal of any tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalText {
    /// Its code, in kebab-case.
    pub code: String,
    /// The whole sentence.
    pub message: String,
}

/// Who refers to the functions of some diffs.
#[derive(Clone, Debug, Default)]
pub struct Callers {
    /// For each function its referrers, as [`crate::tell::referrers::Sought::gather`] gives them.
    pub of: Vec<Vec<Referrer>>,
    /// What was looked at, as the end of a sentence.
    pub from: String,
}

impl<'a> Findings<'a> {
    /// For some diffs, with all refusals about them.
    #[must_use]
    pub fn new(
        diffs: &'a [ObjectDiff<'a>],
        layouts: &'a [LayoutChange],
        refusals: Vec<RefusalText>,
        callers: &'a Callers,
    ) -> Findings<'a> {
        Findings {
            diffs,
            layouts,
            toolchains: Toolchains::of_all(
                diffs.iter().filter_map(|diff| diff.toolchains.as_ref()),
            ),
            refusals,
            functions: functions_of(diffs, callers),
            accepted_hunks: &[],
            callers_from: &callers.from,
        }
    }

    /// Included data.
    pub fn data(&self) -> impl Iterator<Item = &'a DataChange> + use<'a> {
        self.diffs.iter().flat_map(|diff| &diff.data)
    }

    /// Special sections of which entries are included.
    pub fn special_sections(&self) -> impl Iterator<Item = &'a SpecialSection> + use<'a> {
        self.diffs.iter().flat_map(|diff| &diff.special_sections)
    }

    /// Differences and hunks that the author accepted.
    pub fn accepted(&self) -> impl Iterator<Item = &'a Accepted> + use<'a> {
        let differences = self.diffs.iter().flat_map(|diff| &diff.accepted);
        differences.chain(self.accepted_hunks)
    }

    /// What a person has to know although it was decided.
    pub fn notes(&self) -> impl Iterator<Item = &'a Note> + use<'a> {
        self.diffs.iter().flat_map(|diff| &diff.notes)
    }

    /// Differences that do not matter.
    pub fn ignored(&self) -> impl Iterator<Item = &'a Ignored> + use<'a> {
        self.diffs.iter().flat_map(|diff| &diff.ignored)
    }
}

/// The word of a closed enum, as pipelines read it.
#[must_use]
pub fn word(variant: impl Serialize) -> String {
    let value = serde_json::to_value(variant).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// A chapter of the page.
#[derive(Clone, Debug)]
pub struct Chapter {
    /// Where its link leads.
    pub anchor: &'static str,
    /// What it is called.
    pub title: &'static str,
    /// HTML; a chapter without is left out.
    pub body: String,
}

impl Chapter {
    /// A chapter.
    #[must_use]
    pub fn new(anchor: &'static str, title: &'static str, body: String) -> Chapter {
        Chapter {
            anchor,
            title,
            body,
        }
    }
}

/// How the run ended, for the top of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should.
    Good,
    /// Refused.
    Bad,
    /// Nothing to do.
    Plain,
}

/// The top of the page.
#[derive(Clone, Debug)]
pub struct Masthead<'a> {
    /// What kind of page it is.
    pub kicker: String,
    /// What it is about.
    pub title: &'a str,
    /// How the run ended.
    pub tone: Tone,
    /// The same in a few words.
    pub outcome: &'a str,
    /// HTML beside the outcome.
    pub beside: String,
}

impl Masthead<'_> {
    fn html(&self) -> String {
        let class = match self.tone {
            Tone::Good => "good",
            Tone::Bad => "bad",
            Tone::Plain => "plain",
        };
        format!(
            "<p class=\"kicker\">{}</p>\n<h1>{}</h1>\n<p class=\"status\">\
             <span class=\"pill {class}\">{}</span>{}</p>",
            Text(&self.kicker),
            Text(self.title),
            Text(self.outcome),
            self.beside
        )
    }
}

/// The tool that makes the page.
#[derive(Clone, Copy, Debug)]
pub struct Maker {
    /// Its name.
    pub tool: &'static str,
    /// Its version.
    pub version: &'static str,
}

/// The whole page.
#[must_use]
pub fn document(
    maker: Maker,
    masthead: &Masthead<'_>,
    functions: &[Function<'_>],
    mut chapters: Vec<Chapter>,
) -> String {
    chapters.retain(|chapter| !chapter.body.is_empty());
    fill(&[
        ("title", &Text(masthead.title).to_string()),
        ("style", STYLE),
        ("masthead", &masthead.html()),
        ("navigation", &navigation(&chapters, functions)),
        ("body", &body(&chapters)),
        ("tool", maker.tool),
        ("version", maker.version),
    ])
}

/// Fills the template in one pass. Inserted text is not scanned again, so a name cannot expand to
/// another part of the page.
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

fn navigation(chapters: &[Chapter], functions: &[Function<'_>]) -> String {
    let mut out = String::from("<ul>");
    for chapter in chapters {
        let _ = write!(
            out,
            "<li><a href=\"#{}\">{}</a>",
            chapter.anchor, chapter.title
        );
        if chapter.anchor == functions::ANCHOR {
            let folding = functions::Folding::of(functions.len());
            if folding == functions::Folding::Folded {
                let _ = write!(out, "<details><summary>All {}</summary>", functions.len());
            }
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
            if folding == functions::Folding::Folded {
                out.push_str("</details>");
            }
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
            "<section id=\"{0}\" aria-labelledby=\"{0}-title\">\n<h2 \
             id=\"{0}-title\">{1}</h2>\n{2}\n</section>\n",
            chapter.anchor, chapter.title, chapter.body
        );
    }
    out
}
