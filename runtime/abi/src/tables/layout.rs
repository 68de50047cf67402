//! How an entry of a table is laid out: its size, and what its relocated fields lead to.

use core::ops::Range;

/// What a field leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeadsTo {
    /// The code that the entry is about. Every entry has it.
    Owner,
    /// Code.
    Code,
    /// Code of `.altinstr_replacement`; with an entry that has no replacement, anything.
    Replacement,
    /// Something else than code.
    Data,
    /// Code or data.
    Anything,
}

/// A field that a relocation may fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Offset in the entry, in bytes.
    pub at: u64,
    /// What it leads to.
    pub leads_to: LeadsTo,
}

impl Field {
    pub(super) const fn new(at: u64, leads_to: LeadsTo) -> Field {
        Field { at, leads_to }
    }
}

/// Bytes of an entry that hold a line number and nothing else, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineField {
    /// Offset in the entry, in bytes.
    pub at: u64,
    /// How many there are: eight at most.
    pub bytes: u64,
}

impl LineField {
    /// Where it lies in the entry.
    #[must_use]
    pub const fn range(self) -> Range<u64> {
        self.at..self.at + self.bytes
    }

    /// The number in an entry's bytes; `None` where they end before it.
    #[must_use]
    pub fn read(self, entry: &[u8]) -> Option<u64> {
        let start = usize::try_from(self.at).ok()?;
        let end = usize::try_from(self.range().end).ok()?;
        let mut number = [0; 8];
        let own = entry.get(start..end)?;
        number.get_mut(..own.len())?.copy_from_slice(own);
        Some(u64::from_le_bytes(number))
    }
}

/// An entry's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Size of an entry in bytes.
    pub bytes: u64,
    /// The fields that relocations fill; nothing else of an entry is relocated.
    pub fields: &'static [Field],
    /// The bytes that hold a line number, where there are such.
    pub line: Option<LineField>,
}

impl Layout {
    /// How many of its fields are relocated in every entry.
    #[must_use]
    pub fn mandatory_fields(&self) -> usize {
        let mandatory = |field: &&Field| field.leads_to != LeadsTo::Anything;
        self.fields.iter().filter(mandatory).count()
    }

    /// The field at this offset in the entry.
    #[must_use]
    pub fn field(&self, at: u64) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.at == at)
    }
}
