//! How far code counts from an address that it has in a register: which places it reads, writes or
//! makes an address of.
//!
//! GCC on AArch64 takes the address of one variable of a section, the anchor, and counts from it to
//! others of the same section (`-fsection-anchors`). One relocation then stands for several
//! variables, and only the numbers in the code tell them apart.

use xsplice_abi::machine::Architecture;

use super::addresses::{Taken, is_lost, is_set_by_call};
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

    /// The first and the last byte of so many from there; the first alone where an index tells it.
    pub(super) fn of_bytes(self, bytes: u64) -> [Distance; 2] {
        let last = i64::try_from(bytes).unwrap_or(i64::MAX).saturating_sub(1);
        let last = if self.is_indexed { 0 } else { last.max(0) };
        [self, self.plus(last)]
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
pub(crate) struct Counted {
    all: Vec<(Register, Distance)>,
    /// Those of them that a callee need not have kept since.
    behind_calls: Vec<Register>,
}

impl Counted {
    /// A register that the anchor was just put into.
    pub(crate) fn new(register: Register) -> Counted {
        let anchor = Distance {
            bytes: 0,
            is_indexed: false,
        };
        Counted {
            all: vec![(register, anchor)],
            behind_calls: Vec::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether a register points there, whatever was called since.
    pub(crate) fn is_known(&self) -> bool {
        self.all.len() > self.behind_calls.len()
    }

    pub(super) fn at(&self, register: Register) -> Option<Distance> {
        let found = self.all.iter().find(|(one, _)| *one == register);
        found.map(|(_, distance)| *distance)
    }

    pub(super) fn set(&mut self, register: Register, distance: Distance) {
        self.clear(register);
        self.all.push((register, distance));
    }

    pub(super) fn clear(&mut self, register: Register) {
        self.all.retain(|(one, _)| *one != register);
        self.behind_calls.retain(|one| *one != register);
    }

    /// Adds what another way to the same place brings; two distances of one register are an index.
    /// Returns whether there is more now.
    pub(crate) fn join(&mut self, other: &Counted) -> bool {
        let mut is_more = false;
        for (register, distance) in &other.all {
            let is_behind = |one: &Counted| one.behind_calls.contains(register);
            let known = self.at(*register);
            let is_less_sure = is_behind(other) && (known.is_none() || is_behind(self));
            let joined = match known {
                None => *distance,
                Some(known) if known == *distance || known.is_indexed => known,
                Some(known) => known.indexed(),
            };
            if known == Some(joined) && is_less_sure == is_behind(self) {
                continue;
            }
            self.set(*register, joined);
            self.behind_calls.extend(is_less_sure.then_some(*register));
            is_more = true;
        }
        is_more
    }

    /// Behind a call, of the registers that the callee may change, those that `keeps` says so of
    /// are as they were. What others hold is what a callee left there that is not bound to change
    /// them, but for its results.
    pub(crate) fn after_call(&mut self, machine: &Machine, keeps: impl Fn(Register) -> bool) {
        self.all
            .retain(|(register, _)| !is_set_by_call(machine, *register) || keeps(*register));
        let all = self.all.iter().map(|(register, _)| *register);
        let lost = all.filter(|one| is_lost(machine, *one) && !keeps(*one));
        let mut lost: Vec<Register> = lost.collect();
        lost.retain(|one| !self.behind_calls.contains(one));
        self.behind_calls.extend(lost);
        let all = &self.all;
        self.behind_calls
            .retain(|one| all.iter().any(|(register, _)| register == one));
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
            _ if !counted.is_known() => Vec::new(),
            _ => vec![Reached::Anywhere],
        }
    }
}
