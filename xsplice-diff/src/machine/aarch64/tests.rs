//! AArch64 as its answers, against what the manual and `objdump` say.

use xsplice_abi::machine::aarch64::{
    ADD_ABS_LO12_NC, ADR_PREL_PG_HI21, CALL26, LDST64_ABS_LO12_NC, MACHINE,
};
use xsplice_abi::machine::{RelocationType, Told};

use super::super::arguments::{self, Argument};
use super::super::ending::{Ending, ending_of};
use super::super::linked::{Place, moved_away, told, veneer};
use super::super::{Alike, FieldNames, Filler, Flow, Instruction, Use, is_padding, walk};

fn words(all: &[u32]) -> Vec<u8> {
    all.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn with<R>(word: u32, ask: impl FnOnce(&Instruction<'_>) -> R) -> R {
    let code = word.to_le_bytes();
    let first = walk(&MACHINE, &code, 0x1000).next();
    ask(&first.expect("an instruction"))
}

#[test]
fn branches_lead_where_the_manual_says_and_go_on_or_not() {
    let cases = [
        (0x1400_0002, Flow::Jump, Some(0x1008)),
        (0x97ff_ffff, Flow::Call, Some(0xffc)),
        // b.ne -4; cbz x0, +8; tbnz w0, #3, -8
        (0x54ff_ffe1, Flow::ConditionalJump, Some(0xffc)),
        (0xb400_0040, Flow::ConditionalJump, Some(0x1008)),
        (0x371f_ffc0, Flow::ConditionalJump, Some(0xff8)),
        // br x16; blr x1; ret; retaa; eret; braa x0, x1
        (0xd61f_0200, Flow::IndirectJump, None),
        (0xd63f_0020, Flow::IndirectCall, None),
        (0xd65f_03c0, Flow::Return, None),
        (0xd65f_0bff, Flow::Return, None),
        (0xd69f_03e0, Flow::Return, None),
        (0xd71f_0801, Flow::IndirectJump, None),
        // hvc #0; svc #0; brk #1; udf #0; wfi; nop
        (0xd400_0002, Flow::IndirectCall, None),
        (0xd400_0001, Flow::IndirectCall, None),
        (0xd420_0020, Flow::Stop, None),
        (0x0000_0000, Flow::Stop, None),
        (0xd503_207f, Flow::Next, None),
        (0xd503_201f, Flow::Next, None),
        // adr x1, +12; ldr x0, +16
        (0x1000_0061, Flow::Next, Some(0x100c)),
        (0x5800_0080, Flow::Next, Some(0x1010)),
    ];
    for (word, flow, to) in cases {
        with(word, |one| {
            assert_eq!(
                (one.flow, one.lead.map(|lead| lead.to)),
                (flow, to),
                "{word:08x}"
            );
        });
    }
}

#[test]
fn a_field_begins_with_its_instruction_and_counts_from_it() {
    let cases = [
        (0x9400_0000, Some(Use::Branch)),
        (0x9000_0000, Some(Use::Access)),
        // ldr x1, [x0]; add x0, x0, #0; adr x1, .; movz x0, #0
        (0xf940_0001, Some(Use::Access)),
        (0x9100_0000, Some(Use::Address)),
        (0x1000_0001, Some(Use::Address)),
        (0xd280_0000, Some(Use::Address)),
        (0xd503_201f, None),
    ];
    for (word, wanted) in cases {
        with(word, |one| {
            assert_eq!(one.use_of(0x1000), wanted, "{word:08x}");
            assert_eq!(one.behind(0x1000), wanted.map(|_| 0), "{word:08x}");
            assert_eq!(one.behind(0x1002), None);
        });
    }
}

#[test]
fn gaps_are_nops_and_zeros_and_not_what_looks_like_code() {
    assert!(is_padding(&MACHINE, &words(&[0xd503_201f, 0, 0xd420_0000])));
    assert!(is_padding(&MACHINE, &[0, 0, 0]));
    // What a linker script for another machine fills gaps with; yield; a tail that is not zero.
    assert!(!is_padding(&MACHINE, &[0x90; 8]));
    assert!(!is_padding(&MACHINE, &words(&[0xd503_203f])));
    assert!(!is_padding(&MACHINE, &[0, 1]));
    let ending = |code: &[u32]| ending_of(walk(&MACHINE, &words(code), 0));
    assert_eq!(ending(&[0xd65f_03c0, 0xd503_201f]), (Ending::Leaves, 0));
    assert_eq!(ending(&[0xd503_201f, 0x9400_0000]), (Ending::Calls, 4));
    assert_eq!(ending(&[0x9100_0000]), (Ending::GoesOn, 0));
    assert_eq!(with(0, |one| one.filler), Some(Filler::Trap));
}

#[test]
fn barriers_behind_what_leaves_are_not_run() {
    const RET: u32 = 0xd65f_03c0;
    const DSB_NSH: u32 = 0xd503_379f;
    const ISB: u32 = 0xd503_3fdf;
    const SB: u32 = 0xd503_30ff;
    const NOP: u32 = 0xd503_201f;
    let ending = |code: &[u32]| ending_of(walk(&MACHINE, &words(code), 0));
    let leaves = (Ending::Leaves, 0);
    assert_eq!(ending(&[RET, DSB_NSH, ISB]), leaves);
    assert_eq!(ending(&[RET, SB, NOP]), leaves);
    // br x1; dsb sy; isb; and eret, and b to another function.
    assert_eq!(ending(&[0xd61f_0020, 0xd503_3f9f, ISB]), leaves);
    assert_eq!(ending(&[0xd69f_03e0, SB]), leaves);
    assert_eq!(ending(&[0x1400_0010, SB]), leaves);
    // A call, a conditional branch or anything else before them, and what follows them, is run.
    assert_eq!(ending(&[0x9400_0000, DSB_NSH, ISB]), (Ending::GoesOn, 8));
    assert_eq!(ending(&[0x54ff_ffe1, ISB]), (Ending::GoesOn, 4));
    assert_eq!(ending(&[SB]), (Ending::GoesOn, 0));
    assert_eq!(ending(&[RET, SB, 0x9100_0000]), (Ending::GoesOn, 8));
    // csdb and dmb ish are none of those that stand there, nor is mrs.
    for other in [0xd503_229f, 0xd503_3bbf, 0xd53b_4200] {
        assert_eq!(ending(&[RET, other]), (Ending::GoesOn, 4), "{other:08x}");
    }
    // cbz x0 to the barrier or to the padding: somebody comes there.
    assert_eq!(ending(&[0xb400_0040, RET, ISB]), (Ending::GoesOn, 8));
    assert_eq!(ending(&[0xb400_0040, RET, NOP]), (Ending::GoesOn, 8));
    assert_eq!(ending(&[0xb400_0040, RET, 0]), (Ending::Leaves, 4));
}

#[test]
fn instructions_differ_in_numbers_or_in_more() {
    let alike = |one: u32, two: u32| with(one, |one| with(two, |two| one.compare(two)));
    // mov w1, #0x2a; mov w1, #0x2b; mov w2, #0x2b; movk w1, #0x2b
    assert_eq!(
        alike(0x5280_0541, 0x5280_0561),
        Alike::Immediate(0x2a, 0x2b)
    );
    assert_eq!(alike(0x5280_0541, 0x5280_0562), Alike::Other);
    assert_eq!(alike(0x5280_0541, 0x7280_0561), Alike::Other);
    assert_eq!(alike(0x9400_0001, 0x9400_0002), Alike::Displacement);
    assert_eq!(alike(0x9400_0001, 0x1400_0002), Alike::Other);
    // ldr x0, [x1, #8] and #16; and from x2
    assert_eq!(alike(0xf940_0420, 0xf940_0820), Alike::Displacement);
    assert_eq!(alike(0xf940_0420, 0xf940_0840), Alike::Other);
    assert_eq!(alike(0x9000_0000, 0x9000_0000), Alike::Same);
}

#[test]
fn numbers_are_passed_in_the_first_eight_registers() {
    let argument = |word| with(word, |one| one.argument());
    assert_eq!(argument(0x5280_0541), Some(Argument::Register(1)));
    assert_eq!(argument(0x5280_0548), None);
    assert_eq!(argument(0x7280_0541), None);
    let registers = arguments::registers(&MACHINE);
    let uses = |word, register: usize| {
        with(word, |one| {
            one.effects().used.contains(&registers[register])
        })
    };
    // adrp x0; add x0, x0, #0; mov x2, x1; str x2, [x1]
    assert!(uses(0x9000_0000, 0) && !uses(0x9000_0000, 1));
    assert!(uses(0x9100_0000, 0) && !uses(0x9100_0000, 1));
    assert!(uses(0xaa01_03e2, 1) && uses(0xaa01_03e2, 2));
    assert!(uses(0xf900_0022, 1) && uses(0xf900_0022, 2));
}

#[test]
fn names_stand_where_the_numbers_were() {
    let text = |word, name: Option<&str>| {
        with(word, |one| {
            one.text(FieldNames {
                displacement: name
                    .filter(|_| one.displacement.is_some())
                    .map(str::to_owned),
                immediate: name.filter(|_| one.immediate.is_some()).map(str::to_owned),
            })
        })
    };
    let cases = [
        (0x9000_0000, "adrp x0, table"),
        (0x9100_0000, "add x0, x0, :lo12:table"),
        (0xf940_0001, "ldr x1, [x0, :lo12:table]"),
        (0x9400_0000, "bl table"),
        (0x1400_0000, "b table"),
        (0x3600_0000, "tbz w0, #0x0, table"),
    ];
    for (word, wanted) in cases {
        assert_eq!(text(word, Some("table")), wanted, "{word:08x}");
    }
    assert_eq!(text(0x1400_0002, None), "b 0x1008");
    assert_eq!(text(0x5280_0541, None), "mov w1, #0x2a");
    assert_eq!(text(0xffff_ffff, None), ".inst 0xffffffff");
}

/// What a field tells; `around` stands at 0x8000.
fn linked(
    kind: &RelocationType,
    ours: u32,
    there: u32,
    address: u64,
    around: &[u32],
) -> Option<Told> {
    let around = words(around);
    let fetch = |address: u64, length: u64| {
        let from = usize::try_from(address.checked_sub(0x8000)?).ok()?;
        around.get(from..from.checked_add(usize::try_from(length).ok()?)?)
    };
    let (ours, there) = (ours.to_le_bytes(), there.to_le_bytes());
    let place = Place {
        ours: &ours,
        linked: &there,
        address,
    };
    Some(told(&MACHINE, kind, &place, &fetch)?.told)
}

#[test]
fn a_page_and_what_is_added_to_it_are_told() {
    let page = linked(&ADR_PREL_PG_HI21, 0x9000_0000, 0xb000_0000, 0x1234, &[]);
    assert!(page.is_some_and(|page| page.fits(0x2008) && !page.fits(0x3008)));
    // Another register.
    let other = linked(&ADR_PREL_PG_HI21, 0x9000_0000, 0xb000_0001, 0x1234, &[]);
    assert_eq!(other, None);
    // ldr x1, [x0, #0xff8]
    let low = linked(&LDST64_ABS_LO12_NC, 0xf940_0001, 0xf947_fc01, 0, &[]);
    assert!(low.is_some_and(|low| low.fits(0x5ff8) && !low.fits(0x5ff0)));
    // ADRP became ADR of the page; of another register it is none.
    let adr = linked(&ADR_PREL_PG_HI21, 0x9000_0000, 0x1000_0000, 0x2000, &[]);
    assert!(adr.is_some_and(|page| page.fits(0x2abc) && !page.fits(0x3abc)));
    assert_eq!(
        linked(&ADR_PREL_PG_HI21, 0x9000_0000, 0x1000_0001, 0x2000, &[]),
        None
    );
    // ADRP and ADD became NOP and ADR.
    let gone = linked(&ADR_PREL_PG_HI21, 0x9000_0000, 0xd503_201f, 0x2000, &[]);
    assert_eq!(gone, Some(Told { value: 0, mask: 0 }));
    let adr = linked(&ADD_ABS_LO12_NC, 0x9100_0000, 0x1000_0040, 0x2000, &[]);
    assert_eq!(adr, Some(Told::whole(0x2008)));
    // A call of what may be missing became a NOP.
    assert_eq!(
        linked(&CALL26, 0x9400_0000, 0xd503_201f, 0, &[]),
        Some(Told::whole(0))
    );
}

#[test]
fn an_instruction_that_moved_into_a_stub_is_found_there() {
    // At 0x1000: b 0x8000, where the load stands with a branch back.
    let away = 0x1400_0000 | (0x7000 >> 2);
    let back = 0x1400_0000 | ((0_u32.wrapping_sub(0x7000) >> 2) & 0x3ff_ffff);
    let stub = [0xf947_fc01, back];
    let low = linked(&LDST64_ABS_LO12_NC, 0xf940_0001, away, 0x1000, &stub);
    assert!(low.is_some_and(|low| low.fits(0x5ff8)));
    // Another load, and a stub that returns elsewhere.
    let other = [0xf947_fc02, back];
    assert_eq!(
        linked(&LDST64_ABS_LO12_NC, 0xf940_0001, away, 0x1000, &other),
        None
    );
    let astray = [0xf947_fc01, back + 1];
    assert_eq!(
        linked(&LDST64_ABS_LO12_NC, 0xf940_0001, away, 0x1000, &astray),
        None
    );
    // madd x0, x1, x2, x3 as a whole
    let multiply = 0x9b02_0c20;
    let (ours, there) = (u32::to_le_bytes(multiply), u32::to_le_bytes(away));
    let place = Place {
        ours: &ours,
        linked: &there,
        address: 0x1000,
    };
    let bytes = words(&[multiply, back]);
    let fetch = |address: u64, _| (address == 0x8000).then_some(&bytes[..]);
    assert_eq!(moved_away(&MACHINE, &place, &fetch), Some(4));
    let bytes = words(&[multiply + 1, back]);
    let fetch = |address: u64, _| (address == 0x8000).then_some(&bytes[..]);
    assert_eq!(moved_away(&MACHINE, &place, &fetch), None);
}

#[test]
fn a_veneer_leads_on_and_a_function_does_not() {
    // adrp x16, +1 page; add x16, x16, #0x10; br x16
    let bytes = words(&[0xb000_0010, 0x9100_4210, 0xd61f_0200]);
    let fetch = |address: u64, length: u64| {
        let from = usize::try_from(address.checked_sub(0x8000)?).ok()?;
        bytes.get(from..from + usize::try_from(length).ok()?)
    };
    assert_eq!(veneer(&MACHINE, 0x8000, &fetch), Some(0x9010));
    let other = words(&[0xb000_0000, 0x9100_4000, 0xd61f_0000]);
    let fetch = |address: u64, length: u64| {
        let from = usize::try_from(address.checked_sub(0x8000)?).ok()?;
        other.get(from..from + usize::try_from(length).ok()?)
    };
    assert_eq!(veneer(&MACHINE, 0x8000, &fetch), None);
}
