//! The loader's parts for AArch64 on memory: what an upload relocates and an apply writes there is
//! what the machine reads, and a revert leaves what was.

use xsplice_abi::Errno;
use xsplice_abi::action::{ACTION_APPLY, ACTION_REVERT};
use xsplice_abi::machine::aarch64::{ADR_PREL_PG_HI21, CALL26, MACHINE, PREL32};
use xsplice_abi::profile::LIVEPATCH;
use xsplice_runtime::Policy;
use xsplice_runtime::Runtime;
use xsplice_runtime::check::Fault;
use xsplice_runtime::patch::memory::MemoryPlatform;
use xsplice_runtime::patch::record::Replacement;
use xsplice_runtime::patch::trampoline::Trampoline;

use crate::support::uploads::log_of;
use crate::support::{
    A, AX, Caller as _, Extra, Maker, TEXT, Target, deny, peek, platform, runtime_on,
};

const NOP: u32 = 0xd503_201f;
const RET: u32 = 0xd65f_03c0;
/// `bl` and `b` to themselves: a relocation fills in where to.
const BL: u32 = 0x9400_0000;
const B: u32 = 0x1400_0000;
/// Bits of the distance of either.
const DISTANCE_BITS: u32 = 26;

fn runtime() -> Runtime<'static, MemoryPlatform> {
    let policy = Policy {
        deny: deny("idle_loop"),
        verifier: None,
    };
    runtime_on(platform().on(&MACHINE), policy)
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A payload for Xen on this machine that replaces `f0` by these instructions.
fn maker(code: &[u32]) -> Maker {
    let mut maker = Maker::of(&LIVEPATCH, 1);
    maker.machine = &MACHINE;
    maker.functions.insert("new", bytes(code));
    maker.records[0].new_size = u32::try_from(4 * code.len()).expect("short");
    maker
}

fn word_at(runtime: &Runtime<'_, MemoryPlatform>, address: u64) -> u32 {
    let word = peek(runtime, address, 4);
    u32::from_le_bytes(word.try_into().expect("four bytes"))
}

/// Where a branch of 26 bits at an address leads.
fn target(runtime: &Runtime<'_, MemoryPlatform>, address: u64, opcode: u32) -> u64 {
    let word = word_at(runtime, address);
    assert_eq!(word >> DISTANCE_BITS, opcode >> DISTANCE_BITS, "{word:08x}");
    let unused = u32::BITS - DISTANCE_BITS;
    let distance = (word << unused).cast_signed() >> unused;
    address.wrapping_add_signed(i64::from(distance) * 4)
}

fn refused(maker: &Maker, says: &str) {
    let runtime = runtime();
    runtime.platform().set_features(&[5]);
    let _ = runtime.platform().take_events();
    let result = runtime.upload("one", &maker.write());
    let log = log_of(&runtime.platform().take_events());
    assert_eq!(result, Errno::EINVAL.negated(), "{log}");
    assert!(log.contains(says), "{log}");
}

#[test]
fn an_apply_writes_one_branch_and_a_revert_what_was() {
    let runtime = runtime();
    let before = peek(&runtime, TEXT, 32);
    assert_eq!(runtime.upload("one", &maker(&[NOP, RET]).write()), 0);
    assert_eq!(peek(&runtime, TEXT, 32), before);
    assert_eq!(runtime.act("one", ACTION_APPLY), 0);
    let new = target(&runtime, TEXT, B);
    assert_eq!(peek(&runtime, new, 8), bytes(&[NOP, RET]));
    assert_eq!(peek(&runtime, TEXT + 4, 28), before[4..]);
    assert_eq!(runtime.act("one", ACTION_REVERT), 0);
    assert_eq!(peek(&runtime, TEXT, 32), before);
}

#[test]
fn fields_of_instructions_are_filled_as_the_machine_reads_them() {
    let runtime = runtime();
    // adrp x0, f1; bl f1; ret
    let mut maker = maker(&[0x9000_0000, BL, RET]);
    maker.code_relocations = vec![
        (0, ADR_PREL_PG_HI21.number, "f1", 0),
        (4, CALL26.number, "f1", 0),
    ];
    assert_eq!(runtime.upload("one", &maker.write()), 0);
    assert_eq!(runtime.act("one", ACTION_APPLY), 0);
    let new = target(&runtime, TEXT, B);
    assert_eq!(target(&runtime, new + 4, BL), TEXT + 0x20);
    let adrp = u64::from(word_at(&runtime, new));
    let pages = ((adrp >> 5) & 0x7_ffff) << 2 | (adrp >> 29) & 3;
    let unused = 64 - 21;
    let distance = (pages << unused).cast_signed() >> unused;
    let page = (new & !0xfff).wrapping_add_signed(distance << 12);
    assert_eq!(page, (TEXT + 0x20) & !0xfff);
    assert_eq!(peek(&runtime, new + 8, 4), bytes(&[RET]));
}

#[test]
fn a_record_without_a_new_function_makes_whole_nops() {
    let runtime = runtime();
    let before = peek(&runtime, TEXT, 32);
    let mut leaving = maker(&[RET]);
    leaving.records[0].new = Target::Number(0);
    leaving.records[0].new_size = 8;
    assert_eq!(runtime.upload("one", &leaving.write()), 0);
    assert_eq!(runtime.act("one", ACTION_APPLY), 0);
    assert_eq!(peek(&runtime, TEXT, 8), bytes(&[NOP, NOP]));
    assert_eq!(peek(&runtime, TEXT + 8, 24), before[8..]);
    assert_eq!(runtime.act("one", ACTION_REVERT), 0);
    assert_eq!(peek(&runtime, TEXT, 32), before);
    // Half an instruction.
    leaving.records[0].new_size = 6;
    let runtime = self::runtime();
    let status = runtime.upload("one", &leaving.write());
    assert_ne!(status, 0);
}

/// An alternative for feature 5, of 4 bytes from the second instruction of `new` on.
fn with_alternative(code: &[u32], replacement: u32, lengths: [u8; 2]) -> Maker {
    let mut entry = vec![0; 12];
    entry[8..10].copy_from_slice(&5_u16.to_le_bytes());
    entry[10..12].copy_from_slice(&lengths);
    let mut maker = maker(code);
    let place = bytes(&[replacement]);
    maker
        .sections
        .push(Extra::new(".altinstr_replacement", AX, &place));
    maker.sections.push(
        Extra::new(".altinstructions", A, &entry)
            .relocated(0, PREL32.number, "new", 4)
            .relocated(4, PREL32.number, "start of .altinstr_replacement", 0),
    );
    maker
}

#[test]
fn alternatives_are_as_long_as_their_place_and_their_branches_are_moved() {
    let code = |maker: &Maker, features: &[u16]| {
        let runtime = runtime();
        runtime.platform().set_features(features);
        assert_eq!(runtime.upload("one", &maker.write()), 0);
        assert_eq!(runtime.act("one", ACTION_APPLY), 0);
        let new = target(&runtime, TEXT, B);
        (new, runtime)
    };
    let barrier = 0xd503_30ff;
    let maker = with_alternative(&[RET, NOP, RET], barrier, [4, 4]);
    let (new, runtime) = code(&maker, &[5]);
    assert_eq!(peek(&runtime, new, 12), bytes(&[RET, barrier, RET]));
    let (new, runtime) = code(&maker, &[]);
    assert_eq!(peek(&runtime, new, 12), bytes(&[RET, NOP, RET]));

    let mut calling = with_alternative(&[RET, NOP, RET], BL, [4, 4]);
    let relocations = &mut calling.sections[0].relocations;
    relocations.push((0, CALL26.number, "f1", 0));
    let (new, runtime) = code(&calling, &[5]);
    assert_eq!(target(&runtime, new + 4, BL), TEXT + 0x20);

    // What stops the hypervisor is refused here.
    let mut leaving = with_alternative(&[RET, NOP, RET], BL, [4, 4]);
    let relocations = &mut leaving.sections[0].relocations;
    relocations.push((0, CALL26.number, "new", 0));
    refused(&leaving, "neither in it nor in the base");
    let short = with_alternative(&[RET, NOP, RET], barrier, [8, 4]);
    refused(&short, "shorter than its place");
}

#[test]
fn the_jump_reaches_128_mebibytes_and_stands_at_the_first_byte() {
    const REACH: u64 = 128 << 20;
    let at = 0x40_0000_0000_u64;
    let code = bytes(&[0xd503_245f, RET]); // bti c
    let jump =
        |old_bytes, new| Trampoline::new(&MACHINE, at, old_bytes, &code, Replacement::Jump(new));
    let encoded = |new| jump(8, new).map(|one| (one.offset(), one.bytes().to_vec()));
    assert_eq!(encoded(at + 0x1000), Ok((0, bytes(&[B | 0x400]))));
    assert_eq!(encoded(at - 4), Ok((0, bytes(&[0x17ff_ffff]))));
    assert_eq!(encoded(at + REACH - 4), Ok((0, bytes(&[B | 0x01ff_ffff]))));
    assert_eq!(encoded(at - REACH), Ok((0, bytes(&[B | 0x0200_0000]))));
    assert_eq!(encoded(at + REACH), Err(Fault::RecordOutOfReach));
    assert_eq!(encoded(at - REACH - 4), Err(Fault::RecordOutOfReach));
    assert_eq!(encoded(at + 2), Err(Fault::RecordOutOfReach));
    assert_eq!(
        jump(3, at + 8),
        Err(Fault::RecordTooSmall {
            bytes: 3,
            needed: 4
        })
    );
    for length in (4..=28_u8).step_by(4) {
        let nops = Trampoline::new(&MACHINE, at, 64, &code, Replacement::Nops(length));
        let nops = nops.expect("whole instructions");
        let count = usize::from(length / 4);
        assert_eq!(
            (nops.offset(), nops.bytes()),
            (0, &*bytes(&vec![NOP; count]))
        );
    }
}

/// The assembler makes them in each file, so that they would clash.
#[test]
fn marks_of_where_code_begins_are_no_names() {
    let runtime = runtime();
    let before = runtime.payload_symbols();
    for (number, name) in [(1, "one"), (2, "two")] {
        let mut maker = maker(&[NOP, RET]);
        maker.build_id = vec![number; 20];
        maker.labels = vec![("$x", "new", 0), ("$d.1", "new", 4)];
        assert_eq!(runtime.upload(name, &maker.write()), 0);
    }
    // The new function of each.
    assert_eq!(runtime.payload_symbols(), before + 2);
}
