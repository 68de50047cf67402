//! How AArch64 reads as text: as `objdump` writes it, with the names that relocations give.

use super::super::FieldNames;
use super::word::{Class, Number, Word};
use super::{Decoded, decode};

/// How the decoder writes a distance from the instruction.
const FROM_HERE: char = '$';

pub(in super::super) fn mnemonic(decoded: &Decoded) -> String {
    let text = plain(decoded);
    let end = text.find(' ').unwrap_or(text.len());
    text[..end].to_owned()
}

pub(in super::super) fn whole(decoded: &Decoded, names: FieldNames) -> String {
    let text = plain(decoded);
    let Some(word) = decoded.word else {
        return text;
    };
    match (word.number(), names.displacement.or(names.immediate)) {
        (Some((number, _)), Some(name)) => named(&text, word, number, &name),
        _ => match text.split_once(FROM_HERE) {
            Some((before, _)) => {
                let target = word.target(decoded.start).unwrap_or(decoded.start);
                format!("{before}{target:#x}")
            }
            None => text,
        },
    }
}

/// Without names.
fn plain(decoded: &Decoded) -> String {
    let Some(word) = decoded.word else {
        return ".byte".to_owned();
    };
    match decode(word) {
        Some(instruction) => instruction.to_string(),
        None => format!(".inst {:#010x}", word.0),
    }
}

/// With a name in the place of the number.
fn named(text: &str, word: Word, number: Number, name: &str) -> String {
    let low = |name: &str| format!(":lo12:{name}");
    match (number, word.class()) {
        (Number::Distance, _) | (_, Class::Adr | Class::Adrp | Class::LoadLiteral) => {
            let before = text.split(FROM_HERE).next().unwrap_or(text);
            format!("{before}{name}")
        }
        (Number::Displacement, _) => {
            let Some((before, operand)) = text.split_once('[') else {
                return format!("{text}, {}", low(name));
            };
            let base = operand.split([',', ']']).next().unwrap_or(operand);
            format!("{before}[{base}, {}]", low(name))
        }
        (Number::Operand, class) => {
            let before = text.split('#').next().unwrap_or(text);
            match class {
                Class::AddNumber if before == text => format!("{text}, {}", low(name)),
                Class::AddNumber => format!("{before}{}", low(name)),
                _ => format!("{before}#{name}"),
            }
        }
    }
}
