//! What the author accepts, and which refusals that settles.
//!
//! `WHAT:NAME` comes from `--accept` or from the patched source (`XSPLICE_ACCEPT` of `xsplice.h`).
//! `WHAT` is a word for a kind of refusal, `NAME` the symbol, the section or the hunk. In `NAME`,
//! `*` matches any characters and `?` matches one; every other character matches itself, so that
//! `static-local:hits.0` means that variable alone. `WHAT` is never a pattern.
//!
//! A value of `--accept` that matches nothing is an error: it is misspelt, or the difference is
//! gone. The words `line-numbers` and `toolchain` name a kind and no thing, so they may stand in a
//! script that makes every payload. What the source accepts is not checked, for a header accepts it
//! in every object that includes it. `xsplice-diff` does not check either: it sees one object, and
//! is given what was accepted for the whole tree.

use thiserror::Error;

use crate::verdict::kinds::RefusalCode;
use crate::verdict::place::Place;

/// `WHAT` that leaves out functions that seem to differ in line numbers alone.
pub(crate) const LINE_NUMBERS: &str = "line-numbers";
/// `WHAT` that accepts different toolchains of the two builds.
pub(crate) const TOOLCHAIN: &str = "toolchain";
/// `WHAT` of a hunk.
const HUNK: &str = "hunk";

/// What may be accepted as a whole, too, and not by name alone.
const WHOLE: [&str; 2] = [LINE_NUMBERS, TOOLCHAIN];

/// Kinds of refusals that can be accepted by name, each with its word.
const BY_NAME: [(RefusalCode, &str); 17] = [
    (RefusalCode::ChangedData, "data"),
    (RefusalCode::ChangedBss, "bss"),
    (RefusalCode::ChangedRodata, "rodata"),
    (RefusalCode::ChangedInit, "init"),
    (RefusalCode::ChangedPerCpu, "per-cpu"),
    (RefusalCode::ChangedLinkerSet, "linker-set"),
    (RefusalCode::ChangedSection, "section"),
    (RefusalCode::ChangedAssembly, "assembly"),
    (RefusalCode::CommonSymbol, "common"),
    (RefusalCode::AmbiguousStaticLocal, "static-local"),
    (RefusalCode::ChangedLayout, "layout"),
    (RefusalCode::ChangedPrototype, "prototype"),
    (RefusalCode::DefinitionChanged, "definition"),
    (RefusalCode::HunkNotCompiled, HUNK),
    (RefusalCode::HunkNotInPayload, HUNK),
    (RefusalCode::HunkNotBuilt, HUNK),
    (RefusalCode::HunkAmbiguous, HUNK),
];

/// The word by which a kind of refusal is accepted; `None` for kinds that cannot be accepted.
#[must_use]
pub fn acceptable(code: RefusalCode) -> Option<&'static str> {
    let found = BY_NAME.iter().find(|(one, _)| *one == code);
    found.map(|(_, word)| *word)
}

/// How a refusal at a place can be accepted, as the end of a sentence; empty where it cannot.
#[must_use]
pub(crate) fn remedy(code: RefusalCode, place: &Place) -> String {
    acceptable(code)
        .zip(place.name())
        .map_or_else(String::new, |(word, name)| {
            format!("{HOW} {word}:{name} or XSPLICE_ACCEPT in the source")
        })
}

/// Begins how a refusal can be accepted.
const HOW: &str = ", then accept it with --accept";

/// A refusal's sentence without how to accept it, for what was accepted.
#[must_use]
pub fn without_remedy(message: &str) -> &str {
    message
        .split_once(HOW)
        .map_or(message, |(before, _)| before)
}

/// The words in front of a name.
fn words() -> Vec<&'static str> {
    let mut words: Vec<&str> = BY_NAME.iter().map(|(_, word)| *word).collect();
    words.dedup();
    words
}

/// A value of `--accept` that can never match.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AcceptError {
    /// No such word in front.
    #[error(
        "nothing is accepted by that word; it is WHAT:NAME with one of {}, or {} (the nearest \
         is {nearest})",
        words().join(", "),
        WHOLE.join(" or ")
    )]
    Unknown {
        /// The word that is most like it.
        nearest: &'static str,
    },
    /// A word that needs a name.
    #[error("say which, as in WHAT:NAME; the refusal names it")]
    NoName,
}

/// Reads a value of `--accept`.
///
/// # Errors
///
/// [`AcceptError`]. Whether the name is that of anything is not looked at: [`check_matched`] does,
/// when everything was compared.
pub fn accept_value(text: &str) -> Result<String, AcceptError> {
    let (what, name) = text.split_once(':').unwrap_or((text, ""));
    let words = words();
    if WHOLE.contains(&what) {
        return Ok(text.to_owned());
    }
    if !words.contains(&what) {
        let all = words.into_iter().chain(WHOLE);
        let nearest = all.min_by_key(|word| distance(word, what));
        return Err(AcceptError::Unknown {
            nearest: nearest.unwrap_or(LINE_NUMBERS),
        });
    }
    if name.is_empty() {
        return Err(AcceptError::NoName);
    }
    Ok(text.to_owned())
}

/// What the author accepts, in the order given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcceptList(Vec<String>);

impl AcceptList {
    /// Those of the options, and then those of the patched source.
    pub fn new(all: impl IntoIterator<Item = String>) -> AcceptList {
        AcceptList(all.into_iter().collect())
    }

    /// Whether one of `names` is accepted as `what`: then `WHAT:NAME`, with the name itself
    /// where a pattern was given.
    #[must_use]
    pub fn by_name(&self, what: &str, names: &[&str]) -> Option<String> {
        self.of(what).find_map(|pattern| {
            let name = names.iter().find(|name| matches(pattern, name))?;
            Some(format!("{what}:{name}"))
        })
    }

    /// Whether functions are left out that seem to differ in line numbers alone.
    #[must_use]
    pub(crate) fn accepts_line_numbers(&self, function: &str) -> bool {
        self.0.iter().any(|given| given == LINE_NUMBERS)
            || self.by_name(LINE_NUMBERS, &[function]).is_some()
    }

    /// `toolchain`, or `toolchain:REASON` as a macro has to write it.
    #[must_use]
    pub fn toolchain(&self) -> Option<String> {
        self.0.iter().find(|given| is_toolchain(given)).cloned()
    }

    /// The names or patterns of one word.
    fn of<'a>(&'a self, what: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter_map(move |given| given.strip_prefix(what)?.strip_prefix(':'))
    }
}

/// The value that accepts a hunk which touches `lines` of `file`: `hunk:FILE`, or `hunk:FILE:LINE`
/// with one of the lines. For a pattern: the name that it matched.
#[must_use]
pub fn of_hunk(given: &str, file: &str, lines: &std::ops::RangeInclusive<u64>) -> Option<String> {
    let pattern = given.strip_prefix(HUNK)?.strip_prefix(':')?;
    if matches(pattern, file) {
        return Some(format!("{HUNK}:{file}"));
    }
    let (pattern, line) = pattern.rsplit_once(':')?;
    let is_meant = lines.contains(&line.parse::<u64>().ok()?) && matches(pattern, file);
    is_meant.then(|| format!("{HUNK}:{file}:{line}"))
}

fn is_toolchain(given: &str) -> bool {
    given
        .strip_prefix(TOOLCHAIN)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

/// Whether a name matches a pattern: `*` is any characters, `?` is one.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut next) = (0, 0);
    // Position of the last star, and how much of the name it matches.
    let mut star = None;
    while next < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, next));
                at += 1;
            }
            Some(one) if *one == '?' || *one == name[next] => {
                at += 1;
                next += 1;
            }
            _ => {
                let Some((star_at, taken)) = star else {
                    return false;
                };
                star = Some((star_at, taken + 1));
                at = star_at + 1;
                next = taken + 1;
            }
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

/// How many characters must be put in, taken out or changed to make one text of another.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, against) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *against);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

/// What a run accepted, and what else could have been accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What was accepted, by name, or as given.
    pub accepted: Vec<String>,
    /// What was refused and can be accepted.
    pub refused: Vec<String>,
}

/// AcceptList that matched nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}", .0.join("\n"))]
pub struct Unmatched(Vec<String>);

/// Checks that every value of `--accept` matched something.
///
/// # Errors
///
/// [`Unmatched`], which names what is nearest to each.
pub fn check_matched(given: &[String], found: &Found) -> Result<(), Unmatched> {
    let is_matched = |given: &String| {
        let Some((what, pattern)) = given.split_once(':') else {
            return true;
        };
        is_toolchain(given)
            || found.accepted.iter().any(|accepted| {
                let name = accepted
                    .strip_prefix(what)
                    .and_then(|rest| rest.strip_prefix(':'));
                name.is_some_and(|name| matches(pattern, name))
            })
    };
    let unmatched: Vec<String> = given
        .iter()
        .filter(|given| !is_matched(given))
        .map(|given| {
            let all = found.refused.iter().chain(&found.accepted);
            let nearest = all.min_by_key(|one| (distance(one, given), (*one).clone()));
            let nearest = nearest.map_or_else(
                || "nothing here can be accepted by name".to_owned(),
                |nearest| format!("the nearest that can be accepted is {nearest}"),
            );
            format!("--accept {given}: matches nothing; {nearest}")
        })
        .collect();
    if unmatched.is_empty() {
        Ok(())
    } else {
        Err(Unmatched(unmatched))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        AcceptError, AcceptList, Found, accept_value, check_matched, matches, remedy,
        without_remedy,
    };
    use crate::verdict::kinds::RefusalCode;
    use crate::verdict::place::Place;

    #[test]
    fn a_word_that_accepts_nothing_is_an_error() {
        for sound in [
            "data:x",
            "data:opt_*",
            "layout:a:b",
            "hunk:f.c:3",
            "line-numbers",
            "line-numbers:f",
            "toolchain",
        ] {
            assert_eq!(accept_value(sound).as_deref(), Ok(sound));
        }
        for (unknown, nearest) in [("rodta:x", "rodata"), ("dta:x", "data"), ("dat*:x", "data")] {
            assert_eq!(
                accept_value(unknown),
                Err(AcceptError::Unknown { nearest }),
                "{unknown}"
            );
        }
        for unknown in ["nosuch", "", ":x", "*:x"] {
            let error = accept_value(unknown);
            assert!(
                matches!(error, Err(AcceptError::Unknown { .. })),
                "{unknown}"
            );
        }
        for nameless in ["data", "data:", "hunk"] {
            assert_eq!(
                accept_value(nameless),
                Err(AcceptError::NoName),
                "{nameless}"
            );
        }
    }

    #[test]
    fn stars_and_question_marks_alone_are_patterns() {
        for (pattern, name) in [
            ("opt_*", "opt_"),
            ("opt_*", "opt_watchdog"),
            ("*", ""),
            ("*_*_x", "a_b_c_x"),
            ("hits.?", "hits.0"),
            (".data.*", ".data.limit"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("opt_*", "popt_x"),
            ("hits.0", "hitsx0"),
            ("hits.?", "hits."),
            ("[ab]", "a"),
            ("*_x", "a_xy"),
            ("limit", "limits"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn what_was_accepted_is_told_without_how_to_accept_it() {
        let code = RefusalCode::ChangedData;
        let message = format!("it changed; set it{}", remedy(code, &Place::symbol("x")));
        assert!(message.ends_with("--accept data:x or XSPLICE_ACCEPT in the source"));
        assert_eq!(without_remedy(&message), "it changed; set it");
        assert_eq!(without_remedy("it changed"), "it changed");
    }

    #[test]
    fn a_pattern_does_not_cross_kinds_and_is_told_as_what_it_matched() {
        let given = AcceptList::new(["data:*".to_owned()]);
        let accepted = given.by_name("data", &["limit"]);
        assert_eq!(accepted.as_deref(), Some("data:limit"));
        assert_eq!(given.by_name("bss", &["limit"]), None);
        assert!(!given.accepts_line_numbers("limit"));
        assert_eq!(given.toolchain(), None);
    }

    #[test]
    fn one_that_matches_nothing_is_told_with_the_nearest() {
        let found = Found {
            accepted: vec!["data:opt_one".to_owned()],
            refused: vec!["bss:limit".to_owned(), "data:limit".to_owned()],
        };
        let check = |given: &str| {
            check_matched(&[given.to_owned()], &found).map_err(|error| error.to_string())
        };
        for sound in [
            "data:opt_*",
            "data:opt_one",
            "line-numbers",
            "toolchain:fix",
        ] {
            assert_eq!(check(sound), Ok(()), "{sound}");
        }
        let error = check("data:limti").unwrap_err();
        assert!(
            error.ends_with("the nearest that can be accepted is data:limit"),
            "{error}"
        );
        assert!(check("bss:opt_*").is_err());
        let nothing = check_matched(&["data:x".to_owned()], &Found::default());
        assert_eq!(
            nothing.unwrap_err().to_string(),
            "--accept data:x: matches nothing; nothing here can be accepted by name"
        );
    }
}
