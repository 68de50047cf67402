//! The one trait through which the runtime reaches hardware.
//!
//! Everything privileged or machine-dependent is behind [`Platform`]: the test kernel implements
//! it with page tables and an APIC, [`crate::patch::memory`] with a vector of bytes, and a test
//! with a recorder that asserts the order of effects. Addresses are virtual addresses of the
//! running image, as 64-bit numbers: the runtime never dereferences one itself.

use core::fmt;

use thiserror::Error;
use xsplice_abi::hook::HookArgument;
use xsplice_abi::limits::EXPECT_BYTES_MAX;
use xsplice_abi::machine::{Machine, OF_RUNTIME};

use crate::rendezvous::Quiesced;
use crate::rendezvous::cpu::{CpuId, CpuSet};

pub use crate::rendezvous::cpu::Interrupts;

/// What a payload region may be used for. There is no value that is both writable and executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Access {
    /// Code: read and execute.
    ReadExecute,
    /// Data that the payload writes.
    ReadWrite,
    /// Constants, records, notes.
    ReadOnly,
}

impl fmt::Display for Access {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Access::ReadExecute => "RX",
            Access::ReadWrite => "RW",
            Access::ReadOnly => "RO",
        })
    }
}

/// A page-aligned piece of memory that the platform gave to a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Region {
    /// First byte; a multiple of [`xsplice_abi::limits::PAGE_BYTES`].
    pub address: u64,
    /// Size in bytes; a multiple of the page size, not 0.
    pub bytes: u64,
}

impl Region {
    /// Whether `address` lies inside.
    #[must_use]
    pub fn contains(&self, address: u64) -> bool {
        address
            .checked_sub(self.address)
            .is_some_and(|offset| offset < self.bytes)
    }
}

/// Importance of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What happened.
    Info,
    /// What was refused or failed, with the reason.
    Error,
}

/// The memory asked for is not there or may not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("memory at {address:#x} cannot be read")]
pub struct MemoryFault {
    /// First byte that was asked for.
    pub address: u64,
}

/// No region of the size asked for is free in the window near the base's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no {bytes} bytes free near the base's text")]
pub struct RegionsExhausted {
    /// How many bytes were asked for.
    pub bytes: u64,
}

/// Hardware, as the runtime sees it.
///
/// All methods may be called on any CPU and on several at once, unless they say otherwise.
pub trait Platform: Sync {
    /// What it is: payloads for other machines are refused.
    fn machine(&self) -> &'static Machine {
        OF_RUNTIME
    }

    /// One more than the highest number of a CPU that this machine may ever bring online. A runtime
    /// for more than [`crate::rendezvous::cpu::CPUS_MAX`] is not made: a CPU that it cannot stop
    /// would run what is being written.
    fn cpus(&self) -> usize;

    /// Whether an action may be carried out at this moment: a platform refuses while it must not be
    /// stopped, such as during a suspend or a crash dump. Asked before anything is scheduled, with
    /// the stack locked; must not call the runtime. A refused action is -EBUSY and changes nothing.
    ///
    /// # Errors
    /// Why not, for the log.
    fn is_safe_to_act(&self) -> Result<(), &'static str> {
        Ok(())
    }

    /// Prevents CPU hotplug until [`Platform::thaw_online`], and returns the CPUs that are online.
    /// `None`, and nothing frozen, while a CPU is being added or removed.
    ///
    /// The caller need not be the CPU that thaws.
    fn freeze_online(&self) -> Option<CpuSet>;

    /// Ends what [`Platform::freeze_online`] began.
    fn thaw_online(&self);

    /// Makes `cpus` notice that their safe point has work: wakes those that halt, by an IPI. Does
    /// not wait for them; their handler does nothing but return.
    fn kick(&self, cpus: &CpuSet);

    /// Nanoseconds since some fixed moment; never goes back, on any CPU.
    fn now_ns(&self) -> u64;

    /// Called again and again while this CPU waits for others. Spins briefly; with interrupts
    /// [`Interrupts::On`] it may also halt until the next interrupt, as every change that is
    /// waited for is followed by a [`Platform::kick`] or by a timer tick.
    fn relax(&self, interrupts: Interrupts);

    /// Whether this CPU takes maskable interrupts. Only a debug build asks, where a lock is taken.
    fn interrupts(&self) -> Interrupts;

    /// Holds maskable interrupts of this CPU back; returns how it was before.
    fn interrupts_off(&self) -> Interrupts;

    /// Puts back what [`Platform::interrupts_off`] returned.
    fn interrupts_restore(&self, before: Interrupts);

    /// From now on an NMI on any CPU is only counted. Called by the master alone.
    fn mask_nmis(&self);

    /// Takes NMIs again and delivers those that were counted. Called once for each
    /// [`Platform::mask_nmis`], by whichever CPU is the last to serialise; when the action is given
    /// up by the master at once, whatever the CPU does that is late.
    fn unmask_nmis(&self);

    /// Executes a serialising instruction on this CPU (Intel SDM volume 3, "Handling Self- and
    /// Cross-Modifying Code").
    fn serialise(&self);

    /// Copies the running image's bytes at `address`: text, data or a payload's region.
    ///
    /// # Errors
    /// [`MemoryFault`] when any byte of the range is not mapped; `into` is then unspecified.
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), MemoryFault>;

    /// Whether the running image holds `bytes`, at most 31, at `address`, which was read
    /// successfully before the rendezvous. Asked inside the quiescent zone for each record, so that
    /// a platform that can compare in place should.
    fn holds(&self, address: u64, bytes: &[u8]) -> bool {
        let mut now = [0; EXPECT_BYTES_MAX];
        match now.get_mut(..bytes.len()) {
            Some(now) => self.read(address, now).is_ok() && now == bytes,
            None => false,
        }
    }

    /// Called on the master before it writes text or words, once for many writes. Between this and
    /// [`Platform::close_text`] no code of a payload runs. A platform that writes through an alias
    /// has nothing to do.
    fn open_text(&self, quiesced: &Quiesced) {
        let _ = quiesced;
    }

    /// Ends what [`Platform::open_text`] began, on every way out.
    fn close_text(&self, quiesced: &Quiesced) {
        let _ = quiesced;
    }

    /// Overwrites text of the base or of a payload, which stays read-only in its own mapping:
    /// through a private alias or with CR0.WP, cleared by [`Platform::open_text`]. At most 31
    /// bytes. The range was read successfully before the rendezvous.
    fn write_text(&self, quiesced: &Quiesced, address: u64, bytes: &[u8]);

    /// Overwrites the aligned 8-byte word at `address`, little-endian, also where it is mapped
    /// read-only; as [`Platform::write_text`] else.
    fn write_word(&self, quiesced: &Quiesced, address: u64, value: u64);

    /// Gives `bytes` (a multiple of the page size) of zeroed pages within reach of the base's
    /// text: any two addresses in base text and payload regions less than 2 GiB apart. Writable
    /// by [`Platform::fill`] and by nothing else until [`Platform::protect`].
    ///
    /// # Errors
    /// [`RegionsExhausted`] when there is no such space.
    fn allocate(&self, bytes: u64) -> Result<Region, RegionsExhausted>;

    /// Copies `bytes` to the start of a region that is not protected yet.
    fn fill(&self, region: Region, bytes: &[u8]);

    /// Maps the region for `access` from now on.
    fn protect(&self, region: Region, access: Access);

    /// Takes the region out of the page tables. Its pages are not reused before
    /// [`Platform::release`].
    fn unmap(&self, region: Region);

    /// Has every online CPU flush its TLB and waits for them.
    ///
    /// # Errors
    /// The CPUs that did not confirm within a time that the platform chooses; the runtime keeps
    /// the pages then and tries again later.
    fn flush_tlbs(&self) -> Result<(), CpuSet>;

    /// Takes back the pages of an unmapped region, after every CPU has flushed its TLB.
    fn release(&self, region: Region);

    /// Calls the payload's function at `address`: `void f(void)` for `None` (the result is then
    /// ignored), else `int f(struct xsplice_hook_arg *)`. A result that is not 0 is a negated
    /// error number.
    fn call_hook(&self, address: u64, argument: Option<&HookArgument>) -> i32;

    /// Whether this machine has the CPU feature of this number, in the numbering of the base's
    /// alternatives.
    fn has_feature(&self, feature: u16) -> bool;

    /// The CPU this runs on; for messages.
    fn current_cpu(&self) -> CpuId;

    /// One line for the log, without a line end. Never called inside the quiescent zone.
    fn log(&self, level: Level, line: fmt::Arguments<'_>);
}
