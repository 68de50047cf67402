//! AArch64, as far as its code has to be read.

pub(super) mod addresses;
pub(super) mod alike;
pub(super) mod arguments;
pub(super) mod counted;
pub(super) mod linked;
#[cfg(test)]
mod tests;
pub(super) mod text;
mod word;

use yaxpeax_arch::{Arch, Decoder as _, U8Reader};
use yaxpeax_arm::armv8::a64;

use super::{FieldPlace, Filler, Flow, Instruction, Lead, Use};
use word::{BYTES, Class, Number, Word};

/// An instruction, or the bytes at the end of code that are too few for one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decoded {
    /// `None` of too few bytes.
    word: Option<Word>,
    /// Where it begins.
    start: u64,
}

/// Decodes one instruction behind the other.
#[derive(Debug)]
pub(super) struct Decoder<'code> {
    rest: &'code [u8],
    at: u64,
}

/// Reads a word; `None` of what is no instruction that the decoder knows.
fn decode(word: Word) -> Option<a64::Instruction> {
    let decoder = <a64::ARMv8 as Arch>::Decoder::default();
    let bytes = word.0.to_le_bytes();
    decoder.decode(&mut U8Reader::new(&bytes)).ok()
}

impl<'code> Decoder<'code> {
    pub(super) fn new(code: &'code [u8], start: u64) -> Decoder<'code> {
        Decoder {
            rest: code,
            at: start,
        }
    }

    pub(super) fn next(&mut self) -> Option<Instruction<'code>> {
        if self.rest.is_empty() {
            return None;
        }
        let (bytes, rest) = self.rest.split_at(self.rest.len().min(BYTES));
        let start = self.at;
        self.rest = rest;
        self.at = start.wrapping_add(bytes.len() as u64);
        let Some(word) = Word::read(bytes) else {
            return Some(remainder(bytes, start));
        };
        let field = FieldPlace {
            offset: start,
            bytes: BYTES as u64,
        };
        let number = word.number().map(|(number, _)| number);
        let is_displacement = number == Some(Number::Displacement);
        Some(Instruction {
            start,
            end: self.at,
            bytes,
            is_valid: is_valid(word),
            flow: word.flow(),
            filler: word.filler(),
            is_barrier: word.is_barrier(),
            displacement: is_displacement.then_some(field),
            immediate: (number.is_some() && !is_displacement).then_some(field),
            lead: lead(word, field),
            decoded: super::Decoded::AArch64(Decoded {
                word: Some(word),
                start,
            }),
        })
    }
}

/// Whether a word is an instruction. Those whose class is known are; the decoder is asked for the
/// rest, which is slower.
fn is_valid(word: Word) -> bool {
    match word.class() {
        Class::Stop => word.0 != 0,
        Class::Other | Class::LogicalNumber | Class::NearAccess | Class::Access => {
            decode(word).is_some()
        }
        _ => true,
    }
}

/// Bytes behind the last whole instruction.
fn remainder(bytes: &[u8], start: u64) -> Instruction<'_> {
    let is_empty = bytes.iter().all(|byte| *byte == 0);
    Instruction {
        start,
        end: start.wrapping_add(bytes.len() as u64),
        bytes,
        is_valid: false,
        flow: Flow::Stop,
        filler: is_empty.then_some(Filler::Trap),
        is_barrier: false,
        displacement: None,
        immediate: None,
        lead: None,
        decoded: super::Decoded::AArch64(Decoded { word: None, start }),
    }
}

fn lead(word: Word, field: FieldPlace) -> Option<Lead> {
    let relocation = word.lead()?;
    let number = word.number().map(|(number, _)| number);
    Some(Lead {
        field,
        to: word.target(field.offset)?,
        is_branch: number == Some(Number::Distance),
        relocation: Some(relocation),
    })
}

impl Decoded {
    pub(super) fn use_of_displacement(&self) -> Use {
        match self.word.map(Word::class) {
            // The instruction that adds the rest says what the address is for.
            Some(Class::Adrp | Class::LoadLiteral | Class::Access | Class::NearAccess) => {
                Use::Access
            }
            _ => Use::Address,
        }
    }

    pub(super) fn is_same_kind(&self, other: &Decoded) -> bool {
        let opcode = |one: &Decoded| Some(decode(one.word?)?.opcode);
        opcode(self).is_some_and(|own| opcode(other) == Some(own))
    }
}
