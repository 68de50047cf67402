//! The x86-64 relocation types that loaders take (System V psABI, table 4.9).

/// How a loader computes and checks one relocation field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Nothing is written.
    None,
    /// S + A, 64 bits.
    Absolute64,
    /// S + A, 32 bits, must sign-extend to the full value.
    AbsoluteSigned32,
    /// S + A - P, 32 bits signed.
    PcRelative32,
    /// S + A - P, 64 bits.
    PcRelative64,
}

/// A relocation type: its psABI number, its name and what it computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelocationType {
    /// `R_X86_64_*` number.
    pub number: u32,
    /// psABI name without the `R_X86_64_` prefix.
    pub name: &'static str,
    /// What is written where.
    pub field: Field,
}

/// `R_X86_64_NONE`.
pub const NONE: RelocationType = RelocationType {
    number: 0,
    name: "NONE",
    field: Field::None,
};
/// `R_X86_64_64`.
pub const ABS64: RelocationType = RelocationType {
    number: 1,
    name: "64",
    field: Field::Absolute64,
};
/// `R_X86_64_PC32`.
pub const PC32: RelocationType = RelocationType {
    number: 2,
    name: "PC32",
    field: Field::PcRelative32,
};
/// `R_X86_64_PLT32`; payloads have no PLT, so it is computed as PC32.
pub const PLT32: RelocationType = RelocationType {
    number: 4,
    name: "PLT32",
    field: Field::PcRelative32,
};
/// `R_X86_64_32S`.
pub const ABS32S: RelocationType = RelocationType {
    number: 11,
    name: "32S",
    field: Field::AbsoluteSigned32,
};
/// `R_X86_64_PC64`.
pub const PC64: RelocationType = RelocationType {
    number: 24,
    name: "PC64",
    field: Field::PcRelative64,
};

impl Field {
    /// Bytes that the field occupies.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Field::None => 0,
            Field::AbsoluteSigned32 | Field::PcRelative32 => 4,
            Field::Absolute64 | Field::PcRelative64 => 8,
        }
    }
}
