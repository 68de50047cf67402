//! Prints for people: results to standard output, messages to standard error.
//!
//! On a terminal that is narrower than a line, the line is broken between words and goes on
//! indented, so that the columns of a report stay readable. Into a pipe or a file every line goes
//! out whole. A closed pipe, as after `head`, is no error.

use std::borrow::Cow;
use std::error::Error;
use std::io::{self, Write};
use std::iter::successors;

use terminal_size::{Width, terminal_size_of};
use textwrap::{Options, WordSplitter};

/// How much deeper the rest of a broken line stands than its start.
const HANG: &str = "    ";

/// Least width in columns: a terminal that reports less is not believed.
const COLUMNS_MIN: u16 = 20;

/// Prints a result.
///
/// # Errors
///
/// Standard output cannot be written; a closed pipe is no error.
pub fn print(text: &str) -> io::Result<()> {
    let columns = terminal_size_of(io::stdout()).map(|(Width(columns), _)| columns);
    send(&fit(text, columns), &mut anstream::stdout().lock())
}

/// Prints what programs read: every line whole, whatever the terminal.
///
/// # Errors
///
/// As [`print`].
pub fn print_whole(text: &str) -> io::Result<()> {
    send(text, &mut io::stdout().lock())
}

/// Prints a message.
///
/// # Errors
///
/// As [`print`], of standard error.
pub fn complain(text: &str) -> io::Result<()> {
    let columns = terminal_size_of(io::stderr()).map(|(Width(columns), _)| columns);
    send(&fit(text, columns), &mut anstream::stderr().lock())
}

/// An error and its causes. A cause that the error's text already quotes is not repeated.
#[must_use]
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in successors(error.source(), |&cause| cause.source()) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

fn send(text: &str, out: &mut impl Write) -> io::Result<()> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// `text` with no line longer than `columns`, as far as its words allow.
fn fit(text: &str, columns: Option<u16>) -> Cow<'_, str> {
    let Some(columns) = columns.filter(|columns| *columns >= COLUMNS_MIN) else {
        return Cow::Borrowed(text);
    };
    let columns = usize::from(columns);
    let is_narrow = |line: &str| textwrap::core::display_width(line) <= columns;
    if text.lines().all(is_narrow) {
        return Cow::Borrowed(text);
    }
    let mut fitted = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (line, end) = match line.strip_suffix('\n') {
            Some(line) => (line, "\n"),
            None => (line, ""),
        };
        if is_narrow(line) {
            fitted.push_str(line);
        } else {
            let blank = line.len() - line.trim_start_matches(' ').len();
            let indent = format!("{}{HANG}", &line[..blank]);
            // Paths and hashes stay whole, to be copied.
            let options = Options::new(columns)
                .subsequent_indent(&indent)
                .break_words(false)
                .word_splitter(WordSplitter::NoHyphenation);
            fitted.push_str(&textwrap::wrap(line, options).join("\n"));
        }
        fitted.push_str(end);
    }
    Cow::Owned(fitted)
}

#[cfg(test)]
mod tests {
    use super::{fit, with_causes};

    #[test]
    fn a_cause_that_is_quoted_is_not_said_again() {
        #[derive(Debug, thiserror::Error)]
        #[error("{path}: cannot be read: {source}")]
        struct Quoting {
            path: &'static str,
            source: std::io::Error,
        }
        let quoting = Quoting {
            path: "a.o",
            source: std::io::Error::other("gone"),
        };
        let error = anyhow::Error::from(quoting).context("--deny");
        assert_eq!(
            with_causes(error.as_ref()),
            "--deny: a.o: cannot be read: gone"
        );
    }

    #[test]
    fn a_long_line_goes_on_indented_and_short_ones_stay() {
        let text = "short\n  a line of more than twenty columns\n";
        let fitted = "short\n  a line of more\n      than twenty\n      columns\n";
        assert_eq!(fit(text, Some(20)), fitted);
        assert_eq!(fit(text, Some(80)), text);
    }

    #[test]
    fn without_a_terminal_nothing_is_broken() {
        let text = "a line of more than twenty columns\n";
        assert_eq!(fit(text, None), text);
        // A terminal that does not know its size says zero.
        assert_eq!(fit(text, Some(0)), text);
    }

    #[test]
    fn what_is_copied_stays_whole_and_colours_take_no_room() {
        let hash = "c050cdc1bd5e40d3aa00b2409935243afb09d07e";
        assert_eq!(
            fit(&format!("  sha1 {hash}"), Some(20)),
            format!("  sha1\n      {hash}")
        );
        let coloured = "\u{1b}[1mtwenty columns, bold\u{1b}[0m";
        assert_eq!(fit(coloured, Some(20)), coloured);
    }
}
