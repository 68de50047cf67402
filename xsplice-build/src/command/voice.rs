//! Where messages go, and how many there are: decided by `-q`, `-v` and the target of the JSON
//! report.

use std::sync::{Arc, Mutex, PoisonError};

use anstream::adapter::strip_str;
use xsplice_console::{json, terminal};

use crate::command::arguments::Arguments;
use crate::command::progress::Visibility;

/// What a run has to say, kept instead of printed.
#[derive(Clone, Debug, Default)]
pub struct Story(Arc<Mutex<String>>);

impl Story {
    fn add(&self, text: &str) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // It goes into a file, where nobody sees colours.
        told.push_str(&strip_str(text).to_string());
    }

    /// What was said so far.
    pub(crate) fn text(&self) -> String {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.clone()
    }
}

/// Level of detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Detail {
    /// Errors alone.
    Quiet,
    /// The story.
    Normal,
    /// Every object that was looked at, every difference that was ignored.
    Verbose,
}

/// How much `-q` and `-v` ask for.
#[must_use]
pub(crate) fn detail(arguments: &Arguments) -> Detail {
    match (arguments.quiet, arguments.verbose) {
        (true, _) => Detail::Quiet,
        (false, true) => Detail::Verbose,
        (false, false) => Detail::Normal,
    }
}

/// Whether progress is shown.
#[must_use]
pub(crate) fn visibility(arguments: &Arguments) -> Visibility {
    if arguments.quiet || arguments.story.is_some() {
        Visibility::Hidden
    } else {
        Visibility::Auto
    }
}

/// The story goes to standard output, unless that is for the JSON report.
pub(crate) fn tell(arguments: &Arguments, text: &str) {
    if let Some(story) = &arguments.story {
        story.add(text);
        return;
    }
    if arguments.quiet {
        return;
    }
    // A failure to print must not stop the run: the payload matters more.
    let _ = json::tell(arguments.json.as_deref(), text);
}

/// What is wrong goes to standard error.
pub(crate) fn complain(arguments: &Arguments, text: &str) {
    if let Some(story) = &arguments.story {
        story.add(text);
        return;
    }
    // If standard error is closed, the exit status still tells.
    let _ = terminal::complain(text);
}
