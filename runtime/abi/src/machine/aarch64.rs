//! AArch64 (ELF for the Arm 64-bit Architecture, chapter 5.7; Arm Architecture Reference Manual,
//! chapter C4.1).

use super::{
    Architecture, Branch, DistanceOrigin, EntryForm, Field, FileNames, Jump, Kind, Machine, Part,
    Protection, Range, RelocationType, carried, refused,
};

/// Bits of a place in the page that ADRP counts by.
const PAGE_BITS: u8 = 12;
/// Bytes of every instruction.
const INSTRUCTION_BYTES: u8 = 4;

const NOTHING: Field = Field::whole(0, Kind::Nothing, Range::Unchecked);
const OTHER64: Field = Field::whole(8, Kind::Other, Range::Signed(64));
const OTHER32: Field = Field::whole(4, Kind::Other, Range::Signed(32));
/// The number of MOVZ, MOVN and MOVK.
const MOVED: &[Part] = &[Part { low: 5, width: 16 }];
/// The bit that tells MOVZ from MOVN.
const MOVE_SIGN: u8 = 30;
/// The two parts of ADR's and ADRP's number.
const SPLIT: &[Part] = &[Part { low: 29, width: 2 }, Part { low: 5, width: 19 }];

const fn data(bytes: u8, kind: Kind) -> Field {
    let bits = bytes * 8;
    let range = match kind {
        Kind::Absolute => Range::Unsigned(bits),
        _ => Range::Signed(bits),
    };
    Field::whole(bytes, kind, range)
}

/// Sixteen bits of an unsigned number, from bit `scale` on.
const fn quarter(scale: u8, kind: Kind, range: Range) -> Field {
    Field::bits(INSTRUCTION_BYTES, MOVED, scale, kind, range).with_low_bits_elsewhere()
}

/// The same of a signed number.
const fn signed_quarter(scale: u8, kind: Kind, width: u8) -> Field {
    quarter(scale, kind, Range::Signed(width)).with_sign(MOVE_SIGN)
}

const fn low(scale: u8) -> Field {
    const NUMBERS: [&[Part]; 5] = [
        &[Part { low: 10, width: 12 }],
        &[Part { low: 10, width: 11 }],
        &[Part { low: 10, width: 10 }],
        &[Part { low: 10, width: 9 }],
        &[Part { low: 10, width: 8 }],
    ];
    let kind = Kind::LowBits { bits: PAGE_BITS };
    // A scaled access holds fewer bits; that those below are zero is checked.
    let range = Range::Unsigned(PAGE_BITS);
    Field::bits(
        INSTRUCTION_BYTES,
        NUMBERS[scale as usize],
        scale,
        kind,
        range,
    )
}

const fn branch(parts: &'static [Part], width: u8) -> Field {
    Field::bits(
        INSTRUCTION_BYTES,
        parts,
        2,
        Kind::Relative,
        Range::Signed(width),
    )
}

const fn other(number: u32, name: &'static str) -> RelocationType {
    refused(number, name, OTHER32)
}

const ABSOLUTE: Kind = Kind::Absolute;
const RELATIVE: Kind = Kind::Relative;
const PAGE: Kind = Kind::Page { bits: PAGE_BITS };

/// Nothing is written.
pub const NONE: RelocationType = refused(0, "NONE", NOTHING);
/// S + A, 64 bits.
pub const ABS64: RelocationType = carried(257, "ABS64", data(8, ABSOLUTE));
/// S + A, 32 bits.
pub const ABS32: RelocationType = carried(258, "ABS32", data(4, ABSOLUTE));
/// S + A, 16 bits.
pub const ABS16: RelocationType = carried(259, "ABS16", data(2, ABSOLUTE));
/// S + A - P, 64 bits.
pub const PREL64: RelocationType = carried(260, "PREL64", data(8, RELATIVE));
/// S + A - P, 32 bits.
pub const PREL32: RelocationType = carried(261, "PREL32", data(4, RELATIVE));
/// S + A - P, 16 bits.
pub const PREL16: RelocationType = carried(262, "PREL16", data(2, RELATIVE));

const UABS_G0: RelocationType = carried(
    263,
    "MOVW_UABS_G0",
    quarter(0, ABSOLUTE, Range::Unsigned(16)),
);
const UABS_G0_NC: RelocationType = carried(
    264,
    "MOVW_UABS_G0_NC",
    quarter(0, ABSOLUTE, Range::Unchecked),
);
const UABS_G1: RelocationType = carried(
    265,
    "MOVW_UABS_G1",
    quarter(16, ABSOLUTE, Range::Unsigned(32)),
);
const UABS_G1_NC: RelocationType = carried(
    266,
    "MOVW_UABS_G1_NC",
    quarter(16, ABSOLUTE, Range::Unchecked),
);
const UABS_G2: RelocationType = carried(
    267,
    "MOVW_UABS_G2",
    quarter(32, ABSOLUTE, Range::Unsigned(48)),
);
const UABS_G2_NC: RelocationType = carried(
    268,
    "MOVW_UABS_G2_NC",
    quarter(32, ABSOLUTE, Range::Unchecked),
);
const UABS_G3: RelocationType =
    carried(269, "MOVW_UABS_G3", quarter(48, ABSOLUTE, Range::Unchecked));
const SABS_G0: RelocationType = carried(270, "MOVW_SABS_G0", signed_quarter(0, ABSOLUTE, 17));
const SABS_G1: RelocationType = carried(271, "MOVW_SABS_G1", signed_quarter(16, ABSOLUTE, 33));
const SABS_G2: RelocationType = carried(272, "MOVW_SABS_G2", signed_quarter(32, ABSOLUTE, 49));
/// The distance of a load of a literal, 19 bits of words.
pub const LD_PREL_LO19: RelocationType = refused(
    273,
    "LD_PREL_LO19",
    branch(&[Part { low: 5, width: 19 }], 21),
);
/// ADR: S + A - P, 21 bits.
pub const ADR_PREL_LO21: RelocationType = carried(
    274,
    "ADR_PREL_LO21",
    Field::bits(INSTRUCTION_BYTES, SPLIT, 0, RELATIVE, Range::Signed(21)),
);
/// ADRP: the page of S + A minus that of P, 21 bits of pages.
pub const ADR_PREL_PG_HI21: RelocationType = carried(
    275,
    "ADR_PREL_PG_HI21",
    Field::bits(INSTRUCTION_BYTES, SPLIT, PAGE_BITS, PAGE, Range::Signed(33)),
);
/// As ADR_PREL_PG_HI21, unchecked.
pub const ADR_PREL_PG_HI21_NC: RelocationType = carried(
    276,
    "ADR_PREL_PG_HI21_NC",
    Field::bits(INSTRUCTION_BYTES, SPLIT, PAGE_BITS, PAGE, Range::Unchecked),
);
/// ADD: the place of S + A in its page.
pub const ADD_ABS_LO12_NC: RelocationType = carried(277, "ADD_ABS_LO12_NC", low(0));
const LDST8_ABS_LO12_NC: RelocationType = carried(278, "LDST8_ABS_LO12_NC", low(0));
/// TBZ and TBNZ: 14 bits of words.
pub const TSTBR14: RelocationType =
    carried(279, "TSTBR14", branch(&[Part { low: 5, width: 14 }], 16));
/// B.cond, CBZ and CBNZ: 19 bits of words.
pub const CONDBR19: RelocationType =
    carried(280, "CONDBR19", branch(&[Part { low: 5, width: 19 }], 21));
/// B: 26 bits of words.
pub const JUMP26: RelocationType =
    carried(282, "JUMP26", branch(&[Part { low: 0, width: 26 }], 28));
/// BL: as JUMP26.
pub const CALL26: RelocationType = carried(283, "CALL26", JUMP26.field);
const LDST16_ABS_LO12_NC: RelocationType = carried(284, "LDST16_ABS_LO12_NC", low(1));
const LDST32_ABS_LO12_NC: RelocationType = carried(285, "LDST32_ABS_LO12_NC", low(2));
/// LDR of 64 bits: the place of S + A in its page, in units of eight bytes.
pub const LDST64_ABS_LO12_NC: RelocationType = carried(286, "LDST64_ABS_LO12_NC", low(3));
const PREL_G0: RelocationType = carried(287, "MOVW_PREL_G0", signed_quarter(0, RELATIVE, 17));
const PREL_G0_NC: RelocationType = carried(
    288,
    "MOVW_PREL_G0_NC",
    quarter(0, RELATIVE, Range::Unchecked),
);
const PREL_G1: RelocationType = carried(289, "MOVW_PREL_G1", signed_quarter(16, RELATIVE, 33));
const PREL_G1_NC: RelocationType = carried(
    290,
    "MOVW_PREL_G1_NC",
    quarter(16, RELATIVE, Range::Unchecked),
);
const PREL_G2: RelocationType = carried(291, "MOVW_PREL_G2", signed_quarter(32, RELATIVE, 49));
const PREL_G2_NC: RelocationType = carried(
    292,
    "MOVW_PREL_G2_NC",
    quarter(32, RELATIVE, Range::Unchecked),
);
const PREL_G3: RelocationType =
    carried(293, "MOVW_PREL_G3", quarter(48, RELATIVE, Range::Unchecked));
const LDST128_ABS_LO12_NC: RelocationType = carried(299, "LDST128_ABS_LO12_NC", low(4));
/// ADRP of a slot of the GOT.
pub const ADR_GOT_PAGE: RelocationType = other(311, "ADR_GOT_PAGE");
/// LDR of a slot of the GOT.
pub const LD64_GOT_LO12_NC: RelocationType = other(312, "LD64_GOT_LO12_NC");
const IMAGE_WORD: RelocationType = refused(1027, "RELATIVE", OTHER64);

/// Types that the loader of Xen takes (`arch/arm/arm64/livepatch.c`), in order of their numbers.
pub const TAKEN_BY_XEN: &[RelocationType] = &[
    ABS64,
    ABS32,
    ABS16,
    PREL64,
    PREL32,
    PREL16,
    UABS_G0,
    UABS_G0_NC,
    UABS_G1,
    UABS_G1_NC,
    UABS_G2,
    UABS_G2_NC,
    UABS_G3,
    SABS_G0,
    SABS_G1,
    SABS_G2,
    ADR_PREL_LO21,
    ADR_PREL_PG_HI21,
    ADR_PREL_PG_HI21_NC,
    ADD_ABS_LO12_NC,
    LDST8_ABS_LO12_NC,
    TSTBR14,
    CONDBR19,
    JUMP26,
    CALL26,
    LDST16_ABS_LO12_NC,
    LDST32_ABS_LO12_NC,
    LDST64_ABS_LO12_NC,
    PREL_G0,
    PREL_G0_NC,
    PREL_G1,
    PREL_G1_NC,
    PREL_G2,
    PREL_G2_NC,
    PREL_G3,
    LDST128_ABS_LO12_NC,
];

const RELOCATIONS: &[RelocationType] = &[
    NONE,
    // The number that NONE had in early objects.
    refused(256, "NONE", NOTHING),
    ABS64,
    ABS32,
    ABS16,
    PREL64,
    PREL32,
    PREL16,
    UABS_G0,
    UABS_G0_NC,
    UABS_G1,
    UABS_G1_NC,
    UABS_G2,
    UABS_G2_NC,
    UABS_G3,
    SABS_G0,
    SABS_G1,
    SABS_G2,
    LD_PREL_LO19,
    ADR_PREL_LO21,
    ADR_PREL_PG_HI21,
    ADR_PREL_PG_HI21_NC,
    ADD_ABS_LO12_NC,
    LDST8_ABS_LO12_NC,
    TSTBR14,
    CONDBR19,
    JUMP26,
    CALL26,
    LDST16_ABS_LO12_NC,
    LDST32_ABS_LO12_NC,
    LDST64_ABS_LO12_NC,
    PREL_G0,
    PREL_G0_NC,
    PREL_G1,
    PREL_G1_NC,
    PREL_G2,
    PREL_G2_NC,
    PREL_G3,
    LDST128_ABS_LO12_NC,
    other(300, "MOVW_GOTOFF_G0"),
    other(301, "MOVW_GOTOFF_G0_NC"),
    other(302, "MOVW_GOTOFF_G1"),
    other(303, "MOVW_GOTOFF_G1_NC"),
    other(304, "MOVW_GOTOFF_G2"),
    other(305, "MOVW_GOTOFF_G2_NC"),
    other(306, "MOVW_GOTOFF_G3"),
    refused(307, "GOTREL64", OTHER64),
    other(308, "GOTREL32"),
    other(309, "GOT_LD_PREL19"),
    other(310, "LD64_GOTOFF_LO15"),
    ADR_GOT_PAGE,
    LD64_GOT_LO12_NC,
    other(313, "LD64_GOTPAGE_LO15"),
    refused(314, "PLT32", data(4, RELATIVE)),
    other(315, "GOTPCREL32"),
    other(512, "TLSGD_ADR_PREL21"),
    other(513, "TLSGD_ADR_PAGE21"),
    other(514, "TLSGD_ADD_LO12_NC"),
    other(539, "TLSIE_MOVW_GOTTPREL_G1"),
    other(540, "TLSIE_MOVW_GOTTPREL_G0_NC"),
    other(541, "TLSIE_ADR_GOTTPREL_PAGE21"),
    other(542, "TLSIE_LD64_GOTTPREL_LO12_NC"),
    other(543, "TLSIE_LD_GOTTPREL_PREL19"),
    other(544, "TLSLE_MOVW_TPREL_G2"),
    other(545, "TLSLE_MOVW_TPREL_G1"),
    other(546, "TLSLE_MOVW_TPREL_G1_NC"),
    other(547, "TLSLE_MOVW_TPREL_G0"),
    other(548, "TLSLE_MOVW_TPREL_G0_NC"),
    other(549, "TLSLE_ADD_TPREL_HI12"),
    other(550, "TLSLE_ADD_TPREL_LO12"),
    other(551, "TLSLE_ADD_TPREL_LO12_NC"),
    other(560, "TLSDESC_LD_PREL19"),
    other(561, "TLSDESC_ADR_PREL21"),
    other(562, "TLSDESC_ADR_PAGE21"),
    other(563, "TLSDESC_LD64_LO12"),
    other(564, "TLSDESC_ADD_LO12"),
    refused(569, "TLSDESC_CALL", NOTHING),
    refused(1024, "COPY", NOTHING),
    refused(1025, "GLOB_DAT", OTHER64),
    refused(1026, "JUMP_SLOT", OTHER64),
    IMAGE_WORD,
    refused(1028, "TLS_DTPMOD64", OTHER64),
    refused(1029, "TLS_DTPREL64", OTHER64),
    refused(1030, "TLS_TPREL64", OTHER64),
    refused(1031, "TLSDESC", OTHER64),
    refused(1032, "IRELATIVE", OTHER64),
];

/// B with a distance of 0.
const B: [u8; 4] = [0, 0, 0, 0x14];

const fn moved(code: &'static [u8; 4], mask: &'static [u8; 4], field: Field) -> Branch {
    Branch {
        code,
        mask,
        field_at: 0,
        field,
        counts_from: 0,
    }
}

/// The machine.
pub const MACHINE: Machine = Machine {
    e_machine: 183,
    architecture: Architecture::AArch64,
    name: "AArch64",
    position_advice: "compile with -fno-pic, or with hidden visibility, so that nothing goes \
                      through a GOT, and load no literals (ldr =x) in assembler sources",
    relocation_prefix: "R_AARCH64_",
    relocations: RELOCATIONS,
    word: &ABS64,
    distance: &PREL32,
    image_word: IMAGE_WORD.number,
    jump: Jump {
        code: &B,
        field_at: 0,
        field: JUMP26.field,
        counts_from: 0,
    },
    // Loaders write the jump over a `bti c`, which a direct branch does not need.
    entry_marks: &[],
    nops: &[&[0x1f, 0x20, 0x03, 0xd5]],
    // Four of them are `udf #0`.
    trap: 0,
    pointer_call: None,
    moved_branches: &[
        moved(&B, &[0, 0, 0, 0xfc], JUMP26.field),
        moved(&[0, 0, 0, 0x94], &[0, 0, 0, 0xfc], CALL26.field),
        // B.cond; CBZ and CBNZ; TBZ and TBNZ.
        moved(&[0, 0, 0, 0x54], &[0x10, 0, 0, 0xff], CONDBR19.field),
        moved(&[0, 0, 0, 0x34], &[0, 0, 0, 0x7e], CONDBR19.field),
        moved(&[0, 0, 0, 0x36], &[0, 0, 0, 0x7e], TSTBR14.field),
    ],
    mapping_symbols: &["$x", "$d"],
    instruction_bytes: Some(INSTRUCTION_BYTES as usize),
    distance_origin: DistanceOrigin::Instruction,
    entry_form: EntryForm::Plain,
    // `arch_livepatch_perform_rela` of Xen 4.17 to 4.20 checks it as it checks CONDBR19.
    taken_beyond: &[(TSTBR14.number, 1 << 20)],
    // What the jump reaches.
    file_names: FileNames::InImage,
    window_bytes: 1 << 27,
    // GNU_PROPERTY_AARCH64_FEATURE_1_AND.
    protection: Protection {
        property: 0xc000_0000,
        features: &[(1 << 0, "BTI"), (1 << 1, "PAC")],
    },
};

#[cfg(test)]
mod tests {
    extern crate std;

    use super::{CALL26, MACHINE, TAKEN_BY_XEN, TSTBR14};
    use crate::machine::{MovedBranch, UseInPayload};

    fn jump(from: u64, to: u64) -> Option<u32> {
        let jump = MACHINE.jump.encode(from, to)?;
        Some(u32::from_le_bytes(*jump.bytes().first_chunk()?))
    }

    #[test]
    fn the_jump_counts_from_itself_and_reaches_128_mebibytes() {
        assert_eq!(jump(0x1000, 0x1008), Some(0x1400_0002));
        assert_eq!(jump(0x1000, 0xffc), Some(0x17ff_ffff));
        let from = 0xa000_0200_0000;
        assert!(
            jump(from, from + (1 << 27) - 4).is_some() && jump(from, from - (1 << 27)).is_some()
        );
        assert_eq!(jump(from, from + (1 << 27)), None);
        assert_eq!(jump(from, from + 2), None);
    }

    #[test]
    fn the_jump_stands_at_the_first_byte_even_of_a_marked_function() {
        let bti_c = 0xd503_245f_u32.to_le_bytes();
        assert_eq!(
            (MACHINE.jump_offset(&bti_c), MACHINE.size_needed(&bti_c)),
            (0, 4)
        );
    }

    #[test]
    fn types_are_found_by_number_and_those_that_are_taken_are_carried() {
        assert!(MACHINE.relocations.is_sorted_by_key(|one| one.number));
        assert!(TAKEN_BY_XEN.is_sorted_by_key(|one| one.number));
        for one in TAKEN_BY_XEN {
            assert_eq!(MACHINE.relocation(one.number), Some(one), "{}", one.name);
            assert_eq!(one.use_in_payload, UseInPayload::Carried, "{}", one.name);
        }
        let carried = |one: &&super::RelocationType| one.use_in_payload == UseInPayload::Carried;
        let carried = MACHINE.relocations.iter().filter(carried).count();
        assert_eq!((carried, TAKEN_BY_XEN.len()), (36, 36));
    }

    #[test]
    fn a_test_of_a_bit_reaches_32_kibibytes_and_no_further() {
        let reaches = |distance| TSTBR14.field.write(&mut [0; 4], distance).is_some();
        assert!(reaches(0x7ffc) && reaches(-0x8000));
        assert!(!reaches(0x8000) && !reaches(-0x8004) && !reaches(0x1_0000));
        assert!(CALL26.field.write(&mut [0; 4], 0x7ff_fffc).is_some());
    }

    #[test]
    fn copied_branches_reach_what_they_reached_and_stay_inside() {
        // bl 0x3000; cbz x0, +4, which is the end
        let words = |code: &[u8]| -> std::vec::Vec<u32> {
            let words = code.as_chunks().0.iter();
            words.map(|word| u32::from_le_bytes(*word)).collect()
        };
        let moved = |to, reachable| {
            let mut code = [0x9400_0400_u32, 0xb400_0020]
                .map(u32::to_le_bytes)
                .concat();
            let result = MACHINE.move_branches(&mut code, (0x2000, to), |_| reachable);
            (result, words(&code))
        };
        let (fits, code) = moved(0x1000, true);
        assert_eq!(
            (fits, code),
            (MovedBranch::Fits, [0x9400_0800, 0xb400_0020].to_vec())
        );
        assert_eq!(moved(0x1000, false).0, MovedBranch::Elsewhere(0x3000));
        assert_eq!(moved(1 << 40, true).0, MovedBranch::TooFar);
    }
}
