//! The steps of a CPU that comes to its safe point: the first is the master of the action, the
//! others follow. What the master does in between is in `leading`.

use core::sync::atomic::Ordering;

use super::leading::lead;
use super::steps::{Effects, Guards, Outcome, Status};
use super::words::{Cell, Count, Door, Generation, Join, Memory, Phase, Stage};

/// What one CPU does at its safe point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SafePoint {
    at: Step,
}

/// Who a CPU is in the action that it joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Role {
    Master,
    Follower,
    /// A follower that still has to unmask NMIs; only without [`Guards::UNMASKS_BEFORE_LEAVING`].
    LateUnmasker,
}

/// The action that a CPU joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Joined {
    pub(super) generation: Generation,
    pub(super) role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    Look,
    Clear,
    ReadJoin,
    Join {
        seen: Join,
    },
    NoteJoined(Joined),

    AwaitReady {
        generation: Generation,
    },
    FollowerOff {
        generation: Generation,
        seen: Phase,
    },
    Acknowledge {
        generation: Generation,
        seen: Phase,
    },
    LateOff {
        generation: Generation,
    },
    AwaitDone {
        generation: Generation,
    },
    FollowerSerialise {
        generation: Generation,
    },
    FollowerOn {
        generation: Generation,
    },
    /// Nothing was written: nobody has to serialise, and the master unmasks NMIs.
    AbortedOn {
        generation: Generation,
    },
    CountFollowers {
        generation: Generation,
    },
    Settle {
        followers: u16,
        seen: Count,
    },

    Kick {
        generation: Generation,
    },
    AwaitJoined {
        generation: Generation,
    },
    GiveUpJoining {
        seen: Join,
    },
    AbortJoining {
        generation: Generation,
    },
    MaskNmis {
        generation: Generation,
        followers: u16,
    },
    Ready {
        generation: Generation,
        followers: u16,
    },
    KickReady {
        generation: Generation,
        followers: u16,
    },
    AwaitAcknowledged {
        generation: Generation,
        followers: u16,
    },
    GiveUpReady {
        seen: Phase,
        followers: u16,
    },
    MasterOff {
        seen: Phase,
    },
    Go {
        seen: Phase,
    },
    Act {
        generation: Generation,
        followers: u16,
    },
    MasterSerialise {
        generation: Generation,
        followers: u16,
    },
    Done {
        generation: Generation,
        followers: u16,
    },
    MasterOn {
        generation: Generation,
        followers: u16,
    },
    Finish {
        outcome: Outcome,
    },

    UnmaskNmis {
        joined: Joined,
    },
    UnmaskAborted {
        generation: Generation,
    },
    UnmaskAfterLeaving,
    NoteGone(Joined),
    CountAll(Joined),
    Leave {
        joined: Joined,
        all: u16,
        seen: Count,
    },
    Thaw,
    GiveBack,
    ClearLate,
}

/// The position of a CPU in the protocol; only the model checker reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not part of an action.
    Outside,
    /// Part of one, free to go on.
    Inside(Generation),
    /// Waits for text to be written, having acknowledged.
    Quiet(Generation),
}

impl SafePoint {
    /// At its first step.
    #[must_use]
    pub const fn new() -> SafePoint {
        SafePoint { at: Step::Look }
    }

    /// Where the CPU stands.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        match self.at {
            Step::Look | Step::Clear | Step::ReadJoin | Step::Join { .. } | Step::ClearLate => {
                Standing::Outside
            }
            Step::AwaitDone { generation } => Standing::Quiet(generation),
            Step::NoteJoined(joined)
            | Step::UnmaskNmis { joined }
            | Step::NoteGone(joined)
            | Step::CountAll(joined)
            | Step::Leave { joined, .. } => Standing::Inside(joined.generation),
            Step::AwaitReady { generation }
            | Step::FollowerOff { generation, .. }
            | Step::Acknowledge { generation, .. }
            | Step::LateOff { generation }
            | Step::FollowerSerialise { generation }
            | Step::FollowerOn { generation }
            | Step::AbortedOn { generation }
            | Step::UnmaskAborted { generation }
            | Step::CountFollowers { generation }
            | Step::Kick { generation }
            | Step::AwaitJoined { generation }
            | Step::AbortJoining { generation }
            | Step::MaskNmis { generation, .. }
            | Step::Ready { generation, .. }
            | Step::KickReady { generation, .. }
            | Step::AwaitAcknowledged { generation, .. }
            | Step::Act { generation, .. }
            | Step::MasterSerialise { generation, .. }
            | Step::Done { generation, .. }
            | Step::MasterOn { generation, .. } => Standing::Inside(generation),
            Step::GiveUpJoining { seen } => Standing::Inside(seen.generation),
            Step::Settle { seen, .. } => Standing::Inside(seen.generation),
            Step::GiveUpReady { seen, .. } | Step::MasterOff { seen } | Step::Go { seen } => {
                Standing::Inside(seen.generation)
            }
            Step::Finish { outcome } => match outcome {
                Outcome::Acted(generation)
                | Outcome::LateToJoin(generation)
                | Outcome::LateToAcknowledge(generation) => Standing::Inside(generation),
            },
            Step::UnmaskAfterLeaving | Step::Thaw | Step::GiveBack => Standing::Outside,
        }
    }

    /// Whether the next step looks for something that another CPU has to do first; only the model
    /// checkers ask.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        matches!(
            self.at,
            Step::AwaitReady { .. }
                | Step::AwaitDone { .. }
                | Step::AwaitJoined { .. }
                | Step::AwaitAcknowledged { .. }
        )
    }

    /// Makes one step.
    pub fn step<G: Guards>(&mut self, memory: &impl Memory, effects: &mut impl Effects) -> Status {
        let cpu = effects.cpu();
        self.at = match self.at {
            Step::Look => {
                if memory.load(Cell::Request(cpu), Ordering::Relaxed) == 0 {
                    return Status::Finished;
                }
                if G::CLEARS_BEFORE_LOOKING {
                    Step::Clear
                } else {
                    Step::ReadJoin
                }
            }
            Step::Clear => {
                // A swap, not a store: it reads the newest request, and so synchronises with
                // everything written before it. A store could overwrite a request that this CPU
                // never saw.
                memory.swap(Cell::Request(cpu), 0, Ordering::AcqRel);
                Step::ReadJoin
            }
            Step::ReadJoin => {
                let seen = Join::from_word(memory.load(Cell::Join, Ordering::Acquire));
                match seen.door {
                    Door::Open => Step::Join { seen },
                    Door::Closed => return finished::<G>(&mut self.at),
                }
            }
            Step::Join { seen } => match join::<G>(memory, seen) {
                Ok(joined) => Step::NoteJoined(joined),
                Err(seen) if seen.door == Door::Open => Step::Join { seen },
                Err(_) => return finished::<G>(&mut self.at),
            },
            Step::NoteJoined(joined) => {
                let generation = joined.generation;
                // Relaxed: only used to name late CPUs, so it synchronises nothing.
                memory.store(Cell::Joined(cpu), generation.into(), Ordering::Relaxed);
                match joined.role {
                    Role::Master => Step::Kick { generation },
                    Role::Follower | Role::LateUnmasker => Step::AwaitReady { generation },
                }
            }
            Step::ClearLate => {
                memory.store(Cell::Request(cpu), 0, Ordering::Release);
                return Status::Finished;
            }
            at => match follow::<G>(at, memory, effects)
                .or_else(|| lead::<G>(at, memory, effects))
                .unwrap_or_else(|| leave::<G>(at, memory, effects))
            {
                Ok(next) => next,
                Err((status, next)) => {
                    self.at = next;
                    return status;
                }
            },
        };
        Status::Working
    }
}

impl Default for SafePoint {
    fn default() -> Self {
        SafePoint::new()
    }
}

/// The next step, or a status together with the step that is made next time.
pub(super) type Next = Result<Step, (Status, Step)>;

fn finished<G: Guards>(at: &mut Step) -> Status {
    if G::CLEARS_BEFORE_LOOKING {
        Status::Finished
    } else {
        *at = Step::ClearLate;
        Status::Working
    }
}

fn gone<G: Guards>() -> (Status, Step) {
    let mut at = Step::Look;
    (finished::<G>(&mut at), at)
}

fn join<G: Guards>(memory: &impl Memory, seen: Join) -> Result<Joined, Join> {
    let count = seen.count + 1;
    let is_full = count >= seen.needed && G::CLOSES_WHEN_FULL;
    let new = Join {
        count,
        door: if is_full { Door::Closed } else { Door::Open },
        ..seen
    };
    if G::JOINS_BY_SWAP {
        memory
            .exchange(Cell::Join, seen.word(), new.word(), Ordering::AcqRel)
            .map_err(Join::from_word)?;
    } else {
        memory.store(Cell::Join, new.word(), Ordering::Release);
    }
    Ok(Joined {
        generation: seen.generation,
        role: if seen.count == 0 {
            Role::Master
        } else {
            Role::Follower
        },
    })
}

pub(super) fn load_phase(memory: &impl Memory) -> Phase {
    Phase::from_word(memory.load(Cell::Phase, Ordering::Acquire))
}

/// A follower's steps, up to where everybody leaves.
fn follow<G: Guards>(at: Step, memory: &impl Memory, effects: &mut impl Effects) -> Option<Next> {
    let follower = |generation| Joined {
        generation,
        role: Role::Follower,
    };
    Some(Ok(match at {
        Step::AwaitReady { generation } => {
            let seen = load_phase(memory);
            match seen.stage {
                _ if seen.generation != generation => {
                    return Some(Err((Status::WaitingOpen, at)));
                }
                Stage::Ready if G::OFF_BEFORE_ACKNOWLEDGING => {
                    Step::FollowerOff { generation, seen }
                }
                Stage::Ready => Step::Acknowledge { generation, seen },
                Stage::AbortedJoining | Stage::AbortedReady => Step::NoteGone(follower(generation)),
                Stage::Wait | Stage::Go | Stage::Done => {
                    return Some(Err((Status::WaitingOpen, at)));
                }
            }
        }
        Step::FollowerOff { generation, seen } => {
            effects.interrupts_off();
            Step::Acknowledge { generation, seen }
        }
        Step::Acknowledge { generation, seen } => {
            let new = Phase {
                acknowledged: seen.acknowledged + 1,
                ..seen
            };
            match memory.exchange(Cell::Phase, seen.word(), new.word(), Ordering::AcqRel) {
                Ok(()) if G::OFF_BEFORE_ACKNOWLEDGING => Step::AwaitDone { generation },
                Ok(()) => Step::LateOff { generation },
                Err(word) => {
                    let seen = Phase::from_word(word);
                    match seen.stage {
                        Stage::Ready => Step::Acknowledge { generation, seen },
                        Stage::AbortedReady => Step::AbortedOn { generation },
                        _ => Step::FollowerOn { generation },
                    }
                }
            }
        }
        Step::LateOff { generation } => {
            effects.interrupts_off();
            Step::AwaitDone { generation }
        }
        Step::AwaitDone { generation } => match load_phase(memory).stage {
            Stage::Done if G::FOLLOWER_SERIALISES => Step::FollowerSerialise { generation },
            Stage::Done => Step::FollowerOn { generation },
            Stage::AbortedReady => Step::AbortedOn { generation },
            _ => return Some(Err((Status::WaitingClosed, at))),
        },
        Step::FollowerSerialise { generation } => {
            effects.serialise();
            Step::FollowerOn { generation }
        }
        Step::FollowerOn { generation } => {
            effects.interrupts_on();
            Step::CountFollowers { generation }
        }
        Step::AbortedOn { generation } => {
            effects.interrupts_on();
            Step::NoteGone(follower(generation))
        }
        // The first swap to succeed is right at once; a failed swap returns the current count.
        Step::CountFollowers { generation } => Step::Settle {
            followers: joined_count(memory).saturating_sub(1),
            seen: Count::none_of(generation),
        },
        Step::Settle { followers, seen } => {
            let new = Count {
                count: seen.count + 1,
                ..seen
            };
            // AcqRel: the last one unmasks NMIs after everybody's serialisation.
            match memory.exchange(Cell::Settled, seen.word(), new.word(), Ordering::AcqRel) {
                Ok(()) if new.count == followers && G::MASKS_NMIS && G::LAST_UNMASKS => {
                    if G::UNMASKS_BEFORE_LEAVING {
                        Step::UnmaskNmis {
                            joined: follower(seen.generation),
                        }
                    } else {
                        Step::NoteGone(Joined {
                            generation: seen.generation,
                            role: Role::LateUnmasker,
                        })
                    }
                }
                Ok(()) => Step::NoteGone(follower(seen.generation)),
                Err(word) => Step::Settle {
                    followers,
                    seen: Count::from_word(word),
                },
            }
        }
        _ => return None,
    }))
}

fn joined_count(memory: &impl Memory) -> u16 {
    // The word is closed by now: the count stands.
    Join::from_word(memory.load(Cell::Join, Ordering::Acquire)).count
}

/// The steps at the end, of master and followers alike.
fn leave<G: Guards>(at: Step, memory: &impl Memory, effects: &mut impl Effects) -> Next {
    let cpu = effects.cpu();
    Ok(match at {
        Step::UnmaskNmis { joined } => {
            effects.unmask_nmis();
            match joined.role {
                Role::Master => Step::Finish {
                    outcome: Outcome::Acted(joined.generation),
                },
                Role::Follower | Role::LateUnmasker => Step::NoteGone(joined),
            }
        }
        Step::UnmaskAborted { generation } => {
            effects.unmask_nmis();
            Step::Finish {
                outcome: Outcome::LateToAcknowledge(generation),
            }
        }
        Step::UnmaskAfterLeaving => {
            effects.unmask_nmis();
            return Err(gone::<G>());
        }
        Step::Finish { outcome } => {
            effects.finish(outcome);
            let (Outcome::Acted(generation)
            | Outcome::LateToJoin(generation)
            | Outcome::LateToAcknowledge(generation)) = outcome;
            Step::NoteGone(Joined {
                generation,
                role: Role::Master,
            })
        }
        Step::NoteGone(joined) => {
            // Relaxed, as the note of who joined.
            memory.store(Cell::Gone(cpu), joined.generation.into(), Ordering::Relaxed);
            Step::CountAll(joined)
        }
        Step::CountAll(joined) => Step::Leave {
            joined,
            all: joined_count(memory),
            seen: Count::none_of(joined.generation),
        },
        Step::Leave { joined, all, seen } => {
            let new = Count {
                count: seen.count + 1,
                ..seen
            };
            // AcqRel: the last one gives `Busy` back after everybody's last access.
            match memory.exchange(Cell::Left, seen.word(), new.word(), Ordering::AcqRel) {
                Ok(()) => {
                    let is_last = if G::EXIT_BARRIER {
                        new.count == all
                    } else {
                        joined.role == Role::Master
                    };
                    match (is_last, joined.role) {
                        (true, _) => Step::Thaw,
                        (false, Role::LateUnmasker) => Step::UnmaskAfterLeaving,
                        (false, _) => return Err(gone::<G>()),
                    }
                }
                Err(word) => Step::Leave {
                    joined,
                    all,
                    seen: Count::from_word(word),
                },
            }
        }
        Step::Thaw => {
            effects.thaw();
            Step::GiveBack
        }
        Step::GiveBack => {
            memory.store(Cell::Busy, 0, Ordering::Release);
            return Err(gone::<G>());
        }
        other => return Err((Status::Finished, other)),
    })
}
