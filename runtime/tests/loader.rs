//! Every rule of the loader: the payload that keeps it is taken, the one that breaks it is refused
//! with the rule's error number, and nothing is left behind.

use crate::support;
use crate::support::uploads::{changed, log_of, refused, taken};
use crate::support::{
    A, AW, AX, BASE_ID, Caller, DATA, Extra, FUNCTIONS, Maker, R64, Record, TEXT, Target, WINDOW,
    deny, peek, runtime, runtime_with, version_of,
};
use xsplice_abi::Errno;
use xsplice_abi::action::{ACTION_APPLY, ACTION_REVERT, ACTION_UNLOAD};
use xsplice_abi::profile::{LIVEPATCH, XSPLICE, XSPLICE_V1};
use xsplice_runtime::Policy;
use xsplice_runtime::patch::memory::Event;
use xsplice_runtime::platform::Access;

const NONE: u32 = 0;
const PC32: u32 = 2;
const PLT32: u32 = 4;
const ABS32S: u32 = 11;
const PC64: u32 = 24;

fn record(change: impl FnOnce(&mut Record)) -> Maker {
    changed(|maker| change(&mut maker.records[0]))
}

#[test]
fn payloads_of_all_three_profiles_are_taken() {
    taken(&Maker::new(1));
    taken(&Maker::of(&XSPLICE_V1, 1));
    taken(&Maker::of(&LIVEPATCH, 1));
    let mut unnamed = Maker::of(&XSPLICE_V1, 1);
    unnamed.metadata = None;
    taken(&unnamed);
    unnamed = Maker::of(&LIVEPATCH, 1);
    unnamed.metadata = None;
    taken(&unnamed);
}

#[test]
fn a_file_that_is_no_payload_is_refused() {
    let good = Maker::new(1).write();
    refused(&[0], Errno::EINVAL, "fewer than an ELF header");
    refused(
        &[b'x'; 100],
        Errno::ENOEXEC,
        "not a 64-bit little-endian ELF",
    );
    refused(&good[..good.len() - 1], Errno::EINVAL, "outside the file");
    let with = |at: usize, byte: u8, errno, says| {
        let mut file = good.clone();
        file[at] = byte;
        refused(&file, errno, says);
    };
    with(4, 1, Errno::ENOEXEC, "64-bit");
    with(7, 3, Errno::ENOEXEC, "byte 7 of the ELF identification");
    with(16, 2, Errno::ENOEXEC, "ELF type 2");
    with(18, 183, Errno::ENOEXEC, "machine 183");
    with(56, 1, Errno::EINVAL, "program headers");
}

#[test]
fn foreign_bases_and_taken_ids_are_refused() {
    refused(
        &changed(|m| m.base = vec![1; 20]).write(),
        Errno::EINVAL,
        "another base",
    );
    for suffix in ["xen_depends", "build-id", ".depends"] {
        let maker = changed(|m| m.leave_out = vec![suffix]);
        refused(&maker.write(), Errno::EINVAL, "no section");
    }
    refused(
        &changed(|m| m.build_id = BASE_ID.to_vec()).write(),
        Errno::EEXIST,
        "build-id",
    );
    let runtime = runtime();
    assert_eq!(runtime.upload("one", &Maker::new(1).write()), 0);
    let eexist = Errno::EEXIST.negated();
    assert_eq!(
        runtime.upload("one", &Maker::new(2).write()),
        eexist,
        "the name"
    );
    assert_eq!(
        runtime.upload("two", &Maker::new(1).write()),
        eexist,
        "the build-id"
    );
    assert_eq!(runtime.upload("two", &Maker::new(2).write()), 0);
}

#[test]
fn the_metadata_decide_the_abi_and_must_be_whole() {
    let with = |text: &[u8]| changed(|m| m.metadata = Some(text.to_vec())).write();
    refused(&with(b"abi=other\0"), Errno::EOPNOTSUPP, "names no ABI");
    refused(
        &with(b"abi=livepatch\0"),
        Errno::EINVAL,
        "another section prefix",
    );
    refused(
        &with(b"abi=xsplice"),
        Errno::EINVAL,
        "does not end with NUL",
    );
    let other = changed(|m| m.sections.push(Extra::new(".livepatch.x", A, &[0])));
    refused(&other.write(), Errno::EINVAL, "both prefixes");
}

#[test]
fn records_keep_every_rule() {
    use Errno as E;
    let bad = |change: fn(&mut Record), errno, says| refused(&record(change).write(), errno, says);
    bad(|r| r.new_size = 0, E::EINVAL, "new_size is zero");
    bad(|r| r.old_size = 0, E::EINVAL, "old_size is zero");
    bad(|r| r.new = Target::Number(0), E::EINVAL, "new_addr is zero");
    bad(|r| r.old = Target::Number(0), E::EINVAL, "old_addr is zero");
    bad(|r| r.old_size = 4, E::EINVAL, "the jump needs 5");
    bad(
        |r| r.new = Target::Number(TEXT),
        E::EINVAL,
        "does not lie in the payload's code",
    );
    bad(
        |r| r.new_size = 17,
        E::EINVAL,
        "does not lie in the payload's code",
    );
    bad(
        |r| r.old = Target::Number(DATA),
        E::EINVAL,
        "does not lie in the base's code",
    );
    bad(
        |r| r.old_size = 0x401,
        E::EINVAL,
        "does not lie in the base's code",
    );
    bad(
        |r| r.tail = vec![(32, vec![1])],
        E::EINVAL,
        "belong to the patcher",
    );
    bad(
        |r| r.tail = vec![(63, vec![1])],
        E::EINVAL,
        "belong to the patcher",
    );
    bad(
        |r| r.old = Target::Undefined("idle_loop"),
        E::EINVAL,
        "deny list",
    );
    let twice = changed(|m| m.records.push(Record::replacing("f0")));
    refused(&twice.write(), E::EINVAL, "same bytes");
    let nameless = record(|r| r.name = "");
    refused(&nameless.write(), E::EINVAL, "no NUL-terminated string");
    taken(&record(|r| r.old = Target::Number(TEXT)));
}

#[test]
fn nothing_between_two_symbols_of_the_deny_list_is_replaced() {
    let runtime = runtime_with(Policy {
        deny: deny("f1 .. f3\nb.c#local .. table"),
        verifier: None,
    });
    let upload = |address, bytes| {
        let file = record(|r| {
            r.old = Target::Number(address);
            r.old_size = bytes;
        });
        let result = runtime.upload("one", &file.write());
        (result, log_of(&runtime.platform().take_events()))
    };
    // The first byte, one in the middle without a symbol, the last ones; a function that begins
    // before the range and ends in it.
    for (address, bytes) in [
        (TEXT + 0x20, 0x20),
        (TEXT + 0x4b, 5),
        (TEXT + 0x5b, 5),
        (TEXT, 0x21),
        (TEXT + 0x3c0, 0x40),
    ] {
        let (result, log) = upload(address, bytes);
        assert_eq!(result, Errno::EINVAL.negated(), "{address:#x}: {log}");
        assert!(log.contains("deny list"), "{address:#x}: {log}");
    }
    for (address, bytes) in [(TEXT, 0x20), (TEXT + 0x60, 0x40)] {
        assert_eq!(upload(address, bytes), (0, String::new()), "{address:#x}");
        assert_eq!(runtime.schedule("one", ACTION_UNLOAD, 0), 0);
    }
}

#[test]
fn versions_and_old_addresses_follow_the_profile() {
    let of = |profile, change: fn(&mut Record)| {
        let mut maker = Maker::of(profile, 1);
        change(&mut maker.records[0]);
        maker
    };
    for profile in [&XSPLICE_V1, &LIVEPATCH] {
        let wrong = of(profile, |r| r.tail = vec![(32, vec![7])]);
        refused(&wrong.write(), Errno::EOPNOTSUPP, "version 7");
        taken(&of(profile, |r| r.old = Target::Number(0)));
        let unknown = of(profile, |r| {
            r.old = Target::Number(0);
            r.name = "nowhere";
        });
        refused(&unknown.write(), Errno::ENOENT, "neither the base");
    }
    let padded = of(&LIVEPATCH, |r| r.tail.push((50, vec![1])));
    refused(&padded.write(), Errno::EINVAL, "belong to the patcher");
}

#[test]
fn nops_are_written_after_endbr64_and_undone() {
    let nops = |size| {
        let mut maker = Maker::of(&LIVEPATCH, 1);
        maker.records[0].new = Target::Number(0);
        maker.records[0].new_size = size;
        maker
    };
    refused(&nops(32).write(), Errno::EOPNOTSUPP, "bytes of NOPs");
    let mut small = nops(20);
    small.records[0].old_size = 19;
    refused(&small.write(), Errno::EINVAL, "more NOPs");
    let runtime = runtime();
    assert_eq!(runtime.upload("nops", &nops(9).write()), 0);
    let before = peek(&runtime, TEXT, 32);
    assert_eq!(runtime.act("nops", ACTION_APPLY), 0);
    let nop9 = [0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0];
    assert_eq!(peek(&runtime, TEXT, 9), nop9);
    assert_eq!(peek(&runtime, TEXT + 9, 23), before[9..]);
    assert_eq!(runtime.act("nops", ACTION_REVERT), 0);
    assert_eq!(peek(&runtime, TEXT, 32), before);
}

#[test]
fn expectations_are_compared_when_applied() {
    let text = support::base_text();
    let expect = |length: u8, bytes: &[u8]| {
        let mut entry = vec![length];
        entry.extend(bytes);
        entry.resize(32, 0);
        changed(|m| m.sections.push(Extra::new(".xsplice.expect", A, &entry)))
    };
    let apply = |maker: &Maker| {
        let runtime = runtime();
        assert_eq!(runtime.upload("one", &maker.write()), 0);
        let before = runtime.platform().snapshot();
        let result = runtime.act("one", ACTION_APPLY);
        assert_eq!(result != 0, runtime.platform().snapshot() == before);
        result
    };
    assert_eq!(apply(&expect(4, &text[..4])), 0);
    assert_eq!(apply(&expect(31, &text[..31])), 0);
    assert_eq!(apply(&expect(4, &[9; 4])), Errno::EINVAL.negated());
    refused(
        &expect(32, &[0; 31]).write(),
        Errno::EOVERFLOW,
        "an expectation of 32 bytes",
    );
    refused(
        &expect(1, &[1, 1]).write(),
        Errno::EINVAL,
        "reserved bits or bytes",
    );
    let mut long = expect(20, &text[..20]);
    long.records[0].old_size = 19;
    refused(&long.write(), Errno::ERANGE, "longer than the old function");
    let mut two = expect(0, &[]);
    two.records.push(Record::replacing("f1"));
    refused(&two.write(), Errno::EINVAL, "not one expectation");

    let in_record = |control: u8, bytes: &[u8]| {
        let mut maker = Maker::of(&LIVEPATCH, 1);
        maker.records[0]
            .tail
            .extend([(72, vec![control]), (73, bytes.to_vec())]);
        maker
    };
    assert_eq!(apply(&in_record(1 | 4 << 1, &text[..4])), 0);
    assert_eq!(
        apply(&in_record(1 | 4 << 1, &[9; 4])),
        Errno::EINVAL.negated()
    );
    refused(
        &in_record(4 << 1, &[]).write(),
        Errno::EINVAL,
        "reserved bits or bytes",
    );
    refused(
        &in_record(0x81, &[]).write(),
        Errno::EINVAL,
        "reserved bits or bytes",
    );
}

#[test]
fn sections_keep_every_rule() {
    let with = |extra: Extra| changed(|m| m.sections.push(extra)).write();
    let code = Extra::new(".text.wx", AX | AW, &[0; 8]);
    refused(&with(code), Errno::EOPNOTSUPP, "writable and executable");
    refused(
        &with(Extra::new(".xsplice.what", A, &[0])),
        Errno::EOPNOTSUPP,
        "does not know",
    );
    refused(
        &with(Extra::new(".xsplice.funcs", A, &[0; 64])),
        Errno::EINVAL,
        "second section",
    );
    refused(
        &with(Extra::new(".ex_table", A, &[0; 9])),
        Errno::EINVAL,
        "no multiple",
    );
    refused(
        &with(Extra::new(".altinstructions", A, &[0; 13])),
        Errno::EINVAL,
        "no multiple",
    );
    refused(
        &with(Extra::new(".bug_frames.3", A, &[0; 8])),
        Errno::EINVAL,
        "no multiple",
    );
    let mut zeroes = Extra::new(".bss.big", AW, &[]);
    zeroes.kind = object::SectionKind::UninitializedData;
    zeroes.bss = 2 * 1024 * 1024 + 1;
    refused(&with(zeroes.clone()), Errno::EINVAL, "bytes of zeroes");
    zeroes.bss = 4096;
    taken(&changed(|m| m.sections.push(zeroes)));
    let nothing = changed(|m| m.records.clear());
    refused(&nothing.write(), Errno::EINVAL, "nothing to patch");
    let hooked = changed(|m| {
        m.records.clear();
        m.hooks = vec![("load", vec!["new"])];
    });
    taken(&hooked);
}

#[test]
fn regions_are_never_writable_and_executable() {
    let runtime = runtime();
    let maker = changed(|m| m.sections.push(Extra::new(".data.x", AW, &[1; 8])));
    assert_eq!(runtime.upload("one", &maker.write()), 0);
    let protected: Vec<Access> = runtime
        .platform()
        .take_events()
        .iter()
        .filter_map(|event| match event {
            Event::Protect(_, access) => Some(*access),
            _ => None,
        })
        .collect();
    assert_eq!(
        protected,
        [Access::ReadExecute, Access::ReadWrite, Access::ReadOnly]
    );
}

#[test]
fn relocations_are_computed_and_refused_by_the_rules_of_the_profile() {
    let with = |extra: Extra| changed(|m| m.sections.push(extra));
    let data = |kind, symbol, addend| {
        Extra::new(".rodata.x", A, &[0; 16]).relocated(8, kind, symbol, addend)
    };
    let value = |extra: Extra| {
        let runtime = runtime();
        assert_eq!(runtime.upload("one", &with(extra).write()), 0);
        let regions = runtime.platform().snapshot();
        let (_, bytes, _) = regions
            .iter()
            .rfind(|(_, _, access)| access.is_some())
            .unwrap();
        bytes.clone()
    };
    let contains = |bytes: &[u8], needle: &[u8]| bytes.windows(needle.len()).any(|w| w == needle);
    let local = FUNCTIONS[2].2;
    assert!(contains(
        &value(data(R64, "a.c#local", 3)),
        &(local + 3).to_le_bytes()
    ));
    let low = u32::try_from(local & 0xffff_ffff).unwrap();
    assert!(contains(
        &value(data(ABS32S, "a.c#local", 0)),
        &low.to_le_bytes()
    ));
    refused(
        &with(data(R64, "nobody", 0)).write(),
        Errno::ENOENT,
        "(nobody)",
    );
    refused(
        &with(data(R64, "twice", 0)).write(),
        Errno::EINVAL,
        "several addresses",
    );
    refused(
        &with(data(9, "f0", 0)).write(),
        Errno::EOPNOTSUPP,
        "relocation type 9",
    );
    refused(
        &with(data(PC32, "f0", 1 << 32)).write(),
        Errno::EOVERFLOW,
        "does not fit",
    );
    refused(
        &with(data(ABS32S, "f0", 1 << 31)).write(),
        Errno::EOVERFLOW,
        "does not fit",
    );
    // Words of 64 bits wrap at the ends of the address space, as the psABI computes them.
    taken(&with(data(R64, "f0", 1 << 40)));
    taken(&with(data(PC64, "f0", i64::MIN)));
    for (kind, addend) in [(PLT32, 1 << 32), (PLT32, -(1 << 32))] {
        let file = with(data(kind, "f0", addend)).write();
        refused(&file, Errno::EOVERFLOW, "does not fit");
        taken(&with(data(kind, "f0", 4)));
    }
    assert_eq!(
        XSPLICE.relocations.x86_64.len(),
        [NONE, R64, PC32, PLT32, ABS32S, PC64].len(),
        "each kind but the one without a field overflows here"
    );
    taken(&with(data(NONE, "f0", i64::MAX)));
    let outside = Extra::new(".rodata.x", A, &[0; 8]).relocated(1, R64, "f0", 0);
    refused(
        &with(outside).write(),
        Errno::EINVAL,
        "lies beyond the section",
    );
    let mut old = Maker::of(&LIVEPATCH, 1);
    old.sections.push(data(ABS32S, "f0", 0));
    refused(&old.write(), Errno::EOPNOTSUPP, "relocation type 11");
}

#[test]
fn new_symbols_serve_later_payloads_and_are_taken_once() {
    let exporting = |number| {
        let mut maker = Maker::new(number);
        maker.functions.insert("extra_function", vec![0xc3; 8]);
        maker
    };
    let runtime = runtime();
    assert_eq!(runtime.upload("one", &exporting(1).write()), 0);
    assert_eq!(
        runtime.upload("two", &exporting(2).write()),
        Errno::EEXIST.negated()
    );
    let user = {
        let mut maker = Maker::new(3);
        let table = Extra::new(".rodata.x", A, &[0; 8]).relocated(0, R64, "extra_function", 0);
        maker.sections.push(table);
        maker
    };
    assert_eq!(runtime.upload("user", &user.write()), 0);
    let unload = |name| runtime.schedule(name, ACTION_UNLOAD, 0);
    assert_eq!(unload("one"), Errno::EBUSY.negated(), "user refers to it");
    assert_eq!(unload("user"), 0);
    assert_eq!(unload("one"), 0);
    assert_eq!(
        runtime.upload("user", &user.write()),
        Errno::ENOENT.negated()
    );
    let clash = changed(|m| {
        m.functions.insert("f1", vec![0xc3; 8]);
    });
    refused(&clash.write(), Errno::EEXIST, "(f1)");
}

#[test]
fn payloads_with_written_data_are_applied_once() {
    let runtime = runtime();
    let maker = changed(|m| m.sections.push(Extra::new(".data.x", AW, &[1; 8])));
    assert_eq!(runtime.upload("one", &maker.write()), 0);
    assert_eq!(runtime.act("one", ACTION_APPLY), 0);
    assert_eq!(runtime.act("one", ACTION_REVERT), 0);
    assert_eq!(runtime.act("one", ACTION_APPLY), Errno::EINVAL.negated());
    assert_eq!(runtime.schedule("one", ACTION_UNLOAD, 0), 0);
    assert_eq!(runtime.upload("one", &maker.write()), 0);
    assert_eq!(runtime.act("one", ACTION_APPLY), 0);
}

#[test]
fn a_full_window_is_no_memory_and_leaves_nothing() {
    let file = Maker::new(1).write();
    for allocations in 0..2 {
        let runtime = runtime();
        let before = runtime.platform().snapshot();
        runtime.platform().fail_allocation_after(allocations);
        assert_eq!(runtime.upload("one", &file), Errno::ENOMEM.negated());
        assert_eq!(runtime.platform().snapshot(), before);
        runtime.platform().fail_allocation_after(usize::MAX);
        assert_eq!(runtime.upload("one", &file), 0);
        assert!(WINDOW > TEXT && version_of(&LIVEPATCH).len() == 1);
    }
}

#[test]
fn corrupted_payloads_never_panic_and_leave_nothing_behind() {
    let rounds = std::env::var("XSPLICE_FUZZ").map_or(200_000, |text| {
        text.parse().expect("XSPLICE_FUZZ is a number of rounds")
    });
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % u64::try_from(below).unwrap()).unwrap()
    };
    let mut rich = Maker::new(1);
    rich.hooks = vec![("load", vec!["new", "new"]), ("preapply", vec!["new"])];
    rich.sections = vec![
        Extra::new(".ex_table", A, &[0; 8])
            .relocated(0, PC32, "new", 2)
            .relocated(4, PC32, "new", 3),
        Extra::new(".altinstr_replacement", AX, &[0xe8, 0, 0, 0, 0]),
        Extra::new(
            ".altinstructions",
            A,
            &[0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 5, 5, 0, 0],
        )
        .relocated(0, PC32, "new", 0)
        .relocated(4, PC32, "start of .altinstr_replacement", 0),
        Extra::new(".bug_frames.0", A, &[0; 8]).relocated(0, PC32, "new", 0),
        Extra::new(".data.x", AW, &[0; 8]).relocated(0, R64, "a.c#local", 0),
    ];
    let files = [
        rich.write(),
        Maker::of(&LIVEPATCH, 1).write(),
        Maker::of(&XSPLICE_V1, 1).write(),
    ];
    let runtime = runtime();
    let before = runtime.platform().snapshot();
    let mut loaded = 0;
    for round in 0..rounds {
        let mut file = files[round % files.len()].clone();
        // Half of the damage goes where it hurts: headers and tables at the end of the file.
        for _ in 0..=random(3) {
            let length = file.len();
            let at = if random(2) == 0 {
                random(length)
            } else {
                length - 1 - random(length / 2)
            };
            file[at] = match random(3) {
                0 => 0xff,
                1 => file[at].wrapping_add(1),
                _ => u8::try_from(random(256)).unwrap(),
            };
        }
        if random(8) == 0 {
            file.truncate(random(file.len()) + 1);
        }
        if runtime.upload("one", &file) == 0 {
            loaded += 1;
            if runtime.act("one", ACTION_APPLY) == 0 {
                assert_eq!(runtime.act("one", ACTION_REVERT), 0);
            }
            assert_eq!(runtime.schedule("one", ACTION_UNLOAD, 0), 0);
        }
        let _ = runtime.platform().take_events();
    }
    assert!(
        loaded > 0 && loaded < rounds,
        "some were taken, most were not: {loaded}"
    );
    assert_eq!(runtime.platform().snapshot(), before);
}
