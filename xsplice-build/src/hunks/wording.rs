//! Tells whether the text of a hunk changes more than comments and blanks.
//!
//! Only the hunk is read, not the rest of the file. When in doubt a line counts as code: one with a
//! quotation mark beside a comment, or with the end of a comment that began earlier.

use crate::source::patch_file::{ChangedLine, Hunk, Side};

/// Whether both sides of a hunk are the same once comments and blanks are taken out of each.
#[must_use]
pub(crate) fn changes_comments_alone(hunk: &Hunk) -> bool {
    words(hunk, Side::Old) == words(hunk, Side::New)
}

/// Whether a line may be a statement or a part of one: no directive, and more than brackets, blanks
/// and what looks like a line of a comment.
#[must_use]
pub(crate) fn is_statement(line: &str) -> bool {
    const BRACKETS: &[char] = &['{', '}', '(', ')', ';', ',', ' '];
    /// What begins the declaration of a type, or of something that is defined elsewhere.
    const DECLARING: [&str; 5] = ["typedef", "extern", "struct", "union", "enum"];
    let code = without_comment(line);
    let code = code.trim();
    let first = code
        .split(|mark: char| !mark.is_ascii_alphanumeric() && mark != '_')
        .next();
    let declares = first.is_some_and(|word| DECLARING.contains(&word));
    if declares && !code.contains('=') {
        return false;
    }
    let looks_like_comment = code == "*"
        || ["* ", "*/", "/*"]
            .iter()
            .any(|start| code.starts_with(start));
    !code.trim_matches(BRACKETS).is_empty() && !code.starts_with('#') && !looks_like_comment
}

fn words(hunk: &Hunk, side: Side) -> Vec<String> {
    let lines: Vec<&ChangedLine> = hunk
        .changes
        .iter()
        .filter(|line| line.side == side)
        .collect();
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        at += 1;
        if let Some((before, length)) = long_comment(&lines[at - 1..]) {
            push_words(before, &mut words);
            at += length - 1;
            continue;
        }
        push_words(&without_comment(&line.text), &mut words);
    }
    words
}

fn push_words(code: &str, words: &mut Vec<String>) {
    words.extend(code.split_whitespace().map(str::to_owned));
    // In a preprocessor line, the line end is significant.
    if code.trim_start().starts_with('#') {
        words.push("\n".to_owned());
    }
}

/// A comment that begins in the first line and ends some lines below, all of them changed and
/// without a gap, with nothing behind it: what stands before it, and how many lines it has.
fn long_comment<'line>(lines: &[&'line ChangedLine]) -> Option<(&'line str, usize)> {
    let first = lines.first()?;
    let (before, inside) = first.text.split_once("/*")?;
    if before.contains(['"', '\'', '\\']) || before.contains("//") || inside.contains("*/") {
        return None;
    }
    let mut number = first.number;
    for (count, line) in lines.iter().enumerate().skip(1) {
        number += 1;
        if line.number != number || line.text.contains("/*") {
            return None;
        }
        if let Some((_, behind)) = line.text.split_once("*/") {
            return behind.trim().is_empty().then_some((before, count + 1));
        }
    }
    None
}

/// The line without the comment that begins in it, where this is certain.
fn without_comment(line: &str) -> String {
    if line.contains(['"', '\'', '\\']) {
        return line.to_owned();
    }
    let mut code = String::new();
    let mut rest = line;
    loop {
        let (slashes, star) = (rest.find("//"), rest.find("/*"));
        match (slashes, star) {
            (Some(at), star) if star.is_none_or(|star| at < star) => {
                // What ends here began before this line.
                if rest[at..].contains("*/") {
                    return line.to_owned();
                }
                code.push_str(&rest[..at]);
                return code;
            }
            (_, Some(at)) => {
                let Some((inside, after)) = rest[at + 2..].split_once("*/") else {
                    return line.to_owned();
                };
                debug_assert!(!inside.contains("*/"));
                code.push_str(&rest[..at]);
                code.push(' ');
                rest = after;
            }
            (_, None) => {
                code.push_str(rest);
                return if rest.contains("*/") {
                    line.to_owned()
                } else {
                    code
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{is_statement, without_comment};

    #[test]
    fn comments_go_and_code_stays() {
        assert_eq!(without_comment("f(); // x").trim(), "f();");
        assert_eq!(
            without_comment("a /* x */ b")
                .split_whitespace()
                .collect::<Vec<_>>(),
            ["a", "b"]
        );
    }

    #[test]
    fn statements_are_told_from_what_carries_no_code() {
        for line in [
            "    r &= 0xff;",
            "} else {",
            "*p = 1;",
            "f(\"/*\");",
            "int x;",
            "struct s x = { 1 };",
            "structure(1);",
        ] {
            assert!(is_statement(line), "{line}");
        }
        for line in [
            "",
            "  }",
            "});",
            "#endif",
            " * text",
            " */",
            "/* x",
            "// x",
            "/* x */ }",
            "typedef unsigned int word;",
            "extern int x;",
            "struct s {",
        ] {
            assert!(!is_statement(line), "{line}");
        }
    }

    #[test]
    fn what_may_lie_in_a_string_or_an_older_comment_is_code() {
        for line in [
            "f(\"//\", 1);",
            "x // y */ f(1);",
            "x */ f(1);",
            "f(); /* x",
        ] {
            assert_eq!(without_comment(line), line);
        }
    }
}
