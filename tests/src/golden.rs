//! What the tools say about a case, as one page, `run.md`; compared with the committed one, whose
//! difference is shown, and which is rewritten only when asked to by `XSPLICE_BLESS=1`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use similar::TextDiff;

/// Name of the page inside a case.
pub const PAGE: &str = "run.md";

/// One run of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The command as one would type it.
    pub command: String,
    /// Exit status.
    pub status: String,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// What `--json -` prints instead of standard output.
    pub report: String,
    /// The listing of the payload, where one was made.
    pub payload: Option<String>,
}

/// Headings of the chapters, in their order. A chapter with nothing in it is not there.
const STDOUT: &str = "Standard output";
const STDERR: &str = "Standard error";
const REPORT: &str = "Report of --json -";
const LISTING: &str = "Payload";

const FENCE: &str = "```";

impl Page {
    /// The page as text; `title` is the case's name.
    ///
    /// # Errors
    /// When a text would end its own block.
    pub fn render(&self, title: &str) -> Result<String> {
        let mut page = format!(
            "# {title}\n\n    {}\n\nExit status {}.\n",
            self.command, self.status
        );
        for (heading, language, text) in [
            (STDOUT, "text", self.stdout.as_str()),
            (STDERR, "text", self.stderr.as_str()),
            (REPORT, "json", self.report.as_str()),
            (LISTING, "text", self.payload.as_deref().unwrap_or_default()),
        ] {
            if text.is_empty() {
                continue;
            }
            ensure!(
                !text.contains(FENCE) && text.ends_with('\n'),
                "{heading}: no text that a block can hold:\n{text}"
            );
            page.push_str(&format!(
                "\n## {heading}\n\n{FENCE}{language}\n{text}{FENCE}\n"
            ));
        }
        Ok(page)
    }

    /// Reads what [`Page::render`] wrote.
    ///
    /// # Errors
    /// When the page has no command or no status.
    pub fn parse(page: &str) -> Result<Page> {
        let chapter = |heading: &str| -> Option<String> {
            let (_, rest) = page.split_once(&format!("\n## {heading}\n\n{FENCE}"))?;
            let (_, text) = rest.split_once('\n')?;
            Some(text.split_once(FENCE)?.0.to_owned())
        };
        let between = |start: &str, end: &str| {
            let (_, rest) = page.split_once(start)?;
            Some(rest.split_once(end)?.0.to_owned())
        };
        Ok(Page {
            command: between("\n\n    ", "\n").context("no command")?,
            status: between("\nExit status ", ".\n").context("no exit status")?,
            stdout: chapter(STDOUT).unwrap_or_default(),
            stderr: chapter(STDERR).unwrap_or_default(),
            report: chapter(REPORT).unwrap_or_default(),
            payload: chapter(LISTING),
        })
    }
}

/// Whether this run rewrites expected files.
#[must_use]
pub fn blessing() -> bool {
    std::env::var_os("XSPLICE_BLESS").is_some_and(|value| value == "1")
}

/// Fails with a diff when `actual` is not what `file` holds.
///
/// # Errors
/// When they differ, or the file cannot be read or, when blessing, written.
pub fn compare(file: &Path, actual: &str) -> Result<()> {
    let expected = match fs::read_to_string(file) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("{}: not read", file.display())),
    };
    if expected.as_deref() == Some(actual) {
        return Ok(());
    }
    if blessing() {
        return fs::write(file, actual)
            .with_context(|| format!("{}: not rewritten", file.display()));
    }
    let expected_text = expected.unwrap_or_default();
    let diff = TextDiff::from_lines(expected_text.as_str(), actual);
    bail!(
        "{} is not what came out (XSPLICE_BLESS=1 rewrites it):\n{}",
        file.display(),
        diff.unified_diff().header("expected", "actual")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_as_it_was_written() {
        let whole = Page {
            command: "xsplice-diff a b".to_owned(),
            status: "2".to_owned(),
            stdout: "told\n\n## Payload\n".to_owned(),
            stderr: "refused\n".to_owned(),
            report: "{}\n".to_owned(),
            payload: Some("sections\n".to_owned()),
        };
        let bare = Page {
            command: "xsplice-diff a b".to_owned(),
            status: "3".to_owned(),
            ..Page::default()
        };
        for page in [whole, bare] {
            let text = page.render("name").unwrap();
            assert_eq!(Page::parse(&text).unwrap(), page, "{text}");
        }
    }

    #[test]
    fn a_text_that_would_end_its_block_is_no_page() {
        for text in ["a\n```\n", "no line end"] {
            let page = Page {
                stdout: text.to_owned(),
                ..Page::default()
            };
            assert!(page.render("name").is_err(), "{text:?}");
        }
    }
}
