//! The runtime's public face: what a kernel creates once and calls from its hypercall, its safe
//! point and its fault handlers.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;
use xsplice_abi::errno::Errno;
use xsplice_abi::limits::TIMEOUT_DEFAULT_NS;

use crate::act::action;
use crate::act::hooks;
use crate::act::shadow::Shadows;
use crate::base::Base;
use crate::load::Surroundings;
use crate::locks::{Guard, Lock};
use crate::payload::directory::{Bug, Directory};
use crate::payload::stack::Stack;
use crate::platform::{Level, Platform};
use crate::read::deny::{Denied, DenyError};
use crate::read::signature::Verifier;
use crate::rendezvous::cpu::{CPUS_MAX, CpuId, CpuSet, Interrupts};
use crate::rendezvous::milestones::{Milestones, Recorder};
use crate::rendezvous::steps::{Effects, Freezing, Outcome};
use crate::rendezvous::{Busy, Claim, Quiesced, Rendezvous};

/// Decisions of the kernel's operator.
#[derive(Clone, Copy, Default)]
pub struct Policy<'base> {
    /// Text of the base that no payload may replace: functions that never return, the NMI and
    /// machine-check paths, the patcher. [`crate::read::deny::parse`] reads a list of it.
    pub deny: &'base [Denied<'base>],
    /// With a verifier, every payload must carry a signature that it accepts.
    pub verifier: Option<&'base dyn Verifier>,
}

impl fmt::Debug for Policy<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Policy")
            .field("deny", &self.deny)
            .field("verifies", &self.verifier.is_some())
            .finish()
    }
}

/// Whether a caller may use payload operations at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// It may.
    Privileged,
    /// Every operation returns -EPERM.
    Unprivileged,
}

/// Why a runtime could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SetupError<'base> {
    /// A line of the deny list would protect nothing.
    #[error(transparent)]
    Deny(DenyError<'base>),
    /// Memory for the runtime's own tables could not be had.
    #[error("out of memory")]
    OutOfMemory,
    /// The machine has more CPUs than can be brought together.
    #[error("{cpus} CPUs, but the runtime stops at most {CPUS_MAX}")]
    TooManyCpus {
        /// How many the platform says.
        cpus: usize,
    },
}

/// Loads, applies, reverts and replaces payloads in one running image.
pub struct Runtime<'base, P> {
    pub(crate) platform: P,
    pub(crate) base: Base<'base>,
    verifier: Option<&'base dyn Verifier>,
    denied: Vec<Range<u64>>,
    pub(crate) rendezvous: Rendezvous,
    stack: Lock<Stack>,
    pub(crate) directory: Directory,
    shadows: Shadows,
    /// Frozen CPUs of the action under way.
    online: Lock<CpuSet>,
    timeout_ns: AtomicU64,
    epoch: AtomicU64,
    milestones: Recorder,
}

impl<P> fmt::Debug for Runtime<'_, P> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Runtime")
            .field("denied", &self.denied)
            .field("rendezvous", &self.rendezvous.is_busy())
            .finish_non_exhaustive()
    }
}

impl<'base, P: Platform> Runtime<'base, P> {
    /// A runtime without payloads.
    ///
    /// # Errors
    /// See [`SetupError`].
    pub fn new(
        platform: P,
        base: Base<'base>,
        policy: Policy<'base>,
    ) -> Result<Self, SetupError<'base>> {
        let cpus = platform.cpus();
        if cpus > CPUS_MAX {
            return Err(SetupError::TooManyCpus { cpus });
        }
        let mut denied = Vec::new();
        denied
            .try_reserve_exact(policy.deny.len())
            .map_err(|_| SetupError::OutOfMemory)?;
        for line in policy.deny {
            let addresses = line.addresses(|name| base.symbols.named(name));
            denied.push(addresses.map_err(SetupError::Deny)?);
        }
        Ok(Runtime {
            platform,
            base,
            verifier: policy.verifier,
            denied,
            rendezvous: Rendezvous::new().ok_or(SetupError::OutOfMemory)?,
            stack: Lock::default(),
            directory: Directory::default(),
            shadows: Shadows::default(),
            online: Lock::new(CpuSet::EMPTY),
            timeout_ns: AtomicU64::new(TIMEOUT_DEFAULT_NS.into()),
            epoch: AtomicU64::new(0),
            milestones: Recorder::default(),
        })
    }

    /// The platform it was made with.
    pub const fn platform(&self) -> &P {
        &self.platform
    }

    /// The base it was made for.
    pub const fn base(&self) -> &Base<'base> {
        &self.base
    }

    /// Memory that payloads attach to objects of the base.
    pub const fn shadows(&self) -> &Shadows {
        &self.shadows
    }

    /// The stack of payloads, for a hypercall or the end of an action.
    pub(crate) fn lock_stack(&self) -> Guard<'_, Stack> {
        // Taken before these, never while this CPU has one of them.
        self.online.holder().check_before_waiting(&self.platform);
        self.directory.writer().check_before_waiting(&self.platform);
        self.shadows.holder().check_before_waiting(&self.platform);
        self.stack.lock(&self.platform, Interrupts::On)
    }

    fn online(&self) -> CpuSet {
        *self.online.lock_anyhow(&self.platform)
    }

    /// What a loader needs besides the payload.
    pub(crate) fn surroundings(&self) -> Surroundings<'_, 'base, P> {
        Surroundings {
            platform: &self.platform,
            base: &self.base,
            denied: &self.denied,
            verifier: self.verifier,
            directory: &self.directory,
        }
    }

    /// Joins the rendezvous when one is open. Called on `cpu` at the top of its idle or work
    /// loop alone: on an empty stack, interrupts on, no patchable function live. Cheap when there
    /// is nothing to do.
    pub fn safe_point(&self, cpu: CpuId) {
        if !self.rendezvous.is_requested(cpu) {
            return;
        }
        let mut effects = self.visitor(cpu);
        self.rendezvous
            .safe_point(&mut effects, |interrupts| self.platform.relax(interrupts));
    }

    /// Changes inside the quiescent zone with each completed apply, revert and replace: two equal
    /// readings around a call mean that the call ran entirely in one version of the text.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// When each part of the last action happened.
    pub fn milestones(&self) -> Milestones {
        self.milestones.read()
    }

    /// How many symbols of payloads are known: those that faults are named by, and that later
    /// payloads refer to.
    pub fn payload_symbols(&self) -> usize {
        self.directory.read(&self.platform, |listings| {
            listings.iter().map(|listing| listing.symbols.len()).sum()
        })
    }

    /// Where to continue after a fault at `address` inside a payload, by its exception table.
    /// For fault handlers: takes no lock that an upload holds for long.
    pub fn exception(&self, address: u64) -> Option<u64> {
        self.directory.exception(address)
    }

    /// The bug frame of a payload at `address`. For fault handlers, as [`Runtime::exception`].
    pub fn bug(&self, address: u64) -> Option<Bug> {
        self.directory.bug(address)
    }

    /// Writes `payload:symbol+0xoffset/0xsize` for an address inside a payload; nothing for
    /// another address. For fault handlers, as [`Runtime::exception`].
    ///
    /// # Errors
    /// Those of `out`.
    pub fn describe(&self, address: u64, out: &mut dyn fmt::Write) -> fmt::Result {
        self.directory.describe(address, out)
    }

    /// Claims the next action.
    pub(crate) fn claim(&self) -> Result<Claim, Busy> {
        let mut effects = self.visitor(self.platform.current_cpu());
        self.rendezvous.claim(&mut effects)
    }

    /// Gives a claim back.
    pub(crate) fn abandon(&self, claim: Claim) {
        let mut effects = self.visitor(self.platform.current_cpu());
        self.rendezvous.abandon(claim, &mut effects);
    }

    /// Opens the claimed action.
    pub(crate) fn open(&self, claim: Claim, timeout_ns: u64) -> Result<(), Busy> {
        self.timeout_ns.store(timeout_ns, Ordering::Relaxed);
        self.milestones.request(self.platform.now_ns());
        let mut effects = self.visitor(self.platform.current_cpu());
        self.rendezvous.open(claim, &mut effects)
    }

    fn visitor(&self, cpu: CpuId) -> Visitor<'_, 'base, P> {
        Visitor {
            runtime: self,
            cpu,
            deadline_ns: None,
            before: Interrupts::On,
        }
    }
}

/// One CPU's part in a rendezvous: the effects of the protocol on the platform.
struct Visitor<'r, 'base, P> {
    runtime: &'r Runtime<'base, P>,
    cpu: CpuId,
    deadline_ns: Option<u64>,
    before: Interrupts,
}

impl<P: Platform> Visitor<'_, '_, P> {
    fn others(&self) -> CpuSet {
        let mut others = self.runtime.online();
        others.remove(self.cpu);
        others
    }

    /// Logs which CPUs were late.
    fn name_the_late(&self, outcome: Outcome) {
        let runtime = self.runtime;
        let relax = || runtime.platform.relax(Interrupts::On);
        match outcome {
            Outcome::Acted(_) => {}
            Outcome::LateToJoin(generation) => {
                let online = runtime.online();
                let late = runtime.rendezvous.late_to_join(generation, &online, relax);
                runtime.platform.log(
                    Level::Error,
                    format_args!("did not come to the safe point in time: {late}"),
                );
            }
            Outcome::LateToAcknowledge(generation) => {
                // CPUs that acknowledged leave now. Those that have not left after as long again
                // did not acknowledge.
                let limit = runtime.timeout_ns.load(Ordering::Relaxed);
                let deadline = runtime.platform.now_ns().saturating_add(limit);
                let others = self.others();
                let mut late = runtime.rendezvous.inside(generation, &others);
                while !late.is_empty() && runtime.platform.now_ns() < deadline {
                    relax();
                    late = runtime.rendezvous.inside(generation, &others);
                }
                runtime.platform.log(
                    Level::Error,
                    format_args!("did not disable interrupts in time; still inside: {late}"),
                );
            }
        }
    }
}

impl<P: Platform> Effects for Visitor<'_, '_, P> {
    fn cpu(&self) -> CpuId {
        self.cpu
    }

    fn freeze(&mut self) -> Freezing {
        match self.runtime.platform.freeze_online() {
            Some(online) => {
                let runtime = self.runtime;
                *runtime.online.lock_anyhow(&runtime.platform) = online;
                Freezing::Frozen
            }
            None => Freezing::Refused,
        }
    }

    fn online(&self) -> CpuSet {
        self.runtime.online()
    }

    fn thaw(&mut self) {
        self.runtime.platform.thaw_online();
    }

    fn kick(&mut self) {
        self.runtime.platform.kick(&self.others());
    }

    fn is_expired(&mut self) -> bool {
        let now = self.runtime.platform.now_ns();
        let timeout = self.runtime.timeout_ns.load(Ordering::Relaxed);
        let deadline = *self
            .deadline_ns
            .get_or_insert_with(|| now.saturating_add(timeout));
        now > deadline
    }

    fn interrupts_off(&mut self) {
        self.before = self.runtime.platform.interrupts_off();
    }

    fn interrupts_on(&mut self) {
        self.runtime.platform.interrupts_restore(self.before);
    }

    fn mask_nmis(&mut self) {
        self.runtime.platform.mask_nmis();
    }

    fn unmask_nmis(&mut self) {
        self.runtime.milestones.run(self.runtime.platform.now_ns());
        self.runtime.platform.unmask_nmis();
    }

    fn serialise(&mut self) {
        self.runtime.platform.serialise();
    }

    fn act(&mut self, quiesced: &Quiesced) {
        let runtime = self.runtime;
        runtime.milestones.stop(runtime.platform.now_ns());
        // Every CPU is at its safe point and holds no lock there, so this does not wait.
        let mut stack = runtime.stack.lock_quiesced(&runtime.platform, quiesced);
        let Some(scheduled) = stack.scheduled else {
            return;
        };
        let result = action::perform(&runtime.platform, quiesced, &mut stack, scheduled.work);
        if let Some(scheduled) = &mut stack.scheduled {
            scheduled.result = Some(result);
        }
        if result == 0 {
            runtime.epoch.fetch_add(1, Ordering::Release);
        }
        runtime.milestones.release(runtime.platform.now_ns());
    }

    fn finish(&mut self, outcome: Outcome) {
        let runtime = self.runtime;
        self.name_the_late(outcome);
        let mut stack = runtime.lock_stack();
        let Some(scheduled) = stack.scheduled.take() else {
            return;
        };
        let work = scheduled.work;
        let result = scheduled.result.unwrap_or(Errno::EBUSY.negated());
        let Some(payload) = stack.get(work.payload()) else {
            return;
        };
        // The action is not over before its post-hook returns, so the payload cannot be unloaded
        // meanwhile, and its name stays where the argument points.
        let hook = work
            .post_hook()
            .filter(|_| scheduled.result.is_some())
            .and_then(|kind| payload.hooks.single(kind))
            .map(|address| (address, hooks::argument(payload, result)));
        drop(stack);
        if let Some((address, argument)) = hook {
            runtime.platform.call_hook(address, Some(&argument));
        }
        let mut stack = runtime.lock_stack();
        if let Some(payload) = stack.get_mut(work.payload()) {
            payload.rc = result;
            runtime.platform.log(
                Level::Info,
                format_args!(
                    "{}: {} finished with rc={result}",
                    payload.label(),
                    work.verb()
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Policy, Runtime};
    use crate::base::Base;
    #[cfg(debug_assertions)]
    use crate::locks::Holder;
    use crate::patch::memory::{Event, MemoryPlatform};
    use crate::platform::{Level, Platform as _};
    use crate::read::symbols::{BaseSymbol, SymbolKind, Symbols};
    use crate::rendezvous::cpu::CpuId;
    use crate::rendezvous::steps::Outcome;
    use alloc::borrow::ToOwned as _;
    use alloc::vec;
    use xsplice_abi::limits::TIMEOUT_DEFAULT_NS;

    type System = Runtime<'static, MemoryPlatform>;

    /// A runtime for a base of one function.
    fn runtime() -> System {
        let symbol = BaseSymbol {
            file: "",
            name: "f",
            address: 0x10,
            size: 8,
            kind: SymbolKind::Function,
        };
        let base = Base {
            symbols: Symbols::new(vec![symbol]).unwrap(),
            build_id: b"base",
            text: 0x10..0x18,
        };
        let platform = MemoryPlatform::new(0..0x1000);
        Runtime::new(platform, base, Policy::default()).unwrap()
    }

    /// A CPU that was late and has left meanwhile keeps nobody waiting.
    #[test]
    fn who_was_late_is_waited_for_only_while_it_is_inside() {
        let runtime = runtime();
        let before = runtime.platform().now_ns();
        let outcome = Outcome::LateToAcknowledge(1);
        runtime.visitor(CpuId(0)).name_the_late(outcome);
        let took = runtime.platform().now_ns() - before;
        assert!(took < u64::from(TIMEOUT_DEFAULT_NS) / 2, "{took}");
        let line = "did not disable interrupts in time; still inside: none".to_owned();
        let told = runtime.platform().take_events();
        assert_eq!(told, [Event::Log(Level::Error, line)]);
    }

    /// Takes the lock of the stack where this CPU has another one.
    #[cfg(debug_assertions)]
    fn stack_within(held: fn(&System) -> &Holder) {
        let runtime = runtime();
        drop(runtime.lock_stack());
        let lock = || drop(runtime.lock_stack());
        held(&runtime).during(runtime.platform(), lock);
    }

    #[cfg(debug_assertions)]
    #[test]
    #[should_panic(expected = "waits for a lock that it has")]
    fn the_stack_is_not_taken_within_a_change_of_the_directory() {
        stack_within(|runtime| runtime.directory.writer());
    }

    #[cfg(debug_assertions)]
    #[test]
    #[should_panic(expected = "waits for a lock that it has")]
    fn the_stack_is_not_taken_within_a_change_of_shadow_variables() {
        stack_within(|runtime| runtime.shadows().holder());
    }

    #[cfg(debug_assertions)]
    #[test]
    #[should_panic(expected = "waits for a lock that it has")]
    fn the_stack_is_not_taken_by_who_has_the_frozen_cpus() {
        stack_within(|runtime| runtime.online.holder());
    }
}
