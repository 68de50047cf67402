//! Failed checks of a payload that was just linked, as refusals: it is not written.

use crate::error::{Refusal, RefusalCode};
use crate::options::{LinkOptions, StacksOn};
use crate::verify::{CheckKind, Verification};

/// The failed checks. A mismatch of an id that an option gave is no failure: the option names
/// another base, or a stack that is not at hand.
#[must_use]
pub fn refusals(verification: &Verification, options: &LinkOptions) -> Vec<Refusal> {
    let is_asked_for = |check: CheckKind| match check {
        CheckKind::BaseId => options.base_id.is_some(),
        CheckKind::Depends => matches!(options.stacks_on, StacksOn::Id(_)),
        _ => false,
    };
    // The loader stops at the first fault. Where that is an id that was asked for, its answer tells
    // nothing else; for the deny list it repeats, less precisely, what that check says.
    let is_met_first = |check: CheckKind| {
        check == CheckKind::TrialLoad
            && verification
                .failures()
                .any(|failed| is_asked_for(failed.check) || failed.check == CheckKind::RecordDenied)
    };
    let failures = verification
        .failures()
        .filter(|check| !is_asked_for(check.check) && !is_met_first(check.check));
    let so = match verification.loader.is_taken() {
        true => "the loader would take the payload, which would not have its intended effect",
        false => "the loader would not take the payload",
    };
    let refusals = failures.map(|check| {
        let message = format!(
            "{}: {}; {so}, so it is not written: change the fix, or the options that it was made \
             with",
            check.check.name(),
            check.message
        );
        Refusal::new(RefusalCode::VerifyFailed, &verification.payload, message)
    });
    refusals.collect()
}
