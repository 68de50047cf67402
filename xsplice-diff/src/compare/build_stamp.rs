//! Recognises texts that differ in every build: dates, times, build numbers.
//!
//! What differs in nothing but whole dates, or times with seconds, is no change: this is what
//! compilers put for `__DATE__` and `__TIME__`, and build systems for what `date` says. What makes
//! it a stamp is shown. Anything less, such as `10:31` or `#2`, may as well be what the author
//! changed; a function that differs only in that gets a label.

use std::collections::BTreeMap;

use crate::compare::comparer::Comparer;
use crate::read::items::ItemId;
use crate::read::side::Build;
use crate::verdict::kinds::{BUILD_STAMP, Ignored, Reason};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
/// Months and days of the week are written out or cut to this many letters.
const SHORT_LETTERS: usize = 3;

/// What stands around words.
const AROUND: [char; 6] = [',', ';', '(', ')', '[', ']'];
/// Colons of a time that has seconds.
const SECONDS_COLONS: usize = 2;

/// Kinds of words in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word<'text> {
    /// `10:31`, `10:31:07`, `2026-01-31T10:31:07Z`
    Clock,
    /// `2026-01-31`
    Date,
    /// `Jan`, `January`
    Month,
    /// `Thu`, `Thursday`
    Weekday,
    /// The day of a month, next to the month's name.
    Day,
    /// The year, in a text that has a month.
    Year,
    /// `UTC`, `CEST`, `+0200`, `PM`, in a text that has a clock.
    Zone,
    /// `#12`: how often this tree was built.
    BuildNumber,
    /// Anything else.
    Other(&'text str),
}

/// Whether two texts differ, and in nothing but dates, times and build numbers.
#[must_use]
pub(crate) fn is_build_stamp(old: &str, new: &str) -> bool {
    old != new && {
        let (old, new) = (words(old), words(new));
        let tells_time = |word: &Word<'_>| {
            matches!(
                word,
                Word::Clock | Word::Date | Word::Month | Word::BuildNumber
            )
        };
        old == new && old.iter().any(tells_time)
    }
}

/// Takes functions that differ in stamps beyond doubt out of what changed.
///
/// Shortcut S13: a compiler writes these anew each time; the report names each text, for an author
/// may have written one.
pub(crate) fn leave_out(
    object: &str,
    patched: &Build<'_>,
    changed: &mut BTreeMap<ItemId, Vec<Reason>>,
) -> Vec<Ignored> {
    let mut left_out = Vec::new();
    changed.retain(|item, reasons| {
        let Some(why) = proof(reasons) else {
            return true;
        };
        left_out.push(Ignored {
            object: object.to_owned(),
            name: patched.shown(*item),
            why,
        });
        false
    });
    left_out
}

/// A datum that holds a text which differs in a stamp beyond doubt.
pub(crate) fn leave_out_text(
    object: &str,
    comparer: &Comparer<'_, '_>,
    o: ItemId,
    p: ItemId,
) -> Option<Ignored> {
    Some(Ignored {
        object: object.to_owned(),
        name: comparer.patched.shown(p),
        why: proof_of_text(comparer, o, p)?,
    })
}

/// Why a function whose reasons these are has not changed, if they are all stamps beyond doubt.
fn proof(reasons: &[Reason]) -> Option<String> {
    let mut said = Vec::new();
    for reason in reasons {
        match reason {
            Reason::StringDiffers { old, new, .. } => said.push(said_of(old, new)?),
            Reason::LooksLikeBuildStamp => {}
            _ => return None,
        }
    }
    said.dedup();
    (!said.is_empty()).then(|| format!("{BUILD_STAMP}{}", said.join("; ")))
}

/// The same for a datum that holds a text.
fn proof_of_text(comparer: &Comparer<'_, '_>, o: ItemId, p: ItemId) -> Option<String> {
    let (old, new) = (text(comparer.original, o)?, text(comparer.patched, p)?);
    Some(format!("{BUILD_STAMP}{}", said_of(old, new)?))
}

/// What differs between two texts, if it is whole dates and times alone, and their kind.
fn said_of(old: &str, new: &str) -> Option<String> {
    let kind = is_build_stamp(old, new).then(|| whole(old))??;
    (whole(new)? == kind).then(|| format!("{new:?}, was {old:?}: {kind}"))
}

/// What the text of an item without relocations says.
fn text<'data>(build: &Build<'data>, item: ItemId) -> Option<&'data str> {
    if !build.relocation_range(item).is_empty() {
        return None;
    }
    let bytes = build.bytes(item);
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let is_filled = bytes[end..].iter().all(|byte| *byte == 0);
    let text = str::from_utf8(&bytes[..end]).ok()?;
    (is_filled && !text.is_empty()).then_some(text)
}

/// Whether a text tells a point of time that nobody writes by hand: a date with its year, or a time
/// with seconds; and which.
fn whole(text: &str) -> Option<&'static str> {
    let words = words(text);
    let has = |word: Word<'_>| words.contains(&word);
    let is_date = has(Word::Date) || (has(Word::Month) && has(Word::Day) && has(Word::Year));
    let plain = text.split_whitespace();
    let is_time = plain
        .map(|word| word.trim_matches(AROUND))
        .filter(|word| is_clock(word))
        .any(|word| word.matches(':').count() >= SECONDS_COLONS);
    match (is_date, is_time) {
        (true, true) => Some("a date and a time"),
        (true, false) => Some("a date"),
        (false, true) => Some("a time of day with seconds"),
        (false, false) => None,
    }
}

/// The label for a function whose reasons are all texts of this kind.
pub(crate) fn label(reasons: &[Reason]) -> Option<Reason> {
    let all = reasons.iter().all(|reason| {
        matches!(reason, Reason::StringDiffers { old, new, .. } if is_build_stamp(old, new))
    });
    (all && !reasons.is_empty()).then_some(Reason::LooksLikeBuildStamp)
}

fn words(text: &str) -> Vec<Word<'_>> {
    let plain: Vec<&str> = text
        .split_whitespace()
        .map(|word| word.trim_matches(AROUND))
        .collect();
    let has = |is: fn(&str) -> bool| plain.iter().any(|word| is(word));
    let (has_month, has_clock) = (has(is_month), has(is_clock));
    let beside_month = |at: usize| {
        let near = [at.checked_sub(1), at.checked_add(1)];
        near.into_iter()
            .flatten()
            .filter_map(|at| plain.get(at))
            .any(|word| is_month(word))
    };
    plain
        .iter()
        .enumerate()
        .map(|(at, &word)| match word {
            _ if is_clock(word) => Word::Clock,
            _ if is_date(word) => Word::Date,
            _ if is_month(word) => Word::Month,
            _ if is_one_of(word, &WEEKDAYS) => Word::Weekday,
            _ if is_day(word) && beside_month(at) => Word::Day,
            _ if is_year(word) && has_month => Word::Year,
            _ if is_zone(word) && has_clock => Word::Zone,
            _ if is_build_number(word) => Word::BuildNumber,
            _ => Word::Other(word),
        })
        .collect()
}

/// Whether a text consists of digits and marks as `shape` does, where `0` stands for any digit.
fn has_shape(text: &str, shape: &str) -> bool {
    text.len() == shape.len()
        && text
            .bytes()
            .zip(shape.bytes())
            .all(|(byte, mark)| match mark {
                b'0' => byte.is_ascii_digit(),
                mark => byte == mark,
            })
}

fn is_clock(word: &str) -> bool {
    const SHAPES: [&str; 4] = ["00:00:00", "00:00", "0:00:00", "0:00"];
    // A date and a time in one word; what follows is the zone.
    let is_point = |date: &str, clock: &str| {
        let clock = SHAPES.first().and_then(|shape| clock.get(..shape.len()));
        is_date(date) && clock.is_some_and(is_clock)
    };
    SHAPES.iter().any(|shape| has_shape(word, shape))
        || word
            .split_once('T')
            .is_some_and(|(date, clock)| is_point(date, clock))
}

fn is_date(word: &str) -> bool {
    ["0000-00-00", "0000/00/00", "00.00.0000"]
        .iter()
        .any(|shape| has_shape(word, shape))
}

fn is_month(word: &str) -> bool {
    is_one_of(word, &MONTHS)
}

fn is_one_of(word: &str, names: &[&str]) -> bool {
    names
        .iter()
        .any(|name| word == *name || name.get(..SHORT_LETTERS) == Some(word))
}

fn is_day(word: &str) -> bool {
    has_shape(word, "00") || has_shape(word, "0")
}

fn is_year(word: &str) -> bool {
    has_shape(word, "0000") && (word.starts_with("19") || word.starts_with("20"))
}

fn is_zone(word: &str) -> bool {
    let is_name = (3..=4).contains(&word.len())
        && word.bytes().all(|byte| byte.is_ascii_uppercase())
        && (word.ends_with('T') || word == "UTC");
    is_name || ["AM", "PM"].contains(&word) || has_shape(word, "+0000") || has_shape(word, "-0000")
}

fn is_build_number(word: &str) -> bool {
    word.strip_prefix('#').is_some_and(|digits| {
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::{is_build_stamp, said_of};

    #[test]
    fn whole_dates_and_times_are_beyond_doubt() {
        for (old, new) in [
            ("10:31:07", "11:02:07"),
            ("Jan  1 2026", "Dec 31 2026"),
            (
                "Thu Jan  1 00:00:00 UTC 2026",
                "Fri Jul 31 17:45:12 CEST 2026",
            ),
            (
                "Linux 6.1 #1 SMP Thu Jan 1 2026",
                "Linux 6.1 #27 SMP Mon Feb 9 2026",
            ),
            ("2026-01-01T00:00:00Z", "2026-01-02T10:00:00+01:00"),
            ("1 January 2026", "31 December 2026"),
            ("Jan  1 1999", "Dec 31 2026"),
            ("10:31:07 AM", "11:02:08 PM"),
            ("10:31:07 +0200", "11:02:08 -0330"),
        ] {
            assert!(said_of(old, new).is_some(), "{old:?} {new:?}");
        }
        for (old, new) in [
            ("10:31", "11:02"),
            ("retry #1", "retry #2"),
            ("May", "Jun"),
            ("Jan 1", "Feb 2"),
            ("10:31:07", "10:31:07"),
            ("4.17 of Jan  1 2026", "4.18 of Feb  2 2026"),
            ("Jan 2026", "Feb 2026"),
            ("Jan  1 of 2026", "Feb of  2 2026"),
            ("2026-01-01", "10:31:07"),
        ] {
            assert!(said_of(old, new).is_none(), "{old:?} {new:?}");
        }
    }

    #[test]
    fn dates_times_and_build_numbers_are_stamps() {
        for (old, new) in [
            ("10:31", "11:02:07"),
            (
                "Thu Jan  1 00:00:00 UTC 2026",
                "Fri Jul 31 17:45:12 CEST 2026",
            ),
            ("Jan  1 2026", "Dec 31 2026"),
            ("built 2026-01-01 (12:00)", "built 2026-02-03 (13:30)"),
            ("2026-01-01T00:00:00Z", "2026-01-02T10:00:00+01:00"),
            ("Linux 6.1 #1 SMP Thu Jan 1", "Linux 6.1 #27 SMP Mon Feb 9"),
        ] {
            assert!(is_build_stamp(old, new), "{old:?} {new:?}");
        }
    }

    #[test]
    fn anything_else_in_a_text_is_no_stamp() {
        for (old, new) in [
            ("10:31", "10:31"),
            ("version 4.17", "version 4.18"),
            ("Xen 4.17 of Jan 1", "Xen 4.18 of Feb 2"),
            ("1 of 2", "2 of 2"),
            ("10:31", "later"),
            ("May fail", "May succeed"),
            ("port 1:00:00", "device 1:00:00"),
            ("port 1", "port 1,"),
            // What is a day, a year or a zone beside something else only.
            ("10:31 of 1", "10:32 of 2"),
            ("10:31 in 2025", "10:32 in 2026"),
            ("2026-01-01 UTC", "2026-01-02 CEST"),
            ("Jan 1 3026", "Jan 1 4026"),
            ("Jan 1 20a", "Jan 1 20b"),
            // What looks like one in part.
            ("2026-01-01Tnone", "2026-01-02Tsome"),
            ("AT10:31:07", "BT10:31:07"),
            ("10:31 LONGEST", "10:32 SHORTEST"),
            ("10:31 goT", "10:32 seT"),
            ("10:31 ABC", "10:32 XYZ"),
            ("10:31 T", "10:32 AT"),
            ("Jan 1 #", "Jan 1 #2"),
            ("Jan 1 #1a", "Jan 1 #2b"),
        ] {
            assert!(!is_build_stamp(old, new), "{old:?} {new:?}");
        }
    }
}
