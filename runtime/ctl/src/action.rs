//! Runs one action: read the state, ask the kernel, wait, read the state again.
//!
//! The kernel answers at once and acts later, so a zero from the call is not yet success. The
//! payload's `rc` is `-EAGAIN` until the action has ended, then its result. If another caller's
//! action is in progress, this is an error: its end could not be told from that of our own.

use std::thread;
use std::time::{Duration, Instant};
use xsplice_abi::Errno;

use crate::calls::{self, ActionKind, KernelTimeout, PayloadName, State, Status, Waived, get};
use crate::error::CtlError;
use crate::list::list;
use crate::request::Request;
use crate::transport::Transport;

/// First pause between two reads of the status; it doubles up to [`POLL_SLOWEST`].
const POLL_FIRST: Duration = Duration::from_millis(1);
/// The polling interval of Xen's own tool.
const POLL_SLOWEST: Duration = Duration::from_millis(100);

/// What to do when the payload is already as wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Goal {
    /// Ask the kernel anyway; it refuses.
    #[default]
    Act,
    /// That is success.
    BeThere,
}

/// An action with its options.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Which.
    pub kind: ActionKind,
    /// How long the kernel waits for its CPUs.
    pub timeout: KernelTimeout,
    /// Whether the stack's order matters.
    pub waived: Waived,
    /// What when nothing is left to do.
    pub goal: Goal,
    /// How long to wait here for the end.
    pub limit: Duration,
}

/// How an action ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Completed,
    /// Nothing was left to do.
    AlreadyThere,
}

impl Outcome {
    /// For people.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Outcome::Completed => "completed",
            Outcome::AlreadyThere => "nothing to do",
        }
    }

    /// For programs.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Outcome::Completed => "completed",
            Outcome::AlreadyThere => "nothing-to-do",
        }
    }
}

/// Carries out `plan` on the payload `name`.
///
/// # Errors
/// [`CtlError::Refused`] when the kernel says no, at once or at the end; [`CtlError::InProgress`],
/// [`CtlError::StillInProgress`], [`CtlError::StateNotReached`]; what the transport says.
pub fn perform(
    transport: &mut dyn Transport,
    name: &PayloadName,
    plan: &Plan,
) -> Result<Outcome, CtlError> {
    let request = Request::Action(plan.kind);
    let before = get(transport, name)?;
    if plan.goal == Goal::BeThere && is_there(transport, name, plan.kind, before)? {
        return Ok(Outcome::AlreadyThere);
    }
    let Some(before) = before else {
        return Err(name.refused(request, Errno::ENOENT, None));
    };
    if before.in_progress() {
        return Err(CtlError::InProgress {
            name: name.to_string(),
        });
    }
    calls::action(transport, name, plan.kind, plan.timeout, plan.waived)?
        .map_err(|errno| name.refused(request, errno, Some(before.state)))?;
    // The answer was the result; what the payload has in `rc` is of the action before.
    if plan.kind.must_be_asked() {
        return Ok(Outcome::Completed);
    }
    let after = wait(transport, name, plan)?;
    if let Some(errno) = after.and_then(|status| Errno::from_return(status.rc)) {
        return Err(name.refused(request, errno, Some(before.state)));
    }
    match (
        after.map(|status| status.state),
        plan.kind.ends_in().map(State::from_number),
    ) {
        (None, None) => Ok(Outcome::Completed),
        (Some(state), Some(expected)) if state == expected => Ok(Outcome::Completed),
        (Some(state), _) => Err(CtlError::StateNotReached {
            name: name.to_string(),
            what: request,
            state,
        }),
        (None, Some(_)) => Err(name.refused(request, Errno::ENOENT, None)),
    }
}

/// Whether the payload is already as `kind` would leave it.
fn is_there(
    transport: &mut dyn Transport,
    name: &PayloadName,
    kind: ActionKind,
    status: Option<Status>,
) -> Result<bool, CtlError> {
    let state = match status {
        Some(status) if status.in_progress() => return Ok(false),
        other => other.map(|status| status.state),
    };
    if kind.must_be_asked() {
        return Ok(false);
    }
    if kind == ActionKind::Replace && state == Some(State::Applied) {
        // After a replace the payload is the only one in effect, so one that is stacked on others
        // does not count.
        return Ok(list(transport)?
            .iter()
            .all(|entry| entry.name == name.as_str() || entry.status.state != State::Applied));
    }
    Ok(state == kind.ends_in().map(State::from_number))
}

/// Polls until no action is in progress. Returns the status, `None` when the payload is gone.
fn wait(
    transport: &mut dyn Transport,
    name: &PayloadName,
    plan: &Plan,
) -> Result<Option<Status>, CtlError> {
    let start = Instant::now();
    let mut pause = POLL_FIRST;
    loop {
        match get(transport, name)? {
            Some(status) if status.in_progress() => {}
            ended => return Ok(ended),
        }
        let left = plan.limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Err(CtlError::StillInProgress {
                name: name.to_string(),
                what: Request::Action(plan.kind),
                waited: plan.limit,
            });
        }
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(POLL_SLOWEST);
    }
}
