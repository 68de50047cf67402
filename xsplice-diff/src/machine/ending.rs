//! How code ends: whether the processor goes on into what stands behind it.

use super::{Filler, Flow, Instruction};

/// What the processor does behind some code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It goes elsewhere.
    Leaves,
    /// It goes on if the function that was called returns.
    Calls,
    /// It goes on.
    GoesOn,
}

impl Ending {
    /// Whether it runs on into what stands behind. What a table leads to begins there, and a call
    /// before it is taken for the last of something else.
    pub(crate) fn runs_into(self, next_is_entered: impl FnOnce() -> bool) -> bool {
        match self {
            Ending::Leaves => false,
            Ending::Calls => !next_is_entered(),
            Ending::GoesOn => true,
        }
    }
}

/// One instruction, as far as it tells how code ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// Where it begins.
    pub at: u64,
    filler: Option<Filler>,
    ending: Ending,
}

impl Step {
    /// What an instruction tells.
    #[must_use]
    pub(crate) fn new(instruction: &Instruction<'_>) -> Step {
        Step {
            at: instruction.start,
            filler: instruction.filler,
            ending: match instruction.flow {
                Flow::Next | Flow::ConditionalJump => Ending::GoesOn,
                Flow::Call | Flow::IndirectCall => Ending::Calls,
                Flow::Jump | Flow::IndirectJump | Flow::Return | Flow::Stop | Flow::Elsewhere => {
                    Ending::Leaves
                }
            },
        }
    }
}

/// How code of these steps ends, and where its last instruction begins. Behind the last that does
/// something lies padding.
pub(crate) fn ending(steps: impl Iterator<Item = Step>) -> (Ending, u64) {
    let mut last = None;
    for step in steps {
        match step.filler {
            None => last = Some((step.ending, step.at)),
            Some(Filler::Nop) => last = last.or(Some((Ending::GoesOn, step.at))),
            Some(Filler::Trap) => last = last.or(Some((Ending::Leaves, step.at))),
        }
    }
    last.unwrap_or((Ending::Leaves, 0))
}

/// How code ends that was not walked over yet.
pub(crate) fn ending_of<'code>(code: impl Iterator<Item = Instruction<'code>>) -> (Ending, u64) {
    ending(code.map(|instruction| Step::new(&instruction)))
}
