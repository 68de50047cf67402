//! What can be done to a payload: the actions of [`crate::hypercall::OP_ACTION`], their numbers in
//! Xen's public `sysctl.h` (CHECK has none there), from which state each starts and in which it
//! ends.

use core::fmt;

use crate::hypercall::{STATE_APPLIED, STATE_CHECKED};

/// Action: forget a payload that is not applied.
pub const ACTION_UNLOAD: u32 = 1;
/// Action: undo the payload on top of the stack.
pub const ACTION_REVERT: u32 = 2;
/// Action: apply on top of the stack.
pub const ACTION_APPLY: u32 = 3;
/// Action: revert the whole stack and apply this one, as one step.
pub const ACTION_REPLACE: u32 = 4;
/// Action: asks whether APPLY would succeed now. Changes nothing.
pub const ACTION_CHECK: u32 = 5;

/// An action.
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
    /// All of them, in order of their numbers.
    pub const ALL: [ActionKind; 5] = [
        ActionKind::Unload,
        ActionKind::Revert,
        ActionKind::Apply,
        ActionKind::Replace,
        ActionKind::Check,
    ];

    /// The action with this number (`ACTION_*`).
    #[must_use]
    pub fn of(number: u32) -> Option<ActionKind> {
        ActionKind::ALL
            .into_iter()
            .find(|kind| kind.number() == number)
    }

    /// Its number (`ACTION_*`).
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            ActionKind::Unload => ACTION_UNLOAD,
            ActionKind::Revert => ACTION_REVERT,
            ActionKind::Apply => ACTION_APPLY,
            ActionKind::Replace => ACTION_REPLACE,
            ActionKind::Check => ACTION_CHECK,
        }
    }

    /// As operators write it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            ActionKind::Unload => "unload",
            ActionKind::Revert => "revert",
            ActionKind::Apply => "apply",
            ActionKind::Replace => "replace",
            ActionKind::Check => "check",
        }
    }

    /// The state (`STATE_*`) that a payload has to be in.
    #[must_use]
    pub const fn starts_from(self) -> u32 {
        match self {
            ActionKind::Revert => STATE_APPLIED,
            ActionKind::Unload | ActionKind::Apply | ActionKind::Replace | ActionKind::Check => {
                STATE_CHECKED
            }
        }
    }

    /// Whether nothing but the kernel's answer tells the result: the state stays as it is.
    #[must_use]
    pub const fn must_be_asked(self) -> bool {
        match self {
            ActionKind::Check => true,
            ActionKind::Unload | ActionKind::Revert | ActionKind::Apply | ActionKind::Replace => {
                false
            }
        }
    }

    /// Whether it depends on the CPUs: it stops them, or tells whether they could be stopped.
    #[must_use]
    pub const fn is_about_cpus(self) -> bool {
        match self {
            ActionKind::Revert | ActionKind::Apply | ActionKind::Replace | ActionKind::Check => {
                true
            }
            ActionKind::Unload => false,
        }
    }

    /// The state (`STATE_*`) that it is in afterwards; `None` when it is gone.
    #[must_use]
    pub const fn ends_in(self) -> Option<u32> {
        match self {
            ActionKind::Unload => None,
            ActionKind::Revert | ActionKind::Check => Some(STATE_CHECKED),
            ActionKind::Apply | ActionKind::Replace => Some(STATE_APPLIED),
        }
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::ActionKind;

    #[test]
    fn actions_are_told_by_their_numbers() {
        for kind in ActionKind::ALL {
            assert_eq!(ActionKind::of(kind.number()), Some(kind));
        }
        assert_eq!(ActionKind::of(0), None);
        assert_eq!(ActionKind::of(6), None);
    }
}
