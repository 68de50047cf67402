//! What is asked of the kernel and what it answers, in words: requests, actions, states.

use std::fmt;
use std::time::Duration;
use xsplice_abi::Errno;
pub use xsplice_abi::action::ActionKind;
use xsplice_abi::hypercall::{STATE_APPLIED, STATE_CHECKED};

/// What the kernel was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Load and check.
    Upload,
    /// State and result.
    Get,
    /// Names and states.
    List,
    /// Change a state.
    Action(ActionKind),
    /// Facts about the kernel.
    Info,
    /// What the console key prints.
    Dump,
    /// A command of the test kernel.
    Test,
}

impl fmt::Display for Request {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Request::Upload => "upload",
            Request::Get => "get",
            Request::List => "list",
            Request::Action(action) => action.word(),
            Request::Info => "info",
            Request::Dump => "dump",
            Request::Test => "test",
        })
    }
}

/// State of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Loaded and checked.
    Checked,
    /// In effect.
    Applied,
    /// A number that this tool does not know.
    Unknown(u32),
}

impl State {
    pub(crate) fn from_number(number: u32) -> State {
        match number {
            STATE_CHECKED => State::Checked,
            STATE_APPLIED => State::Applied,
            other => State::Unknown(other),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Checked => out.write_str("CHECKED"),
            State::Applied => out.write_str("APPLIED"),
            State::Unknown(number) => write!(out, "unknown state {number:#x}"),
        }
    }
}

/// State, and result of the last action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Where it is.
    pub state: State,
    /// 0, or a negated error number; `-EAGAIN` while an action is in progress.
    pub rc: i32,
}

impl Status {
    /// Whether an action on it has been scheduled and has not ended.
    #[must_use]
    pub fn in_progress(self) -> bool {
        Errno::from_return(self.rc) == Some(Errno::EAGAIN)
    }
}

/// What the operator takes the responsibility for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waived {
    /// Nothing: the kernel decides.
    #[default]
    Nothing,
    /// Of an apply or a check: the dependency need not be on top of the stack.
    Dependency,
    /// Of a revert: words of data that the kernel has changed since stay as they are.
    ChangedWords,
}

/// How long the kernel waits for its CPUs; 0 is the kernel's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelTimeout {
    /// In nanoseconds.
    pub ns: u32,
}

impl KernelTimeout {
    /// The longest that the call's field holds.
    pub const MAX: Duration = Duration::from_nanos(u32::MAX as u64);
}
