//! What is asked of the kernel and what it answers, in words: requests, actions, states.

use std::fmt;
use std::time::Duration;
use xsplice_abi::Errno;
use xsplice_abi::hypercall::{
    ACTION_APPLY, ACTION_CHECK, ACTION_REPLACE, ACTION_REVERT, ACTION_UNLOAD, STATE_APPLIED,
    STATE_CHECKED,
};

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

/// What can be done to a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionKind {
    /// Forget it.
    Unload,
    /// Take it out of effect.
    Revert,
    /// Put it into effect, on top of the others.
    Apply,
    /// Put it into effect, and all others out of it.
    Replace,
    /// Would apply work now?
    Check,
}

impl ActionKind {
    /// As the command line has it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            ActionKind::Unload => "unload",
            ActionKind::Revert => "revert",
            ActionKind::Apply => "apply",
            ActionKind::Replace => "replace",
            ActionKind::Check => "check",
        }
    }

    /// The state that a payload has to be in.
    #[must_use]
    pub fn allowed(self) -> State {
        match self {
            ActionKind::Revert => State::Applied,
            ActionKind::Unload | ActionKind::Apply | ActionKind::Replace | ActionKind::Check => {
                State::Checked
            }
        }
    }

    /// The state that it is in afterwards; `None` when it is gone.
    #[must_use]
    pub fn expected(self) -> Option<State> {
        match self {
            ActionKind::Unload => None,
            ActionKind::Revert | ActionKind::Check => Some(State::Checked),
            ActionKind::Apply | ActionKind::Replace => Some(State::Applied),
        }
    }

    pub(crate) fn number(self) -> u32 {
        match self {
            ActionKind::Unload => ACTION_UNLOAD,
            ActionKind::Revert => ACTION_REVERT,
            ActionKind::Apply => ACTION_APPLY,
            ActionKind::Replace => ACTION_REPLACE,
            ActionKind::Check => ACTION_CHECK,
        }
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}

/// Whether the payload's dependency has to be on top of the stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dependencies {
    /// It has to.
    #[default]
    Enforced,
    /// The operator knows better.
    Ignored,
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
