//! x86-64 (System V psABI for AMD64, table 4.9 and section 4.4; Intel SDM volume 2).

use super::{
    Architecture, Branch, DistanceOrigin, EntryForm, Field, FileNames, Jump, Kind, Machine,
    PointerCall, Protection, Range, RelocationType, carried, refused,
};

const NOTHING: Field = Field::whole(0, Kind::Nothing, Range::Unchecked);
const ABSOLUTE64: Field = Field::whole(8, Kind::Absolute, Range::Unsigned(64));
const ABSOLUTE32: Field = Field::whole(4, Kind::Absolute, Range::Unsigned(32));
const ABSOLUTE32_SIGNED: Field = Field::whole(4, Kind::Absolute, Range::SignedAddress(32));
const RELATIVE32: Field = Field::whole(4, Kind::Relative, Range::Signed(32));
const RELATIVE64: Field = Field::whole(8, Kind::Relative, Range::Signed(64));
const SLOT32: Field = Field::whole(4, Kind::Slot, Range::Signed(32));
const OTHER32: Field = Field::whole(4, Kind::Other, Range::Signed(32));
const OTHER64: Field = Field::whole(8, Kind::Other, Range::Signed(64));

/// Nothing is written.
pub const NONE: RelocationType = refused(0, "NONE", NOTHING);
/// S + A, 64 bits.
pub const ABS64: RelocationType = carried(1, "64", ABSOLUTE64);
/// S + A - P, 32 bits signed.
pub const PC32: RelocationType = carried(2, "PC32", RELATIVE32);
/// As PC32: payloads have no PLT.
pub const PLT32: RelocationType = RelocationType {
    alike: PC32.number,
    ..carried(4, "PLT32", RELATIVE32)
};
/// The distance to a slot of the GOT.
pub const GOTPCREL: RelocationType = carried(9, "GOTPCREL", SLOT32);
/// S + A, 32 bits, must zero-extend to the full value.
pub const ABS32: RelocationType = carried(10, "32", ABSOLUTE32);
/// S + A, 32 bits, must sign-extend to the full value.
pub const ABS32S: RelocationType = carried(11, "32S", ABSOLUTE32_SIGNED);
/// S + A - P, 16 bits signed.
pub const PC16: RelocationType = refused(
    13,
    "PC16",
    Field::whole(2, Kind::Relative, Range::Signed(16)),
);
/// S + A - P, 8 bits signed.
pub const PC8: RelocationType =
    refused(15, "PC8", Field::whole(1, Kind::Relative, Range::Signed(8)));
/// S + A - P, 64 bits.
pub const PC64: RelocationType = carried(24, "PC64", RELATIVE64);
/// As GOTPCREL, in an instruction that may be rewritten.
pub const GOTPCRELX: RelocationType = carried(41, "GOTPCRELX", SLOT32);
/// As GOTPCRELX, behind a REX prefix.
pub const REX_GOTPCRELX: RelocationType = carried(42, "REX_GOTPCRELX", SLOT32);
/// As GOTPCRELX, behind a REX2 prefix.
pub const CODE_4_GOTPCRELX: RelocationType = refused(43, "CODE_4_GOTPCRELX", SLOT32);

const RELATIVE: RelocationType = refused(8, "RELATIVE", OTHER64);

const RELOCATIONS: &[RelocationType] = &[
    NONE,
    ABS64,
    PC32,
    refused(3, "GOT32", OTHER32),
    PLT32,
    refused(5, "COPY", NOTHING),
    refused(6, "GLOB_DAT", OTHER64),
    refused(7, "JUMP_SLOT", OTHER64),
    RELATIVE,
    GOTPCREL,
    ABS32,
    ABS32S,
    refused(
        12,
        "16",
        Field::whole(2, Kind::Absolute, Range::Unsigned(16)),
    ),
    PC16,
    refused(14, "8", Field::whole(1, Kind::Absolute, Range::Unsigned(8))),
    PC8,
    refused(16, "DTPMOD64", OTHER64),
    refused(17, "DTPOFF64", OTHER64),
    refused(18, "TPOFF64", OTHER64),
    refused(19, "TLSGD", OTHER32),
    refused(20, "TLSLD", OTHER32),
    refused(21, "DTPOFF32", OTHER32),
    refused(22, "GOTTPOFF", OTHER32),
    refused(23, "TPOFF32", OTHER32),
    PC64,
    refused(25, "GOTOFF64", OTHER64),
    refused(26, "GOTPC32", OTHER32),
    refused(27, "GOT64", OTHER64),
    refused(28, "GOTPCREL64", OTHER64),
    refused(29, "GOTPC64", OTHER64),
    refused(30, "GOTPLT64", OTHER64),
    refused(31, "PLTOFF64", OTHER64),
    refused(32, "SIZE32", OTHER32),
    refused(33, "SIZE64", OTHER64),
    refused(34, "GOTPC32_TLSDESC", OTHER32),
    refused(35, "TLSDESC_CALL", NOTHING),
    refused(36, "TLSDESC", OTHER64),
    refused(37, "IRELATIVE", OTHER64),
    refused(38, "RELATIVE64", OTHER64),
    GOTPCRELX,
    REX_GOTPCRELX,
    CODE_4_GOTPCRELX,
    refused(44, "CODE_4_GOTTPOFF", OTHER32),
    refused(45, "CODE_4_GOTPC32_TLSDESC", OTHER32),
];

/// `endbr64`.
const ENDBR64: &[u8] = &[0xf3, 0x0f, 0x1e, 0xfa];
/// What Xen leaves where it removes an `endbr64` at boot: `nopw (%rcx)`. The jump goes after it.
const ENDBR64_POISON: &[u8] = &[0x66, 0x0f, 0x1f, 0x01];
/// `call rel32`.
const CALL: u8 = 0xe8;
/// `jmp rel32`.
const JUMP: u8 = 0xe9;

/// A jump, as code that is copied may be one.
const NEAR: Branch = Branch {
    code: &[JUMP, 0, 0, 0, 0],
    mask: &[0xff, 0, 0, 0, 0],
    field_at: 1,
    field: RELATIVE32,
    counts_from: 5,
};

/// The machine.
pub const MACHINE: Machine = Machine {
    e_machine: 62,
    architecture: Architecture::X86_64,
    name: "x86-64",
    position_advice: "compile position-independent code (-fpic or -fpie) without -mcmodel=large",
    relocation_prefix: "R_X86_64_",
    relocations: RELOCATIONS,
    word: &ABS64,
    distance: &PC32,
    image_word: RELATIVE.number,
    jump: Jump {
        code: &[JUMP, 0, 0, 0, 0],
        field_at: 1,
        field: RELATIVE32,
        counts_from: 5,
    },
    entry_marks: &[ENDBR64, ENDBR64_POISON],
    // Intel SDM volume 2, NOP, "Recommended Multi-Byte Sequence".
    nops: &[
        &[0x90],
        &[0x66, 0x90],
        &[0x0f, 0x1f, 0x00],
        &[0x0f, 0x1f, 0x40, 0x00],
        &[0x0f, 0x1f, 0x44, 0x00, 0x00],
        &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
        &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
        &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
        &[0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
    ],
    trap: 0xcc,
    // call *disp32(%rip)
    pointer_call: Some(PointerCall {
        opcode: &[0xff, 0x15],
        field: RELATIVE32,
    }),
    moved_branches: &[
        Branch {
            code: &[CALL, 0, 0, 0, 0],
            ..NEAR
        },
        NEAR,
    ],
    mapping_symbols: &[],
    instruction_bytes: None,
    distance_origin: DistanceOrigin::InstructionEnd,
    entry_form: EntryForm::Packed,
    taken_beyond: &[],
    file_names: FileNames::Anywhere,
    window_bytes: 1 << 31,
    // GNU_PROPERTY_X86_FEATURE_1_AND.
    protection: Protection {
        property: 0xc000_0002,
        features: &[(1 << 0, "IBT"), (1 << 1, "SHSTK")],
    },
};

#[cfg(test)]
mod tests {
    extern crate std;

    use super::MACHINE;
    use crate::machine::MovedBranch;

    #[test]
    fn the_displacement_counts_from_the_end_of_the_jump() {
        let jump = |from, to| {
            MACHINE
                .jump
                .encode(from, to)
                .map(|jump| jump.bytes().to_vec())
        };
        assert_eq!(jump(0x1000, 0x1005), Some([0xe9, 0, 0, 0, 0].to_vec()));
        let back = [0xe9, 0xfb, 0xff, 0xff, 0xff].to_vec();
        assert_eq!(jump(0x1000, 0x1000), Some(back));
    }

    #[test]
    fn a_target_beyond_two_gibibytes_is_not_encoded() {
        let from = 0xffff_8000_0000_0000;
        let jump = |to| MACHINE.jump.encode(from, to);
        assert!(jump(from + 5 + 0x7fff_ffff).is_some());
        assert_eq!(jump(from + 5 + 0x8000_0000), None);
        assert_eq!(MACHINE.jump.encode(u64::MAX, 0), None);
    }

    #[test]
    fn the_jump_stands_after_endbr64() {
        assert_eq!(MACHINE.jump_offset(&[0xf3, 0x0f, 0x1e, 0xfa, 0xc3]), 4);
        assert_eq!(MACHINE.jump_offset(&[0xf3, 0x0f, 0x1e]), 0);
        assert_eq!(MACHINE.size_needed(&[0x66, 0x0f, 0x1f, 0x01, 0xc3]), 9);
        assert_eq!(MACHINE.size_needed(&[0xc3]), 5);
    }

    #[test]
    fn a_copied_call_reaches_what_it_reached_before() {
        let moved = |code: &mut [u8], from, to| MACHINE.move_branches(code, (from, to), |_| true);
        let mut call = [0xe8, 0, 0, 0, 0];
        assert_eq!(moved(&mut call, 0x2000, 0x1000), MovedBranch::Fits);
        assert_eq!(call, [0xe8, 0, 0x10, 0, 0]);
        let mut other = [0xe8, 0, 0, 0, 0, 0x90];
        assert_eq!(moved(&mut other, 0x2000, 0x1000), MovedBranch::Fits);
        assert_eq!(other, [0xe8, 0, 0, 0, 0, 0x90]);
        assert_eq!(moved(&mut call, 0, 1 << 40), MovedBranch::TooFar);
    }

    #[test]
    fn types_are_found_by_number() {
        assert!(MACHINE.relocations.is_sorted_by_key(|one| one.number));
        assert_eq!(
            MACHINE.relocation(42).map(|one| one.name),
            Some("REX_GOTPCRELX")
        );
        assert_eq!(MACHINE.relocation(39), None);
    }
}
