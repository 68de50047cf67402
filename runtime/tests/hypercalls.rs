//! Arguments of the hypercalls: every rule and its error number.

use core::fmt;

use crate::support;
use crate::support::{Caller, Maker, area, runtime, runtime_with};
use xsplice_abi::Errno;
use xsplice_abi::action::{ACTION_APPLY, ACTION_UNLOAD};
use xsplice_abi::hypercall::{
    Action, Get, List, Name, OP_ACTION, OP_GET, OP_LIST, OP_UPLOAD, Operation, Status, Upload,
};
use xsplice_runtime::DumpCursor;
use xsplice_runtime::Policy;
use xsplice_runtime::Privilege;
use xsplice_runtime::Runtime;
use xsplice_runtime::SetupError;
use xsplice_runtime::patch::memory::MemoryPlatform;
use xsplice_runtime::platform::Platform;
use xsplice_runtime::read::deny::DenyError;
use xsplice_runtime::read::signature::{Signature, SignatureError, Verifier};
use zerocopy::byteorder::little_endian::{I32, U16, U32, U64};

const EINVAL: i32 = Errno::EINVAL.negated();
const EFAULT: i32 = Errno::EFAULT.negated();

#[test]
fn an_unprivileged_caller_gets_eperm_for_everything() {
    let runtime = runtime();
    for cmd in [OP_UPLOAD, OP_GET, OP_LIST, OP_ACTION, 99] {
        let mut operation = Operation::with(cmd, &Get::default());
        let result = runtime.hypercall(Privilege::Unprivileged, &mut operation, &mut []);
        assert_eq!(result, Errno::EPERM.negated());
        assert_ne!(
            runtime.call(&mut operation, &mut []),
            Errno::EPERM.negated()
        );
    }
}

#[test]
fn unknown_operations_and_actions_are_not_supported() {
    let runtime = runtime();
    let unsupported = Errno::EOPNOTSUPP.negated();
    assert_eq!(
        runtime.call(&mut Operation::with(4, &Get::default()), &mut []),
        unsupported
    );
    runtime.upload("one", &Maker::new(1).write());
    assert_eq!(runtime.schedule("one", 0, 0), unsupported);
    assert_eq!(runtime.schedule("one", 6, 0), unsupported);
    let mut padded = Operation::with(OP_LIST, &List::default());
    padded.pad = U32::new(1);
    assert_eq!(runtime.call(&mut padded, &mut []), EINVAL);
}

#[test]
fn names_end_with_their_only_nul_and_have_at_most_128_bytes() {
    let runtime = runtime();
    let upload = |bytes: &[u8], size: u16, pad: u16| {
        let file = Maker::new(1).write();
        let mut area = bytes.to_vec();
        area.extend(&file);
        let name = Name {
            name_handle: U64::new(0),
            size: U16::new(size),
            pad: [U16::new(0), U16::new(pad), U16::new(0)],
        };
        let upload = Upload {
            name,
            size: U64::new(file.len() as u64),
            payload_handle: U64::new(bytes.len() as u64),
        };
        runtime.call(&mut Operation::with(OP_UPLOAD, &upload), &mut area)
    };
    assert_eq!(upload(b"", 0, 0), EINVAL);
    assert_eq!(upload(b"\0", 1, 0), EINVAL, "an empty name");
    assert_eq!(upload(b"one", 3, 0), EINVAL, "no NUL");
    assert_eq!(upload(b"o\0e\0", 4, 0), EINVAL, "two NULs");
    assert_eq!(upload(b"\xff\0", 2, 0), EINVAL, "no UTF-8");
    assert_eq!(upload(b"one\0", 4, 1), EINVAL, "padding");
    let mut long = vec![b'n'; 128];
    long.push(0);
    assert_eq!(upload(&long, 129, 0), EINVAL);
    assert_eq!(upload(&long[1..], 128, 0), 0);
    assert_eq!(runtime.schedule(&"n".repeat(127), ACTION_UNLOAD, 0), 0);
    assert_eq!(upload(b"n\0", 2, 0), 0, "the shortest");
}

#[test]
fn sizes_and_handles_are_judged_before_the_payload() {
    let runtime = runtime();
    let upload = |size: u64, handle: u64, bytes: usize| {
        let (name, mut area) = area("one", &vec![0; bytes]);
        let upload = Upload {
            name,
            size: U64::new(size),
            payload_handle: U64::new(handle),
        };
        runtime.call(&mut Operation::with(OP_UPLOAD, &upload), &mut area)
    };
    assert_eq!(upload(0, 4, 10), EINVAL);
    assert_eq!(upload(2 * 1024 * 1024 + 1, 4, 10), EINVAL);
    assert_eq!(upload(11, 4, 10), EFAULT);
    assert_eq!(upload(1, u64::MAX, 10), EFAULT);
    assert_eq!(
        upload(2 * 1024 * 1024, 4, 2 * 1024 * 1024),
        Errno::ENOEXEC.negated()
    );
    // Also before the name.
    assert_eq!(runtime.upload("one", &Maker::new(1).write()), 0);
    assert_eq!(upload(0, 4, 10), EINVAL);
    assert_eq!(upload(10, 4, 10), Errno::EEXIST.negated());
    assert_eq!(runtime.schedule("one", ACTION_UNLOAD, 0), 0);
    let name = Name {
        name_handle: U64::new(5),
        size: U16::new(4),
        pad: [U16::ZERO; 3],
    };
    let get = Get {
        name,
        ..Get::default()
    };
    assert_eq!(
        runtime.call(&mut Operation::with(OP_GET, &get), &mut [0; 8]),
        EFAULT
    );
}

#[test]
fn get_demands_a_zero_status_and_actions_a_zero_padding() {
    let runtime = runtime();
    runtime.upload("one", &Maker::new(1).write());
    let (name, mut memory) = area("one", &[]);
    let get = |state: u32, rc: i32| Get {
        name,
        status: Status {
            state: U32::new(state),
            rc: I32::new(rc),
        },
    };
    let mut call = |get: &Get| runtime.call(&mut Operation::with(OP_GET, get), &mut memory);
    assert_eq!(call(&get(1, 0)), EINVAL);
    assert_eq!(call(&get(0, -1)), EINVAL);
    assert_eq!(call(&get(0, 0)), 0);
    let action = Action {
        name,
        cmd: U32::new(ACTION_APPLY),
        pad: U32::new(1),
        ..Action::default()
    };
    assert_eq!(
        runtime.call(&mut Operation::with(OP_ACTION, &action), &mut memory),
        EINVAL
    );
    assert_eq!(runtime.get("two"), Err(Errno::ENOENT.negated()));
}

/// A LIST call with room for `nr` entries and this many bytes of names and metadata.
fn list(runtime: &impl Caller, idx: u32, nr: u32, bytes: u32) -> (i32, List, Vec<u8>) {
    let entries = u64::from(nr);
    let [status, len, metadata_len, name] = [0, 8, 12, 16].map(|at| U64::new(at * entries));
    let metadata = U64::new(16 * entries + u64::from(bytes));
    let argument = List {
        idx: U32::new(idx),
        nr: U32::new(nr),
        name_total_size: U32::new(bytes),
        metadata_total_size: U32::new(bytes),
        status_handle: status,
        len_handle: len,
        metadata_len_handle: metadata_len,
        name_handle: name,
        metadata_handle: metadata,
        ..List::default()
    };
    let mut area = vec![0xee; usize::try_from(16 * entries + 2 * u64::from(bytes)).unwrap()];
    let mut operation = Operation::with(OP_LIST, &argument);
    let result = runtime.call(&mut operation, &mut area);
    (result, operation.read(), area)
}

#[test]
fn list_probes_sizes_and_fills_batches() {
    let runtime = runtime();
    let (result, empty, _) = list(&runtime, 0, 0, 0);
    assert_eq!((result, empty.nr.get()), (0, 0));
    for number in 1..=3 {
        runtime.upload(&format!("payload{number}"), &Maker::new(number).write());
    }
    let (result, sizes, _) = list(&runtime, 0, 0, 0);
    assert_eq!(
        (result, sizes.nr.get(), sizes.name_total_size.get()),
        (0, 3, 27)
    );
    assert_eq!(sizes.metadata_total_size.get(), 3 * 22);
    assert_ne!(sizes.version, empty.version);
    let (result, first, memory) = list(&runtime, 0, 2, 100);
    assert_eq!((result, first.nr.get()), (2, 1), "two filled, one remains");
    assert_eq!(first.version, sizes.version);
    assert_eq!(memory[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(memory[16..20], 9_u32.to_le_bytes());
    assert_eq!(memory[24..28], 22_u32.to_le_bytes());
    assert_eq!(memory[32..50], *b"payload1\0payload2\0");
    assert_eq!(memory[132..154], *b"abi=xsplice\0name=test\0");
    let (result, rest, memory) = list(&runtime, 2, 2, 100);
    assert_eq!((result, rest.nr.get()), (1, 0));
    assert_eq!(memory[32..41], *b"payload3\0");
    runtime.schedule("payload1", ACTION_UNLOAD, 0);
    assert_ne!(list(&runtime, 0, 0, 0).1.version, sizes.version);
}

#[test]
fn list_refuses_what_is_out_of_range() {
    let runtime = runtime();
    assert_eq!(list(&runtime, 7, 1, 64).0, 0, "an empty list has no end");
    runtime.upload("payload1", &Maker::new(1).write());
    let asks_for_none = List {
        status_handle: U64::new(1 << 40),
        ..List::default()
    };
    assert_eq!(
        runtime.call(&mut Operation::with(OP_LIST, &asks_for_none), &mut []),
        0,
        "who wants no entry needs no room"
    );
    assert_eq!(list(&runtime, 0, 1025, 0).0, Errno::E2BIG.negated());
    assert_eq!(list(&runtime, 0, 1024, 64).0, 1);
    assert_eq!(list(&runtime, 1, 1, 64).0, EINVAL);
    assert_eq!(
        list(&runtime, 0, 1, 8).0,
        Errno::ENOBUFS.negated(),
        "the name needs 9 bytes"
    );
    let mut argument = List {
        nr: U32::new(1),
        ..List::default()
    };
    assert_eq!(
        runtime.call(&mut Operation::with(OP_LIST, &argument), &mut [0; 4]),
        EINVAL,
        "no room for a status"
    );
    argument.pad = U32::new(1);
    assert_eq!(
        runtime.call(&mut Operation::with(OP_LIST, &argument), &mut [0; 4]),
        EINVAL
    );
}

struct Nobody;

impl Verifier for Nobody {
    fn verify(&self, _: &Signature<'_>, _: &[u8]) -> Result<(), SignatureError> {
        Err(SignatureError::UnknownKey)
    }
}

#[test]
fn with_a_trusted_key_unsigned_payloads_are_refused() {
    let runtime = runtime_with(Policy {
        deny: &[],
        verifier: Some(&Nobody),
    });
    let file = Maker::new(1).write();
    assert_eq!(runtime.upload("one", &file), Errno::EKEYREJECTED.negated());
    let mut signed = file;
    signed.extend([1, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    signed.extend(xsplice_abi::signature::MAGIC);
    assert_eq!(runtime.upload("one", &signed), Errno::ENOKEY.negated());
    let open = support::runtime();
    assert_eq!(
        open.upload("one", &signed),
        0,
        "without a key the signature is not looked at"
    );
}

#[test]
fn a_deny_list_that_names_nothing_is_refused() {
    let setup = |list: &'static str| {
        let base = xsplice_runtime::Base {
            symbols: support::base_symbols(),
            build_id: &support::BASE_ID,
            text: 0..1,
        };
        Runtime::new(
            support::platform(),
            base,
            Policy {
                deny: support::deny(list),
                verifier: None,
            },
        )
        .map(drop)
    };
    assert_eq!(setup("idle_loop\na.c#local\nf0 .. f3"), Ok(()));
    let refused = |list| setup(list).unwrap_err();
    let (line, name) = (1, "local");
    assert_eq!(
        refused("local"),
        SetupError::Deny(DenyError::Unknown { line, name })
    );
    let (line, name) = (2, "twice");
    assert_eq!(
        refused("f0\nf0 .. twice"),
        SetupError::Deny(DenyError::Ambiguous { line, name })
    );
    let (line, start, end) = (1, "f1", "f0");
    assert_eq!(
        refused("f1 .. f0"),
        SetupError::Deny(DenyError::Empty { line, start, end })
    );
}

#[test]
fn the_dump_shows_every_payload_with_regions_and_records() {
    let runtime = runtime();
    runtime.upload("one", &Maker::new(1).write());
    runtime.act("one", ACTION_APPLY);
    let mut text = String::new();
    runtime.dump(&mut text).unwrap();
    for part in [
        "one state=APPLIED rc=0 stack=0 abi=xsplice",
        "build-id: 0101010101010101010101010101010101010101",
        "  RX 0x",
        "  RO 0x",
        "  f0 patch 0xffffffff80200000(0x20) with 0x",
        "(applied)",
        "payloads: 1, applied: 1",
        "last action: all stopped after ",
        "\n  depends:  baba",
        "\n  base:     baba",
        "\n  metadata: abi=xsplice\n  metadata: name=test\n",
    ] {
        assert!(text.contains(part), "{part} in:\n{text}");
    }
}

#[test]
fn shadow_variables_stay_until_they_are_detached() {
    let runtime = runtime();
    let (shadows, platform) = (runtime.shadows(), runtime.platform());
    assert_eq!(shadows.get(platform, 0x10, 1), None);
    let address = shadows.attach(platform, 0x10, 1, 24).unwrap();
    assert_eq!(address % 16, 0);
    assert_eq!(shadows.attach(platform, 0x10, 1, 24), Err(Errno::EEXIST));
    assert_eq!(shadows.attach(platform, 0x10, 3, 0), Err(Errno::EINVAL));
    assert_eq!(shadows.get(platform, 0x10, 1), Some(address));
    assert_eq!(shadows.get(platform, 0x10, 2), None);
    assert_eq!(shadows.get_or_attach(platform, 0x10, 1, 24), Ok(address));
    assert_ne!(shadows.get_or_attach(platform, 0x20, 1, 24), Ok(address));
    assert_eq!(shadows.detach(platform, 0x10, 1), Ok(()));
    assert_eq!(shadows.detach(platform, 0x10, 1), Err(Errno::ENOENT));
    assert_eq!(shadows.detach_all(platform, 1), 1);
    assert_eq!(shadows.get(platform, 0x20, 1), None);
}

/// The parts of a dump, and the cursor before each.
fn dump_in_parts(runtime: &Runtime<'_, MemoryPlatform>, room: usize) -> Vec<(DumpCursor, Vec<u8>)> {
    let mut parts = Vec::new();
    let mut cursor = Some(DumpCursor::default());
    while let Some(at) = cursor {
        let part = runtime.dump_part(at, room).unwrap();
        assert!(part.text.len() <= room);
        assert!(!part.text.is_empty() || part.next.is_none());
        parts.push((at, part.text));
        cursor = part.next;
    }
    parts
}

#[test]
fn a_dump_in_parts_is_the_dump() {
    let runtime = runtime();
    for (number, name) in [(1, "one"), (2, "two"), (3, "three")] {
        runtime.upload(name, &Maker::new(number).write());
    }
    assert_eq!(runtime.act("two", ACTION_APPLY), 0);
    let mut whole = String::new();
    runtime.dump(&mut whole).unwrap();
    let entry = whole.find("\ntwo state=").unwrap() - whole.find("\none state=").unwrap();
    for room in [1, 7, entry - 1, entry, entry + 1, 2 * entry, 65536] {
        let parts = dump_in_parts(&runtime, room);
        let text: Vec<u8> = parts.iter().flat_map(|(_, text)| text.clone()).collect();
        assert_eq!(String::from_utf8(text).unwrap(), whole, "{room}");
        if room < 65536 {
            assert!(parts.len() > 1, "{room}");
        }
    }
}

#[test]
fn a_payload_that_fits_into_a_part_is_in_one_and_one_that_goes_is_left_out() {
    let runtime = runtime();
    for (number, name) in [(1, "one"), (2, "two"), (3, "three")] {
        runtime.upload(name, &Maker::new(number).write());
    }
    let mut whole = String::new();
    runtime.dump(&mut whole).unwrap();
    let entry = whole.find("\ntwo state=").unwrap() - whole.find("\none state=").unwrap();
    let parts = dump_in_parts(&runtime, entry + 2);
    for name in ["one", "two", "three"] {
        let begin = format!("{name} state=");
        assert!(
            parts
                .iter()
                .any(|(_, text)| text.starts_with(begin.as_bytes()))
        );
    }
    // The second goes when the first has been told of, and half of it, too.
    for room in [entry + 2, entry / 2] {
        let second = dump_in_parts(&runtime, room)
            .into_iter()
            .find(|(_, text)| text.starts_with(b"two state="))
            .unwrap();
        let half = runtime.dump_part(second.0, room).unwrap();
        assert_eq!(runtime.schedule("two", ACTION_UNLOAD, 0), 0);
        for cursor in [second.0, half.next.unwrap()] {
            let rest = runtime.dump_part(cursor, 65536).unwrap();
            assert!(rest.text.starts_with(b"three state="), "{room}");
        }
        runtime.upload("two", &Maker::new(2).write());
        assert_eq!(runtime.schedule("three", ACTION_UNLOAD, 0), 0);
        runtime.upload("three", &Maker::new(3).write());
    }
}

/// A debug build sees what would one day wait for itself.
#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "interrupts where a lock is taken")]
fn a_hypercall_with_interrupts_off_panics_in_a_debug_build() {
    let runtime = runtime();
    runtime.platform().interrupts_off();
    runtime.upload("one", &Maker::new(1).write());
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "waits for a lock that it has")]
fn a_dump_that_asks_for_a_dump_panics_in_a_debug_build() {
    struct Asks<'a>(&'a dyn Fn());

    impl fmt::Write for Asks<'_> {
        fn write_str(&mut self, _: &str) -> fmt::Result {
            (self.0)();
            Ok(())
        }
    }

    let runtime = runtime();
    let ask = || {
        let _ = runtime.dump(&mut String::new());
    };
    let _ = runtime.dump(&mut Asks(&ask));
}
