//! Brings every CPU to its safe point and runs one action while nothing else runs.
//!
//! [`steps`] is the protocol, [`words`] what the CPUs share, [`shared`] where it is. This file
//! drives the steps on the processor's atomics, and names the CPUs that an action waits for.

pub mod cpu;
pub mod milestones;

mod leading;
mod opening;
mod safe_point;
pub mod shared;
pub mod steps;
pub mod words;

use core::sync::atomic::Ordering;

use crate::rendezvous::cpu::{CPUS_MAX, CpuId, CpuSet, Interrupts};
use shared::Words;
use steps::{Effects, Opening, SafePoint, Sound, Status};
use words::{Cell, Generation, Join, Memory, Phase, Stage};

/// Proof that every other online CPU stands at its safe point with interrupts off and NMIs are
/// held. Only the rendezvous makes one, and writing text requires one.
#[derive(Debug)]
pub struct Quiesced {
    _made_here: (),
}

/// The rendezvous of one running system.
#[derive(Debug)]
pub struct Rendezvous {
    words: Words,
}

/// A claim to the next action; [`Rendezvous::open`] or [`Rendezvous::abandon`] must follow.
#[derive(Debug)]
#[must_use]
pub struct Claim {
    opening: Opening,
}

/// Why the next action cannot begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// Another one is under way.
    InProgress,
    /// The last one is over, but these CPUs have not left it.
    NotLeft(CpuSet),
    /// A CPU is coming or going.
    OnlineChanging,
}

impl Rendezvous {
    /// One in which nothing happens; `None` without memory.
    #[must_use]
    pub fn new() -> Option<Rendezvous> {
        Some(Rendezvous {
            words: Words::new(CPUS_MAX)?,
        })
    }

    /// Whether `cpu` has been asked to come: the fast path of its safe point.
    #[must_use]
    pub fn is_requested(&self, cpu: CpuId) -> bool {
        self.words.load(Cell::Request(cpu), Ordering::Relaxed) != 0
    }

    /// Whether an action is claimed, open, or not left by everybody.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.words.load(Cell::Busy, Ordering::Acquire) != 0
    }

    /// Why the next action could not begin right now; `None` when it could.
    #[must_use]
    pub fn busy(&self) -> Option<Busy> {
        self.is_busy().then(|| self.why_busy())
    }

    /// Claims the next action.
    ///
    /// # Errors
    /// Another one is not over.
    pub fn claim(&self, effects: &mut impl Effects) -> Result<Claim, Busy> {
        let mut opening = Opening::new();
        loop {
            match opening.step::<Sound>(&self.words, effects) {
                Status::Claimed => return Ok(Claim { opening }),
                Status::Refused | Status::Finished => return Err(self.why_busy()),
                Status::Working | Status::WaitingOpen | Status::WaitingClosed => {}
            }
        }
    }

    /// Opens the claimed action: from now on CPUs come.
    ///
    /// # Errors
    /// A CPU is coming or going; the claim is given back.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a claim is used up by what follows it"
    )]
    pub fn open(&self, claim: Claim, effects: &mut impl Effects) -> Result<(), Busy> {
        let Claim { mut opening } = claim;
        loop {
            match opening.step::<Sound>(&self.words, effects) {
                Status::Finished => return Ok(()),
                Status::Refused => return Err(Busy::OnlineChanging),
                _ => {}
            }
        }
    }

    /// Gives the claim back: there will be no action.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a claim is used up by what follows it"
    )]
    pub fn abandon(&self, claim: Claim, effects: &mut impl Effects) {
        let Claim { mut opening } = claim;
        opening.abandon();
        while opening.step::<Sound>(&self.words, effects) != Status::Refused {}
    }

    /// Joins what is open, on the CPU of `effects`, and comes back when it is over; `relax` is
    /// called whenever there is nothing to do but wait.
    pub fn safe_point(&self, effects: &mut impl Effects, mut relax: impl FnMut(Interrupts)) {
        let mut machine = SafePoint::new();
        loop {
            match machine.step::<Sound>(&self.words, effects) {
                Status::Finished | Status::Refused => return,
                Status::WaitingOpen => relax(Interrupts::On),
                Status::WaitingClosed => relax(Interrupts::Off),
                Status::Working | Status::Claimed => {}
            }
        }
    }

    fn all() -> impl Iterator<Item = CpuId> {
        (0..CPUS_MAX)
            .filter_map(|index| u16::try_from(index).ok())
            .map(CpuId)
    }

    fn has_joined(&self, cpu: CpuId, generation: Generation) -> bool {
        self.words.load(Cell::Joined(cpu), Ordering::Relaxed) == u64::from(generation)
    }

    fn why_busy(&self) -> Busy {
        let join = Join::from_word(self.words.load(Cell::Join, Ordering::Acquire));
        let phase = Phase::from_word(self.words.load(Cell::Phase, Ordering::Acquire));
        let is_over = matches!(
            phase.stage,
            Stage::Done | Stage::AbortedJoining | Stage::AbortedReady
        );
        if phase.generation != join.generation || !is_over {
            return Busy::InProgress;
        }
        let mut inside = CpuSet::EMPTY;
        for cpu in Rendezvous::all() {
            let gone = self.words.load(Cell::Gone(cpu), Ordering::Relaxed);
            if self.has_joined(cpu, join.generation) && gone != u64::from(join.generation) {
                inside.insert(cpu);
            }
        }
        Busy::NotLeft(inside)
    }

    /// CPUs of `online` that have not joined the action. After it is given up, `relax` is called
    /// while a CPU that did join has yet to say so, at most a thousand times.
    pub fn late_to_join(
        &self,
        generation: Generation,
        online: &CpuSet,
        mut relax: impl FnMut(),
    ) -> CpuSet {
        let mut late = CpuSet::EMPTY;
        for _ in 0..1000 {
            late = *online;
            for cpu in online.iter() {
                if self.has_joined(cpu, generation) {
                    late.remove(cpu);
                }
            }
            let join = Join::from_word(self.words.load(Cell::Join, Ordering::Acquire));
            if late.len() + join.count <= online.len() {
                break;
            }
            relax();
        }
        late
    }

    /// CPUs that joined the action and have not left it.
    #[must_use]
    pub fn inside(&self, generation: Generation, online: &CpuSet) -> CpuSet {
        let mut inside = CpuSet::EMPTY;
        for cpu in online.iter() {
            let gone = self.words.load(Cell::Gone(cpu), Ordering::Relaxed);
            if self.has_joined(cpu, generation) && gone != u64::from(generation) {
                inside.insert(cpu);
            }
        }
        inside
    }
}
