//! How an entry of a table is laid out: its size, and what its relocated fields lead to.

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

/// An entry's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Size of an entry in bytes.
    pub bytes: u64,
    /// The fields that relocations fill; nothing else of an entry is relocated.
    pub fields: &'static [Field],
}

impl Layout {
    /// The field at this offset in the entry.
    #[must_use]
    pub fn field(&self, at: u64) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.at == at)
    }
}
