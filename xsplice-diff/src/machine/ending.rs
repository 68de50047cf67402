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
    is_barrier: bool,
    ending: Ending,
    /// Where it may branch to. A branch over nothing is one whose field a relocation fills.
    branches_to: Option<u64>,
}

impl Step {
    /// What an instruction tells.
    #[must_use]
    pub(crate) fn new(instruction: &Instruction<'_>) -> Step {
        let lead = instruction.lead.filter(|lead| lead.is_branch);
        let to = lead.map(|lead| lead.to);
        Step {
            at: instruction.start,
            filler: instruction.filler,
            is_barrier: instruction.is_barrier,
            ending: match instruction.flow {
                Flow::Next | Flow::ConditionalJump => Ending::GoesOn,
                Flow::Call | Flow::IndirectCall => Ending::Calls,
                Flow::Jump | Flow::IndirectJump | Flow::Return | Flow::Stop | Flow::Elsewhere => {
                    Ending::Leaves
                }
            },
            branches_to: to.filter(|to| *to != instruction.end),
        }
    }
}

/// What a step does that stands behind the last one of some code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    Passes,
    Stops,
}

/// How code of these steps ends, and where its last instruction begins. Behind the last that does
/// something lies padding; behind one that leaves, also barriers, which keep the processor from
/// guessing that it goes on. A branch to those makes them a part of the code.
pub(crate) fn ending(steps: impl Iterator<Item = Step>) -> (Ending, u64) {
    let mut last = None;
    let mut targets = Vec::new();
    let mut behind = Vec::new();
    for step in steps {
        targets.extend(step.branches_to);
        let leaves = matches!(last, Some((Ending::Leaves, _)));
        let rest = match step.filler {
            Some(Filler::Nop) => Behind::Passes,
            Some(Filler::Trap) => Behind::Stops,
            None if step.is_barrier && leaves => Behind::Passes,
            None => {
                last = Some((step.ending, step.at));
                behind.clear();
                continue;
            }
        };
        behind.push((step.at, rest));
        last = last.or(Some(match rest {
            Behind::Passes => (Ending::GoesOn, step.at),
            Behind::Stops => (Ending::Leaves, step.at),
        }));
    }
    let is_entered = |(index, (at, _)): &(usize, &(u64, Behind))| {
        let stops = || {
            behind[*index..]
                .iter()
                .any(|(_, rest)| *rest == Behind::Stops)
        };
        targets.contains(at) && !stops()
    };
    let mut entered = behind.iter().enumerate().filter(is_entered);
    match (last, entered.next_back()) {
        (Some((Ending::Leaves, _)), Some((_, (at, _)))) => (Ending::GoesOn, *at),
        (last, _) => last.unwrap_or((Ending::Leaves, 0)),
    }
}

/// How code ends that was not walked over yet.
pub(crate) fn ending_of<'code>(code: impl Iterator<Item = Instruction<'code>>) -> (Ending, u64) {
    ending(code.map(|instruction| Step::new(&instruction)))
}
