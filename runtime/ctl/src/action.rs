//! One action from the question to its end: look, ask, wait, look again.
//!
//! The kernel answers at once and acts later, so a zero from the call is not yet success. The
//! payload's `rc` is `-EAGAIN` until the action has ended, then its result. An action that somebody
//! else started is not waited for: its end would be mistaken for ours.

use std::thread;
use std::time::{Duration, Instant};
use xsplice_abi::Errno;

use crate::calls::{
    self, ActionKind, Dependencies, KernelTimeout, PayloadName, State, Status, get,
};
use crate::error::CtlError;
use crate::list::list;
use crate::request::Request;
use crate::transport::Transport;

/// Pause between the first looks; it doubles up to [`POLL_SLOWEST`].
const POLL_FIRST: Duration = Duration::from_millis(1);
/// The 2016 tool's successor looked this often.
const POLL_SLOWEST: Duration = Duration::from_millis(100);

/// What to do when the payload is already as wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Goal {
    /// Ask the kernel all the same; it refuses.
    #[default]
    Act,
    /// That is success.
    BeThere,
}

/// An action and how to go about it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Which.
    pub kind: ActionKind,
    /// How long the kernel waits for its CPUs.
    pub timeout: KernelTimeout,
    /// Whether the stack's order matters.
    pub dependencies: Dependencies,
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
    calls::action(transport, name, plan.kind, plan.timeout, plan.dependencies)?
        .map_err(|errno| name.refused(request, errno, Some(before.state)))?;

    let after = wait(transport, name, plan)?;
    if let Some(errno) = after.and_then(|status| Errno::from_return(status.rc)) {
        return Err(name.refused(request, errno, Some(before.state)));
    }
    match (after.map(|status| status.state), plan.kind.expected()) {
        (None, None) => Ok(Outcome::Completed),
        (Some(state), Some(expected)) if state == expected => Ok(Outcome::Completed),
        (Some(state), _) => Err(CtlError::StateNotReached {
            name: name.to_string(),
            action: plan.kind,
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
    Ok(match kind {
        // A check is a question; that it was once answered is no answer.
        ActionKind::Check => false,
        ActionKind::Replace if state == Some(State::Applied) => {
            // In effect alone is what a replace leaves; stacked on others is not.
            list(transport)?
                .iter()
                .all(|entry| entry.name == name.as_str() || entry.status.state != State::Applied)
        }
        _ => state == kind.expected(),
    })
}

/// Looks until no action is in progress; the status then, `None` when the payload is gone.
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
                action: plan.kind,
                waited: plan.limit,
            });
        }
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(POLL_SLOWEST);
    }
}
