//! Shows for each function of a diff why it is included: the chain of reasons, the source line of
//! the first difference, and the machine code of both builds side by side.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::report::object_diff::{FunctionChange, ObjectDiff};
use crate::tell::disassembly::{Code, Line, Row, listing, side_by_side};
use crate::tell::function_code::Codes;
use crate::verdict::kinds::Reason;

/// Instructions shown around a difference.
const CONTEXT: usize = 2;

/// Longest chain of "pulled in by" that is followed.
const CHAIN_MAX: usize = 32;

/// Explains every function of `diff`.
#[must_use]
pub fn explain(diff: &ObjectDiff<'_>) -> String {
    let mut out = String::new();
    let by_name: HashMap<&str, &FunctionChange> = diff
        .functions
        .iter()
        .map(|function| (function.name.as_str(), function))
        .collect();
    let codes = Codes::new(diff);
    for function in &diff.functions {
        line(&mut out, format_args!("\n{}:", function.name));
        if let Some(source) = &function.source {
            line(
                &mut out,
                format_args!("    first differs at {}:{}", source.file, source.line),
            );
        }
        for reason in &function.reasons {
            line(&mut out, format_args!("    {reason}"));
        }
        chain(function, &by_name, &mut out);
        if let Some(found) = codes.as_ref().map(|codes| codes.of(function))
            && let (Some(old), Some(new)) = (&found.old, &found.new)
        {
            code(old, new, &mut out);
            for part in &found.parts {
                let mut shown = String::new();
                code(&part.old, &part.new, &mut shown);
                if !shown.is_empty() {
                    line(&mut out, format_args!("    {}:", part.name));
                    out.push_str(&shown);
                }
            }
        }
    }
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("writing to a String does not fail");
}

/// Follows "refers to it" reasons back to a function that changed by itself.
fn chain(function: &FunctionChange, by_name: &HashMap<&str, &FunctionChange>, out: &mut String) {
    let mut at = function;
    for _ in 0..CHAIN_MAX {
        let Some(by) = at.reasons.iter().find_map(|reason| match reason {
            Reason::PulledIn { by } => Some(by.as_str()),
            _ => None,
        }) else {
            break;
        };
        let Some(next) = by_name.get(by) else { break };
        for reason in next.reasons.iter().take(1) {
            line(out, format_args!("    {by}: {reason}"));
        }
        at = next;
    }
}

/// The two builds of a function side by side, the parts that are the same left out.
fn code(old: &Code<'_>, new: &Code<'_>, out: &mut String) {
    let (old, new) = (listing(old), listing(new));
    let Some(rows) = side_by_side(&old, &new) else {
        line(out, format_args!("    (too long to lay side by side)"));
        return;
    };
    let differs: Vec<bool> = rows
        .iter()
        .map(|row| !matches!(row, Row::Same(..)))
        .collect();
    let mut last_shown = None;
    for (index, row) in rows.iter().enumerate() {
        let from = index.saturating_sub(CONTEXT);
        let to = (index + CONTEXT + 1).min(rows.len());
        if !differs[from..to].iter().any(|differs| *differs) {
            continue;
        }
        if last_shown.is_some_and(|last| last + 1 < index) {
            line(out, format_args!("      ..."));
        }
        last_shown = Some(index);
        show(row, &old, &new, out);
    }
}

fn show(row: &Row, old: &[Line], new: &[Line], out: &mut String) {
    let mut one = |mark: char, shown: &Line| {
        line(
            out,
            format_args!("    {mark} +{:<6x} {}", shown.offset, shown.text),
        );
    };
    match *row {
        Row::Same(_, j) => one(' ', &new[j]),
        Row::Changed(i, j) => {
            one('-', &old[i]);
            one('+', &new[j]);
        }
        Row::Removed(i) => one('-', &old[i]),
        Row::Added(j) => one('+', &new[j]),
    }
}
