//! How far code counts from an address that it has in a register: which places it reads, writes or
//! makes an address of.
//!
//! GCC on AArch64 takes the address of one variable of a section, the anchor, and counts from it to
//! others of the same section (`-fsection-anchors`). One relocation then stands for several
//! variables, and only the numbers in the code tell them apart.

use xsplice_abi::machine::Architecture;

use super::addresses::{Taken, is_lost};
use super::arguments::Register;
use super::{Decoded, Instruction, Machine, aarch64};

/// Where a register points, counted from the anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Distance {
    /// In bytes, as far as it is a number of the code.
    pub(crate) bytes: i64,
    /// Whether an index was added that only the running code knows.
    pub(crate) is_indexed: bool,
}

impl Distance {
    pub(super) fn plus(self, bytes: i64) -> Distance {
        Distance {
            bytes: self.bytes.wrapping_add(bytes),
            ..self
        }
    }

    pub(super) fn indexed(self) -> Distance {
        Distance {
            is_indexed: true,
            ..self
        }
    }
}

/// What an instruction does with such a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// It reads, writes or makes the address of a place.
    Place(Distance),
    /// Something that is not followed.
    Anywhere,
}

impl Reached {
    /// A place that an index tells, counted from the anchor itself.
    pub(crate) const SOMEWHERE_BEHIND: Reached = Reached::Place(Distance {
        bytes: 0,
        is_indexed: true,
    });
}

/// Registers that point somewhere counted from one anchor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted(Vec<(Register, Distance)>);

impl Counted {
    /// A register that the anchor was just put into.
    pub(crate) fn new(register: Register) -> Counted {
        let anchor = Distance {
            bytes: 0,
            is_indexed: false,
        };
        Counted(vec![(register, anchor)])
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn at(&self, register: Register) -> Option<Distance> {
        let found = self.0.iter().find(|(one, _)| *one == register);
        found.map(|(_, distance)| *distance)
    }

    pub(super) fn set(&mut self, register: Register, distance: Distance) {
        self.clear(register);
        self.0.push((register, distance));
    }

    pub(super) fn clear(&mut self, register: Register) {
        self.0.retain(|(one, _)| *one != register);
    }

    /// Adds what another way to the same place brings; two distances of one register are an index.
    /// Returns whether there is more now.
    pub(crate) fn join(&mut self, other: &Counted) -> bool {
        let mut is_more = false;
        for (register, distance) in &other.0 {
            let joined = match self.at(*register) {
                None => *distance,
                Some(known) if known == *distance || known.is_indexed => continue,
                Some(known) => known.indexed(),
            };
            self.set(*register, joined);
            is_more = true;
        }
        is_more
    }

    /// Forgets what a call does not keep: a callee may change some registers, and of those has
    /// changed what `keeps` does not say otherwise of.
    pub(crate) fn after_call(&mut self, machine: &Machine, keeps: impl Fn(Register) -> bool) {
        self.0
            .retain(|(register, _)| !is_lost(machine, *register) || keeps(*register));
    }
}

/// Whether compilers for a machine count from one variable to another.
pub(crate) fn has_anchors(machine: &Machine) -> bool {
    match machine.architecture {
        // They have an address in each instruction.
        Architecture::X86_64 => false,
        Architecture::AArch64 => true,
    }
}

impl Instruction<'_> {
    /// Where it puts the address in the field at an offset, or the first part of it.
    pub(crate) fn begins_address(&self, field: u64) -> Taken {
        match &self.decoded {
            Decoded::AArch64(decoded) if self.is_valid => aarch64::counted::takes(decoded),
            _ => self.takes(field),
        }
    }

    /// Follows counted registers through it; says what it reaches by them.
    pub(crate) fn counts(&self, counted: &mut Counted) -> Vec<Reached> {
        match &self.decoded {
            Decoded::AArch64(decoded) if self.is_valid => aarch64::counted::step(decoded, counted),
            _ if counted.is_empty() => Vec::new(),
            _ => vec![Reached::Anywhere],
        }
    }
}
