//! The part of an extract that ELF cannot express, as JSON in a section of its own: which symbols
//! live in the base, the records, and what the originals referred to. Bytes of originals are not in
//! it but in a section beside it, where `readelf -x` shows them.

use serde::{Deserialize, Serialize};

use crate::debug_info::toolchain::Toolchain;

use super::{OriginalItem, Symbol, SymbolIndex};

/// Version of the description; another one is refused.
pub(super) const VERSION: u32 = 1;

/// Section of the description.
pub(super) const DESCRIPTION: &str = ".xsplice.extract";
/// Section of the originals' bytes.
pub(super) const ORIGINALS: &str = ".xsplice.originals";
/// Section of the report.
pub(super) const REPORT: &str = ".xsplice.report";

/// Everything about an extract but its sections and relocations.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Description<'data> {
    pub version: u32,
    pub object: String,
    pub abi: String,
    pub accepted: Vec<String>,
    /// Absent in extracts of older versions, which did not record it.
    #[serde(default)]
    pub compiled_by: Toolchain,
    pub symbols: Vec<Symbol>,
    /// For each symbol its index in the ELF's symbol table, where locals come first.
    pub elf_symbols: Vec<u32>,
    pub records: Vec<RecordDescription<'data>>,
    /// Absent in extracts of older versions, which had none.
    #[serde(default)]
    pub constants: Vec<ConstantDescription<'data>>,
}

/// A constant that did not change, with its original's bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ConstantDescription<'data> {
    pub symbol: SymbolIndex,
    pub original: OriginalItem<'data>,
    #[serde(with = "hex")]
    pub bytes: std::borrow::Cow<'data, [u8]>,
}

/// A record, with the place of its original's bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RecordDescription<'data> {
    pub name: String,
    pub file: Option<String>,
    pub binding: u8,
    pub symbol: SymbolIndex,
    pub old_size: u64,
    pub new_size: u64,
    pub address_taken: bool,
    /// Absent in extracts of older versions, which did not record them.
    #[serde(default)]
    pub aliases: Vec<(String, Option<String>)>,
    pub original: OriginalItem<'data>,
    /// Offset and length in [`ORIGINALS`], in bytes.
    pub bytes: (u64, u64),
}

/// Bytes as hexadecimal digits.
pub(super) mod hex {
    use std::borrow::Cow;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};
    use xsplice_abi::hex::Hex;

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Hex(bytes))
    }

    pub(crate) fn deserialize<'de, 'data, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Cow<'data, [u8]>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digit = |byte: u8| {
            char::from(byte)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        text.as_bytes()
            .chunks(2)
            .map(|pair| match pair {
                [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
                _ => None,
            })
            .collect::<Option<Vec<u8>>>()
            .map(Cow::Owned)
            .ok_or_else(|| D::Error::custom("bytes are not hexadecimal digits"))
    }
}
