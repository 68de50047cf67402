//! The rendezvous protocol as two state machines. Each step makes a single memory access or has a
//! single effect.
//!
//! [`Opening`] runs in the hypercall that starts an action, [`SafePoint`] on every CPU that comes
//! to its safe point; each has a file, and this one says what they share. The runtime drives them
//! to their end; the model checker of the tests steps the same code in every interleaving, and
//! takes one [`Guards`] away at a time to see it fail.
//!
//! One action, generation *g*:
//!
//! 1. The opener claims `Busy`, has the online set frozen, resets the words to *g*, opens `Join`,
//!    and only then sets every CPU's `Request`.
//! 2. A CPU clears its own request, then looks at `Join`, and joins by compare-and-swap of the
//!    whole word; the last one closes it in its swap. The first is the master. If its time is up,
//!    it closes the word in the swap that gives up, so that nobody can join an action that is
//!    given up.
//! 3. The master masks NMIs and sets `Phase` to ready; followers disable interrupts and count
//!    themselves into the same word. Go and abort are swaps of that word: whichever is first wins.
//! 4. After go there is no timeout. The master acts, serialises, publishes done; each follower
//!    serialises, enables interrupts and counts itself into `Settled`; the last unmasks NMIs.
//! 5. Everybody counts itself into `Left`, the master after its post-hooks. The last one thaws the
//!    online set and gives `Busy` back: until then the next action is refused.
//!
//! The test `rendezvous_original` shows what went wrong without generations and barrier.

use super::Quiesced;
pub use super::opening::Opening;
pub use super::safe_point::{SafePoint, Standing};
use super::words::{Generation, Phase, Stage};
use crate::rendezvous::cpu::{CpuId, CpuSet};

/// The effects that a state machine needs from its environment.
pub trait Effects {
    /// The CPU that the machine runs on.
    fn cpu(&self) -> CpuId;
    /// Freezes the online set, unless a CPU is coming or going.
    fn freeze(&mut self) -> Freezing;
    /// The frozen set.
    fn online(&self) -> CpuSet;
    /// Lets CPUs come and go again.
    fn thaw(&mut self);
    /// Kicks the other CPUs of the frozen set, without waiting.
    fn kick(&mut self);
    /// Whether the master has waited long enough.
    fn is_expired(&mut self) -> bool;
    /// Holds this CPU's interrupts back.
    fn interrupts_off(&mut self);
    /// Takes them again.
    fn interrupts_on(&mut self);
    /// Has NMIs counted instead of delivered, on all CPUs.
    fn mask_nmis(&mut self);
    /// Delivers them, the counted ones first.
    fn unmask_nmis(&mut self);
    /// Serialises this CPU.
    fn serialise(&mut self);
    /// Writes text: nothing else runs.
    fn act(&mut self, quiesced: &Quiesced);
    /// Everybody runs again (or soon will): records the result, runs post-hooks.
    fn finish(&mut self, outcome: Outcome);
}

/// Whether the online set could be frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freezing {
    /// It is frozen now.
    Frozen,
    /// A CPU is coming or going.
    Refused,
}

/// How an action ended, for [`Effects::finish`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was carried out.
    Acted(Generation),
    /// Not all CPUs came in time.
    LateToJoin(Generation),
    /// All came, but not all acknowledged in time.
    LateToAcknowledge(Generation),
}

/// What a step led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// The next step can be made.
    Working,
    /// The step found nothing new and will be made again; interrupts are on.
    WaitingOpen,
    /// The same with interrupts off.
    WaitingClosed,
    /// [`Opening`] alone: `Busy` is claimed; the caller prepares the action before it goes on.
    Claimed,
    /// The machine is at its end.
    Finished,
    /// [`Opening`] alone: another action is not over, or a CPU is coming or going.
    Refused,
}

/// The properties that make the protocol correct. The runtime keeps them all ([`Sound`]); for each
/// one, a test removes it and checks that the model checker finds the fault.
pub trait Guards {
    /// `Busy` is claimed by one swap, not by a look and a write.
    const CLAIMS_BY_SWAP: bool = true;
    /// Each action has a generation of its own.
    const NEW_GENERATION: bool = true;
    /// Requests are set after `Join` is open.
    const OPENS_BEFORE_REQUESTS: bool = true;
    /// A CPU clears its request before it looks at `Join`.
    const CLEARS_BEFORE_LOOKING: bool = true;
    /// A CPU joins by compare-and-swap.
    const JOINS_BY_SWAP: bool = true;
    /// The last CPU to join closes the word.
    const CLOSES_WHEN_FULL: bool = true;
    /// A timeout closes the word in its swap.
    const TIMEOUT_CLOSES: bool = true;
    /// The master waits for all to join.
    const WAITS_FOR_ALL: bool = true;
    /// The master masks NMIs.
    const MASKS_NMIS: bool = true;
    /// The master waits for all to acknowledge.
    const WAITS_FOR_ACKNOWLEDGEMENTS: bool = true;
    /// A follower disables interrupts before it acknowledges.
    const OFF_BEFORE_ACKNOWLEDGING: bool = true;
    /// The master disables its own interrupts.
    const MASTER_OFF: bool = true;
    /// The master serialises before it enables interrupts.
    const MASTER_SERIALISES: bool = true;
    /// A follower serialises before it enables interrupts.
    const FOLLOWER_SERIALISES: bool = true;
    /// NMIs are unmasked by the last CPU to serialise.
    const LAST_UNMASKS: bool = true;
    /// NMIs are unmasked before the unmasking CPU leaves.
    const UNMASKS_BEFORE_LEAVING: bool = true;
    /// `Busy` is given back by the last CPU to leave.
    const EXIT_BARRIER: bool = true;
}

/// The protocol as it is.
#[derive(Clone, Copy, Debug)]
pub struct Sound;

impl Guards for Sound {}

/// The word of [`super::words::Cell::Phase`] at the start of a stage.
pub(super) const fn at_stage(generation: Generation, stage: Stage) -> u64 {
    Phase {
        generation,
        stage,
        acknowledged: 0,
    }
    .word()
}
