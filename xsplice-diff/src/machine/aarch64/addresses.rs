//! What AArch64 code does with an address (Arm Architecture Reference Manual, chapter C4.1;
//! Procedure Call Standard for the Arm 64-bit Architecture, 6.1.1).
//!
//! ADRP makes the page of an address, which nothing but what adds the rest makes use of. That one
//! puts the whole address into a register. From there it is followed through what this file
//! knows; an instruction that it does not know, and that may name the register, hands it out.

use super::super::addresses::{Held, Loaded, Since, Taken};
use super::super::arguments::Register;
use super::Decoded;
use super::word::{Class, Word};

/// Registers below this number are lost by a call, and the one that it returns by.
const LOST_BELOW: usize = 19;
const LINK: usize = 30;
/// The number that stands for the stack pointer or for zero.
pub(super) const SPECIAL: u32 = 31;

/// The registers that a result is given back in: a small one in the first.
pub(in super::super) fn results() -> [Register; 2] {
    [Register(0), Register(1)]
}

/// Where the instruction puts the address whose rest a relocation fills in.
pub(in super::super) fn takes(decoded: &Decoded) -> Taken {
    let Some(word) = decoded.word else {
        return Taken::Out;
    };
    match word.class() {
        Class::Adr => register(word.first()).map_or(Taken::Out, Taken::Into),
        Class::AddNumber if word.is_add() && word.is_wide() => {
            register(word.first()).map_or(Taken::Out, Taken::Into)
        }
        // The page alone; what is there is read, written or jumped to.
        Class::Adrp
        | Class::LoadLiteral
        | Class::Access
        | Class::NearAccess
        | Class::Jump
        | Class::Call
        | Class::ConditionalJump
        | Class::TestBranch => Taken::Nowhere,
        _ => Taken::Out,
    }
}

/// Where the instruction puts the address that it finds in a slot.
pub(in super::super) fn takes_from_slot(decoded: &Decoded) -> Taken {
    let Some(word) = decoded.word else {
        return Taken::Out;
    };
    match word.class() {
        // The page alone.
        Class::Adrp => Taken::Nowhere,
        Class::Access | Class::LoadLiteral if !word.is_of_vectors() && !word.is_any_store() => {
            register(word.first()).map_or(Taken::Out, Taken::Into)
        }
        _ => Taken::Out,
    }
}

/// Follows held addresses through an instruction. Returns whether it hands one out.
pub(in super::super) fn carries(decoded: &Decoded, held: &mut Held) -> bool {
    let Some(word) = decoded.word else {
        return true;
    };
    let since = |held: &Held, number: u32| register(number).and_then(|one| held.since(one));
    let is_held = |held: &Held, number: u32| since(held, number).is_some();
    let is_fresh = |held: &Held, number: u32| since(held, number) == Some(Since::Fresh);
    let (first, second, third) = (word.first(), word.second(), word.third());
    match word.class() {
        Class::Jump | Class::Call | Class::DebugState | Class::Stop => false,
        Class::ConditionalJump if word.is_by_condition() => false,
        Class::ConditionalJump | Class::TestBranch => is_fresh(held, first),
        Class::IndirectJump | Class::IndirectCall => is_held(held, second),
        Class::Return => is_held(held, second),
        // Somebody else answers, who may look at any register.
        Class::Service => held.is_fresh(),
        Class::Adr | Class::Adrp | Class::MoveNumber => {
            clear(held, first);
            false
        }
        Class::LoadLiteral => {
            if !word.is_of_vectors() && !word.is_literal_prefetch() {
                clear(held, first);
            }
            false
        }
        Class::KeepNumber => is_held(held, first),
        Class::AddNumber if word.is_wide() && !word.sets_flags() => {
            // Into the stack pointer, or into nothing.
            if first == SPECIAL {
                return is_held(held, second);
            }
            copy(held, first, since(held, second));
            false
        }
        Class::AddNumber | Class::LogicalNumber => computes(held, first, &[second], Since::Call),
        Class::Access => accesses(held, word, &[second]),
        Class::NearAccess if word.is_pair() => {
            let (one, other) = (first, word.fourth());
            let out = accesses(held, word, &[second]);
            let is_stored = word.is_pair_store() && !word.is_of_vectors();
            let is_out = out || (is_stored && is_held(held, other));
            if !word.is_pair_store() && !word.is_of_vectors() {
                clear(held, one);
                clear(held, other);
            }
            is_out
        }
        Class::NearAccess => accesses(held, word, &[second]),
        Class::Other if word.is_register_access() => accesses(held, word, &[second, third]),
        Class::Other if word.is_register_move() && word.is_wide() => {
            copy(held, first, since(held, third));
            false
        }
        Class::Other if word.is_plain_sum() => {
            let both = [since(held, second), since(held, third)];
            copy(held, first, both.into_iter().flatten().max());
            false
        }
        Class::Other if word.is_of_three() => {
            computes(held, first, &[second, third, word.fourth()], Since::Call)
        }
        Class::Other if word.is_of_registers() => {
            computes(held, first, &[second, third], Since::Call)
        }
        // The third may be a number.
        Class::Other if word.is_of_bits() => computes(held, first, &[second, third], Since::Fresh),
        Class::Other if word.is_nop() || word.is_hint() || word.is_barrier() => false,
        // Some of these read the register beside the one that they name.
        Class::Other if word.is_exclusive() => held.is_known(),
        // Some of these name no register there.
        Class::Other => {
            let all = [first, second, third, word.fourth()];
            all.into_iter()
                .any(|number| since(held, number) > Some(Since::Call))
        }
    }
}

/// Whether it reads or writes by a held address.
pub(in super::super) fn goes_by(decoded: &Decoded, held: &Held) -> bool {
    let Some(word) = decoded.word else {
        return true;
    };
    let is_held = |number| register(number).is_some_and(|one| held.since(one).is_some());
    match word.class() {
        Class::Access | Class::NearAccess => is_held(word.second()),
        Class::Other if word.is_register_access() => {
            is_held(word.second()) || is_held(word.third())
        }
        Class::Other => word.is_exclusive() && is_held(word.second()),
        _ => false,
    }
}

/// What becomes of the pointers that it reads.
pub(in super::super) fn loads(decoded: &Decoded) -> Loaded {
    let Some(word) = decoded.word else {
        return Loaded::Out;
    };
    let into = |numbers: &[u32]| {
        Loaded::Into(
            numbers
                .iter()
                .filter_map(|number| register(*number))
                .collect(),
        )
    };
    match word.class() {
        Class::Access | Class::NearAccess if word.is_of_vectors() => Loaded::Out,
        Class::NearAccess if word.is_pair() => match word.is_pair_store() || !word.is_wide() {
            true => Loaded::Nothing,
            false => into(&[word.first(), word.fourth()]),
        },
        Class::Access | Class::NearAccess => one_loaded(word),
        Class::Other if word.is_register_access() => one_loaded(word),
        Class::LoadLiteral if word.is_of_vectors() => Loaded::Out,
        Class::LoadLiteral if !word.is_wide_literal() => Loaded::Nothing,
        Class::LoadLiteral => into(&[word.first()]),
        // The page alone.
        Class::Adrp
        | Class::Adr
        | Class::AddNumber
        | Class::Jump
        | Class::Call
        | Class::ConditionalJump
        | Class::TestBranch => Loaded::Nothing,
        _ => Loaded::Out,
    }
}

/// What a load or store of one register does with a pointer.
fn one_loaded(word: Word) -> Loaded {
    if word.is_of_vectors() {
        return Loaded::Out;
    }
    if word.is_store() || word.is_prefetch() || !word.is_of_eight_bytes() {
        return Loaded::Nothing;
    }
    Loaded::Into(register(word.first()).into_iter().collect())
}

/// What reads or writes memory: by held addresses, or a held one itself.
fn accesses(held: &mut Held, word: Word, by: &[u32]) -> bool {
    for register in by.iter().filter_map(|number| register(*number)) {
        if held.since(register).is_some() {
            held.set(register, Since::Used);
        }
    }
    if word.is_of_vectors() || (!word.is_pair() && word.is_prefetch()) {
        return false;
    }
    let moved = register(word.first());
    let stores = match word.is_pair() {
        true => word.is_pair_store(),
        false => word.is_store(),
    };
    if stores {
        return moved.is_some_and(|one| held.since(one).is_some());
    }
    clear(held, word.first());
    false
}

/// What makes a number out of registers: an address of which at `least` this is known is compared
/// by it, chosen, or kept in a form that is not followed.
fn computes(held: &mut Held, into: u32, of: &[u32], least: Since) -> bool {
    let sources = of.iter().filter_map(|number| register(*number));
    let is_out = sources
        .into_iter()
        .any(|one| held.since(one) >= Some(least));
    clear(held, into);
    is_out
}

fn copy(held: &mut Held, into: u32, since: Option<Since>) {
    clear(held, into);
    if let (Some(register), Some(since)) = (register(into), since) {
        held.set(register, since.read());
    }
}

fn clear(held: &mut Held, number: u32) {
    if let Some(register) = register(number) {
        held.clear(register);
    }
}

/// The register of a number, unless that stands for something else.
pub(super) fn register(number: u32) -> Option<Register> {
    let known = (number != SPECIAL).then_some(number)?;
    Some(Register(usize::try_from(known).ok()?))
}

/// Whether it writes by an address in one of these registers. What is not known better hands the
/// address out.
pub(in super::super) fn writes(decoded: &Decoded, held: &Held) -> bool {
    let Some(word) = decoded.word else {
        return false;
    };
    let by = match word.class() {
        Class::Access | Class::NearAccess => [word.second(), word.second()],
        Class::Other if word.is_register_access() => [word.second(), word.third()],
        _ => return false,
    };
    let mut by = by.into_iter().filter_map(register);
    stores(word) && by.any(|one| held.since(one).is_some())
}

/// Whether it writes where its number leads.
pub(in super::super) fn writes_there(decoded: &Decoded) -> bool {
    let access = decoded.word.filter(|word| word.class() == Class::Access);
    access.is_some_and(stores)
}

fn stores(word: Word) -> bool {
    match word.is_pair() {
        true => word.is_pair_store(),
        false => word.is_any_store(),
    }
}

/// Whether all that it does with a register is to keep it on the stack.
pub(in super::super) fn saves(decoded: &Decoded, saved: Register) -> bool {
    let near = decoded.word.filter(|word| {
        let is_access = matches!(word.class(), Class::Access | Class::NearAccess);
        is_access && !word.is_of_vectors() && word.second() == SPECIAL && stores(*word)
    });
    near.is_some_and(|word| {
        let other = word.is_pair().then(|| word.fourth());
        let mut both = [Some(word.first()), other].into_iter().flatten();
        both.any(|one| register(one) == Some(saved))
    })
}

/// How many bytes it reads or writes where its number leads; `None` where that is not told.
pub(in super::super) fn extent(decoded: &Decoded) -> Option<u64> {
    let word = decoded.word?;
    match word.class() {
        // The page alone: what adds the rest tells.
        Class::Adrp => Some(0),
        Class::Access | Class::NearAccess | Class::LoadLiteral => Some(word.bytes_moved()),
        _ => None,
    }
}

/// Whether something else is in a register behind a call: a result, or where the call came from.
pub(in super::super) fn is_set_by_call(register: Register) -> bool {
    results().contains(&register) || register.0 == LINK
}

/// Whether a callee need not keep a register.
pub(in super::super) fn is_lost(register: Register) -> bool {
    register.0 < LOST_BELOW || register.0 == LINK
}

#[cfg(test)]
mod tests {
    use xsplice_abi::machine::aarch64::MACHINE;

    use super::super::super::addresses::{Held, Loaded, Taken};
    use super::super::super::arguments::Register;
    use super::super::super::walk;
    use super::results;

    #[test]
    fn the_rest_of_an_address_puts_it_into_a_register() {
        let cases = [
            // add x3, x1, #0; adr x2, .; adrp x1, .; ldr x0, [x1]; str x0, [x1]
            (0x9100_0023, Taken::Into(Register(3))),
            (0x1000_0002, Taken::Into(Register(2))),
            (0x9000_0001, Taken::Nowhere),
            (0xf940_0020, Taken::Nowhere),
            (0xf900_0020, Taken::Nowhere),
            // adds x3, x1, #0; add w3, w1, #0; movz x0, #0; add sp, x1, #0
            (0xb100_0023, Taken::Out),
            (0x1100_0023, Taken::Out),
            (0xd280_0000, Taken::Out),
            (0x9100_003f, Taken::Out),
        ];
        for (word, wanted) in cases {
            let code = u32::to_le_bytes(word);
            let first = walk(&MACHINE, &code, 0).next().expect("an instruction");
            assert_eq!(first.takes(0), wanted, "{word:08x}");
        }
    }

    #[test]
    fn an_address_is_read_by_copied_or_handed_out() {
        // The address is in x0 before each: whether it is out then, and where it is.
        let cases: [(u32, bool, &[usize]); 27] = [
            // ldr w1, [x0, x2, lsl #2]; ldr x0, [x0]; ldrsw x3, [x0, #4]; ldp x1, x2, [x0]
            (0xb862_7801, false, &[0]),
            (0xf940_0000, false, &[]),
            (0xb980_0403, false, &[0]),
            (0xa940_0801, false, &[0]),
            // ldp x0, x2, [x0]; str x1, [x0]; str x0, [x1]; stp x1, x0, [x2]; str x0, [x1, x2]
            (0xa940_0800, false, &[]),
            (0xf900_0001, false, &[0]),
            (0xf900_0020, true, &[0]),
            (0xa900_0041, true, &[0]),
            (0xf822_6820, true, &[0]),
            // mov x5, x0; add x4, x0, #8; add x6, x1, x0; add x7, x0, w1, sxtw #2
            (0xaa00_03e5, false, &[0, 5]),
            (0x9100_2004, false, &[0, 4]),
            (0x8b00_0026, false, &[0, 6]),
            (0x8b21_c807, false, &[0, 7]),
            // cmp x0, x1; cmp x0, #4; cbz x0; sub x1, x0, x2; csel x1, x0, x2, eq; and x1, x0, #7
            (0xeb01_001f, true, &[0]),
            (0xf100_101f, true, &[0]),
            (0xb400_0040, true, &[0]),
            (0xcb02_0001, true, &[0]),
            (0x9a82_0001, true, &[0]),
            (0x9240_0801, true, &[0]),
            // mov w1, w0; br x0; blr x0; svc #0; movk x0, #1; casp x0, x1, x2, x3, [x4]
            (0x2a00_03e1, true, &[0]),
            (0xd61f_0000, true, &[0]),
            (0xd63f_0000, true, &[0]),
            (0xd400_0001, true, &[0]),
            (0xf280_0020, true, &[0]),
            (0x4820_7c82, true, &[0]),
            // ccmp x1, x2, #0, eq, which has no register where others have it written; mov x0, #1
            (0xfa42_0020, true, &[]),
            (0xd280_0020, false, &[]),
        ];
        for (word, is_out, holds) in cases {
            let mut held = Held::new(results()[0]);
            let code = u32::to_le_bytes(word);
            let first = walk(&MACHINE, &code, 0).next().expect("an instruction");
            assert_eq!(first.carries(&mut held), is_out, "{word:08x}");
            if !is_out {
                let known: Vec<usize> = (0..32)
                    .filter(|one| held.since(Register(*one)).is_some())
                    .collect();
                assert_eq!(known, holds, "{word:08x}");
            }
        }
    }

    #[test]
    fn pointers_that_are_read_go_into_registers_or_elsewhere() {
        let into = |numbers: &[usize]| {
            Loaded::Into(numbers.iter().map(|number| Register(*number)).collect())
        };
        let cases: [(u32, Loaded); 12] = [
            // ldr x3, [x0]; ldr x3, [x0, x1, lsl #3]; ldp x1, x2, [x0]; ldr x0, 0
            (0xf940_0003, into(&[3])),
            (0xf861_7803, into(&[3])),
            (0xa940_0801, into(&[1, 2])),
            (0x5800_0000, into(&[0])),
            // ldr w3, [x0]; ldrsw x3, [x0, #4]; ldp w1, w2, [x0]; str x1, [x0]; adrp x1, 0
            (0xb940_0003, Loaded::Nothing),
            (0xb980_0403, Loaded::Nothing),
            (0x2940_0801, Loaded::Nothing),
            (0xf900_0001, Loaded::Nothing),
            (0x9000_0001, Loaded::Nothing),
            // ldr q1, [x0]; ldr q0, 0; casp x0, x1, x2, x3, [x0]
            (0x3dc0_0001, Loaded::Out),
            (0x9c00_0000, Loaded::Out),
            (0x4820_7c02, Loaded::Out),
        ];
        for (word, wanted) in cases {
            let code = u32::to_le_bytes(word);
            let first = walk(&MACHINE, &code, 0).next().expect("an instruction");
            assert_eq!(first.loads_at(0), wanted, "{word:08x}");
            // The literals and the page are no matter of a register.
            let by = first.loads_by(&Held::new(results()[0]));
            let is_by = !matches!(word, 0x5800_0000 | 0x9000_0001 | 0x9c00_0000);
            let wanted = if is_by { wanted } else { Loaded::Nothing };
            assert_eq!(by, wanted, "{word:08x}");
            let other = first.loads_by(&Held::new(Register(9)));
            assert_eq!(other, Loaded::Nothing, "{word:08x}");
        }
    }

    #[test]
    fn what_names_other_registers_leaves_it_where_it_is() {
        // madd x1, x2, x3, x4; ubfx w1, w2, #3, #4; nop; ldr x1, [x2]; add x1, x2, #8; ldr q1, [x2]
        // Its number, and none of its register: prfm pldl1keep, [x2]; prfum; prfm by registers and
        // of a literal; ldr q0 and d0; b.eq
        for word in [
            0xf980_0040,
            0xf880_0040,
            0xf8a3_6840,
            0xd800_0000,
            0x3dc0_0040,
            0x5c00_0000,
            0x5400_0040,
            0x9b03_1041,
            0x5303_1841,
            0xd503_201f,
            0xf940_0041,
            0x9100_2041,
            0x3dc0_0041,
        ] {
            let mut held = Held::new(results()[0]);
            let code = u32::to_le_bytes(word);
            let first = walk(&MACHINE, &code, 0).next().expect("an instruction");
            assert!(!first.carries(&mut held), "{word:08x}");
            assert!(held.is_fresh(), "{word:08x}");
        }
    }
}
