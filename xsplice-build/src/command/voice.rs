//! Where what is told goes: by `-q`, `-v` and where the JSON report is written to.

use xsplice_console::{json, terminal};

use crate::command::arguments::Arguments;
use crate::command::progress::Visibility;

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Errors alone.
    Quiet,
    /// The story.
    Normal,
    /// Every object that was looked at, every difference that was ignored.
    Verbose,
}

/// How much `-q` and `-v` ask for.
#[must_use]
pub fn detail(arguments: &Arguments) -> Detail {
    match (arguments.quiet, arguments.verbose) {
        (true, _) => Detail::Quiet,
        (false, true) => Detail::Verbose,
        (false, false) => Detail::Normal,
    }
}

/// Whether progress is shown.
#[must_use]
pub fn visibility(arguments: &Arguments) -> Visibility {
    if arguments.quiet {
        Visibility::Hidden
    } else {
        Visibility::Auto
    }
}

/// The story goes to standard output, unless that is for the JSON report.
pub fn tell(arguments: &Arguments, text: &str) {
    if arguments.quiet {
        return;
    }
    // The payload matters more than that its story is heard.
    let _ = json::tell(arguments.json.as_deref(), text);
}

/// What is wrong goes to standard error.
pub fn complain(text: &str) {
    // Nobody may be listening; the exit status says it too.
    let _ = terminal::complain(text);
}
