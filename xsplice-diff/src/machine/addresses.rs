//! What becomes of an address that code takes: whether it is only read from, or also kept, passed
//! or given back.

use xsplice_abi::machine::Architecture;

use super::arguments::Register;
use super::{Decoded, Flow, Instruction, Machine, Use, aarch64, x86_64};

/// Registers that hold an address, each with whether it was read from there since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held(pub(super) Vec<(Register, Since)>);

/// What happened to an address in a register so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Since {
    /// It was called, by what may change the register and need not: no code but assembler that
    /// knows its callee has any use for it.
    Call,
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

impl Since {
    /// What code knows that reads the register: only what its callee kept.
    pub(super) fn read(self) -> Since {
        match self {
            Since::Call => Since::Fresh,
            known => known,
        }
    }
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

    /// Whether a register holds an address, whatever was called since.
    pub(super) fn is_known(&self) -> bool {
        self.0.iter().any(|(_, since)| *since > Since::Call)
    }

    /// Registers that hold an address and pass no argument.
    pub(crate) fn others(&self, machine: &Machine) -> impl Iterator<Item = (Register, Since)> {
        let arguments = super::arguments::registers(machine);
        let all = self.0.iter().copied();
        all.filter(|(one, since)| *since > Since::Call && !arguments.contains(one))
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

    /// Behind a call, of the registers that the callee may change, those that `keeps` says so of
    /// are as they were. What others hold is what a callee left there that is not bound to change
    /// them, but for its results.
    pub(crate) fn after_call(&mut self, machine: &Machine, keeps: impl Fn(Register) -> bool) {
        self.0
            .retain(|(register, _)| !is_set_by_call(machine, *register) || keeps(*register));
        for (register, since) in &mut self.0 {
            if is_lost(machine, *register) && !keeps(*register) {
                *since = Since::Call;
            }
        }
    }

    /// Whether a call hands an address out: one stands where arguments do.
    pub(crate) fn is_argument(&self, machine: &Machine) -> bool {
        let arguments = super::arguments::registers(machine).iter();
        arguments
            .copied()
            .any(|one| self.since(one) == Some(Since::Fresh))
    }
}

/// Whether something else is in a register behind a call: a result, or where the call came from.
pub(super) fn is_set_by_call(machine: &Machine, register: Register) -> bool {
    match machine.architecture {
        Architecture::X86_64 => x86_64::addresses::results().contains(&register),
        Architecture::AArch64 => aarch64::addresses::is_set_by_call(register),
    }
}

/// Whether a callee need not keep a register.
pub(crate) fn is_lost(machine: &Machine, register: Register) -> bool {
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

    /// Where it puts the address that it finds in a slot, to which the field at an offset leads.
    #[must_use]
    pub(crate) fn takes_from_slot(&self, field: u64) -> Taken {
        match &self.decoded {
            _ if self.use_of(field) != Some(Use::Access) => Taken::Out,
            Decoded::X86_64(decoded) => x86_64::addresses::takes_from_slot(decoded),
            Decoded::AArch64(decoded) => aarch64::addresses::takes_from_slot(decoded),
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

    /// Whether it writes by an address in one of these registers.
    #[must_use]
    pub(crate) fn writes(&self, held: &Held) -> bool {
        match &self.decoded {
            Decoded::X86_64(decoded) => x86_64::accesses::writes(decoded, held),
            Decoded::AArch64(decoded) => aarch64::addresses::writes(decoded, held),
        }
    }

    /// Whether it writes where the address in the field at an offset leads.
    #[must_use]
    pub(crate) fn writes_there(&self, field: u64) -> bool {
        self.use_of(field) == Some(Use::Access)
            && match &self.decoded {
                Decoded::X86_64(decoded) => x86_64::accesses::writes_there(decoded),
                Decoded::AArch64(decoded) => aarch64::addresses::writes_there(decoded),
            }
    }

    /// Whether all that it does with a register is to keep it on the stack.
    #[must_use]
    pub(crate) fn saves(&self, register: Register) -> bool {
        match &self.decoded {
            Decoded::X86_64(decoded) => x86_64::accesses::saves(decoded, register),
            Decoded::AArch64(decoded) => aarch64::addresses::saves(decoded, register),
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
