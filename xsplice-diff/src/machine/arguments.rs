//! How a number or an address comes to a function that is called: by a register, or by the stack.

use xsplice_abi::machine::Architecture;

use super::{Decoded, Instruction, Machine, aarch64, x86_64};

/// A register as a whole, by a number of the machine's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Register(pub(super) usize);

/// Where a number is put for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// The register that passes the argument of this number.
    Register(usize),
    /// The stack.
    Pushed,
}

/// What an instruction puts into a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// The register.
    pub into: Register,
    /// What is put there.
    pub from: Source,
}

/// Where what is put into a register comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// From another register.
    Register(Register),
    /// It is the number in the instruction, or the address that this makes.
    Number,
    /// From memory.
    Memory,
}

/// What an instruction does to registers and to the stack.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    /// What it puts into a register, if that is all it does.
    pub load: Option<Load>,
    /// Registers that it reads or writes.
    pub used: Vec<Register>,
    /// Registers that it writes.
    pub written: Vec<Register>,
    /// Whether what was pushed before may be taken away, moved or read.
    pub reaches_pushed: bool,
}

/// Registers that pass arguments, in their order.
#[must_use]
pub(crate) fn registers(machine: &Machine) -> &'static [Register] {
    match machine.architecture {
        Architecture::X86_64 => &x86_64::arguments::REGISTERS,
        Architecture::AArch64 => &aarch64::arguments::REGISTERS,
    }
}

impl Instruction<'_> {
    /// Where it puts a number, when it does nothing but that.
    #[must_use]
    pub fn argument(&self) -> Option<Argument> {
        match &self.decoded {
            Decoded::X86_64(decoded) => x86_64::arguments::argument(decoded),
            Decoded::AArch64(decoded) => aarch64::arguments::argument(decoded),
        }
    }

    /// What it does to registers and to the stack.
    #[must_use]
    pub fn effects(&self) -> Effects {
        match &self.decoded {
            Decoded::X86_64(decoded) => x86_64::arguments::effects(decoded),
            Decoded::AArch64(decoded) => aarch64::arguments::effects(decoded),
        }
    }
}
