//! Decides what became of one hunk from what the objects tell about its lines.

use std::collections::BTreeSet;

use super::evidence::{Sources, Tables};
use super::line::{LineFate, line_fate};
use super::outcome::Outcome;
use super::paths::{is_compiled, is_documentation, is_header, matching};
use super::wording::{changes_comments_alone, is_statement};
use super::{Fate, HunkItem, Outcomes, Trees};
use crate::source::patch_file::{FileChange, Hunk, Side};
use xsplice_diff::verdict::kinds::RefusalCode;

/// The text for a hunk without code.
const COMMENTS_ALONE: &str = "comments and blanks alone";

/// How many names a sentence gives before it counts the others.
const NAMES_SHOWN_MAX: usize = 3;

/// The result for a hunk.
#[derive(Debug)]
pub(super) struct Verdict {
    pub fate: Fate,
    pub refusal: Option<RefusalCode>,
    pub items: Vec<HunkItem>,
    pub why: String,
    /// What is wrong, in words that fit every hunk that is refused for it.
    pub shared: Option<&'static str>,
    /// Objects that have code or data of its lines and were left out by name.
    pub left_out: Vec<String>,
}

impl Verdict {
    fn plain(fate: Fate, why: String) -> Verdict {
        Verdict {
            fate,
            refusal: None,
            items: Vec::new(),
            why,
            shared: None,
            left_out: Vec::new(),
        }
    }

    fn refused(code: RefusalCode, why: String) -> Verdict {
        Verdict {
            refusal: Some(code),
            ..Verdict::plain(Fate::Refused, why)
        }
    }

    /// The same, with what is wrong in words that fit every hunk that is refused for it.
    fn shared(self, shared: &'static str) -> Verdict {
        Verdict {
            shared: Some(shared),
            ..self
        }
    }
}

/// Said of all hunks whose objects are the same in both trees.
const NOT_BUILT: &str = "what is compiled from the file is the same in both trees: PATCHED was not \
                         built with this patch, or the new lines become the same code or none";

/// Said of all hunks whose file is in no object.
const NOT_COMPILED: &str = "the file is in no object of the tree, so that nothing of this change \
                            can be in the payload";

/// Said of all hunks whose lines became code that is the same in both builds.
const SAME_CODE: &str = "the code of these lines is the same in both builds; is PATCHED built with \
                         this patch, and do the patch's line numbers fit?";

/// Said of all hunks whose lines became no code.
const BECAME_NOTHING: &str = "these lines became no code, in a function that is the same in both \
                              builds; does the configuration leave them out?";

/// The fate of `hunk`, a part of `file`.
pub(crate) fn decide(
    file: &FileChange,
    hunk: &Hunk,
    sources: &Sources<'_>,
    outcomes: &Outcomes<'_>,
    trees: &Trees<'_>,
) -> Verdict {
    if !sources.ambiguous.is_empty() {
        let why = format!(
            "the patch may mean {}; give it with paths from the top of the source",
            list(&sources.ambiguous, " or ")
        );
        return Verdict::refused(RefusalCode::HunkAmbiguous, why);
    }
    if sources.found.is_empty() {
        return without_source(file, hunk, sources, outcomes, trees);
    }
    if let Some(stale) = stale_object(hunk, sources, outcomes) {
        let why = format!(
            "{stale} is the same in both trees, and the hunk moves lines that it was compiled \
             from: the patched tree was not built with this patch; build it again"
        );
        return Verdict::refused(RefusalCode::HunkNotBuilt, why).shared(NOT_BUILT);
    }
    let lines: Vec<LineFate> = hunk
        .changes
        .iter()
        .map(|line| line_fate(line, sources, outcomes))
        .collect();
    let left_out = left_out(&lines, sources, outcomes);
    let its_items = lines.iter().flat_map(|line| line.left_out.iter().cloned());
    let is_asked = !changes_comments_alone(hunk);
    if is_asked && is_left_out_whole(sources, outcomes) {
        let nothing = Verdict::plain(Fate::NotProvable, String::new());
        return unproven(nothing, left_out, its_items);
    }
    let verdict = combine(file, hunk, &lines, sources, outcomes);
    if is_asked && !left_out.is_empty() && verdict.fate != Fate::Refused {
        return unproven(verdict, left_out, its_items);
    }
    verdict
}

/// Whether all objects that were compiled from a file were left out by name.
fn is_left_out_whole(sources: &Sources<'_>, outcomes: &Outcomes<'_>) -> bool {
    sources
        .found
        .iter()
        .all(|source| outcomes.is_left_out(&source.object))
}

/// The objects left out by name that hold code or data of these lines; all that were compiled from
/// the file, where no other was.
fn left_out(
    lines: &[LineFate],
    sources: &Sources<'_>,
    outcomes: &Outcomes<'_>,
) -> BTreeSet<String> {
    if is_left_out_whole(sources, outcomes) {
        let objects = sources.found.iter().map(|source| source.object.clone());
        return objects.collect();
    }
    let items = lines.iter().flat_map(|line| &line.left_out);
    items.map(|item| item.object.clone()).collect()
}

/// What is left out proves nothing: neither that the payload needs the hunk there, nor that it does
/// not.
fn unproven(
    mut verdict: Verdict,
    left_out: BTreeSet<String>,
    its_items: impl Iterator<Item = HunkItem>,
) -> Verdict {
    let objects: Vec<&str> = left_out.iter().map(String::as_str).collect();
    let have = if objects.len() == 1 { "has" } else { "have" };
    let before = match verdict.fate {
        Fate::Payload | Fate::Accepted | Fate::Ignored | Fate::Removed => {
            let mut names: Vec<&str> = verdict.items.iter().map(|item| &*item.name).collect();
            names.dedup();
            format!("{} ({}); but ", verdict.fate.word(), list(&names, ", "))
        }
        Fate::NoCode | Fate::NotProvable | Fate::Refused => String::new(),
    };
    let why = format!(
        "{before}{} {have} code or data of it and was left out (--ignore-object); compare it, or \
         make sure that it is not in the base",
        list(&objects, ", ")
    );
    verdict.items.extend(its_items);
    Verdict {
        fate: Fate::NotProvable,
        why,
        left_out: left_out.into_iter().collect(),
        ..verdict
    }
}

/// Decides about a file that no object names.
fn without_source(
    file: &FileChange,
    hunk: &Hunk,
    sources: &Sources<'_>,
    outcomes: &Outcomes<'_>,
    trees: &Trees<'_>,
) -> Verdict {
    let name = file.shown();
    if is_documentation(name) {
        return Verdict::plain(
            Fate::NoCode,
            "documentation: nothing is compiled from it".to_owned(),
        );
    }
    if let Some(verdict) = silent(name, hunk, sources, outcomes) {
        return verdict;
    }
    let is_included = trees
        .dependencies
        .files_read()
        .iter()
        .any(|path| matching(name, path).is_some());
    if is_included && changes_comments_alone(hunk) {
        return Verdict::plain(Fate::NoCode, COMMENTS_ALONE.to_owned());
    }
    if is_included && outcomes.are_all_unchanged() {
        return Verdict::refused(
            RefusalCode::HunkNotBuilt,
            "the build reads this file, and no object changed: nothing uses what the hunk changes, \
             or the patched tree was not built with this patch"
                .to_owned(),
        );
    }
    if is_included {
        return Verdict::plain(
            Fate::NotProvable,
            format!(
                "the build reads this file, and no code or data comes from it: what uses its \
                 macros and types is not told by line tables; changed in objects that may read \
                 it: {}",
                list(&outcomes.all_functions(), ", ")
            ),
        );
    }
    if is_header(name) && !outcomes.are_all_unchanged() {
        return Verdict::plain(
            Fate::NotProvable,
            format!(
                "line tables do not name a header without code of its own; changed in objects \
                 that may read it: {}",
                list(&outcomes.all_functions(), ", ")
            ),
        );
    }
    Verdict::refused(
        RefusalCode::HunkNotCompiled,
        format!(
            "{name} is in no object of the tree, so that nothing of this change can be in the \
             payload"
        ),
    )
    .shared(NOT_COMPILED)
}

/// What objects without line tables leave open of a file that no line table names; `None` where
/// they do not matter. One that is equal in both trees has nothing of a header's change, unless no
/// object tells anything. A statement of a file is lost when everything that may have been compiled
/// from it is equal.
fn silent(
    name: &str,
    hunk: &Hunk,
    sources: &Sources<'_>,
    outcomes: &Outcomes<'_>,
) -> Option<Verdict> {
    let (equal, changed): (Vec<&str>, Vec<&str>) = sources
        .silent
        .iter()
        .partition(|object| outcomes.is_equal(object));
    if !changed.is_empty() && hunk.changes_member && !changes_comments_alone(hunk) {
        let why = format!(
            "it changes a member of a type, and without debug information of {} nothing tells \
             what has the old layout and goes on; build both trees with -g (the base may stay the \
             image without it), or keep the member beside the type",
            list(&changed, ", ")
        );
        return Some(Verdict::refused(RefusalCode::ChangedLayout, why));
    }
    if !changed.is_empty() {
        let mut functions: Vec<&str> = changed
            .iter()
            .flat_map(|object| outcomes.functions_of(object))
            .collect();
        functions.dedup();
        let changed_there = match functions.as_slice() {
            [] => String::new(),
            some => format!("; changed there: {}", list(some, ", ")),
        };
        let remedy = match sources.tables {
            Tables::None => "build both trees with -g",
            Tables::Some => "build them with -g, as the others were",
        };
        let why = format!(
            "no line table of {} tells what it was compiled from{changed_there}; {remedy}",
            list(&changed, ", ")
        );
        return Some(Verdict::plain(Fate::NotProvable, why));
    }
    if equal.is_empty() || (is_header(name) && sources.tables == Tables::Some) {
        return None;
    }
    let is = if equal.len() == 1 { "is" } else { "are" };
    let mut lines = hunk.changes.iter();
    let has_statement = !changes_comments_alone(hunk) && lines.any(|line| is_statement(&line.text));
    let is_left_out = equal.iter().any(|object| outcomes.is_left_out(object));
    if has_statement && is_compiled(name) && !is_left_out {
        let why = format!(
            "{} {is} the same in both trees, and no other object names {name}: PATCHED was not \
             built with this patch, or the new lines become the same code or none",
            list(&equal, ", ")
        );
        return Some(Verdict::refused(RefusalCode::HunkNotInPayload, why).shared(NOT_BUILT));
    }
    let why = format!(
        "{} {is} the same in both trees, without a line table that tells whether the new lines \
         became the same code or were not compiled; build both trees with -g",
        list(&equal, ", ")
    );
    Some(Verdict::plain(Fate::NotProvable, why))
}

/// An object that cannot have been compiled from the changed file: it is the same as before,
/// though code of it comes from lines that the hunk moves.
fn stale_object<'s>(
    hunk: &Hunk,
    sources: &Sources<'s>,
    outcomes: &Outcomes<'_>,
) -> Option<&'s str> {
    if !hunk.moves_lines() {
        return None;
    }
    sources
        .found
        .iter()
        .filter(|source| source.side == Side::New && outcomes.is_equal(&source.object))
        .find(|source| {
            source
                .file
                .code
                .iter()
                .any(|line| line.line >= hunk.new_end())
        })
        .map(|source| source.object.as_str())
}

/// The fate of a hunk from those of its lines.
fn combine(
    file: &FileChange,
    hunk: &Hunk,
    lines: &[LineFate],
    sources: &Sources<'_>,
    outcomes: &Outcomes<'_>,
) -> Verdict {
    let mut led: Vec<(HunkItem, Outcome)> = Vec::new();
    let mut lost: Vec<&LineFate> = Vec::new();
    let mut silent: Vec<&LineFate> = Vec::new();
    let mut same: Vec<HunkItem> = Vec::new();
    let mut not_built: Option<String> = None;
    let comments_alone = changes_comments_alone(hunk);
    for line in lines {
        let positive = |of: &[(HunkItem, Outcome)]| -> Vec<(HunkItem, Outcome)> {
            let changed = of.iter().filter(|(_, outcome)| *outcome != Outcome::Same);
            changed.cloned().collect()
        };
        let own = positive(&line.own);
        let unchanged = line
            .own
            .iter()
            .filter(|(_, outcome)| *outcome == Outcome::Same)
            .map(|(item, _)| item);
        for item in unchanged.clone() {
            if !comments_alone && outcomes.is_equal(&item.object) {
                not_built.get_or_insert_with(|| item.object.clone());
            }
        }
        same.extend(unchanged.cloned());
        if !own.is_empty() {
            led.extend(own);
        } else if !line.own.is_empty() {
            lost.push(line);
        } else {
            let around = positive(&line.around);
            if around.is_empty() && !line.within.is_empty() && positive(&line.within).is_empty() {
                silent.push(line);
            }
            led.extend(around);
        }
    }
    same.sort();
    same.dedup();
    same.retain(|item| !led.iter().any(|(other, _)| other == item));
    if !comments_alone && let Some(line) = lost.first() {
        let mut names: Vec<&str> = same.iter().map(|item| item.name.as_str()).collect();
        names.dedup();
        let build = match line.side {
            Side::Old => "original",
            Side::New => "patched",
        };
        let why = format!(
            "line {} of the {build} {} became code of {}, which is the same in both builds; is \
             PATCHED built with this patch, and do the patch's line numbers fit?",
            line.number,
            file.shown(),
            list(&names, ", ")
        );
        return Verdict {
            items: same,
            ..Verdict::refused(RefusalCode::HunkNotInPayload, why).shared(SAME_CODE)
        };
    }
    if let Some(object) = not_built {
        let why = format!(
            "{object} holds code of these lines and is the same in both trees; was it built again?"
        );
        return Verdict {
            items: same,
            ..Verdict::refused(RefusalCode::HunkNotInPayload, why).shared(NOT_BUILT)
        };
    }
    if !comments_alone && let Some(line) = silent.first() {
        let why = became_nothing(line, file);
        return Verdict {
            items: line.within.iter().map(|(item, _)| item.clone()).collect(),
            ..Verdict::refused(RefusalCode::HunkNotInPayload, why).shared(BECAME_NOTHING)
        };
    }
    tell(led, &same, sources, comments_alone, file, outcomes)
}

/// Refuses a statement without code inside a function that did not change.
fn became_nothing(line: &LineFate, file: &FileChange) -> String {
    let mut names: Vec<&str> = line
        .within
        .iter()
        .map(|(item, _)| item.name.as_str())
        .collect();
    names.dedup();
    format!(
        "line {} of {} stands in {}, which is the same in both builds, and became no code; does \
         the configuration leave it out?",
        line.number,
        file.shown(),
        list(&names, ", ")
    )
}

/// Decides about a hunk of which every line led to an item or to no code.
fn tell(
    mut led: Vec<(HunkItem, Outcome)>,
    same: &[HunkItem],
    sources: &Sources<'_>,
    comments_alone: bool,
    file: &FileChange,
    outcomes: &Outcomes<'_>,
) -> Verdict {
    led.sort();
    led.dedup();
    let Some(strongest) = led.iter().map(|(_, outcome)| outcome).max().cloned() else {
        return led_nowhere(sources, comments_alone, file, outcomes);
    };
    let (fate, mut why) = match &strongest {
        Outcome::Same => (Fate::NoCode, String::new()),
        Outcome::Removed => (
            Fate::Removed,
            "gone from the patched build; what runs keeps its copy, and nothing new uses it"
                .to_owned(),
        ),
        Outcome::Ignored(why) => (Fate::Ignored, why.clone()),
        Outcome::Accepted(what) => (Fate::Accepted, format!("accepted as {what}")),
        Outcome::Payload => (Fate::Payload, "by the line tables".to_owned()),
        Outcome::Refused(code) => (Fate::Refused, format!("see the refusal [{code}]")),
    };
    if !same.is_empty() {
        let names: Vec<&str> = same.iter().map(|item| item.name.as_str()).collect();
        why.push_str(&format!(
            "; lines of it are also in {}, the same in both builds",
            list(&names, ", ")
        ));
    }
    // A hunk with code in the payload counts as included; the rest is added to the text.
    let (carried, rest): (Vec<_>, Vec<_>) = led
        .into_iter()
        .partition(|(_, outcome)| fate != Fate::Payload || *outcome == Outcome::Payload);
    for (item, outcome) in rest {
        let what = match outcome {
            Outcome::Accepted(what) => format!("accepted as {what}"),
            Outcome::Ignored(_) => "ignored".to_owned(),
            Outcome::Removed => "gone from the patched build".to_owned(),
            Outcome::Same | Outcome::Payload | Outcome::Refused(_) => continue,
        };
        why.push_str(&format!("; {} is {what}", item.name));
    }
    Verdict {
        fate,
        refusal: None,
        items: carried.into_iter().map(|(item, _)| item).collect(),
        why,
        shared: None,
        left_out: Vec::new(),
    }
}

/// A hunk of which no line became code or data.
fn led_nowhere(
    sources: &Sources<'_>,
    comments_alone: bool,
    file: &FileChange,
    outcomes: &Outcomes<'_>,
) -> Verdict {
    if comments_alone {
        return Verdict::plain(Fate::NoCode, COMMENTS_ALONE.to_owned());
    }
    let is_header = !file.shown().ends_with(".c");
    let changed = sources.silent.iter().copied();
    let changed: Vec<&str> = changed
        .filter(|object| !outcomes.is_equal(object))
        .collect();
    if is_header && !changed.is_empty() {
        let why = format!(
            "no code on these lines in objects with line tables, and {} changed and has none; \
             build both trees with -g",
            list(&changed, ", ")
        );
        return Verdict::plain(Fate::NotProvable, why);
    }
    let mut objects: Vec<&str> = sources
        .found
        .iter()
        .map(|source| source.object.as_str())
        .filter(|object| !outcomes.is_left_out(object))
        .collect();
    objects.sort_unstable();
    objects.dedup();
    // Code that the optimiser removed, and macros, show only in what uses them.
    let mut users: Vec<&str> = objects
        .iter()
        .flat_map(|object| outcomes.functions_of(object))
        .collect();
    users.dedup();
    if objects.iter().all(|object| outcomes.is_unchanged(object)) {
        let why = format!(
            "{}: compiled from this file, and did not change; the new lines compile to the same \
             code, nothing there uses what they change, or the patched tree was not built with \
             this patch",
            list(&objects, ", ")
        );
        return Verdict::refused(RefusalCode::HunkNotBuilt, why).shared(NOT_BUILT);
    }
    if is_header {
        let why = format!(
            "no code comes from these lines themselves, and line tables do not tell what uses \
             them; changed in objects that read the file: {}",
            list(&users, ", ")
        );
        return Verdict::plain(Fate::NotProvable, why);
    }
    let told = format!(
        "no code on these lines, by the line tables of {}",
        list(&objects, ", ")
    );
    let why = if users.is_empty() {
        told
    } else {
        format!("{told}; changed in them: {}", list(&users, ", "))
    };
    Verdict::plain(Fate::NoCode, why)
}

/// A few names, and how many more there are.
fn list(names: &[&str], between: &str) -> String {
    let shown = names.len().min(NAMES_SHOWN_MAX);
    let mut text = names[..shown].join(between);
    if names.len() > shown {
        text.push_str(&format!(" and {} more", names.len() - shown));
    }
    text
}
