//! Names objects that differ only in dates, times and build numbers.

use crate::report::object_diff::ObjectDiff;
use crate::verdict::kinds::Reason;

/// The line about objects that differ only in such texts; `None` when there are none.
#[must_use]
pub fn build_stamps(diffs: &[ObjectDiff<'_>]) -> Option<String> {
    let objects: Vec<&str> = diffs
        .iter()
        .filter(|diff| is_stamped(diff))
        .map(|diff| diff.object.as_str())
        .collect();
    let first = objects.first()?;
    let verb = if objects.len() == 1 {
        "differs"
    } else {
        "differ"
    };
    Some(format!(
        "{} {verb} in nothing but what every build writes anew (dates, times, build numbers); give \
         both builds one date (Xen: XEN_BUILD_DATE and XEN_BUILD_TIME; Linux: \
         KBUILD_BUILD_TIMESTAMP), or leave it out with --ignore-object '{first}'",
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
