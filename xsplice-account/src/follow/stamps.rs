//! Texts that tell when something was built: each build writes them anew, so a base that tells
//! another time is as good.
//!
//! Judged anew, by this file's own words: both texts are the same once each whole date and each
//! time with seconds is taken out, and there is one in both.

/// Names that dates are written with, by their first letters.
const MONTHS: &str = "jan feb mar apr may jun jul aug sep oct nov dec";
const DAYS: &str = "mon tue wed thu fri sat sun";
/// Letters by which such names are told.
const LETTERS: usize = 3;

/// What a word of a text is, once numbers that tell a time are taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Time,
    Date,
    Month,
    Day,
    /// A number beside a month, a time or a zone.
    Number,
    Zone,
    Count,
    Other(String),
}

/// Whether two texts, each up to its first zero, differ in a date or time alone.
///
/// Shortcut S29: what is left once dates and times are taken out is equal.
pub(super) fn differ_in_time(ours: &[u8], theirs: &[u8]) -> bool {
    let (Some(ours), Some(theirs)) = (text(ours), text(theirs)) else {
        return false;
    };
    let (ours, theirs) = (parts(ours), parts(theirs));
    let has = |part: &Part| ours.contains(part);
    let is_date = has(&Part::Date) || (has(&Part::Month) && has(&Part::Number));
    ours == theirs && (has(&Part::Time) || is_date)
}

fn text(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    str::from_utf8(&bytes[..end]).ok()
}

fn parts(text: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = text.split_ascii_whitespace().map(part).collect();
    // A number is part of a date where what stands beside it is.
    for index in 0..parts.len() {
        let is_number = matches!(&parts[index], Part::Other(word)
            if matches!(word.len(), 1 | 2 | 4) && word.bytes().all(|byte| byte.is_ascii_digit()));
        let beside = [index.checked_sub(1), index.checked_add(1)];
        let mut beside = beside.into_iter().flatten().filter_map(|at| parts.get(at));
        let belongs =
            beside.any(|part| matches!(part, Part::Month | Part::Number | Part::Time | Part::Zone));
        if is_number && belongs {
            parts[index] = Part::Number;
        }
    }
    parts
}

fn part(word: &str) -> Part {
    let word = word.trim_matches(|mark: char| "(),;[]".contains(mark));
    let shape: String = word
        .chars()
        .map(|mark| if mark.is_ascii_digit() { '0' } else { mark })
        .collect();
    let lower = word.to_ascii_lowercase();
    let named = |names: &str| {
        word.len() >= LETTERS
            && word.bytes().all(|byte| byte.is_ascii_alphabetic())
            && lower
                .get(..LETTERS)
                .is_some_and(|start| names.split(' ').any(|name| name == start))
    };
    match shape.as_str() {
        "00:00:00" | "0:00:00" => Part::Time,
        "0000-00-00" | "0000/00/00" | "00.00.0000" => Part::Date,
        "+0000" | "-0000" => Part::Zone,
        _ if shape.starts_with("0000-00-00T00:00:00") => Part::Time,
        _ if named(MONTHS) => Part::Month,
        _ if named(DAYS) => Part::Day,
        _ if matches!(word, "UTC" | "GMT" | "AM" | "PM") => Part::Zone,
        _ if word.len() <= 4 && word.ends_with('T') && word == word.to_ascii_uppercase() => {
            Part::Zone
        }
        _ if shape.strip_prefix('#').is_some_and(|number| {
            !number.is_empty() && number.bytes().all(|byte| byte == b'0')
        }) =>
        {
            Part::Count
        }
        _ => Part::Other(word.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::differ_in_time;

    #[test]
    fn times_of_a_build_and_nothing_else() {
        for (one, other) in [
            ("12:00:01", "12:00:02"),
            ("Jan  1 2026", "Dec 31 2026"),
            (
                "Thu Jan 1 00:00:00 UTC 2026",
                "Fri Jul 31 17:45:12 CEST 2026",
            ),
            ("6.1 #1 SMP Thu Jan 1 2026", "6.1 #27 SMP Mon Feb 9 2026"),
            ("1 January 2026", "2 February 2026"),
            ("2026/01/01", "2026/02/02"),
            ("2026-01-01T00:00:00Z", "2026-01-02T10:00:00+01:00"),
            ("12:00:01 AM", "11:00:02 PM"),
            ("12:00:01 +0200", "12:00:02 -0330"),
            ("12:00:01 EST", "12:00:02 CEST"),
        ] {
            let (one, other) = (format!("{one}\0"), format!("{other}\0"));
            assert!(
                differ_in_time(one.as_bytes(), other.as_bytes()),
                "{one} {other}"
            );
        }
        for (one, other) in [
            ("10:31", "11:02"),
            ("retry #1", "retry #2"),
            ("May fail", "Jun fail"),
            ("4.17 of Jan 1 2026", "4.18 of Feb 2 2026"),
            ("1 of 2", "2 of 2"),
            ("UTC 1", "UTC 2"),
            ("May be", "May not be"),
            ("2026-01-01", "12:00:01"),
            ("12:00:01 LONGEST", "12:00:02 SHORTEST"),
            ("12:00:01 ABC", "12:00:02 XYZ"),
            ("12:00:01 eST", "12:00:02 fST"),
            ("12:00:01 Ja", "12:00:02 Fe"),
            ("12:00:01 Jan1", "12:00:02 Feb2"),
            ("12:00:01 #", "12:00:02 #1"),
            ("12:00:01 #1a", "12:00:02 #2b"),
        ] {
            let (one, other) = (format!("{one}\0"), format!("{other}\0"));
            assert!(
                !differ_in_time(one.as_bytes(), other.as_bytes()),
                "{one} {other}"
            );
        }
        assert!(!differ_in_time(b"12:00:01", b"12:00:02"), "no end");
    }
}
