//! Build-ids: what identifies a base or a payload, and the note that carries it.

use std::fmt;

use xsplice_abi::hex::Hex;
use xsplice_abi::note;
use zerocopy::IntoBytes as _;

/// A build-id: 1 to 64 bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BuildId(Vec<u8>);

impl BuildId {
    /// Wraps raw bytes; `None` when there are none or more than
    /// [`note::BUILD_ID_BYTES_MAX`].
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<BuildId> {
        note::Header::build_id(bytes.len())?;
        Some(BuildId(bytes.to_vec()))
    }

    /// Reads hexadecimal digits, two a byte, of either case.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<BuildId> {
        if !text.len().is_multiple_of(2) || !text.is_ascii() {
            return None;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let bytes: Option<Vec<u8>> = text
            .as_bytes()
            .chunks_exact(2)
            .map(|pair| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok())
            .collect();
        BuildId::new(&bytes?)
    }

    /// The raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The ELF note that carries this id, padded to four bytes.
    #[must_use]
    pub(crate) fn to_note(&self) -> Vec<u8> {
        let header = note::Header::build_id(self.0.len())
            .expect("the constructors admit only lengths that a note can carry");
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(&self.0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(out)
    }
}

impl fmt::Debug for BuildId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "BuildId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::BuildId;

    #[test]
    fn hexadecimal_of_either_case_is_read_and_printed_in_lower_case() {
        let id = BuildId::from_hex("00Ffa0").expect("three bytes");
        assert_eq!(id.as_bytes(), [0, 0xff, 0xa0]);
        assert_eq!(id.to_string(), "00ffa0");
    }

    #[test]
    fn odd_foreign_empty_and_overlong_digits_are_none() {
        for text in ["", "0", "0g", "ä0", &"00".repeat(65)] {
            assert_eq!(BuildId::from_hex(text), None, "{text}");
        }
    }
}
