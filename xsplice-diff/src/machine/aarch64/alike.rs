//! Whether two instructions of AArch64 are the same but for numbers.

use super::super::Alike;
use super::Decoded;
use super::word::{Number, Word};

pub(in super::super) fn compare(old: &Decoded, new: &Decoded) -> Alike {
    match (old.word, new.word) {
        (Some(old), Some(new)) => words(old, new),
        _ => Alike::Other,
    }
}

fn words(old: Word, new: Word) -> Alike {
    if old == new {
        return Alike::Same;
    }
    let (Some((kind, bits)), Some(other)) = (old.number(), new.number()) else {
        return Alike::Other;
    };
    if (kind, bits) != other || (old.0 ^ new.0) & !bits != 0 {
        return Alike::Other;
    }
    match kind {
        Number::Distance | Number::Displacement => Alike::Displacement,
        Number::Operand => {
            let number = |word: Word| {
                let held = (word.0 & bits) >> bits.trailing_zeros();
                word.moved_number().unwrap_or(held.into())
            };
            Alike::Immediate(number(old), number(new))
        }
    }
}
