//! The words that CPUs share in a rendezvous, and how they are packed.
//!
//! Every word carries the generation of the action it is about in its upper half, so that a CPU
//! that comes late to one action cannot be counted in the next.

use core::sync::atomic::Ordering;

use crate::rendezvous::cpu::CpuId;

/// Names one shared word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cell {
    /// 0, or 1 while an action is claimed, open or not left by everybody.
    Busy,
    /// [`Join`]: who has come.
    Join,
    /// [`Phase`]: how far the action is.
    Phase,
    /// [`Count`] of followers that have serialised, or have been told to go on.
    Settled,
    /// [`Count`] of CPUs that have left.
    Left,
    /// 1 when this CPU is asked to look at [`Cell::Join`].
    Request(CpuId),
    /// Generation that this CPU joined last; for naming those that did not.
    Joined(CpuId),
    /// Generation that this CPU left last; for naming those that did not.
    Gone(CpuId),
}

/// Access to the shared words: real atomics, a model checker's, or loom's.
pub trait Memory {
    /// Reads.
    fn load(&self, cell: Cell, order: Ordering) -> u64;
    /// Writes.
    fn store(&self, cell: Cell, value: u64, order: Ordering);
    /// Writes and returns what was there.
    fn swap(&self, cell: Cell, value: u64, order: Ordering) -> u64;
    /// Writes `new` if `current` is there; returns what was there instead when it is not. That is
    /// for the next try alone: nothing is ordered by it.
    ///
    /// # Errors
    /// The value that was found.
    fn exchange(&self, cell: Cell, current: u64, new: u64, order: Ordering) -> Result<(), u64>;
}

/// A generation: the number of an action, from 1.
pub(crate) type Generation = u32;

const fn pack(generation: Generation, high: u16, low: u16) -> u64 {
    (generation as u64) << 32 | (high as u64) << 16 | low as u64
}

fn unpack(word: u64) -> (Generation, u16, u16) {
    let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
    (
        u32::from_le_bytes([e, f, g, h]),
        u16::from_le_bytes([c, d]),
        u16::from_le_bytes([a, b]),
    )
}

/// Whether CPUs may still join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// They may.
    Open,
    /// All have come, or the master gave up.
    Closed,
}

/// Contents of [`Cell::Join`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Join {
    /// Which action.
    pub generation: Generation,
    /// How many CPUs must come.
    pub needed: u16,
    /// Whether they may still come.
    pub door: Door,
    /// How many have come.
    pub count: u16,
}

const DOOR_OPEN: u16 = 1 << 15;

impl Join {
    /// As a word.
    #[must_use]
    pub const fn word(self) -> u64 {
        let open = match self.door {
            Door::Open => DOOR_OPEN,
            Door::Closed => 0,
        };
        pack(self.generation, self.needed | open, self.count)
    }

    /// From a word.
    #[must_use]
    pub fn from_word(word: u64) -> Join {
        let (generation, high, count) = unpack(word);
        Join {
            generation,
            needed: high & !DOOR_OPEN,
            door: if high & DOOR_OPEN == 0 {
                Door::Closed
            } else {
                Door::Open
            },
            count,
        }
    }
}

/// How far an action is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Stage {
    /// CPUs are coming.
    Wait = 0,
    /// All have come: interrupts off, and acknowledge.
    Ready = 1,
    /// All have acknowledged: text is written. There is no way back.
    Go = 2,
    /// Text is written: serialise and go on.
    Done = 3,
    /// Not all came: go on. NMIs were not masked.
    AbortedJoining = 4,
    /// Not all acknowledged: go on. NMIs are masked.
    AbortedReady = 5,
}

/// Contents of [`Cell::Phase`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Phase {
    /// Which action.
    pub generation: Generation,
    /// How far it is.
    pub stage: Stage,
    /// How many followers have acknowledged.
    pub acknowledged: u16,
}

impl Phase {
    /// As a word.
    #[must_use]
    pub const fn word(self) -> u64 {
        pack(self.generation, self.stage as u16, self.acknowledged)
    }

    /// From a word.
    #[must_use]
    pub fn from_word(word: u64) -> Phase {
        let (generation, stage, acknowledged) = unpack(word);
        Phase {
            generation,
            stage: match stage {
                0 => Stage::Wait,
                1 => Stage::Ready,
                2 => Stage::Go,
                3 => Stage::Done,
                4 => Stage::AbortedJoining,
                _ => Stage::AbortedReady,
            },
            acknowledged,
        }
    }
}

/// Contents of [`Cell::Settled`] and [`Cell::Left`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Count {
    /// Which action.
    pub generation: Generation,
    /// How many.
    pub count: u16,
}

impl Count {
    /// Nobody yet.
    #[must_use]
    pub(crate) const fn none_of(generation: Generation) -> Count {
        Count {
            generation,
            count: 0,
        }
    }

    /// As a word.
    #[must_use]
    pub(crate) const fn word(self) -> u64 {
        pack(self.generation, 0, self.count)
    }

    /// From a word.
    #[must_use]
    pub(crate) fn from_word(word: u64) -> Count {
        let (generation, _, count) = unpack(word);
        Count { generation, count }
    }
}

#[cfg(test)]
mod tests {
    use super::{Count, Door, Join, Phase, Stage};

    #[test]
    fn words_are_read_back_as_they_were_packed() {
        for door in [Door::Open, Door::Closed] {
            let join = Join {
                generation: u32::MAX,
                needed: 512,
                door,
                count: 511,
            };
            assert_eq!(Join::from_word(join.word()), join);
        }
        for stage in [
            Stage::Wait,
            Stage::Ready,
            Stage::Go,
            Stage::Done,
            Stage::AbortedJoining,
            Stage::AbortedReady,
        ] {
            let phase = Phase {
                generation: 7,
                stage,
                acknowledged: 3,
            };
            assert_eq!(Phase::from_word(phase.word()), phase);
        }
        let count = Count {
            generation: 9,
            count: 2,
        };
        assert_eq!(Count::from_word(count.word()), count);
    }
}
