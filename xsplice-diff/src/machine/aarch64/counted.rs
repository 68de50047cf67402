//! How far AArch64 code counts from an address (Arm Architecture Reference Manual, chapter C4.1).

use super::super::addresses::Taken;
use super::super::counted::{Counted, Distance, Reached};
use super::Decoded;
use super::addresses::{self, SPECIAL, is_lost, register};
use super::word::{Class, Indexing, Word};

/// Where the instruction puts an address whose field a relocation fills. Of one that is made in parts,
/// the first part stands for all.
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
            moved(counted, word, reached)
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
            let reached = at(counted, second).map(Reached::Place);
            put(counted, first, None);
            put(counted, third, None);
            put(counted, word.fourth(), None);
            reached.into_iter().collect()
        }
        Class::Other if word.is_nop() || word.is_hint() || word.is_barrier() => Vec::new(),
        // Two addresses are compared.
        Class::Other if word.is_difference() && word.sets_flags() && first == SPECIAL => Vec::new(),
        Class::Other if word.is_of_vector_structures() => {
            let by = at(counted, second).map(|by| Reached::Place(by.indexed()));
            by.into_iter().collect()
        }
        Class::Other if word.is_of_vector_registers() => {
            if word.is_read_into_vectors() && at(counted, second).is_some() {
                return vec![Reached::Anywhere];
            }
            // What it writes to a register that others know is followed on: that finds more, not less.
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
    let reached = moved(counted, word, reached.map(Reached::Place));
    // A load into the register that it reads by leaves nothing of it.
    let is_lost = by.is_some() && at(counted, word.second()).is_none();
    if let Some(left) = left.filter(|_| !is_lost) {
        put(counted, word.second(), Some(left));
    }
    reached
}

/// What a load or store does with the registers that it moves. An address on the stack is not
/// followed.
fn moved(counted: &mut Counted, word: Word, reached: Option<Reached>) -> Vec<Reached> {
    let mut all: Vec<Reached> = reached.into_iter().collect();
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

/// Forgets what a call does not keep.
pub(in super::super) fn forget_lost(counted: &mut Counted) {
    for number in 0..SPECIAL {
        if let Some(register) = register(number).filter(|one| is_lost(*one)) {
            counted.clear(register);
        }
    }
}
