//! Brings together what is known of each function.

use crate::extract::Record;
use crate::report::object_diff::{FunctionChange, ObjectDiff};
use crate::tell::disassembly::Code;
use crate::tell::function_code::{Codes, FunctionCode, PartCode};
use crate::tell::referrers::Referrer;

use super::Callers;

/// A function of the page.
#[derive(Debug)]
pub struct Function<'a> {
    /// Where links to it lead: never made from a name.
    pub anchor: String,
    /// Its entry in the report.
    pub change: &'a FunctionChange,
    /// Its record in the extract; `None` for a new function, and when something was refused.
    pub record: Option<&'a Record<'a>>,
    /// The original code; `None` for a new function, and when something was refused.
    pub old: Option<Code<'a>>,
    /// The new code; `None` when something was refused.
    pub new: Option<Code<'a>>,
    /// Its out-of-line parts.
    pub parts: Vec<PartCode<'a>>,
    /// Who refers to it.
    pub referrers: &'a [Referrer],
    /// Further facts: names, and HTML.
    pub facts: Vec<(&'static str, String)>,
}

/// All functions, in the order of the report.
#[must_use]
pub fn functions_of<'a>(diffs: &'a [ObjectDiff<'a>], callers: &'a Callers) -> Vec<Function<'a>> {
    let mut functions = Vec::new();
    for diff in diffs {
        let codes = Codes::new(diff);
        for change in &diff.functions {
            let index = functions.len();
            let found = codes.as_ref().map(|codes| codes.of(change));
            let FunctionCode {
                record,
                old,
                new,
                parts,
            } = found.unwrap_or_default();
            functions.push(Function {
                anchor: format!("function-{}", index + 1),
                change,
                record,
                old,
                new,
                parts,
                referrers: callers.of.get(index).map_or(&[], Vec::as_slice),
                facts: Vec::new(),
            });
        }
    }
    functions
}
