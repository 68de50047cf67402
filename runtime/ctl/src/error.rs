//! Errors, and the exit status of each.
//!
//! Scripts need three outcomes: done, failed for good, and worth a retry. The last has its own
//! status because patching a busy machine often needs a retry.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use xsplice_abi::Errno;
use xsplice_abi::channel::AREA_BYTES_MAX;
use xsplice_abi::limits::NAME_BYTES_MAX;
use xsplice_runtime::channel::FrameError;

use crate::request::{Request, State};

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CtlError {
    /// Neither option nor environment names the control channel.
    #[error("no control channel named; give --socket PATH or set XSPLICE_SOCKET")]
    NoSocket,
    /// The socket does not exist, or no process listens on it.
    #[error("{}: cannot connect: {source}; is the kernel running?", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The channel broke.
    #[error("control channel: {0}")]
    Channel(#[source] io::Error),
    /// The other end closed the channel before it answered.
    #[error("control channel: closed before the answer came")]
    Closed,
    /// No answer within the limit of `--wait`.
    #[error("control channel: no answer within {waited:?}; --wait gives it longer")]
    NoAnswer {
        /// The limit.
        waited: Duration,
    },
    /// The request does not fit into a frame.
    #[error("control channel: {0}")]
    Frame(#[from] FrameError),
    /// The answer's operation, list or text is malformed.
    #[error("control channel: the kernel's answer makes no sense: {what}")]
    Nonsense {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The payload file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The payload file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file has more bytes than any payload.
    #[error("{}: more than {AREA_BYTES_MAX} bytes; no payload is that large", path.display())]
    FileTooLarge {
        /// The payload file.
        path: PathBuf,
    },
    /// The file's name gives no payload name.
    #[error("{}: cannot make a payload's name of this; give one with --name", path.display())]
    NoName {
        /// The payload file.
        path: PathBuf,
    },
    /// The name is longer than the kernel's limit.
    #[error("a payload's name has 1 to {} bytes, this one {length}", NAME_BYTES_MAX - 1)]
    NameLength {
        /// In bytes.
        length: usize,
    },
    /// The kernel refused a call about one payload.
    #[error("{name}: {what} failed: {errno}{}", state_hint(*what, *errno, *state))]
    Refused {
        /// The payload's name.
        name: String,
        /// What was asked.
        what: Request,
        /// Its answer.
        errno: Errno,
        /// State of the payload when the request was made, where it is known.
        state: Option<State>,
    },
    /// The kernel refused a call that is not about one payload.
    #[error("{what} failed: {errno}")]
    Call {
        /// What was asked.
        what: Request,
        /// Its answer.
        errno: Errno,
    },
    /// An action on this payload that this tool did not start is in progress.
    #[error(
        "{name}: an action that was not started here is in progress: {}",
        Errno::EBUSY
    )]
    InProgress {
        /// The payload's name.
        name: String,
    },
    /// The action has not ended within `--wait`; it may yet.
    #[error("{name}: {what} still in progress after {waited:?}: {}", Errno::EAGAIN)]
    StillInProgress {
        /// The payload's name.
        name: String,
        /// What was asked.
        what: Request,
        /// The limit.
        waited: Duration,
    },
    /// The kernel reports success and a state that is not the one asked for.
    #[error("{name}: {what} reported success but the payload is {state}")]
    StateNotReached {
        /// The payload's name.
        name: String,
        /// What was asked.
        what: Request,
        /// What it is.
        state: State,
    },
    /// Another payload has the name.
    #[error(
        "{name}: another payload of this name is loaded already: its build-id is {loaded}, that of \
         the file is {given}; unload it first, or load this one under another name: {}",
        Errno::EEXIST
    )]
    OtherThere {
        /// The payload's name.
        name: String,
        /// The build-id of the one that is loaded.
        loaded: String,
        /// The build-id of the one in the file.
        given: String,
    },
    /// The list changed under every attempt to read it.
    #[error(
        "the list changed {restarts} times while it was read: {}",
        Errno::EBUSY
    )]
    ListChanging {
        /// How often it was started again.
        restarts: u32,
    },
    /// The second half of a `load` failed, and the payload was taken out again, or not.
    #[error("{apply}; {aftermath}")]
    LoadFailed {
        /// Why it was not applied.
        apply: Box<CtlError>,
        /// What became of the upload.
        aftermath: Aftermath,
    },
    /// The result could not be printed.
    #[error("cannot print the result: {0}")]
    Output(#[from] io::Error),
    /// The result could not be written as JSON.
    #[error("cannot print the result: {0}")]
    Json(#[from] serde_json::Error),
}

/// What became of the upload when the apply of a `load` failed.
#[derive(Debug, thiserror::Error)]
pub enum Aftermath {
    /// It is as if nothing had been done.
    #[error("unloaded again")]
    Unloaded,
    /// It stays: the action may yet succeed.
    #[error("left loaded, since the action may still end")]
    Left,
    /// It stays, because unloading failed too.
    #[error("and it could not be unloaded: {0}")]
    Stuck(#[source] Box<CtlError>),
}

/// An action in a wrong state returns -EINVAL, as do many other errors; the message shows both
/// states to tell them apart.
fn state_hint(what: Request, errno: Errno, state: Option<State>) -> String {
    match (what, state) {
        (Request::Action(action), Some(state))
            if errno == Errno::EINVAL && state != State::from_number(action.starts_from()) =>
        {
            format!(
                "; it is {state}, and {action} is for what is {}",
                State::from_number(action.starts_from())
            )
        }
        _ => String::new(),
    }
}

impl CtlError {
    /// The kernel's error number behind this, or the number that says the same.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            CtlError::Refused { errno, .. } | CtlError::Call { errno, .. } => Some(*errno),
            CtlError::InProgress { .. } | CtlError::ListChanging { .. } => Some(Errno::EBUSY),
            CtlError::StillInProgress { .. } => Some(Errno::EAGAIN),
            CtlError::OtherThere { .. } => Some(Errno::EEXIST),
            CtlError::LoadFailed { apply, .. } => apply.errno(),
            CtlError::NoSocket
            | CtlError::Connect { .. }
            | CtlError::Channel(_)
            | CtlError::Closed
            | CtlError::NoAnswer { .. }
            | CtlError::Frame(_)
            | CtlError::Nonsense { .. }
            | CtlError::File { .. }
            | CtlError::FileTooLarge { .. }
            | CtlError::NoName { .. }
            | CtlError::NameLength { .. }
            | CtlError::StateNotReached { .. }
            | CtlError::Output(_)
            | CtlError::Json(_) => None,
        }
    }

    /// How the command ends.
    #[must_use]
    pub fn exit_status(&self) -> ExitStatus {
        match self.errno() {
            Some(Errno::EBUSY | Errno::EAGAIN) => ExitStatus::Busy,
            _ => ExitStatus::Failed,
        }
    }
}

/// How the command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// 0: it is as asked.
    Done,
    /// 1: it is not, and the same again will not help.
    Failed,
    /// 2: something was busy; try again.
    Busy,
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> ExitCode {
        ExitCode::from(match status {
            ExitStatus::Done => 0,
            ExitStatus::Failed => 1,
            ExitStatus::Busy => 2,
        })
    }
}
