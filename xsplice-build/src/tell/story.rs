//! What `xsplice-build` prints for people: a short report by default, more with `-v`.

use std::collections::BTreeSet;
use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use xsplice_account::Account;
use xsplice_diff::ObjectDiff;
use xsplice_diff::report::build_stamps::build_stamps;
use xsplice_diff::report::json::PayloadSummary;
use xsplice_diff::report::object_diff::{FunctionChange, Verdict};
use xsplice_diff::report::ripple::ripple;
use xsplice_diff::verdict::accept::without_remedy;
use xsplice_diff::verdict::kinds::{Reason, Status};
use xsplice_link::verify::Outlook;

use crate::command::voice::Detail;
use crate::compare::proof::ProofSummary;
use crate::hunks::{Fate, HunkReport};
use crate::tell::report::Report;

const BOLD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(super) const DIM: Style = Style::new().dimmed();

/// What was compared, and what changed in it.
#[must_use]
pub(crate) fn changes(report: &Report<'_>, diffs: &[ObjectDiff<'_>], detail: Detail) -> String {
    let mut text = String::new();
    let inputs = &report.inputs;
    let differ = inputs.objects - inputs.equal - inputs.removed.len() - inputs.added.len();
    let _ = write!(
        text,
        "{}: {} equal, {differ} differ",
        count(inputs.objects, "object"),
        inputs.equal
    );
    for (names, what) in [(&inputs.added, "new"), (&inputs.removed, "gone")] {
        if !names.is_empty() {
            let _ = write!(text, ", {} {what}", names.len());
        }
    }
    let in_both = |diff: &ObjectDiff<'_>| {
        !inputs.added.contains(&diff.object) && !inputs.removed.contains(&diff.object)
    };
    let alike = diffs
        .iter()
        .filter(|diff| is_quiet(diff) && in_both(diff))
        .count();
    if alike != 0 {
        let _ = write!(text, ", {alike} of them in nothing that matters");
    }
    text.push('\n');
    text.push_str(&like_line_numbers(diffs));
    text.push_str(&gone(&inputs.removed, detail));
    for pattern in &inputs.idle_patterns {
        let _ = writeln!(text, "  --ignore-object {pattern}: matches nothing");
    }
    if detail >= Detail::Verbose {
        for name in &inputs.ignored_objects {
            let _ = writeln!(text, "  {name}: left out (--ignore-object)");
        }
    }
    for diff in diffs {
        object(&mut text, diff, detail);
    }
    for note in ripple(diffs).into_iter().chain(build_stamps(diffs)) {
        let _ = writeln!(text, "\n{note}");
    }
    text
}

/// The objects that only the original tree has; many in one line.
fn gone(removed: &[String], detail: Detail) -> String {
    /// More are counted.
    const NAMED_MAX: usize = 4;
    const GONE: &str = "only in the original tree; what it defines stays as it is";

    if removed.len() <= NAMED_MAX || detail >= Detail::Verbose {
        let lines = removed.iter().map(|name| format!("  {name}: {GONE}\n"));
        return lines.collect();
    }
    format!(
        "  {} and {} more objects are only in the original tree; what they define stays as it is\n",
        removed[..NAMED_MAX].join(", "),
        removed.len() - NAMED_MAX
    )
}

/// The functions that look like line numbers only, in one line; empty when there are none.
fn like_line_numbers(diffs: &[ObjectDiff<'_>]) -> String {
    /// More are counted.
    const NAMED_MAX: usize = 4;

    let functions = diffs.iter().flat_map(|diff| &diff.functions);
    let alike: Vec<&str> = functions
        .filter(|function| function.reasons.contains(&Reason::LooksLikeLineNumbers))
        .map(|function| function.name.as_str())
        .collect();
    let (look, them) = match alike.len() {
        0 => return String::new(),
        1 => ("looks", "it"),
        _ => ("look", "them"),
    };
    let mut names = alike[..alike.len().min(NAMED_MAX)].join(", ");
    if alike.len() > NAMED_MAX {
        let _ = write!(names, " and {} more", alike.len() - NAMED_MAX);
    }
    format!(
        "{} {look} like line numbers only, which is not proven ({names}): trees with -g prove it, \
         --src leaves lines where they are, --accept line-numbers leaves {them} out\n",
        count(alike.len(), "function")
    )
}

/// Whether an object has only differences that were proven not to matter.
pub(crate) fn is_quiet(diff: &ObjectDiff<'_>) -> bool {
    diff.verdict() == Verdict::Unchanged && diff.accepted.is_empty() && diff.notes.is_empty()
}

fn object(text: &mut String, diff: &ObjectDiff<'_>, detail: Detail) {
    let quiet = is_quiet(diff);
    if quiet && detail < Detail::Verbose {
        return;
    }
    let _ = writeln!(text, "\n{BOLD}{}{BOLD:#}", diff.object);
    if quiet && diff.ignored.is_empty() {
        let _ = writeln!(text, "  nothing that matters differs");
    }
    for function in &diff.functions {
        function_line(text, function);
    }
    for data in &diff.data {
        let status = status(data.status);
        let _ = writeln!(text, "  {status:<8} {} ({})", data.name, data.section);
    }
    if !diff.special_sections.is_empty() {
        let sections: Vec<_> = diff
            .special_sections
            .iter()
            .map(|special| {
                format!(
                    "{} of {}",
                    count_u64(special.entries, "entry", "entries"),
                    special.section
                )
            })
            .collect();
        let _ = writeln!(text, "  with     {}", sections.join(", "));
    }
    for note in &diff.notes {
        let _ = writeln!(text, "  note     {}: {}", note.name, note.note);
    }
    for accepted in &diff.accepted {
        let (what, message) = (&accepted.what, without_remedy(&accepted.message));
        let _ = writeln!(text, "  accepted {what}: {message}");
    }
    if detail >= Detail::Verbose {
        ignored_in(text, diff);
    }
}

fn ignored_in(text: &mut String, diff: &ObjectDiff<'_>) {
    for ignored in &diff.ignored {
        let _ = writeln!(
            text,
            "  {DIM}ignored  {}: {}{DIM:#}",
            ignored.name, ignored.why
        );
    }
}

/// Reports that nothing changed, and lists every ignored difference, because an expected change may
/// be among them.
#[must_use]
pub(crate) fn no_change(report: &Report<'_>, diffs: &[ObjectDiff<'_>], detail: Detail) -> String {
    let mut text = String::new();
    // With more detail they were listed before.
    if detail < Detail::Verbose {
        for name in &report.inputs.ignored_objects {
            let _ = writeln!(text, "  {name}: left out (--ignore-object)");
        }
        for diff in diffs.iter().filter(|diff| !diff.ignored.is_empty()) {
            let _ = writeln!(text, "\n{BOLD}{}{BOLD:#}", diff.object);
            ignored_in(&mut text, diff);
        }
        if !text.is_empty() {
            text.push('\n');
        }
    }
    text.push_str("no functional change: there is nothing to patch\n");
    if report.inputs.base.is_none() {
        text.push_str(
            "no linked image was named or found, so that the objects were not compared with one\n",
        );
    }
    if !report.changes.accepted.is_empty() {
        let _ = writeln!(
            text,
            "what was accepted is set by no hook, so no payload carries it and the running system \
             stays as it is there: {}",
            accepted(report)
        );
    }
    text
}

/// What was accepted, each value once.
fn accepted(report: &Report<'_>) -> String {
    let mut all: Vec<&str> = report
        .changes
        .accepted
        .iter()
        .map(|one| one.what.as_str())
        .collect();
    all.sort_unstable();
    all.dedup();
    all.join(", ")
}

fn function_line(text: &mut String, function: &FunctionChange) {
    let sizes = match function.status {
        Status::Changed => format!("{} -> {} bytes", function.old_size, function.new_size),
        Status::New => format!("{} bytes", function.new_size),
    };
    let status = status(function.status);
    let _ = writeln!(
        text,
        "  {status:<8} {BOLD}{}{BOLD:#}  {sizes}",
        function.name
    );
    for reason in &function.reasons {
        let _ = writeln!(text, "             {reason}");
    }
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Changed => "changed",
        Status::New => "new",
    }
}

/// What became of each hunk of the patch.
#[must_use]
pub(crate) fn hunks(patch: &str, hunks: &[HunkReport], detail: Detail) -> String {
    /// The full list is only printed with `-v`; hunks that need a look are always printed.
    const TOLD_MAX: usize = 12;

    let mut text = format!("\n{}{patch}: {}\n", left_out(hunks), fates(hunks));
    let tell_all = hunks.len() <= TOLD_MAX || detail >= Detail::Verbose;
    for hunk in hunks {
        let is_plain = matches!(
            hunk.fate,
            Fate::Payload | Fate::NoCode | Fate::Removed | Fate::Ignored
        );
        if is_plain && !tell_all {
            continue;
        }
        let names: Vec<&str> = hunk
            .functions
            .iter()
            .map(|item| item.name.as_str())
            .collect();
        let place = format!("{}:{}", hunk.file, hunk.new_start);
        let word = hunk.fate.word();
        let _ = match hunk.fate {
            // Refused hunks are printed in full below.
            Fate::Refused => writeln!(text, "  {BAD}{word}{BAD:#}  {place}"),
            Fate::Payload => writeln!(text, "  {word}  {place}  {}", names.join(", ")),
            _ => writeln!(text, "  {word}  {place}  {DIM}{}{DIM:#}", hunk.why),
        };
    }
    text
}

/// What was left out by name and has code of the patch, told before anything else.
fn left_out(hunks: &[HunkReport]) -> String {
    let blind: Vec<&HunkReport> = hunks
        .iter()
        .filter(|hunk| !hunk.left_out.is_empty())
        .collect();
    let objects: BTreeSet<&str> = blind
        .iter()
        .flat_map(|hunk| &hunk.left_out)
        .map(String::as_str)
        .collect();
    if objects.is_empty() {
        return String::new();
    }
    let objects: Vec<&str> = objects.into_iter().collect();
    format!(
        "{BAD}left out by name{BAD:#}: {}, with code of {}; whether the payload needs it is not \
         known\n",
        objects.join(", "),
        count(blind.len(), "hunk")
    )
}

/// `2 hunks in payload, 1 no code`.
#[must_use]
pub(crate) fn fates(hunks: &[HunkReport]) -> String {
    const ORDER: [Fate; 7] = [
        Fate::Payload,
        Fate::Refused,
        Fate::NotProvable,
        Fate::Accepted,
        Fate::Ignored,
        Fate::Removed,
        Fate::NoCode,
    ];
    let mut parts = Vec::new();
    for fate in ORDER {
        let number = hunks.iter().filter(|hunk| hunk.fate == fate).count();
        if number > 0 {
            let what = if parts.is_empty() {
                count(number, "hunk")
            } else {
                number.to_string()
            };
            parts.push(format!("{what} {}", fate.word()));
        }
    }
    parts.join(", ")
}

/// Lists new items that nothing in the running system would use.
#[must_use]
pub(crate) fn unused(diffs: &[ObjectDiff<'_>]) -> String {
    let functions = diffs.iter().flat_map(|diff| &diff.functions);
    let data = diffs.iter().flat_map(|diff| &diff.data);
    let names: Vec<&str> = functions
        .map(|function| function.name.as_str())
        .chain(data.map(|data| data.name.as_str()))
        .collect();
    format!(
        "\nnothing that runs refers to what is new ({}): no function changed, and there is no \
         hook\n",
        names.join(", ")
    )
}

/// How the original tree compares with the base.
#[must_use]
pub(crate) fn proof(proof: &ProofSummary, base: &str, detail: Detail) -> String {
    const SHOWN: usize = 3;
    let mut text = String::from("\n");
    let mut items = count(proof.proven, "function");
    if proof.constants != 0 {
        let _ = write!(items, " and {}", count(proof.constants, "constant"));
    }
    let objects = count(proof.objects, "object");
    let _ = writeln!(
        text,
        "proof: {base} holds {items} of {objects} as they were compiled"
    );
    for (what, failed) in [
        ("function", &proof.failed),
        ("constant", &proof.failed_constants),
    ] {
        if failed.is_empty() {
            continue;
        }
        let differ = count(failed.len(), what);
        let _ = writeln!(
            text,
            "  {BAD}{differ} otherwise{BAD:#}; is this the tree that the image was linked from?"
        );
        let shown = if detail >= Detail::Verbose {
            failed.len()
        } else {
            SHOWN
        };
        for failure in failed.iter().take(shown) {
            let _ = writeln!(text, "    {failure}");
        }
    }
    if detail >= Detail::Verbose {
        for name in &proof.unlinked {
            let _ = writeln!(text, "  {DIM}{name}: not linked into it{DIM:#}");
        }
        for name in &proof.foreign {
            let _ = writeln!(text, "  {DIM}{name}: not an x86-64 object{DIM:#}");
        }
    }
    text
}

/// Objects that the base was linked from and only the patched tree has.
#[must_use]
pub(crate) fn not_in_original(objects: &[(&str, u64)]) -> String {
    let lines = objects.iter().map(|(name, functions)| {
        let held = count_u64(*functions, "function", "functions");
        format!(
            "  {BAD}{name} is only in the patched tree{BAD:#}, and the base holds {held} of it: is \
             the original tree whole?\n"
        )
    });
    lines.collect()
}

/// The account in one line; `None` when there was no base to look at.
#[must_use]
pub(crate) fn account(account: Option<&Account>) -> String {
    match account {
        Some(account) => xsplice_account::tell::line(account),
        None => {
            "account: not made, since no base was found; name the image that runs with --base\n"
                .to_owned()
        }
    }
}

/// The payload, and what to do with it; `against` is what `verify` takes besides.
#[must_use]
pub(crate) fn payload(
    payload: &PayloadSummary,
    outlook: Option<&Outlook>,
    against: &str,
    dry_run: bool,
) -> String {
    let PayloadSummary {
        path,
        size,
        build_id,
        depends,
        sha1,
        functions,
    } = payload;
    let replaced = count(*functions, "function");
    let wrote = if dry_run { "would write" } else { "wrote" };
    let mut text = format!(
        "{GOOD}{wrote} {path}{GOOD:#}: {size} bytes, replaces {replaced}, passes verify\n  \
         build-id {build_id}\n  depends  {depends}\n  sha1     {sha1}\n"
    );
    if let Some(outlook) = outlook {
        let _ = write!(text, "{outlook}");
    }
    if !dry_run {
        let _ = write!(
            text,
            "\nread it:  xsplice-link inspect {path}\n\
             check it: xsplice-link verify {against} {path}\n"
        );
    }
    text
}

/// The note about a base that this run built itself.
#[must_use]
pub(crate) fn own_base(base: &str) -> String {
    format!(
        "\n{BOLD}It fits only a system that runs {base}{BOLD:#}, the image that was just built.\n\
         For a system that runs another build, give its image with --base and its objects with \
         --orig.\n"
    )
}

/// `1 function`, `2 functions`.
pub(crate) fn count(number: usize, what: &str) -> String {
    if number == 1 {
        format!("1 {what}")
    } else {
        format!("{number} {what}s")
    }
}

pub(super) fn count_u64(number: u64, one: &str, many: &str) -> String {
    if number == 1 {
        format!("1 {one}")
    } else {
        format!("{number} {many}")
    }
}
