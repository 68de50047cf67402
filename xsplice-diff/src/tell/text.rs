//! The report for a person.

use std::fmt::Write as _;

use crate::report::object_diff::{FunctionChange, ObjectDiff, Verdict};
use crate::verdict::kinds::Status;

/// Level of detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What is included.
    Changes,
    /// Also what was ignored.
    Everything,
}

/// Appends the report of one object to `out`; refusals are left to [`refusals`].
pub fn render(diff: &ObjectDiff<'_>, detail: Detail, out: &mut String) {
    let object = &diff.object;
    if diff.verdict() == Verdict::Unchanged {
        line(out, format_args!("{object}: no functional change"));
    }
    for function in &diff.functions {
        render_function(function, out);
    }
    for datum in &diff.data {
        let status = match datum.status {
            Status::Changed => "changed",
            Status::New => "new",
        };
        line(
            out,
            format_args!(
                "{object}: {} ({status} data in {})",
                datum.name, datum.section
            ),
        );
    }
    for special in &diff.special_sections {
        line(
            out,
            format_args!(
                "{object}: {}: {} entries included",
                special.section, special.entries
            ),
        );
    }
    for note in &diff.notes {
        line(
            out,
            format_args!("{object}: {}: note: {}", note.name, note.note),
        );
    }
    for accepted in &diff.accepted {
        line(
            out,
            format_args!("accepted ({}): {}", accepted.what, accepted.message),
        );
    }
    // Ignored differences are listed when nothing changed: an expected change may be among them.
    if detail == Detail::Everything || diff.verdict() == Verdict::Unchanged {
        for ignored in &diff.ignored {
            line(
                out,
                format_args!("{object}: {}: ignored: {}", ignored.name, ignored.why),
            );
        }
    }
}

/// The refusals of one object, a line each.
#[must_use]
pub fn refusals(diff: &ObjectDiff<'_>) -> String {
    let mut out = String::new();
    for refusal in &diff.refusals {
        line(&mut out, format_args!("{refusal}"));
    }
    out
}

fn render_function(function: &FunctionChange, out: &mut String) {
    let object = &function.object;
    let name = &function.name;
    match function.status {
        Status::Changed => line(
            out,
            format_args!(
                "{object}: {name} (changed, {} -> {} bytes)",
                function.old_size, function.new_size
            ),
        ),
        Status::New => line(
            out,
            format_args!("{object}: {name} (new, {} bytes)", function.new_size),
        ),
    }
    for reason in &function.reasons {
        line(out, format_args!("    {reason}"));
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("writing to a String does not fail");
}
