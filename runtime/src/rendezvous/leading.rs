//! The master's steps between joining and leaving: kick the others, wait for all, have interrupts
//! disabled, act, release.

use core::sync::atomic::Ordering;

use super::Quiesced;
use super::safe_point::{Joined, Next, Role, Step, load_phase};
use super::steps::{Effects, Guards, Outcome, Status, at_stage};
use super::words::{Cell, Door, Join, Memory, Phase, Stage};

/// The master's steps, up to where everybody leaves.
pub(super) fn lead<G: Guards>(
    at: Step,
    memory: &impl Memory,
    effects: &mut impl Effects,
) -> Option<Next> {
    Some(Ok(match at {
        Step::Kick { generation } => {
            effects.kick();
            Step::AwaitJoined { generation }
        }
        Step::AwaitJoined { generation } => {
            let seen = Join::from_word(memory.load(Cell::Join, Ordering::Acquire));
            if seen.count >= seen.needed || !G::WAITS_FOR_ALL {
                let followers = seen.count.saturating_sub(1);
                if G::MASKS_NMIS {
                    Step::MaskNmis {
                        generation,
                        followers,
                    }
                } else {
                    Step::Ready {
                        generation,
                        followers,
                    }
                }
            } else if !effects.is_expired() {
                return Some(Err((Status::WaitingOpen, at)));
            } else if G::TIMEOUT_CLOSES {
                Step::GiveUpJoining { seen }
            } else {
                Step::AbortJoining { generation }
            }
        }
        Step::GiveUpJoining { seen } => {
            let generation = seen.generation;
            let closed = Join {
                door: Door::Closed,
                ..seen
            };
            match memory.exchange(Cell::Join, seen.word(), closed.word(), Ordering::AcqRel) {
                Ok(()) => Step::AbortJoining { generation },
                Err(_) => Step::AwaitJoined { generation },
            }
        }
        Step::AbortJoining { generation } => {
            let aborted = at_stage(generation, Stage::AbortedJoining);
            memory.store(Cell::Phase, aborted, Ordering::Release);
            Step::Finish {
                outcome: Outcome::LateToJoin(generation),
            }
        }
        Step::MaskNmis {
            generation,
            followers,
        } => {
            effects.mask_nmis();
            Step::Ready {
                generation,
                followers,
            }
        }
        Step::Ready {
            generation,
            followers,
        } => {
            memory.store(
                Cell::Phase,
                at_stage(generation, Stage::Ready),
                Ordering::Release,
            );
            Step::KickReady {
                generation,
                followers,
            }
        }
        Step::KickReady {
            generation,
            followers,
        } => {
            effects.kick();
            Step::AwaitAcknowledged {
                generation,
                followers,
            }
        }
        Step::AwaitAcknowledged { followers, .. } => {
            let seen = load_phase(memory);
            if seen.acknowledged >= followers || !G::WAITS_FOR_ACKNOWLEDGEMENTS {
                if G::MASTER_OFF {
                    Step::MasterOff { seen }
                } else {
                    Step::Go { seen }
                }
            } else if effects.is_expired() {
                Step::GiveUpReady { seen, followers }
            } else {
                return Some(Err((Status::WaitingOpen, at)));
            }
        }
        Step::GiveUpReady { seen, followers } => {
            let generation = seen.generation;
            let aborted = Phase {
                stage: Stage::AbortedReady,
                ..seen
            };
            let outcome = Outcome::LateToAcknowledge(generation);
            match memory.exchange(Cell::Phase, seen.word(), aborted.word(), Ordering::AcqRel) {
                Ok(()) => Step::Finish { outcome },
                Err(_) => Step::AwaitAcknowledged {
                    generation,
                    followers,
                },
            }
        }
        Step::MasterOff { seen } => {
            effects.interrupts_off();
            Step::Go { seen }
        }
        Step::Go { seen } => {
            let generation = seen.generation;
            let followers = seen.acknowledged;
            let go = Phase {
                stage: Stage::Go,
                ..seen
            };
            match memory.exchange(Cell::Phase, seen.word(), go.word(), Ordering::AcqRel) {
                Ok(()) => Step::Act {
                    generation,
                    followers,
                },
                Err(word) => Step::Go {
                    seen: Phase::from_word(word),
                },
            }
        }
        Step::Act {
            generation,
            followers,
        } => {
            effects.act(&Quiesced { _made_here: () });
            if G::MASTER_SERIALISES {
                Step::MasterSerialise {
                    generation,
                    followers,
                }
            } else {
                Step::Done {
                    generation,
                    followers,
                }
            }
        }
        Step::MasterSerialise {
            generation,
            followers,
        } => {
            effects.serialise();
            Step::Done {
                generation,
                followers,
            }
        }
        Step::Done {
            generation,
            followers,
        } => {
            memory.store(
                Cell::Phase,
                at_stage(generation, Stage::Done),
                Ordering::Release,
            );
            Step::MasterOn {
                generation,
                followers,
            }
        }
        Step::MasterOn {
            generation,
            followers,
        } => {
            if G::MASTER_OFF {
                effects.interrupts_on();
            }
            let is_last = followers == 0 || !G::LAST_UNMASKS;
            if is_last && G::MASKS_NMIS {
                Step::UnmaskNmis {
                    joined: Joined {
                        generation,
                        role: Role::Master,
                    },
                }
            } else {
                Step::Finish {
                    outcome: Outcome::Acted(generation),
                }
            }
        }
        _ => return None,
    }))
}
