//! The steps of the CPU that opens an action, in its hypercall.

use core::sync::atomic::Ordering;

use super::steps::{Effects, Freezing, Guards, Status, at_stage};
use super::words::{Cell, Count, Door, Generation, Join, Memory, Stage};
use crate::rendezvous::cpu::CpuId;

/// Opens an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Opening {
    at: OpeningStep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum OpeningStep {
    Claim,
    ClaimAfterLook,
    Freeze,
    ReadGeneration,
    ResetSettled { generation: Generation },
    ResetLeft { generation: Generation },
    ResetPhase { generation: Generation },
    Open { generation: Generation },
    Request { next: CpuId, generation: Generation },
    Abandon,
}

impl Opening {
    /// At its first step.
    #[must_use]
    pub const fn new() -> Opening {
        Opening {
            at: OpeningStep::Claim,
        }
    }

    /// After [`Status::Claimed`]: the action cannot be prepared, so the next step gives `Busy`
    /// back and ends in [`Status::Refused`].
    pub const fn abandon(&mut self) {
        self.at = OpeningStep::Abandon;
    }

    /// Makes one step.
    pub fn step<G: Guards>(&mut self, memory: &impl Memory, effects: &mut impl Effects) -> Status {
        match self.at {
            OpeningStep::Claim if G::CLAIMS_BY_SWAP => {
                if memory
                    .exchange(Cell::Busy, 0, 1, Ordering::Acquire)
                    .is_err()
                {
                    return Status::Refused;
                }
                self.at = OpeningStep::Freeze;
                return Status::Claimed;
            }
            OpeningStep::Claim => {
                if memory.load(Cell::Busy, Ordering::Acquire) != 0 {
                    return Status::Refused;
                }
                self.at = OpeningStep::ClaimAfterLook;
            }
            OpeningStep::ClaimAfterLook => {
                memory.store(Cell::Busy, 1, Ordering::Relaxed);
                self.at = OpeningStep::Freeze;
                return Status::Claimed;
            }
            OpeningStep::Freeze => {
                self.at = match effects.freeze() {
                    Freezing::Frozen => OpeningStep::ReadGeneration,
                    Freezing::Refused => OpeningStep::Abandon,
                };
            }
            OpeningStep::ReadGeneration => {
                let last = Join::from_word(memory.load(Cell::Join, Ordering::Relaxed)).generation;
                let next = last.checked_add(1).unwrap_or(1);
                let generation = if G::NEW_GENERATION { next } else { 1 };
                self.at = OpeningStep::ResetSettled { generation };
            }
            OpeningStep::ResetSettled { generation } => {
                memory.store(
                    Cell::Settled,
                    Count::none_of(generation).word(),
                    Ordering::Relaxed,
                );
                self.at = OpeningStep::ResetLeft { generation };
            }
            OpeningStep::ResetLeft { generation } => {
                memory.store(
                    Cell::Left,
                    Count::none_of(generation).word(),
                    Ordering::Relaxed,
                );
                self.at = OpeningStep::ResetPhase { generation };
            }
            OpeningStep::ResetPhase { generation } => {
                memory.store(
                    Cell::Phase,
                    at_stage(generation, Stage::Wait),
                    Ordering::Relaxed,
                );
                self.at = if G::OPENS_BEFORE_REQUESTS {
                    OpeningStep::Open { generation }
                } else {
                    OpeningStep::Request {
                        next: CpuId(0),
                        generation,
                    }
                };
            }
            OpeningStep::Open { generation } => {
                let join = Join {
                    generation,
                    needed: effects.online().len(),
                    door: Door::Open,
                    count: 0,
                };
                // Release: whoever joins sees the words reset and the action prepared.
                memory.store(Cell::Join, join.word(), Ordering::Release);
                if !G::OPENS_BEFORE_REQUESTS {
                    return Status::Finished;
                }
                self.at = OpeningStep::Request {
                    next: CpuId(0),
                    generation,
                };
            }
            OpeningStep::Request { next, generation } => {
                let Some(cpu) = effects.online().iter().find(|cpu| *cpu >= next) else {
                    if G::OPENS_BEFORE_REQUESTS {
                        return Status::Finished;
                    }
                    self.at = OpeningStep::Open { generation };
                    return Status::Working;
                };
                // Release: a CPU that sees its request sees the word open.
                memory.store(Cell::Request(cpu), 1, Ordering::Release);
                let next = CpuId(cpu.0 + 1);
                self.at = OpeningStep::Request { next, generation };
            }
            OpeningStep::Abandon => {
                memory.store(Cell::Busy, 0, Ordering::Release);
                return Status::Refused;
            }
        }
        Status::Working
    }
}

impl Default for Opening {
    fn default() -> Self {
        Opening::new()
    }
}
