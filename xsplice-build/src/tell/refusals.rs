//! Why no payload was made: the causes first, what has one cause once, and each place by name.

use std::collections::BTreeMap;
use std::fmt::Write;

use xsplice_diff::verdict::causes::{Rank, by_cause, rank};
use xsplice_diff::verdict::refusal::Refusal;

use crate::command::voice::Detail;
use crate::tell::story::{BAD, DIM, count};

/// Fewer refusals of one cause are said each by itself.
const MANY_OF_ONE_CAUSE: usize = 3;

/// How many places of one cause are named, unless more detail is asked for.
const PLACES_MAX: usize = 12;

/// How many of the objects differ in something that matters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    /// So many.
    pub(crate) differ: usize,
    /// Of so many.
    pub(crate) of: usize,
}

impl Share {
    /// What so many suggest: no fix changes most of a tree. Empty for fewer, and for small trees.
    fn suggestion(self) -> String {
        const FEW: usize = 20;
        if self.differ < FEW || self.differ * 2 < self.of {
            return String::new();
        }
        format!(
            "  {} of {} objects differ: were both trees built from one source and configuration, \
             with the same compiler and flags?\n",
            self.differ, self.of
        )
    }
}

/// The refusals, each with what would make it right. `refusals` has the causes first.
#[must_use]
pub(crate) fn refusals(refusals: &[Refusal], share: Share, detail: Detail) -> String {
    let mut text = String::new();
    let reasons = count(refusals.len(), "reason");
    let _ = writeln!(
        text,
        "{BAD}refused{BAD:#}: no payload was made, for {reasons}:"
    );
    text.push_str(&share.suggestion());
    text.push_str(&by_code(refusals));
    let builds = refusals
        .iter()
        .take_while(|refusal| rank(refusal.code) == Rank::Builds)
        .count();
    let (causes, rest) = refusals.split_at(builds);
    let are_rest_left_out = builds != 0 && rest.len() > PLACES_MAX && detail < Detail::Verbose;
    let told = if are_rest_left_out { causes } else { refusals };
    for (sentence, group) in by_cause(told) {
        if group.len() < MANY_OF_ONE_CAUSE {
            for refusal in &group {
                let _ = writeln!(text, "  {refusal}\n    {DIM}[{}]{DIM:#}", word(refusal));
            }
        } else {
            of_one_cause(&mut text, &sentence, &group, detail);
        }
    }
    if are_rest_left_out {
        let _ = writeln!(
            text,
            "the other {} may come from that alone; -v, --json and --html name them",
            count(rest.len(), "reason")
        );
    }
    if let Some(first) = refusals.first() {
        let code = word(first);
        let _ = writeln!(
            text,
            "{DIM}what a code means: xsplice-build --explain-code {code}{DIM:#}"
        );
    }
    text
}

/// The sentence once, and the places.
fn of_one_cause(text: &mut String, sentence: &str, group: &[&Refusal], detail: Detail) {
    let places = count(group.len(), "place");
    let _ = writeln!(text, "  {places}: {sentence}");
    if let Some(code) = group.first().map(|refusal| word(refusal)) {
        let _ = writeln!(text, "    {DIM}[{code}]{DIM:#}");
    }
    let shown = match detail {
        Detail::Verbose => group.len(),
        _ => group.len().min(PLACES_MAX),
    };
    for refusal in &group[..shown] {
        let _ = writeln!(text, "    {}", refusal.whereabouts());
    }
    if shown < group.len() {
        let more = group.len() - shown;
        let _ = writeln!(
            text,
            "    and {more} more, which -v, --json and --html name"
        );
    }
}

/// The code of a refusal, as it is written.
fn word(refusal: &Refusal) -> String {
    xsplice_diff::html::word(refusal.code)
}

/// How many refusals have which code, the most frequent first, where there are many.
fn by_code(refusals: &[Refusal]) -> String {
    /// Fewer can be counted by eye.
    const MANY: usize = 8;
    if refusals.len() < MANY {
        return String::new();
    }
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for refusal in refusals {
        *counts.entry(word(refusal)).or_default() += 1;
    }
    let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let counts = counts.iter().map(|(code, count)| format!("{count} {code}"));
    format!("  {}\n", counts.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use xsplice_diff::verdict::kinds::RefusalCode;
    use xsplice_diff::verdict::refusal::Refusal;

    use super::{Detail, Share, refusals};

    const FEW: Share = Share { differ: 1, of: 40 };

    fn init(number: usize) -> Refusal {
        let problem = format!("ran at boot; accept it with --accept init:setup_{number}");
        Refusal::new(RefusalCode::ChangedInit, "f.o", problem).of(format!("setup_{number}"))
    }

    #[test]
    fn one_cause_is_said_once_with_its_places() {
        let all: Vec<Refusal> = (0..40).map(init).collect();
        let text = refusals(&all, FEW, Detail::Normal);
        assert_eq!(text.matches("ran at boot").count(), 1, "{text}");
        assert!(text.contains("40 places: ran at boot; accept it with --accept init:NAME"));
        assert!(text.contains("f.o (setup_11)\n    and 28 more"), "{text}");
        let whole = refusals(&all, FEW, Detail::Verbose);
        assert!(
            whole.contains("f.o (setup_39)") && !whole.contains(" more,"),
            "{whole}"
        );
        // Two are said each by itself, with the names to accept.
        let two = refusals(&all[..2], FEW, Detail::Normal);
        assert!(two.contains("--accept init:setup_0") && two.contains("--accept init:setup_1"));
    }

    #[test]
    fn what_follows_from_other_builds_is_counted_and_what_does_not_is_told() {
        let first = |code| Refusal::new(code, "a.o", "built otherwise");
        let with = |code| -> Vec<Refusal> {
            let all = std::iter::once(first(code));
            all.chain((0..40).map(init)).collect()
        };
        let toolchain = with(RefusalCode::ToolchainDiffers);
        let text = refusals(&toolchain, FEW, Detail::Normal);
        assert!(
            text.contains("the other 40 reasons may come from that alone"),
            "{text}"
        );
        assert!(!text.contains("ran at boot"), "{text}");
        let whole = refusals(&toolchain, FEW, Detail::Verbose);
        assert!(whole.contains("f.o (setup_39)"), "{whole}");
        // Another base makes no difference between the two builds.
        let proof = refusals(&with(RefusalCode::ProofFailed), FEW, Detail::Normal);
        assert!(
            proof.contains("ran at boot") && !proof.contains("alone"),
            "{proof}"
        );
    }

    #[test]
    fn a_tree_that_differs_as_a_whole_is_asked_about() {
        let ask = |share| refusals(&[init(1)], share, Detail::Normal).contains("objects differ:");
        assert!(ask(Share {
            differ: 437,
            of: 448
        }));
        assert!(!ask(Share {
            differ: 130,
            of: 448
        }));
        assert!(!ask(Share { differ: 3, of: 3 }));
    }
}
