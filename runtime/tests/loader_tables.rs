//! What a payload brings beside its records: tables about its code, symbols, notes, sizes.

use crate::support;
use std::collections::BTreeMap;

use crate::support::uploads::{changed, refused, taken};
use crate::support::{A, AW, AX, Caller, Extra, Maker, TEXT, Target, jump_at, peek, runtime};
use xsplice_abi::Errno;
use xsplice_abi::action::{ACTION_APPLY, ACTION_REVERT, ACTION_UNLOAD};
use xsplice_abi::profile::{LIVEPATCH, XSPLICE, XSPLICE_V1};
use xsplice_runtime::Runtime;
use xsplice_runtime::load::records;
use xsplice_runtime::patch::memory::{Event, MemoryPlatform};
use xsplice_runtime::patch::record::{Expectation, Record, Replacement};
use xsplice_runtime::platform::{Access, Level};

const PC32: u32 = 2;

#[test]
fn exception_tables_and_bug_frames_are_found_by_address() {
    let runtime = runtime();
    let mut maker = Maker::new(1);
    maker.sections.push(
        Extra::new(".ex_table", A, &[0; 8])
            .relocated(0, PC32, "new", 2)
            .relocated(4, PC32, "new", 9),
    );
    // Line 300 is 2 * 128 + 44; the line bits stand above the displacements.
    maker.sections.push(
        Extra::new(".bug_frames.1", A, &[0; 8])
            .relocated(0, PC32, "new", 4 + (2 << 24))
            .relocated(4, PC32, "start of .rodata.file", 4 + (44 << 24)),
    );
    let at = maker.sections.len() - 1;
    maker
        .sections
        .insert(at, Extra::new(".rodata.file", A, b"file.c\0"));
    assert_eq!(runtime.upload("one", &maker.write()), 0);
    assert_eq!(runtime.act("one", ACTION_APPLY), 0);
    let new = jump_at(&runtime, TEXT).unwrap();
    assert_eq!(runtime.exception(new + 2), Some(new + 9));
    assert_eq!(runtime.exception(new + 3), None);
    let bug = runtime.bug(new + 4).expect("the frame is there");
    assert_eq!((bug.kind, bug.line), (1, 300));
    assert_eq!(peek(&runtime, bug.pointer, 7), b"file.c\0");
    assert_eq!(runtime.bug(new + 5), None);
    let mut text = String::new();
    runtime.describe(new + 3, &mut text).unwrap();
    assert_eq!(text, "one:new+0x3/0x10");
    let mut linked = Maker::new(2).stacked_on(1);
    linked.functions = BTreeMap::from([("two:f0", vec![0xc3; 16])]);
    linked.records[0].new = Target::New("two:f0");
    assert_eq!(runtime.upload("two", &linked.write()), 0);
    assert_eq!(runtime.act("two", ACTION_APPLY), 0);
    let mut text = String::new();
    let replaced = jump_at(&runtime, TEXT).unwrap();
    runtime.describe(replaced, &mut text).unwrap();
    assert_eq!(text, "two:f0+0x0/0x10", "as the linker names it");
    assert_eq!(runtime.act("two", ACTION_REVERT), 0);
    assert_eq!(runtime.act("one", ACTION_REVERT), 0);
    assert_eq!(runtime.schedule("one", ACTION_UNLOAD, 0), 0);
    assert_eq!(runtime.exception(new + 2), None);

    let foreign = Extra::new(".ex_table", A, &[0; 8])
        .relocated(0, PC32, "f0", 0)
        .relocated(4, PC32, "new", 0);
    refused(
        &changed(|m| m.sections.push(foreign)).write(),
        Errno::EINVAL,
        "no code of the payload",
    );
}

#[test]
fn alternatives_take_effect_where_the_feature_is() {
    let maker = |feature: u16| {
        let mut entry = vec![0; 14];
        entry[8..10].copy_from_slice(&feature.to_le_bytes());
        entry[10..14].copy_from_slice(&[3, 2, 0, 0]);
        let mut maker = Maker::new(1);
        maker
            .sections
            .push(Extra::new(".altinstr_replacement", AX, &[0xaa, 0xbb]));
        maker.sections.push(
            Extra::new(".altinstructions", A, &entry)
                .relocated(0, PC32, "new", 1)
                .relocated(4, PC32, "start of .altinstr_replacement", 0),
        );
        maker
    };
    let code = |maker: &Maker, features: &[u16]| {
        let runtime = runtime();
        runtime.platform().set_features(features);
        assert_eq!(runtime.upload("one", &maker.write()), 0);
        assert_eq!(runtime.act("one", ACTION_APPLY), 0);
        peek(&runtime, jump_at(&runtime, TEXT).unwrap(), 5)
    };
    assert_eq!(code(&maker(5), &[5]), [1, 0xaa, 0xbb, 0x90, 1]);
    assert_eq!(code(&maker(5), &[6]), [1, 1, 1, 1, 1]);
    assert_eq!(code(&maker(5 | 1 << 15), &[5]), [1, 1, 1, 1, 1]);
    assert_eq!(code(&maker(5 | 1 << 15), &[]), [1, 0xaa, 0xbb, 0x90, 1]);
    for (features, told) in [(vec![5], Some("1 alternatives in place")), (vec![], None)] {
        let runtime = runtime();
        runtime.platform().set_features(&features);
        assert_eq!(runtime.upload("one", &maker(5).write()), 0);
        let events = runtime.platform().take_events();
        let lines = events.iter().filter_map(|event| match event {
            Event::Log(Level::Info, line) => Some(line.as_str()),
            _ => None,
        });
        let lines: Vec<&str> = lines.collect();
        assert_eq!(lines, told.map(|told| format!("one: {told}")).as_slice());
    }
    let mut long = maker(5);
    long.sections[1].data[10] = 1;
    refused(&long.write(), Errno::EINVAL, "longer than its place");
    let mut foreign = maker(5);
    foreign.sections[1].relocations[0].2 = "f0";
    refused(&foreign.write(), Errno::EINVAL, "no code of the payload");
}

/// A call that is moved to its place still reaches what it reached, in the base or not.
#[test]
fn a_call_of_an_alternative_reaches_the_same_function_from_its_place() {
    for callee in ["f1", "other"] {
        let mut maker = Maker::new(1);
        maker.functions.insert("other", vec![0xc3; 16]);
        let mut entry = vec![0; 14];
        entry[8..10].copy_from_slice(&5_u16.to_le_bytes());
        entry[10..14].copy_from_slice(&[5, 5, 0, 0]);
        maker.sections.push(
            Extra::new(".altinstr_replacement", AX, &[0xe8, 0, 0, 0, 0])
                .relocated(1, PC32, callee, -4),
        );
        maker.sections.push(
            Extra::new(".altinstructions", A, &entry)
                .relocated(0, PC32, "new", 1)
                .relocated(4, PC32, "start of .altinstr_replacement", 0),
        );
        let runtime = runtime();
        runtime.platform().set_features(&[5]);
        assert_eq!(runtime.upload("one", &maker.write()), 0, "{callee}");
        assert_eq!(runtime.act("one", ACTION_APPLY), 0);
        let new = jump_at(&runtime, TEXT).unwrap();
        let code = peek(&runtime, new + 1, 5);
        assert_eq!(code[0], 0xe8);
        let distance = i32::from_le_bytes(code[1..].try_into().unwrap());
        let called = (new + 6).wrapping_add_signed(distance.into());
        // `other` stands behind `new`.
        let expected = if callee == "f1" {
            TEXT + 0x20
        } else {
            new + 16
        };
        assert_eq!(called, expected, "{callee}");
    }
}

#[test]
fn entries_of_tables_are_found_in_whatever_order_they_come() {
    let runtime = runtime();
    let offsets = [9, 3, 6, 1];
    let mut maker = Maker::new(1);
    let mut faults = Extra::new(".ex_table", A, &[0; 32]);
    let mut frames = Extra::new(".bug_frames.0", A, &[0; 32]);
    for (at, offset) in (0..).step_by(8).zip(offsets) {
        faults = faults.relocated(at, PC32, "new", offset);
        faults = faults.relocated(at + 4, PC32, "new", offset + 1);
        frames = frames.relocated(at, PC32, "new", offset);
        frames = frames.relocated(at + 4, PC32, "new", 0);
    }
    maker.sections.extend([faults, frames]);
    assert_eq!(runtime.upload("one", &maker.write()), 0);
    assert_eq!(runtime.act("one", ACTION_APPLY), 0);
    let new = jump_at(&runtime, TEXT).unwrap();
    for offset in offsets {
        let address = new.wrapping_add_signed(offset);
        assert_eq!(runtime.exception(address), Some(address + 1));
        assert!(runtime.bug(address).is_some(), "{offset}");
    }
}

#[test]
fn a_table_of_a_kind_that_is_not_known_is_refused() {
    for name in [".bug_frames.4", ".bug_frames.x"] {
        let file = changed(|maker| maker.sections.push(Extra::new(name, A, &[0; 8])));
        refused(&file.write(), Errno::EOPNOTSUPP, "does not know");
    }
}

/// Older payloads do not say it; those without records are told by the note of their base.
#[test]
fn the_abi_of_a_payload_that_does_not_name_it_is_told_by_its_sections() {
    for profile in [&XSPLICE, &XSPLICE_V1, &LIVEPATCH] {
        for with_records in [true, false] {
            let mut maker = Maker::of(profile, 1);
            maker.metadata = None;
            if !with_records {
                maker.records.clear();
                maker.hooks.push(("load", vec!["new"]));
            }
            let runtime = runtime();
            assert_eq!(runtime.upload("one", &maker.write()), 0);
            let mut text = String::new();
            runtime.dump(&mut text).unwrap();
            let told = format!(" abi={}\n", profile.name);
            assert!(text.contains(&told), "{told} in\n{text}");
        }
    }
}

#[test]
fn no_entry_of_a_table_leads_out_of_the_payloads_code() {
    let table = |name: &str, bytes: usize, fields: &[(u64, &'static str, i64)]| {
        let mut extra = Extra::new(name, A, &vec![0; bytes]);
        for (offset, symbol, addend) in fields {
            extra = extra.relocated(*offset, PC32, symbol, *addend);
        }
        changed(|maker| maker.sections.push(extra))
    };
    // The code of the payload is 16 bytes; f0 is the base's.
    for outside in [("f0", 0), ("new", 16), ("new", -1)] {
        let (symbol, addend) = outside;
        for fields in [
            [(0, symbol, addend), (4, "new", 0)],
            [(0, "new", 0), (4, symbol, addend)],
        ] {
            let file = table(".ex_table", 8, &fields).write();
            refused(&file, Errno::EINVAL, "no code of the payload");
        }
        let frame = table(".bug_frames.0", 8, &[(0, symbol, addend), (4, "new", 0)]);
        refused(&frame.write(), Errno::EINVAL, "no code of the payload");
    }
    taken(&table(".ex_table", 8, &[(0, "new", 15), (4, "new", 15)]));
    taken(&table(".bug_frames.0", 8, &[(0, "new", 15), (4, "f0", 0)]));
}

#[test]
fn symbols_lie_in_their_section_or_at_its_end() {
    let at = |value| changed(|maker| maker.labels.push(("label", "new", value)));
    taken(&at(15));
    taken(&at(16));
    refused(&at(17).write(), Errno::EINVAL, "(label)");
    refused(&at(u64::MAX).write(), Errno::EINVAL, "(label)");
}

/// A table in code has a name of its own; a label inside a function does not hide the function.
#[test]
fn what_has_a_size_is_found_by_its_address_and_a_label_is_not() {
    let runtime = runtime();
    let maker = changed(|maker| {
        maker.labels.push(("<table>", "new", 8));
        maker.labels.push(("<label", "new", 4));
    });
    assert_eq!(runtime.upload("one", &maker.write()), 0);
    assert_eq!(runtime.act("one", ACTION_APPLY), 0);
    let new = jump_at(&runtime, TEXT).unwrap();
    let described = |address| {
        let mut text = String::new();
        runtime.describe(address, &mut text).unwrap();
        text
    };
    assert_eq!(described(new + 8), "one:<table>+0x0/0x1");
    assert_eq!(described(new + 7), "one:new+0x7/0x10");
}

#[test]
fn an_alternative_call_site_is_a_call_through_memory() {
    let calling = |code: &[u8]| {
        changed(|maker| {
            let mut bytes = code.to_vec();
            bytes.resize(16, 0xc3);
            maker.functions.insert("new", bytes);
            let sites = Extra::new(".alt_call_sites", A, &[0; 4]);
            maker.sections.push(sites.relocated(0, PC32, "new", 0));
        })
    };
    taken(&calling(&[0xff, 0x15, 0, 0, 0, 0]));
    for other in [&[0xff, 0x25, 0, 0, 0, 0][..], &[0xe8, 0, 0, 0, 0], &[0x90]] {
        let file = calling(other).write();
        refused(&file, Errno::EINVAL, "no 6-byte indirect call");
    }
}

#[test]
fn a_section_that_is_looked_up_by_its_name_is_there_once() {
    for name in [".altinstr_replacement", ".modinfo", ".bug_frames.1"] {
        let with = |count: usize| {
            changed(|maker| {
                for _ in 0..count {
                    maker.sections.push(Extra::new(name, A, &[]));
                }
            })
        };
        let more = usize::from(name != ".modinfo");
        taken(&with(more));
        refused(&with(more + 1).write(), Errno::EINVAL, "a second section");
    }
}

#[test]
fn a_section_may_have_a_name_that_is_longer_than_what_is_read_of_it() {
    for length in [1023, 1024, 5000] {
        let name = "x".repeat(length);
        taken(&changed(|maker| {
            maker.sections.push(Extra::new(&name, A, &[1]));
        }));
    }
}

#[test]
fn notes_are_allocated_and_nobody_writes_or_executes_them() {
    let note = |number: u8| {
        let mut bytes = Vec::new();
        for word in [4_u32, 20, 3] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(b"GNU\0");
        bytes.extend([number; 20]);
        bytes
    };
    for (suffix, name, number) in [
        ("build-id", ".note.gnu.build-id", 1),
        (".depends", ".xsplice.depends", 0xba),
        ("xen_depends", ".xsplice.xen_depends", 0xba),
    ] {
        let with = |flags: u64, bytes: &[u8]| {
            changed(|maker| {
                maker.leave_out.push(suffix);
                maker.sections.push(Extra::new(name, flags, bytes));
            })
        };
        taken(&with(A, &note(number)));
        for flags in [AW, AX, 0] {
            let file = with(flags, &note(number)).write();
            refused(&file, Errno::EINVAL, "neither writable nor executable");
        }
        refused(&with(A, &[]).write(), Errno::EINVAL, "empty");
    }
}

#[test]
fn zeroes_add_up_to_what_a_region_may_have_and_no_more() {
    let zeroes = |count: usize, flags: u64| {
        let mut maker = Maker::new(1);
        for number in 0..count {
            let mut extra = Extra::new(&format!(".bss.{number}"), flags, &[]);
            extra.kind = object::SectionKind::UninitializedData;
            extra.bss = 2 * 1024 * 1024;
            maker.sections.push(extra);
        }
        maker
    };
    taken(&zeroes(1, AW));
    // Refused before the platform is asked, which has less.
    for flags in [AW, AX, A] {
        let file = zeroes(9, flags).write();
        let runtime = runtime();
        assert_eq!(runtime.upload("one", &file), Errno::ENOMEM.negated());
        let events = runtime.platform().take_events();
        let is_asked = |event: &Event| matches!(event, Event::Allocate(_));
        assert!(!events.iter().any(is_asked), "{flags}: {events:?}");
    }
    let large = MemoryPlatform::new(support::WINDOW..support::WINDOW + 0x400_0000);
    large.map(TEXT, &support::base_text());
    let runtime = support::runtime_on(large, xsplice_runtime::Policy::default());
    assert_eq!(runtime.upload("most", &zeroes(8, AW).write()), 0);
    let mut more = zeroes(9, AW);
    more.build_id = vec![2; 20];
    let result = runtime.upload("more", &more.write());
    assert_eq!(result, Errno::ENOMEM.negated());
}

#[test]
fn a_jump_reaches_from_the_start_of_the_function_and_from_after_endbr64() {
    let base = 0xffff_ffff_8000_0000_u64;
    let reach = |new: u64| {
        let record = Record {
            name: "f",
            old_address: base,
            old_bytes: 32,
            replacement: Replacement::Jump(new),
            new_bytes: 16,
            expectation: Expectation::NONE,
        };
        records::targets(
            xsplice_abi::machine::OF_RUNTIME,
            &[record],
            "s",
            &(base..base + 32),
            |_, _| false,
        )
        .is_ok()
    };
    let farthest = 1_u64 << 31;
    // Downwards the jump that stands 4 bytes in is the longer one.
    assert!(reach(base + 9 - farthest));
    assert!(!reach(base + 8 - farthest));
    let base_below = base - (1 << 40);
    let upwards = |new: u64| {
        let record = Record {
            name: "f",
            old_address: base_below,
            old_bytes: 32,
            replacement: Replacement::Jump(new),
            new_bytes: 16,
            expectation: Expectation::NONE,
        };
        records::targets(
            xsplice_abi::machine::OF_RUNTIME,
            &[record],
            "s",
            &(base_below..base_below + 32),
            |_, _| false,
        )
        .is_ok()
    };
    assert!(upwards(base_below + 4 + farthest));
    assert!(!upwards(base_below + 5 + farthest));
}

/// Where the code of the payload that was loaded last begins.
fn code_of(runtime: &Runtime<'_, MemoryPlatform>) -> u64 {
    let regions = runtime.platform().snapshot();
    let mut code = regions
        .iter()
        .filter(|(_, _, access)| *access == Some(Access::ReadExecute));
    let (address, ..) = code.next_back().expect("its code is mapped");
    *address
}

#[test]
fn a_payload_whose_code_another_one_replaces_stays_loaded() {
    let runtime = runtime();
    let mut one = Maker::new(1);
    one.sections.push(Extra::new(".data.x", AW, &[0; 64]));
    assert_eq!(runtime.upload("one", &one.write()), 0);
    let code = code_of(&runtime);
    let memory = runtime.platform().snapshot();
    let data = memory
        .iter()
        .find(|(.., access)| *access == Some(Access::ReadWrite));
    let (data, ..) = *data.expect("it has data");
    let replacing = |address: u64, bytes: u32| {
        let mut maker = Maker::new(2);
        maker.records[0].old = Target::Number(address);
        maker.records[0].old_size = bytes;
        maker
    };
    for (address, bytes) in [(code, 17), (code - 1, 16), (code + 12, 5), (data, 16)] {
        let result = runtime.upload("two", &replacing(address, bytes).write());
        assert_eq!(result, Errno::EINVAL.negated(), "{address:#x}");
    }
    assert_eq!(runtime.upload("two", &replacing(code, 16).write()), 0);
    let unload = |name| runtime.schedule(name, ACTION_UNLOAD, 0);
    assert_eq!(unload("one"), Errno::EBUSY.negated());
    assert_eq!(unload("two"), 0);
    assert_eq!(unload("one"), 0);
}
