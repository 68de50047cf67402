//! How x86-64 passes arguments (System V psABI for AMD64, 3.2.3).

use iced_x86::{InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

use super::super::arguments::{self, Argument, Effects, Load, Source};
use super::Decoded;

/// Registers that pass arguments, in their order.
pub(in super::super) const REGISTERS: [arguments::Register; 6] = [
    arguments::Register(Register::RDI as usize),
    arguments::Register(Register::RSI as usize),
    arguments::Register(Register::RDX as usize),
    arguments::Register(Register::RCX as usize),
    arguments::Register(Register::R8 as usize),
    arguments::Register(Register::R9 as usize),
];

fn whole(register: Register) -> arguments::Register {
    arguments::Register(register.full_register() as usize)
}

pub(in super::super) fn argument(decoded: &Decoded) -> Option<Argument> {
    let one = &decoded.0;
    match one.mnemonic() {
        Mnemonic::Push => Some(Argument::Pushed),
        Mnemonic::Mov if one.op0_kind() == OpKind::Register => {
            let register = one.op0_register();
            let number = REGISTERS
                .iter()
                .position(|argument| *argument == whole(register))?;
            // The upper half of a register is cleared with the lower one, no smaller part is.
            let is_whole = register.is_gpr32() || register.is_gpr64();
            is_whole.then_some(Argument::Register(number))
        }
        _ => None,
    }
}

pub(in super::super) fn effects(decoded: &Decoded) -> Effects {
    let one = &decoded.0;
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(one);
    let mut effects = Effects {
        load: load(one),
        ..Effects::default()
    };
    let mut moves_stack = false;
    for used in info.used_registers() {
        let register = whole(used.register());
        effects.used.push(register);
        if used.access() != OpAccess::Read {
            effects.written.push(register);
            moves_stack |= register == whole(Register::RSP);
        }
    }
    let looks_there = info
        .used_memory()
        .iter()
        .any(|memory| matches!(memory.base(), Register::RSP | Register::RBP));
    // Further pushes put it where it belongs; what takes it from the stack, moves the stack or
    // reads there may be after it.
    effects.reaches_pushed = one.mnemonic() != Mnemonic::Push && (moves_stack || looks_there);
    effects
}

fn load(one: &iced_x86::Instruction) -> Option<Load> {
    let is_load = matches!(one.mnemonic(), Mnemonic::Lea | Mnemonic::Mov)
        && one.op0_kind() == OpKind::Register;
    let from = if one.op1_kind() == OpKind::Register {
        Source::Register(whole(one.op1_register()))
    } else if one.mnemonic() == Mnemonic::Lea || one.op1_kind() != OpKind::Memory {
        Source::Number
    } else {
        Source::Memory
    };
    is_load.then(|| Load {
        into: whole(one.op0_register()),
        from,
    })
}
