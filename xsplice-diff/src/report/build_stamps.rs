//! Says what differs in dates and times that every build writes anew.

use crate::report::object_diff::ObjectDiff;
use crate::verdict::kinds::Reason;

/// Items whose texts are shown; the JSON report has all.
const SHOWN_MAX: usize = 4;

/// The line about dates and times that were left out, and the one about functions that look as if
/// they differed in nothing else.
#[must_use]
pub fn build_stamps(diffs: &[ObjectDiff<'_>]) -> Vec<String> {
    [left_out(diffs), included(diffs)]
        .into_iter()
        .flatten()
        .collect()
}

fn left_out(diffs: &[ObjectDiff<'_>]) -> Option<String> {
    let all: Vec<String> = diffs
        .iter()
        .flat_map(|diff| &diff.ignored)
        .filter(|ignored| ignored.is_build_stamp())
        .map(|ignored| format!("{} ({}) {}", ignored.name, ignored.object, ignored.why))
        .collect();
    let more = match all.len().saturating_sub(SHOWN_MAX) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    (!all.is_empty()).then(|| {
        format!(
            "left out: {}{more}; --with-stamps replaces them",
            all[..all.len().min(SHOWN_MAX)].join("; ")
        )
    })
}

/// Objects in which every function that is included has the label.
fn included(diffs: &[ObjectDiff<'_>]) -> Option<String> {
    let objects: Vec<&str> = diffs
        .iter()
        .filter(|diff| is_stamped(diff))
        .map(|diff| diff.object.as_str())
        .collect();
    let verb = match objects.len() {
        0 => return None,
        1 => "differs",
        _ => "differ",
    };
    Some(format!(
        "{} {verb} in nothing but what every build writes anew (dates, times, build numbers); give \
         both builds one date (Xen: XEN_BUILD_DATE and XEN_BUILD_TIME; Linux: \
         KBUILD_BUILD_TIMESTAMP)",
        objects.join(", ")
    ))
}

fn is_stamped(diff: &ObjectDiff<'_>) -> bool {
    let labelled = diff
        .functions
        .iter()
        .all(|function| function.reasons.contains(&Reason::LooksLikeBuildStamp));
    labelled && !diff.functions.is_empty() && diff.data.is_empty() && diff.refusals.is_empty()
}
