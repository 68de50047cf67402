//! What people call machines and relocation types, those that nothing else is known of too.

use core::fmt::{Display, Formatter, Result};

use super::Machine;

/// Names of machines that objects are often for, by `e_machine` (ELF gABI, chapter 4).
const NAMES: &[(u16, &str)] = &[
    (3, "x86"),
    (8, "MIPS"),
    (20, "PowerPC"),
    (21, "PowerPC64"),
    (22, "S390"),
    (40, "Arm"),
    (62, "x86-64"),
    (183, "AArch64"),
    (243, "RISC-V"),
    (247, "BPF"),
    (258, "LoongArch"),
];

/// A machine as messages call it: its name, where it has one, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineName(
    /// `e_machine`.
    pub u16,
);

impl Display for MachineName {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match NAMES.iter().find(|(number, _)| *number == self.0) {
            Some((number, name)) => write!(out, "{name} ({number})"),
            None => write!(out, "machine {}", self.0),
        }
    }
}

/// A relocation type as messages call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeName {
    number: u32,
    known: Option<(&'static str, &'static str)>,
}

impl TypeName {
    pub(super) fn new(machine: &'static Machine, number: u32) -> TypeName {
        let known = machine.relocation(number);
        TypeName {
            number,
            known: known.map(|known| (machine.relocation_prefix, known.name)),
        }
    }
}

impl Display for TypeName {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match self.known {
            Some((prefix, name)) => write!(out, "{prefix}{name}"),
            None => write!(out, "relocation type {}", self.number),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString as _;

    use super::{MachineName, NAMES};
    use crate::machine::{ALL, x86_64};

    #[test]
    fn what_is_not_known_is_called_by_its_number() {
        assert_eq!(MachineName(183).to_string(), "AArch64 (183)");
        assert_eq!(MachineName(9999).to_string(), "machine 9999");
        assert_eq!(
            x86_64::MACHINE.type_name(39).to_string(),
            "relocation type 39"
        );
    }

    #[test]
    fn the_machines_that_are_data_have_their_names() {
        for machine in ALL {
            assert!(
                NAMES.contains(&(machine.e_machine, machine.name)),
                "{}",
                machine.name
            );
        }
    }
}
