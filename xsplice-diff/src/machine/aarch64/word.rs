//! An instruction of AArch64 as bits (Arm Architecture Reference Manual, chapter C4.1): its class,
//! its registers, and which of its bits are a number.
//!
//! What decides about payloads is read here, from the encoding, and for every word. The decoder is
//! asked only whether a word is an instruction at all, and how it reads.

use xsplice_abi::machine::RelocationType;
use xsplice_abi::machine::aarch64::{
    ADR_PREL_LO21, ADR_PREL_PG_HI21, CALL26, CONDBR19, JUMP26, LD_PREL_LO19, TSTBR14,
};

use super::super::{Filler, Flow};

/// Bytes of an instruction.
pub(super) const BYTES: usize = 4;
/// `nop`.
const NOP: u32 = 0xd503_201f;
/// `udf #0`, and what is left where nothing was written.
const UDF: u32 = 0;
/// `brk #0`, which a linker puts into gaps.
const BRK: u32 = 0xd420_0000;

/// The four bytes of an instruction as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(pub(super) u32);

/// What an instruction is, as far as anybody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// B.
    Jump,
    /// BL.
    Call,
    /// B.cond, BC.cond, CBZ, CBNZ.
    ConditionalJump,
    /// TBZ, TBNZ.
    TestBranch,
    /// BR and its kin.
    IndirectJump,
    /// BLR and its kin.
    IndirectCall,
    /// RET, ERET and their kin.
    Return,
    /// SVC, HVC, SMC: somebody answers, and the code goes on.
    Service,
    /// BRK, HLT, UDF.
    Stop,
    /// DCPS1 to DCPS3.
    DebugState,
    /// ADR.
    Adr,
    /// ADRP.
    Adrp,
    /// LDR, LDRSW and PRFM of a literal.
    LoadLiteral,
    /// ADD, SUB and their kin with a number.
    AddNumber,
    /// AND, ORR and their kin with a number.
    LogicalNumber,
    /// MOVN, MOVZ.
    MoveNumber,
    /// MOVK.
    KeepNumber,
    /// Loads and stores with an unsigned number.
    Access,
    /// Loads and stores with a small signed number, and of pairs.
    NearAccess,
    /// Anything else.
    Other,
}

/// A number of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// The distance of a branch.
    Distance,
    /// It is added to an address.
    Displacement,
    /// It is an operand.
    Operand,
}

/// When a load or store adds its number to its register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Indexing {
    /// For the access alone.
    Offset,
    /// Before it, and the register keeps the sum.
    Before,
    /// Behind it, and the register keeps the sum.
    Behind,
}

impl Word {
    /// The word that `code` begins with.
    pub(super) fn read(code: &[u8]) -> Option<Word> {
        Some(Word(u32::from_le_bytes(*code.first_chunk::<BYTES>()?)))
    }

    const fn is(self, mask: u32, bits: u32) -> bool {
        self.0 & mask == bits
    }

    /// What it is.
    pub(super) const fn class(self) -> Class {
        if self.is(0xfc00_0000, 0x1400_0000) {
            Class::Jump
        } else if self.is(0xfc00_0000, 0x9400_0000) {
            Class::Call
        } else if self.is(0xff00_0000, 0x5400_0000) || self.is(0x7e00_0000, 0x3400_0000) {
            Class::ConditionalJump
        } else if self.is(0x7e00_0000, 0x3600_0000) {
            Class::TestBranch
        } else if self.is(0xfe00_0000, 0xd600_0000) {
            self.register_branch()
        } else if self.is(0xff00_0000, 0xd400_0000) {
            self.exception()
        } else if self.is(0xffff_0000, 0) {
            Class::Stop
        } else if self.is(0x9f00_0000, 0x1000_0000) {
            Class::Adr
        } else if self.is(0x9f00_0000, 0x9000_0000) {
            Class::Adrp
        } else if self.is(0x3b00_0000, 0x1800_0000) {
            Class::LoadLiteral
        } else if self.is(0x1f80_0000, 0x1100_0000) {
            Class::AddNumber
        } else if self.is(0x1f80_0000, 0x1200_0000) {
            Class::LogicalNumber
        } else if self.is(0x1f80_0000, 0x1280_0000) {
            if self.is(0x6000_0000, 0x6000_0000) {
                Class::KeepNumber
            } else {
                Class::MoveNumber
            }
        } else if self.is(0x3b00_0000, 0x3900_0000) {
            Class::Access
        } else if self.is(0x3a00_0000, 0x2800_0000) || self.is(0x3b20_0000, 0x3800_0000) {
            Class::NearAccess
        } else {
            Class::Other
        }
    }

    /// Branches to a register: bits 21 to 24 say what they do.
    const fn register_branch(self) -> Class {
        match (self.0 >> 21) & 0xf {
            0b0000 | 0b1000 => Class::IndirectJump,
            0b0001 | 0b1001 => Class::IndirectCall,
            0b0010 | 0b0100 | 0b0101 => Class::Return,
            _ => Class::Other,
        }
    }

    /// Instructions that make an exception: bits 21 to 23, and the two lowest, say which.
    const fn exception(self) -> Class {
        match ((self.0 >> 21) & 7, self.0 & 3) {
            (0, 1..=3) => Class::Service,
            (5, 1..=3) => Class::DebugState,
            _ => Class::Stop,
        }
    }

    pub(super) const fn flow(self) -> Flow {
        match self.class() {
            Class::Jump => Flow::Jump,
            Class::Call => Flow::Call,
            Class::ConditionalJump | Class::TestBranch => Flow::ConditionalJump,
            Class::IndirectJump => Flow::IndirectJump,
            Class::IndirectCall | Class::Service => Flow::IndirectCall,
            Class::Return => Flow::Return,
            Class::Stop => Flow::Stop,
            Class::DebugState => Flow::Elsewhere,
            Class::Adr
            | Class::Adrp
            | Class::LoadLiteral
            | Class::AddNumber
            | Class::LogicalNumber
            | Class::MoveNumber
            | Class::KeepNumber
            | Class::Access
            | Class::NearAccess
            | Class::Other => Flow::Next,
        }
    }

    pub(super) const fn filler(self) -> Option<Filler> {
        match self.0 {
            NOP => Some(Filler::Nop),
            UDF | BRK => Some(Filler::Trap),
            _ => None,
        }
    }

    /// DSB (SSBB and PSSBB among them), ISB, SB.
    pub(super) const fn is_barrier(self) -> bool {
        self.is(0xffff_f0ff, 0xd503_309f)
            || self.is(0xffff_f3ff, 0xd503_323f)
            || self.is(0xffff_f0ff, 0xd503_30df)
            || self.is(0xffff_ffff, 0xd503_30ff)
    }

    pub(super) const fn is_nop(self) -> bool {
        self.0 == NOP
    }

    /// The number in it and its bits.
    pub(super) const fn number(self) -> Option<(Number, u32)> {
        match self.class() {
            Class::Jump | Class::Call => Some((Number::Distance, 0x03ff_ffff)),
            Class::ConditionalJump => Some((Number::Distance, 0x00ff_ffe0)),
            Class::TestBranch => Some((Number::Distance, 0x0007_ffe0)),
            Class::LoadLiteral => Some((Number::Displacement, 0x00ff_ffe0)),
            Class::Adr | Class::Adrp => Some((Number::Displacement, 0x60ff_ffe0)),
            // The bit above says that it counts in 4096.
            Class::AddNumber => Some((Number::Operand, 0x003f_fc00)),
            Class::LogicalNumber => Some((Number::Operand, 0x007f_fc00)),
            Class::MoveNumber | Class::KeepNumber => Some((Number::Operand, 0x001f_ffe0)),
            Class::Access => Some((Number::Displacement, 0x003f_fc00)),
            // Pairs: seven bits, scaled; else nine bits, with the way of indexing below them.
            Class::NearAccess if self.is(0x3a00_0000, 0x2800_0000) => {
                Some((Number::Displacement, 0x003f_8000))
            }
            Class::NearAccess => Some((Number::Displacement, 0x001f_f000)),
            Class::Stop if self.is(0xff00_0000, 0xd400_0000) => {
                Some((Number::Operand, 0x001f_ffe0))
            }
            Class::IndirectJump
            | Class::IndirectCall
            | Class::Return
            | Class::Service
            | Class::Stop
            | Class::DebugState
            | Class::Other => None,
        }
    }

    /// The relocation type whose field holds the distance that it leads by.
    pub(super) const fn lead(self) -> Option<&'static RelocationType> {
        match self.class() {
            Class::Jump => Some(&JUMP26),
            Class::Call => Some(&CALL26),
            Class::ConditionalJump => Some(&CONDBR19),
            Class::TestBranch => Some(&TSTBR14),
            Class::Adr => Some(&ADR_PREL_LO21),
            Class::LoadLiteral => Some(&LD_PREL_LO19),
            _ => None,
        }
    }

    /// Where it leads from an address by the number in it, ADRP to a page.
    pub(super) fn target(self, address: u64) -> Option<u64> {
        let kind = match self.class() {
            Class::Adrp => &ADR_PREL_PG_HI21,
            _ => self.lead()?,
        };
        Some(kind.field.told(&self.0.to_le_bytes(), address)?.value)
    }

    /// The number that a MOVZ or MOVN puts into its register.
    pub(super) fn moved_number(self) -> Option<u64> {
        if self.class() != Class::MoveNumber {
            return None;
        }
        let part = u64::from((self.0 >> 5) & 0xffff);
        let placed = part << (16 * ((self.0 >> 21) & 3));
        let number = if self.is(0x4000_0000, 0) {
            !placed
        } else {
            placed
        };
        let is_wide = !self.is(0x8000_0000, 0);
        Some(if is_wide {
            number
        } else {
            number & u64::from(u32::MAX)
        })
    }

    /// The register in the lowest bits: what most instructions write.
    pub(super) const fn first(self) -> u32 {
        self.0 & 0x1f
    }

    /// The register in bits 5 to 9.
    pub(super) const fn second(self) -> u32 {
        (self.0 >> 5) & 0x1f
    }

    /// The register in bits 16 to 20.
    pub(super) const fn third(self) -> u32 {
        (self.0 >> 16) & 0x1f
    }

    /// The register in bits 10 to 14.
    pub(super) const fn fourth(self) -> u32 {
        (self.0 >> 10) & 0x1f
    }

    /// What ADD and SUB with a number add.
    pub(super) fn added_number(self) -> i64 {
        let counts_in_pages = self.is(0x0040_0000, 0x0040_0000);
        let number = i64::from((self.0 >> 10) & 0xfff) << if counts_in_pages { 12 } else { 0 };
        if self.is(0x4000_0000, 0) {
            number
        } else {
            -number
        }
    }

    /// Of [`Class::Access`]: the number that is added, in bytes.
    pub(super) fn unsigned_displacement(self) -> i64 {
        const OF_16_BYTES: u32 = 4;
        let is_of_16_bytes = self.is_of_vectors() && self.is(0x0080_0000, 0x0080_0000);
        let scale = if is_of_16_bytes {
            OF_16_BYTES
        } else {
            self.0 >> 30
        };
        i64::from((self.0 >> 10) & 0xfff) << scale
    }

    /// Of [`Class::NearAccess`]: the number that is added, in bytes.
    pub(super) fn near_displacement(self) -> i64 {
        // The number at the top, so that its sign spreads.
        let signed = |low: u32, width: u32| {
            let top = self.0 << (u32::BITS - low - width);
            i64::from(top.cast_signed() >> (u32::BITS - width))
        };
        if !self.is_pair() {
            return signed(12, 9);
        }
        let scale = match self.is_of_vectors() {
            true => 2 + (self.0 >> 30),
            false => 2 + (self.0 >> 31),
        };
        signed(15, 7) << scale
    }

    /// Of loads and stores with a number.
    pub(super) const fn indexing(self) -> Indexing {
        let way = match self.class() {
            Class::NearAccess if self.is_pair() => (self.0 >> 23) & 3,
            Class::NearAccess => (self.0 >> 10) & 3,
            _ => 0,
        };
        match way {
            1 => Indexing::Behind,
            3 => Indexing::Before,
            _ => Indexing::Offset,
        }
    }

    /// SUB and SUBS of two registers.
    pub(super) const fn is_difference(self) -> bool {
        self.is(0x5f00_0000, 0x4b00_0000)
    }

    /// Data processing of two registers, or of one: divisions, shifts, and their kin.
    pub(super) const fn is_of_two_registers(self) -> bool {
        self.is(0x1fe0_0000, 0x1ac0_0000)
    }

    /// Data processing of floating-point numbers and vectors.
    pub(super) const fn is_of_vector_registers(self) -> bool {
        self.is(0x0e00_0000, 0x0e00_0000)
    }

    /// Of these: what may read a register that is none of vectors.
    pub(super) const fn is_read_into_vectors(self) -> bool {
        let converts = self.is(0x5f20_fc00, 0x1e20_0000);
        let converts_fixed = self.is(0x5f20_0000, 0x1e00_0000);
        let copies = self.is(0x9fe0_8400, 0x0e00_0400);
        converts || converts_fixed || copies
    }

    /// LD1 to LD4, ST1 to ST4.
    pub(super) const fn is_of_vector_structures(self) -> bool {
        self.is(0xbe00_0000, 0x0c00_0000)
    }

    /// Of these: whether the register that they go by moves on.
    pub(super) const fn is_behind_structures(self) -> bool {
        self.is(0x0080_0000, 0x0080_0000)
    }

    /// Of these: how many bytes they move at most.
    pub(super) const fn structure_bytes(self) -> u64 {
        const WIDEST: u64 = 8;
        let bytes = if self.is(0x4000_0000, 0) { 8 } else { 16 };
        // One element of each register.
        if self.is(0x0100_0000, 0x0100_0000) {
            return 4 * WIDEST;
        }
        match (self.0 >> 12) & 0xf {
            0b0111 => bytes,
            0b1000 | 0b1010 => 2 * bytes,
            0b0100 | 0b0110 => 3 * bytes,
            _ => 4 * bytes,
        }
    }

    /// Whether it works on registers of 64 bits, of those that say so in the highest bit.
    pub(super) const fn is_wide(self) -> bool {
        self.is(0x8000_0000, 0x8000_0000)
    }

    /// Of those that add or subtract: whether it compares too.
    pub(super) const fn sets_flags(self) -> bool {
        self.is(0x2000_0000, 0x2000_0000)
    }

    /// Of loads and stores: whether the registers are those of vectors.
    pub(super) const fn is_of_vectors(self) -> bool {
        self.is(0x0400_0000, 0x0400_0000)
    }

    /// A load or store of one register: whether it stores.
    pub(super) const fn is_store(self) -> bool {
        self.is(0x00c0_0000, 0)
    }

    /// A load or store of one register: whether of eight bytes.
    pub(super) const fn is_of_eight_bytes(self) -> bool {
        self.is(0xc000_0000, 0xc000_0000)
    }

    /// A load of a literal: whether of eight bytes.
    pub(super) const fn is_wide_literal(self) -> bool {
        self.is(0xc000_0000, 0x4000_0000)
    }

    /// A load or store of one register, of vectors too: whether it stores.
    pub(super) const fn is_any_store(self) -> bool {
        self.is_store() || (self.is_of_vectors() && self.is(0x0040_0000, 0))
    }

    /// Of loads and stores with a number or with two registers, and of literals: how many bytes
    /// they move.
    pub(super) fn bytes_moved(self) -> u64 {
        let size = self.0 >> 30;
        if self.class() == Class::LoadLiteral {
            return match (self.is_of_vectors(), size) {
                (true, 2) => 16,
                (true, 1) | (false, 1 | 3) => 8,
                _ => 4,
            };
        }
        if self.is_pair() {
            let scale = match self.is_of_vectors() {
                true => 2 + size,
                // LDPSW has words too.
                false => 2 + (size >> 1),
            };
            return 2 << scale;
        }
        let is_of_16_bytes = self.is_of_vectors() && self.is(0x0080_0000, 0x0080_0000);
        if is_of_16_bytes { 16 } else { 1 << size }
    }

    /// LDP, STP and their kin.
    pub(super) const fn is_pair(self) -> bool {
        self.is(0x3a00_0000, 0x2800_0000)
    }

    /// Of these: whether it stores.
    pub(super) const fn is_pair_store(self) -> bool {
        self.is(0x0040_0000, 0)
    }

    /// A load or store at the sum of two registers.
    pub(super) const fn is_register_access(self) -> bool {
        self.is(0x3b20_0c00, 0x3820_0800)
    }

    /// Loads and stores that are exclusive, ordered, or compare and swap.
    pub(super) const fn is_exclusive(self) -> bool {
        self.is(0x3f00_0000, 0x0800_0000)
    }

    /// Of these: how many bytes they read or write.
    pub(super) const fn exclusive_bytes(self) -> u64 {
        // Two registers each; compare and swap has what others have for one width for them.
        if self.is(0x0080_0000, 0) && self.is(0x0020_0000, 0x0020_0000) {
            return match self.0 >> 30 {
                0 | 2 => 8,
                _ => 16,
            };
        }
        1 << (self.0 >> 30)
    }

    /// ADD of two registers of 64 bits, the second shifted or extended.
    pub(super) const fn is_plain_sum(self) -> bool {
        self.is(0xff20_0000, 0x8b00_0000) || self.is(0xffe0_0000, 0x8b20_0000)
    }

    /// Data processing of three source registers.
    pub(super) const fn is_of_three(self) -> bool {
        self.is(0x1f00_0000, 0x1b00_0000)
    }

    /// Data processing of registers that writes one: not those that make flags alone.
    pub(super) const fn is_of_registers(self) -> bool {
        let compares = self.is(0x1fe0_0000, 0x1a40_0000);
        let makes_flags = self.is(0x1fe0_0000, 0x1a00_0000) && !self.is(0x0000_fc00, 0);
        self.is(0x0e00_0000, 0x0a00_0000) && !compares && !makes_flags
    }

    /// B.cond and BC.cond.
    pub(super) const fn is_by_condition(self) -> bool {
        self.is(0xff00_0000, 0x5400_0000)
    }

    /// Of loads and stores of one register: PRFM.
    pub(super) const fn is_prefetch(self) -> bool {
        self.is(0xc4c0_0000, 0xc080_0000)
    }

    /// PRFM of a literal.
    pub(super) const fn is_literal_prefetch(self) -> bool {
        self.is(0xff00_0000, 0xd800_0000)
    }

    /// Bit fields and what is extracted from two registers.
    pub(super) const fn is_of_bits(self) -> bool {
        self.is(0x1f00_0000, 0x1300_0000)
    }

    /// An instruction that older processors take for a NOP.
    pub(super) const fn is_hint(self) -> bool {
        self.is(0xffff_f01f, 0xd503_201f)
    }

    /// `mov` of a whole register: ORR with the zero register and no shift.
    pub(super) const fn is_register_move(self) -> bool {
        self.is(0x7fe0_ffe0, 0x2a00_03e0)
    }

    /// ADD with a number.
    pub(super) const fn is_add(self) -> bool {
        self.is(0x7f80_0000, 0x1100_0000)
    }

    /// ADD of two whole registers, without a shift.
    pub(super) const fn is_sum_of(self, into: u32, one: u32, other: u32) -> bool {
        self.is(0xffe0_fc00, 0x8b00_0000)
            && self.first() == into
            && self.second() == one
            && self.third() == other
    }
}
