//! How AArch64 passes arguments (Procedure Call Standard for the Arm 64-bit Architecture, 6.8).

use super::super::arguments::{Argument, Effects, Load, Register, Source};
use super::Decoded;
use super::word::{Class, Word};

/// Registers that pass arguments, in their order.
pub(in super::super) const REGISTERS: [Register; 8] = [
    Register(0),
    Register(1),
    Register(2),
    Register(3),
    Register(4),
    Register(5),
    Register(6),
    Register(7),
];

/// The number that stands for the stack pointer or for zero.
const SPECIAL: u32 = 31;

fn register(number: u32) -> Option<Register> {
    let number = usize::try_from(number).ok()?;
    (number != SPECIAL as usize).then_some(Register(number))
}

pub(in super::super) fn argument(decoded: &Decoded) -> Option<Argument> {
    let word = decoded.word?;
    word.moved_number()?;
    let number = usize::try_from(word.first()).ok()?;
    (number < REGISTERS.len()).then_some(Argument::Register(number))
}

pub(in super::super) fn effects(decoded: &Decoded) -> Effects {
    decoded.word.map_or_else(Effects::default, of_word)
}

fn of_word(word: Word) -> Effects {
    let class = word.class();
    let load = load(word, class);
    let own = [word.first()];
    let two = [word.first(), word.second()];
    let all = [word.first(), word.second(), word.third(), word.fourth()];
    // Of what is not known better, every field that may name a register is taken to do so, and
    // what is read for written: then less is known, and nothing wrongly.
    let (used, written): (&[u32], &[u32]) = match class {
        Class::Adr
        | Class::Adrp
        | Class::LoadLiteral
        | Class::MoveNumber
        | Class::KeepNumber
        | Class::ConditionalJump
        | Class::TestBranch => (&own, &own),
        Class::AddNumber | Class::LogicalNumber => (&two, &own),
        // The register that holds where they lead.
        Class::IndirectCall | Class::IndirectJump => (&two[1..], &[]),
        Class::Access => (&two, &own),
        Class::Other if word.is_register_move() => (&all, &own),
        _ => (&all, &all),
    };
    let registers = |numbers: &[u32]| numbers.iter().copied().filter_map(register).collect();
    Effects {
        load,
        used: registers(used),
        written: registers(written),
        // Nothing is pushed: what is passed in memory is stored there.
        reaches_pushed: true,
    }
}

fn load(word: Word, class: Class) -> Option<Load> {
    let from = match class {
        // A page is no address of anything yet; what is added to it makes it one.
        Class::Adr | Class::MoveNumber => Source::Number,
        Class::AddNumber if word.is_add() => Source::Number,
        Class::Other if word.is_register_move() => Source::Register(register(word.third())?),
        Class::LoadLiteral => Source::Memory,
        Class::Access if !word.is_of_vectors() && !word.is_store() => Source::Memory,
        Class::Other if word.is_register_access() && !word.is_of_vectors() && !word.is_store() => {
            Source::Memory
        }
        _ => return None,
    };
    Some(Load {
        into: register(word.first())?,
        from,
    })
}
