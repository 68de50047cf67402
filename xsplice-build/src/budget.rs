//! Limits for the size of a change (`--max-functions`, `--max-bytes`). A release process sets them
//! so that a fix that turns out larger than intended is reviewed before it ships.

use xsplice_diff::verdict::kinds::RefusalCode;
use xsplice_diff::verdict::kinds::Status;
use xsplice_diff::verdict::refusal::Refusal;

use crate::command::arguments::Arguments;
use crate::tell::report::Report;
use crate::tell::story::count;

/// Refuses what exceeds the limits of the command line.
#[must_use]
pub fn exceeded(arguments: &Arguments, report: &Report<'_>) -> Vec<Refusal> {
    let replaced = report
        .changes
        .functions
        .iter()
        .filter(|function| function.status == Status::Changed)
        .count();
    let new_bytes: u64 = report
        .changes
        .functions
        .iter()
        .map(|function| function.new_size)
        .sum();
    let mut all = Vec::new();
    if let Some(limit) = arguments.max_functions
        && replaced > limit
    {
        all.push(format!(
            "{} would be replaced, and --max-functions allows {limit}; split \
             the fix, find out which functions change needlessly (--explain), or raise the limit",
            count(replaced, "function")
        ));
    }
    if let Some(limit) = arguments.max_bytes
        && new_bytes > limit
    {
        all.push(format!(
            "{new_bytes} bytes of code would be new, and --max-bytes allows {limit}; split the \
             fix, find out which functions change needlessly (--explain), or raise the limit"
        ));
    }
    let tree = &report.inputs.patched;
    all.into_iter()
        .map(|message| Refusal::new(RefusalCode::OverBudget, tree, message))
        .collect()
}
