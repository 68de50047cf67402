//! Where messages go, and how many there are: decided by `-q`, `-v` and the target of the JSON
//! report.

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
    // A failure to print must not stop the run: the payload matters more.
    let _ = json::tell(arguments.json.as_deref(), text);
}

/// What is wrong goes to standard error.
pub fn complain(text: &str) {
    // If standard error is closed, the exit status still tells.
    let _ = terminal::complain(text);
}
