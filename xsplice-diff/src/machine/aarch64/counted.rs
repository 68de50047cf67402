//! How far AArch64 code counts from an address (Arm Architecture Reference Manual, chapter C4.1).

use super::super::addresses::Taken;
use super::super::counted::{Counted, Distance, Reached};
use super::Decoded;
use super::addresses::{self, SPECIAL, register};
use super::word::{Class, Indexing, Word};

/// Where the instruction puts an address whose field a relocation fills. Of one that is made in
/// parts, the first part stands for all.
pub(in super::super) fn takes(decoded: &Decoded) -> Taken {
    let class = decoded.word.map(Word::class);
    match (class, decoded.word) {
        (Some(Class::MoveNumber), Some(word)) if word.is_wide() => {
            register(word.first()).map_or(Taken::Out, Taken::Into)
        }
        (Some(Class::KeepNumber), _) => Taken::Nowhere,
        _ => addresses::takes(decoded),
    }
}

/// Follows counted registers through an instruction.
pub(in super::super) fn step(decoded: &Decoded, counted: &mut Counted) -> Vec<Reached> {
    let Some(word) = decoded.word else {
        return match counted.is_empty() {
            true => Vec::new(),
            false => vec![Reached::Anywhere],
        };
    };
    if counted.is_empty() {
        return Vec::new();
    }
    let (first, second, third) = (word.first(), word.second(), word.third());
    match word.class() {
        Class::Jump
        | Class::Call
        | Class::ConditionalJump
        | Class::TestBranch
        | Class::IndirectJump
        | Class::IndirectCall
        | Class::Return
        | Class::Service
        | Class::Stop
        | Class::DebugState => Vec::new(),
        Class::Adr | Class::Adrp | Class::MoveNumber => put(counted, first, None),
        // A further part of an address that is made in parts.
        Class::KeepNumber => Vec::new(),
        Class::LoadLiteral if word.is_of_vectors() || word.is_literal_prefetch() => Vec::new(),
        Class::LoadLiteral => put(counted, first, None),
        // Compared with a number.
        Class::AddNumber if word.sets_flags() && first == SPECIAL => Vec::new(),
        Class::AddNumber if word.is_wide() => {
            let sum = at(counted, second).map(|from| from.plus(word.added_number()));
            let reached = sum.map(Reached::Place).into_iter();
            reached.chain(put(counted, first, sum)).collect()
        }
        Class::Access => accesses(counted, word, word.unsigned_displacement()),
        Class::NearAccess => accesses(counted, word, word.near_displacement()),
        Class::Other if word.is_register_access() => {
            let by = at(counted, second).or_else(|| at(counted, third));
            let reached = by.map(|by| Reached::Place(by.indexed()));
            moved(counted, word, reached.into_iter().collect())
        }
        Class::Other if word.is_register_move() && word.is_wide() => {
            let from = at(counted, third);
            put(counted, first, from)
        }
        Class::Other if word.is_plain_sum() => {
            let sum = match (at(counted, second), at(counted, third)) {
                (Some(_), Some(_)) => return computes(counted, first, &[second]),
                (one, other) => one.or(other).map(Distance::indexed),
            };
            put(counted, first, sum)
        }
        Class::Other if word.is_exclusive() => {
            let reached = at(counted, second).map(|by| by.of_bytes(word.exclusive_bytes()));
            put(counted, first, None);
            put(counted, third, None);
            put(counted, word.fourth(), None);
            places(reached)
        }
        Class::Other if word.is_nop() || word.is_hint() || word.is_barrier() => Vec::new(),
        // Two addresses are compared.
        Class::Other if word.is_difference() && word.sets_flags() && first == SPECIAL => Vec::new(),
        Class::Other if word.is_of_vector_structures() => {
            let by = at(counted, second);
            // By a register behind it, or by a number: the register moves on.
            if word.is_behind_structures() {
                let left = by.map(Distance::indexed);
                put(counted, second, left);
                return left.map(Reached::Place).into_iter().collect();
            }
            places(by.map(|by| by.of_bytes(word.structure_bytes())))
        }
        Class::Other if word.is_of_vector_registers() => {
            if word.is_read_into_vectors() && at(counted, second).is_some() {
                return vec![Reached::Anywhere];
            }
            // What it writes to a register that others know is followed on: that finds more, not
            // less.
            Vec::new()
        }
        Class::AddNumber | Class::LogicalNumber => computes(counted, first, &[second]),
        Class::Other if word.is_of_three() => {
            computes(counted, first, &[second, third, word.fourth()])
        }
        Class::Other if word.is_of_registers() => computes(counted, first, &[second, third]),
        Class::Other if word.is_of_two_registers() => computes(counted, first, &[second, third]),
        Class::Other if word.is_of_bits() => computes(counted, first, &[second]),
        Class::Other => computes(counted, first, &[first, second, third, word.fourth()]),
    }
}

/// What makes something else of registers.
fn computes(counted: &mut Counted, into: u32, of: &[u32]) -> Vec<Reached> {
    let is_read = of.iter().any(|one| at(counted, *one).is_some());
    put(counted, into, None);
    match is_read {
        true => vec![Reached::Anywhere],
        false => Vec::new(),
    }
}

/// A load or store at the second register and a number.
fn accesses(counted: &mut Counted, word: Word, displacement: i64) -> Vec<Reached> {
    let by = at(counted, word.second());
    let (reached, left) = match word.indexing() {
        Indexing::Offset => (by.map(|by| by.plus(displacement)), by),
        Indexing::Before => {
            let sum = by.map(|by| by.plus(displacement));
            (sum, sum)
        }
        Indexing::Behind => (by, by.map(|by| by.plus(displacement))),
    };
    let reached = reached.map(|from| from.of_bytes(word.bytes_moved()));
    let reached = moved(counted, word, places(reached));
    // A load into the register that it reads by leaves nothing of it.
    let is_lost = by.is_some() && at(counted, word.second()).is_none();
    if let Some(left) = left.filter(|_| !is_lost) {
        put(counted, word.second(), Some(left));
    }
    reached
}

/// What a load or store does with the registers that it moves. An address on the stack is not
/// followed.
fn moved(counted: &mut Counted, word: Word, reached: Vec<Reached>) -> Vec<Reached> {
    let mut all = reached;
    if word.is_of_vectors() || (!word.is_pair() && word.is_prefetch()) {
        return all;
    }
    let other = word.is_pair().then(|| word.fourth());
    let registers = [Some(word.first()), other].into_iter().flatten();
    let stores = match word.is_pair() {
        true => word.is_pair_store(),
        false => word.is_store(),
    };
    for one in registers {
        if !stores {
            put(counted, one, None);
        } else if at(counted, one).is_some() && word.second() == SPECIAL {
            all.push(Reached::Anywhere);
        }
    }
    all
}

/// The first and the last byte of what an instruction reaches; once where they are one.
fn places(reached: Option<[Distance; 2]>) -> Vec<Reached> {
    let mut all: Vec<Distance> = reached.into_iter().flatten().collect();
    all.dedup();
    all.into_iter().map(Reached::Place).collect()
}

fn at(counted: &Counted, number: u32) -> Option<Distance> {
    register(number).and_then(|one| counted.at(one))
}

/// Puts a distance into a register, or something else. Nothing is reached by that alone; the stack
/// pointer is not followed.
fn put(counted: &mut Counted, number: u32, distance: Option<Distance>) -> Vec<Reached> {
    match (register(number), distance) {
        (Some(register), Some(distance)) => counted.set(register, distance),
        (Some(register), None) => counted.clear(register),
        (None, Some(_)) => return vec![Reached::Anywhere],
        (None, None) => {}
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use xsplice_abi::machine::aarch64::MACHINE;

    use super::super::super::arguments::Register;
    use super::super::super::counted::{Counted, Distance, Reached};
    use super::super::super::walk;

    const fn place(bytes: i64, is_indexed: bool) -> Reached {
        Reached::Place(Distance { bytes, is_indexed })
    }

    /// The anchor is in x0 before `word`.
    fn reached(word: u32) -> (Vec<Reached>, Counted) {
        let code = word.to_le_bytes();
        let mut counted = Counted::new(Register(0));
        let first = walk(&MACHINE, &code, 0).next().expect("an instruction");
        (first.counts(&mut counted), counted)
    }

    #[test]
    fn numbers_in_the_code_are_added() {
        let cases = [
            // ldr w1, [x0, #4]; str w1, [x0, #8]; ldrb w1, [x0, #4]; ldr q1, [x0, #16]
            (0xb940_0401, place(4, false)),
            (0xb900_0801, place(8, false)),
            (0x3940_1001, place(4, false)),
            (0x3dc0_0401, place(16, false)),
            // ldur w1, [x0, #-4]; ldp x1, x2, [x0, #16]; ldp w1, w2, [x0, #-8]; ldp q1, q2, [x0,
            // #32]
            (0xb85f_c001, place(-4, false)),
            (0xa941_0801, place(16, false)),
            (0x297f_0801, place(-8, false)),
            (0xad41_0801, place(32, false)),
            // ldr w1, [x0], #4; ldr w1, [x0, #4]!; add x1, x0, #24; sub x1, x0, #8; add x1, x0, #1,
            // lsl #12
            (0xb840_4401, place(0, false)),
            (0xb840_4c01, place(4, false)),
            (0x9100_6001, place(24, false)),
            (0xd100_2001, place(-8, false)),
            (0x9140_0401, place(4096, false)),
            // ldr w1, [x0, x2, lsl #2]; ldaxr w1, [x0]; ld1 {v1.4s}, [x0]
            (0xb862_7801, place(0, true)),
            (0x885f_fc01, place(0, false)),
            (0x4c40_7801, place(0, false)),
        ];
        for (word, wanted) in cases {
            assert_eq!(reached(word).0.first(), Some(&wanted), "{word:08x}");
        }
    }

    #[test]
    fn what_is_moved_at_once_is_reached_to_its_last_byte() {
        let cases = [
            // ldrb w1, [x0, #4]; ldr w1, [x0, #4]; ldr x1, [x0, #8]; ldr q1, [x0, #16]
            (0x3940_1001, 4),
            (0xb940_0401, 7),
            (0xf940_0401, 15),
            (0x3dc0_0401, 31),
            // ldp x1, x2, [x0, #16]; ldp w1, w2, [x0, #-8]; ldp q1, q2, [x0, #32]; ldpsw x1, x2,
            // [x0]
            (0xa941_0801, 31),
            (0x297f_0801, -1),
            (0xad41_0801, 63),
            (0x6940_0801, 7),
            // ld1 {v1.4s}, [x0]; ldaxr w1, [x0]; ldxp x1, x2, [x0]; casp w2, w3, w4, w5, [x0]
            (0x4c40_7801, 15),
            (0x885f_fc01, 3),
            (0xc87f_0801, 15),
            (0x0822_7c04, 7),
        ];
        for (word, wanted) in cases {
            let last = reached(word).0.last().copied();
            assert_eq!(last, Some(place(wanted, false)), "{word:08x}");
        }
        // By an index as far as that says.
        assert_eq!(reached(0xb862_7801).0, [place(0, true)]);
    }

    #[test]
    fn sums_are_followed_and_what_is_lost_is_not() {
        let at = |word: u32, register| {
            let found = reached(word).1.at(Register(register));
            found.map(|one| (one.bytes, one.is_indexed))
        };
        // add x1, x0, #24; mov x1, x0; add x1, x0, w2, sxtw #2; ldr w1, [x0], #4; ldr x0, [x0]
        assert_eq!(at(0x9100_6001, 1), Some((24, false)));
        assert_eq!(at(0xaa00_03e1, 1), Some((0, false)));
        assert_eq!(at(0x8b22_c801, 1), Some((0, true)));
        assert_eq!(at(0xb840_4401, 0), Some((4, false)));
        assert_eq!(at(0xf940_0000, 0), None);
        // movk x0, #1, lsl #16, which goes on making the address; movz x0, #1; adrp x0, .
        assert_eq!(at(0xf2a0_0020, 0), Some((0, false)));
        assert_eq!(at(0xd280_0020, 0), None);
        assert_eq!(at(0x9000_0000, 0), None);
    }

    #[test]
    fn what_is_not_followed_may_reach_anything() {
        // str x0, [sp, #8]; csel x1, x0, x2, eq; sub x1, x0, x2; and x1, x0, #7; fmov d1, x0; dup
        // v1.2d, x0
        for word in [
            0xf900_07e0,
            0x9a82_0001,
            0xcb02_0001,
            0x9240_0801,
            0x9e67_0001,
            0x4e08_0c01,
        ] {
            assert_eq!(reached(word).0, [Reached::Anywhere], "{word:08x}");
        }
        // str x0, [x1]; cmp x0, x2; cmp x0, #4; cbz x0; add w1, w2, #1; lsr x1, x2, x3; fadd d1,
        // d0, d2
        for word in [
            0xf900_0020,
            0xeb02_001f,
            0xf100_101f,
            0xb400_0040,
            0x1100_0441,
            0x9ac3_2441,
            0x1e62_2801,
        ] {
            assert_eq!(reached(word).0, [], "{word:08x}");
        }
    }
}
