//! The pages behind `--explain-code`: what a refusal or a reason means, with an example and the
//! ways out.
//!
//! The text is that of `docs/refusals.md` and `docs/reasons.md`, compiled in, so that what a
//! person reads on the web and in the terminal cannot differ. One chapter is one page.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

const REFUSALS: &str = include_str!("../../../docs/refusals.md");
const REASONS: &str = include_str!("../../../docs/reasons.md");

const HEADING: Style = Style::new().bold();
const LITERAL: Style = AnsiColor::Cyan.on_default();

/// The greatest edit distance at which an existing code is suggested for a misspelt one.
const TYPO_DISTANCE_MAX: usize = 3;
/// In a short word, at most one letter in this many may be wrong.
const LETTERS_A_TYPO: usize = 3;

/// Which of the two documents a page is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A refusal.
    Refusal,
    /// A reason why a function is included.
    Reason,
}

/// The page of one code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodePage {
    /// The code, in kebab-case.
    pub code: &'static str,
    /// What it is a code of.
    pub kind: Kind,
    /// The page without its heading, in Markdown.
    pub text: &'static str,
}

/// A code that has no page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--explain-code {code}: there is no such code{}", suggestion(*near))]
pub struct UnknownCode {
    code: String,
    near: Option<&'static str>,
}

fn suggestion(near: Option<&str>) -> String {
    match near {
        Some(near) => format!("; did you mean {near}? --explain-code list names them all"),
        None => "; --explain-code list names them all".to_owned(),
    }
}

/// Every page, refusals first.
pub fn pages() -> impl Iterator<Item = CodePage> {
    chapters(REFUSALS, Kind::Refusal).chain(chapters(REASONS, Kind::Reason))
}

fn chapters(document: &'static str, kind: Kind) -> impl Iterator<Item = CodePage> {
    // The text before the first heading is about the document, not about a code.
    document.split("\n## ").skip(1).map(move |chapter| {
        let (code, text) = chapter.split_once('\n').unwrap_or((chapter, ""));
        CodePage {
            code: code.trim(),
            kind,
            text: text.trim(),
        }
    })
}

/// The page of `code`.
///
/// # Errors
///
/// There is none; the nearest code is offered.
pub fn find(code: &str) -> Result<CodePage, UnknownCode> {
    let wanted = code
        .trim()
        .trim_matches(['[', ']'])
        .to_ascii_lowercase()
        .replace('_', "-");
    pages()
        .find(|page| page.code == wanted)
        .ok_or_else(|| UnknownCode {
            code: code.to_owned(),
            near: nearest(&wanted),
        })
}

fn nearest(wanted: &str) -> Option<&'static str> {
    pages()
        .map(|page| (distance(wanted, page.code), page.code))
        .min()
        .filter(|(distance, _)| *distance <= TYPO_DISTANCE_MAX.min(wanted.len() / LETTERS_A_TYPO))
        .map(|(_, code)| code)
}

/// How many single insertions, deletions and replacements lead from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

/// What `--explain-code CODE` prints; `list` names every code.
///
/// # Errors
///
/// [`UnknownCode`] when there is no such page.
pub fn explain(code: &str) -> Result<String, UnknownCode> {
    if code == "list" {
        return Ok(list());
    }
    let page = find(code)?;
    let mut text = format!("{HEADING}{}{HEADING:#}\n\n", page.code);
    for line in page.text.lines() {
        let _ = if line.starts_with("    ") {
            writeln!(text, "{LITERAL}{line}{LITERAL:#}")
        } else if line == "Example:" || line == "Ways out:" {
            writeln!(text, "{HEADING}{line}{HEADING:#}")
        } else {
            writeln!(text, "{}", line.replace('`', ""))
        };
    }
    Ok(text)
}

fn list() -> String {
    let mut text = String::new();
    for (kind, title) in [
        (Kind::Refusal, "Why there is no payload"),
        (Kind::Reason, "Why a function is in the payload"),
    ] {
        let _ = writeln!(text, "{HEADING}{title}{HEADING:#}");
        for page in pages().filter(|page| page.kind == kind) {
            let _ = writeln!(text, "  {}", page.code);
        }
        text.push('\n');
    }
    text.push_str("One page each: xsplice-build --explain-code CODE\n");
    text
}

#[cfg(test)]
mod tests {
    use super::{Kind, distance, explain, find, pages};

    #[test]
    fn every_page_has_an_example_and_says_what_to_do() {
        for page in pages() {
            let next = match page.kind {
                Kind::Refusal => "Ways out:\n\n- ",
                Kind::Reason => "What to look at:",
            };
            assert!(page.text.contains("Example:\n\n    "), "{}", page.code);
            assert!(page.text.contains(next), "{}", page.code);
        }
    }

    #[test]
    fn a_refusal_says_who_says_it() {
        for page in pages().filter(|page| page.kind == Kind::Refusal) {
            assert!(page.text.starts_with("Said by `xsplice-"), "{}", page.code);
        }
    }

    #[test]
    fn a_code_is_found_as_people_write_it() {
        for written in ["changed-data", "[changed-data]", "CHANGED_DATA"] {
            assert_eq!(find(written).map(|page| page.code), Ok("changed-data"));
        }
    }

    #[test]
    fn a_misspelt_code_gets_a_suggestion_and_nonsense_gets_none() {
        let error = explain("chnged-data").expect_err("misspelt").to_string();
        assert!(error.contains("did you mean changed-data?"), "{error}");
        for nonsense in ["zzzzzzzzzzzz", "foo"] {
            let error = explain(nonsense).expect_err("nonsense").to_string();
            assert!(!error.contains("did you mean"), "{error}");
            assert!(error.contains("--explain-code list"), "{error}");
        }
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("hook", "hook"), 0);
        assert_eq!(distance("hok", "hook"), 1);
        assert_eq!(distance("", "hook"), 4);
    }
}
