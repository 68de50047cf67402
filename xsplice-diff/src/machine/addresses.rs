//! What becomes of an address that code takes: whether it is only read from, or also kept, passed
//! or given back.

use xsplice_abi::machine::Architecture;

use super::arguments::Register;
use super::{Decoded, Flow, Instruction, Machine, aarch64, x86_64};

/// Registers that hold an address, each with whether it was read from there since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held(pub(super) Vec<(Register, Since)>);

/// What happened to an address in a register so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Since {
    /// Something was read or written there: the register is what code read by, and may be no more.
    Used,
    /// Nothing.
    Fresh,
}

/// Where an instruction puts the address in one of its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Into a register.
    Into(Register),
    /// Where other code finds it: memory, the stack, a comparison with another address.
    Out,
    /// Nowhere: what stands there is read or written, or jumped to.
    Nowhere,
}

/// What an instruction makes of the pointers that lie in the memory which it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Loaded {
    /// It puts them into these registers.
    Into(Vec<Register>),
    /// Something else than a register gets them, or is compared with them.
    Out,
    /// What it reads is too small to be a pointer, or it goes there.
    Nothing,
}

impl Held {
    /// A register that something was just put into.
    pub(crate) fn new(register: Register) -> Held {
        Held(vec![(register, Since::Fresh)])
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a register holds an address by which nothing was read so far.
    pub(crate) fn is_fresh(&self) -> bool {
        self.0.iter().any(|(_, since)| *since == Since::Fresh)
    }

    /// The registers.
    pub(crate) fn registers(&self) -> impl Iterator<Item = Register> {
        self.0.iter().map(|(register, _)| *register)
    }

    /// Registers that pass arguments, of those by whose address something was read.
    pub(crate) fn used_arguments(&self, machine: &Machine) -> impl Iterator<Item = Register> {
        let arguments = super::arguments::registers(machine).iter().copied();
        arguments.filter(|one| self.since(*one) == Some(Since::Used))
    }

    pub(super) fn since(&self, register: Register) -> Option<Since> {
        let found = self.0.iter().find(|(one, _)| *one == register);
        found.map(|(_, since)| *since)
    }

    pub(super) fn set(&mut self, register: Register, since: Since) {
        self.clear(register);
        self.0.push((register, since));
    }

    pub(super) fn clear(&mut self, register: Register) {
        self.0.retain(|(one, _)| *one != register);
    }

    /// Adds what another way to the same place brings. Returns whether there is more now.
    pub(crate) fn join(&mut self, other: &Held) -> bool {
        let mut is_more = false;
        for (register, since) in &other.0 {
            if self.since(*register).is_none_or(|known| known < *since) {
                self.set(*register, *since);
                is_more = true;
            }
        }
        is_more
    }

    /// Forgets what a call does not keep: a callee may change some registers, and of those has
    /// changed what `keeps` does not say otherwise of.
    pub(crate) fn after_call(&mut self, machine: &Machine, keeps: impl Fn(Register) -> bool) {
        self.0
            .retain(|(register, _)| !is_lost(machine, *register) || keeps(*register));
    }

    /// Whether a call hands an address out: one stands where arguments do.
    pub(crate) fn is_argument(&self, machine: &Machine) -> bool {
        let arguments = super::arguments::registers(machine).iter();
        arguments
            .copied()
            .any(|one| self.since(one) == Some(Since::Fresh))
    }
}

/// Whether a callee need not keep a register.
pub(super) fn is_lost(machine: &Machine, register: Register) -> bool {
    match machine.architecture {
        Architecture::X86_64 => x86_64::addresses::is_lost(register),
        Architecture::AArch64 => aarch64::addresses::is_lost(register),
    }
}

impl Instruction<'_> {
    /// Where it puts the address in the field at an offset.
    #[must_use]
    pub(crate) fn takes(&self, field: u64) -> Taken {
        match &self.decoded {
            _ if !self.is_valid => Taken::Out,
            Decoded::X86_64(decoded) => {
                let is_displacement = self.displacement.is_some_and(|one| one.offset == field);
                x86_64::addresses::takes(decoded, is_displacement)
            }
            Decoded::AArch64(decoded) => aarch64::addresses::takes(decoded),
        }
    }

    /// What becomes of the pointers that it reads by the address in the field at an offset.
    #[must_use]
    pub(crate) fn loads_at(&self, field: u64) -> Loaded {
        match &self.decoded {
            _ if !self.is_valid => Loaded::Out,
            Decoded::X86_64(_) if self.displacement.is_none_or(|one| one.offset != field) => {
                Loaded::Nothing
            }
            Decoded::X86_64(decoded) => x86_64::addresses::loads(decoded),
            Decoded::AArch64(decoded) => aarch64::addresses::loads(decoded),
        }
    }

    /// What becomes of the pointers that it reads by held addresses.
    #[must_use]
    pub(crate) fn loads_by(&self, held: &Held) -> Loaded {
        match &self.decoded {
            _ if !self.is_valid => Loaded::Out,
            Decoded::X86_64(decoded) if x86_64::addresses::goes_by(decoded, held) => {
                x86_64::addresses::loads(decoded)
            }
            Decoded::AArch64(decoded) if aarch64::addresses::goes_by(decoded, held) => {
                aarch64::addresses::loads(decoded)
            }
            Decoded::X86_64(_) | Decoded::AArch64(_) => Loaded::Nothing,
        }
    }

    /// Follows held addresses through it. Returns whether it hands one out.
    #[must_use]
    pub(crate) fn carries(&self, held: &mut Held) -> bool {
        match &self.decoded {
            _ if !self.is_valid => true,
            Decoded::X86_64(decoded) => x86_64::addresses::carries(decoded, held),
            Decoded::AArch64(decoded) => aarch64::addresses::carries(decoded, held),
        }
    }

    /// Whether it puts something else into a register, and does nothing else with that.
    #[must_use]
    pub(crate) fn overwrites(&self, register: Register) -> bool {
        let mut held = Held::new(register);
        !self.carries(&mut held) && held.is_empty()
    }

    /// What happened to the addresses that a return here may hand out, by the register of the
    /// result: a wide one has two.
    #[must_use]
    pub(crate) fn gives_back(&self, held: &Held) -> [Option<Since>; 2] {
        let results = match &self.decoded {
            Decoded::X86_64(_) => x86_64::addresses::results(),
            Decoded::AArch64(_) => aarch64::addresses::results(),
        };
        results.map(|one| held.since(one).filter(|_| self.flow == Flow::Return))
    }
}
