//! Uploads beside other calls and a platform's refusals: what happens while a payload is read and
//! checked, files that are made to take long, and names that would forge lines of a log.

use crate::support;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{AW, Caller, Extra, Maker, Record, Target};
use xsplice_abi::Errno;
use xsplice_abi::action::{
    ACTION_APPLY, ACTION_CHECK, ACTION_REPLACE, ACTION_REVERT, ACTION_UNLOAD,
};
use xsplice_abi::hook::HookArgument;
use xsplice_abi::limits::{PAYLOAD_BYTES_MAX, SYMBOL_NAME_BYTES_MAX};
use xsplice_runtime::Policy;
use xsplice_runtime::patch::memory::{Event, MemoryPlatform};
use xsplice_runtime::platform::{
    Access, Interrupts, Level, MemoryFault, Platform, Region, RegionsExhausted,
};
use xsplice_runtime::rendezvous::Quiesced;
use xsplice_runtime::rendezvous::cpu::{CPUS_MAX, CpuId, CpuSet};
use xsplice_runtime::{Runtime, SetupError};

type Act = Box<dyn FnOnce() + Send>;

/// A platform on which somebody else acts when the first region of a payload is filled: in the
/// middle of an upload, when all symbols are found.
struct Shared {
    memory: MemoryPlatform,
    meanwhile: Mutex<Option<Act>>,
    danger: AtomicBool,
}

macro_rules! passed_on {
    ($($method:ident($($argument:ident: $kind:ty),*) $(-> $result:ty)?;)*) => {
        impl Platform for Shared {
            $(fn $method(&self, $($argument: $kind),*) $(-> $result)? {
                self.memory.$method($($argument),*)
            })*

            fn is_safe_to_act(&self) -> Result<(), &'static str> {
                match self.danger.load(Ordering::SeqCst) {
                    true => Err("about to suspend"),
                    false => Ok(()),
                }
            }

            fn fill(&self, region: Region, bytes: &[u8]) {
                let act = self.meanwhile.lock().unwrap().take();
                if let Some(act) = act {
                    act();
                }
                self.memory.fill(region, bytes);
            }
        }
    };
}

each_method_but_fill!(passed_on);

type Kernel = &'static Runtime<'static, Shared>;

fn kernel() -> Kernel {
    let platform = Shared {
        memory: support::platform(),
        meanwhile: Mutex::new(None),
        danger: AtomicBool::new(false),
    };
    Box::leak(Box::new(support::runtime_on(platform, Policy::default())))
}

/// Uploads `file`, and in the middle of it does `act` on another thread, which must end before the
/// upload does.
fn upload_while(
    kernel: Kernel,
    name: &str,
    file: &[u8],
    act: impl FnOnce() + Send + 'static,
) -> i32 {
    *kernel.platform().meanwhile.lock().unwrap() = Some(Box::new(|| {
        std::thread::spawn(act).join().unwrap();
    }));
    let result = kernel.upload(name, file);
    assert!(
        kernel.platform().meanwhile.lock().unwrap().is_none(),
        "acted"
    );
    result
}

/// A payload with a symbol that others may refer to.
fn with_symbol(number: u8, symbol: &'static str) -> Maker {
    let mut maker = Maker::new(number);
    maker.functions.insert(symbol, vec![0xc3; 16]);
    maker
}

/// A payload whose second record is about a function of another.
fn referring_to(number: u8, symbol: &'static str) -> Maker {
    let mut maker = Maker::new(number);
    maker.records.push(Record {
        old: Target::Undefined(symbol),
        new: Target::New("new2"),
        old_size: 16,
        ..Record::replacing("f1")
    });
    maker.functions.insert("new2", vec![0xc3; 16]);
    maker
}

fn regions(kernel: Kernel) -> usize {
    let mapped = kernel.platform().memory.snapshot();
    mapped
        .iter()
        .filter(|(_, _, access)| access.is_some())
        .count()
}

#[test]
fn an_upload_holds_up_no_other_call() {
    let kernel = kernel();
    assert_eq!(kernel.upload("other", &Maker::new(1).write()), 0);
    let result = upload_while(kernel, "mine", &Maker::new(2).write(), move || {
        assert_eq!(kernel.schedule("other", ACTION_UNLOAD, 0), 0);
        assert_eq!(kernel.upload("third", &Maker::new(3).write()), 0);
    });
    assert_eq!(result, 0);
    assert!(kernel.get("mine").is_ok() && kernel.get("third").is_ok());
    assert_eq!(kernel.get("other"), Err(Errno::ENOENT.negated()));
}

/// From the request to the end, while the other payload is read: it never waits for the stack.
#[test]
fn an_action_on_another_payload_is_not_delayed_by_an_upload() {
    let kernel = kernel();
    assert_eq!(kernel.upload("other", &Maker::new(1).write()), 0);
    let result = upload_while(kernel, "mine", &Maker::new(2).write(), move || {
        for (action, state) in [(ACTION_APPLY, 2), (ACTION_REVERT, 1), (ACTION_REPLACE, 2)] {
            assert_eq!(kernel.act("other", action), 0);
            assert_eq!(kernel.get("other"), Ok((state, 0)));
        }
    });
    assert_eq!(result, 0);
    assert_eq!(kernel.get("other"), Ok((2, 0)));
    assert_eq!(kernel.get("mine"), Ok((1, 0)));
}

#[test]
fn a_name_or_a_build_id_taken_meanwhile_is_seen() {
    for (name, number) in [("mine", 3), ("other", 2)] {
        let kernel = kernel();
        let result = upload_while(kernel, "mine", &Maker::new(2).write(), move || {
            assert_eq!(kernel.upload(name, &Maker::new(number).write()), 0);
        });
        assert_eq!(result, Errno::EEXIST.negated(), "{name}");
        let one = regions(kernel);
        assert_eq!(kernel.schedule(name, ACTION_UNLOAD, 0), 0);
        assert!(one > 0 && regions(kernel) == 0, "regions are left behind");
    }
}

/// They wait as those of a payload that is unloaded, behind these.
#[test]
fn pages_of_an_upload_that_came_too_late_are_not_lost_without_a_flush() {
    let kernel = kernel();
    let memory = &kernel.platform().memory;
    let count = |is_wanted: fn(&Event) -> bool| {
        let events = memory.take_events();
        events.iter().filter(|event| is_wanted(event)).count()
    };
    let below = with_symbol(1, "brand_new").write();
    assert_eq!(kernel.upload("below", &below), 0);
    let mut mine = referring_to(2, "brand_new");
    mine.sections.push(Extra::new(".data.x", AW, &[0; 8]));
    let result = upload_while(kernel, "mine", &mine.write(), move || {
        kernel.platform().memory.set_deaf(CpuSet::first(1));
        assert_eq!(kernel.schedule("below", ACTION_UNLOAD, 0), 0);
    });
    assert_eq!(result, Errno::EBUSY.negated());
    let given = count(|event| matches!(event, Event::Allocate(_)));
    assert_eq!((given, regions(kernel)), (5, 0), "all are unmapped");
    memory.set_deaf(CpuSet::EMPTY);
    assert_eq!(kernel.upload("next", &Maker::new(4).write()), 0);
    let released = count(|event| matches!(event, Event::Release(_)));
    assert_eq!(released, given);
}

#[test]
fn a_symbol_taken_meanwhile_is_seen() {
    let kernel = kernel();
    let result = upload_while(
        kernel,
        "mine",
        &with_symbol(2, "brand_new").write(),
        move || {
            assert_eq!(
                kernel.upload("other", &with_symbol(3, "brand_new").write()),
                0
            );
        },
    );
    assert_eq!(result, Errno::EEXIST.negated());
}

#[test]
fn a_payload_that_is_referred_to_may_not_go_meanwhile() {
    let kernel = kernel();
    let below = with_symbol(1, "brand_new").write();
    assert_eq!(kernel.upload("below", &below), 0);
    let mine = referring_to(2, "brand_new").write();
    // The premise.
    assert_eq!(kernel.upload("mine", &mine), 0);
    assert_eq!(
        kernel.schedule("below", ACTION_UNLOAD, 0),
        Errno::EBUSY.negated()
    );
    assert_eq!(kernel.schedule("mine", ACTION_UNLOAD, 0), 0);

    let third = Maker::new(3).write();
    let unharmed = upload_while(kernel, "mine", &mine, move || {
        assert_eq!(kernel.upload("third", &third), 0);
    });
    assert_eq!(unharmed, 0, "another payload came");
    assert_eq!(kernel.schedule("mine", ACTION_UNLOAD, 0), 0);
    let before = regions(kernel);

    let result = upload_while(kernel, "mine", &mine, move || {
        assert_eq!(kernel.schedule("below", ACTION_UNLOAD, 0), 0);
    });
    assert_eq!(result, Errno::EBUSY.negated());
    assert!(regions(kernel) < before, "those of the one that went");
}

/// Only among merged strings is such a name a label that the assembler made.
#[test]
fn a_function_that_is_named_like_a_label_is_found_by_others() {
    let kernel = kernel();
    assert_eq!(kernel.upload("below", &with_symbol(1, ".Lnew").write()), 0);
    assert_eq!(kernel.upload("mine", &referring_to(2, ".Lnew").write()), 0);
}

/// An ELF file of `bytes` bytes that is all symbols with one name of half its size.
fn symbols_with_one_name(bytes: usize) -> Vec<u8> {
    let name_bytes = bytes / 2;
    let count = name_bytes / 24;
    let strings = [vec![0], vec![b'a'; name_bytes], vec![0]].concat();
    let mut symbols = vec![0; 24];
    for _ in 1..count {
        symbols.extend(1_u32.to_le_bytes());
        symbols.extend([0x12, 0, 0xf1, 0xff]);
        symbols.extend([0; 16]);
    }
    file(&[(2, &symbols, 2, 24), (3, &strings, 0, 0)], 0)
}

/// One that is all sections with one name of half its size.
fn sections_with_one_name(bytes: usize) -> Vec<u8> {
    let name_bytes = bytes / 2;
    let strings = [vec![0], vec![b'a'; name_bytes], vec![0]].concat();
    file(
        &[(2, &[0; 24], 2, 24), (3, &strings, 0, 0)],
        name_bytes / 64,
    )
}

/// Sections (type, contents, link, size of entries), and so many empty ones named by the last one's
/// string at 1.
fn file(sections: &[(u32, &[u8], u32, u64)], empty: usize) -> Vec<u8> {
    let count = sections.len() + 1 + empty;
    let mut contents = Vec::new();
    let mut headers = vec![0; 64];
    // Too many for the header's field stand in the first section header.
    headers[32..40].copy_from_slice(&(count as u64).to_le_bytes());
    for (kind, bytes, link, entry_bytes) in sections {
        let mut header = [0; 64];
        header[4..8].copy_from_slice(&kind.to_le_bytes());
        header[24..32].copy_from_slice(&(64 + contents.len() as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        header[40..44].copy_from_slice(&link.to_le_bytes());
        header[56..64].copy_from_slice(&entry_bytes.to_le_bytes());
        headers.extend(header);
        contents.extend(*bytes);
    }
    for _ in 0..empty {
        let mut header = [0; 64];
        header[..4].copy_from_slice(&1_u32.to_le_bytes());
        header[4..8].copy_from_slice(&1_u32.to_le_bytes());
        header[24] = 64;
        headers.extend(header);
    }
    let mut file = vec![0; 64];
    file[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
    file[16..24].copy_from_slice(&[1, 0, 62, 0, 1, 0, 0, 0]);
    file[40..48].copy_from_slice(&(64 + contents.len() as u64).to_le_bytes());
    file[52] = 64;
    file[58] = 64;
    let count = u16::try_from(count)
        .ok()
        .filter(|count| *count < 0xff00)
        .unwrap_or(0);
    file[60..62].copy_from_slice(&count.to_le_bytes());
    file[62] = 2;
    [file, contents, headers].concat()
}

#[test]
fn a_long_name_that_many_share_costs_no_more_than_short_ones() {
    // Read whole for each, two mebibytes were tens of billions of bytes.
    let limit = Duration::from_secs(10);
    for file in [
        symbols_with_one_name(PAYLOAD_BYTES_MAX - 1000),
        sections_with_one_name(PAYLOAD_BYTES_MAX - 1000),
    ] {
        let kernel = kernel();
        let begun = Instant::now();
        let result = kernel.upload("slow", &file);
        let took = begun.elapsed();
        assert_eq!(result, Errno::EINVAL.negated());
        assert!(took < limit, "{took:?}");
    }
}

#[test]
fn the_longest_name_is_taken_and_one_byte_more_is_refused() {
    for (bytes, expected) in [
        (SYMBOL_NAME_BYTES_MAX, 0),
        (SYMBOL_NAME_BYTES_MAX + 1, Errno::EINVAL.negated()),
        (SYMBOL_NAME_BYTES_MAX + 2, Errno::EINVAL.negated()),
        (5000, Errno::EINVAL.negated()),
    ] {
        for letter in ["a", "\u{e9}"] {
            let name: &'static str =
                Box::leak(letter.repeat(bytes / letter.len()).into_boxed_str());
            let rest: &'static str =
                Box::leak(format!("{name}{}", &"a"[..bytes - name.len()]).into_boxed_str());
            let result = kernel().upload("long", &with_symbol(1, rest).write());
            assert_eq!(result, expected, "{bytes} bytes of {letter}");
        }
    }
}

#[test]
fn names_with_control_characters_are_refused() {
    for name in ["a\nb", "\u{1b}[2J", "tab\tbed", "bell\u{7}", "c1\u{9b}"] {
        let refused = Errno::EINVAL.negated();
        assert_eq!(
            kernel().upload(name, &Maker::new(1).write()),
            refused,
            "{name:?}"
        );
        let with = with_symbol(1, Box::leak(name.to_owned().into_boxed_str()));
        assert_eq!(
            kernel().upload("symbol", &with.write()),
            refused,
            "{name:?}"
        );
        let mut maker = Maker::new(1);
        maker.records[0].name = Box::leak(name.to_owned().into_boxed_str());
        assert_eq!(
            kernel().upload("record", &maker.write()),
            refused,
            "{name:?}"
        );
    }
    // What is odd is not forbidden.
    for name in ["a b", "\u{e9}t\u{e9}", "a/b.c#d"] {
        assert_eq!(kernel().upload(name, &Maker::new(1).write()), 0, "{name:?}");
    }
}

#[test]
fn a_platform_may_refuse_to_be_stopped() {
    let kernel = kernel();
    let danger = |is_there| kernel.platform().danger.store(is_there, Ordering::SeqCst);
    danger(true);
    assert_eq!(
        kernel.upload("one", &Maker::new(1).write()),
        0,
        "stops nobody"
    );
    let busy = Errno::EBUSY.negated();
    for cmd in [ACTION_APPLY, ACTION_REPLACE, ACTION_CHECK] {
        assert_eq!(kernel.schedule("one", cmd, 0), busy, "{cmd}");
    }
    assert_eq!(kernel.get("one"), Ok((1, 0)), "nothing is scheduled");
    danger(false);
    assert_eq!(kernel.act("one", ACTION_APPLY), 0);
    danger(true);
    assert_eq!(kernel.act("one", ACTION_REVERT), busy);
    danger(false);
    assert_eq!(kernel.act("one", ACTION_REVERT), 0);
    danger(true);
    assert_eq!(kernel.schedule("one", ACTION_UNLOAD, 0), 0, "stops nobody");
}

#[test]
fn a_machine_with_more_cpus_than_can_be_stopped_is_refused() {
    let runtime_for = |cpus: u16| {
        let platform = support::platform();
        platform.set_online(cpus);
        let base = xsplice_runtime::Base {
            symbols: support::base_symbols(),
            build_id: &support::BASE_ID,
            text: support::TEXT..support::TEXT + support::TEXT_BYTES,
        };
        Runtime::new(platform, base, Policy::default())
    };
    let most = u16::try_from(CPUS_MAX).unwrap();
    assert!(runtime_for(most).is_ok());
    let refused = runtime_for(most + 1).err();
    assert_eq!(
        refused,
        Some(SetupError::TooManyCpus { cpus: CPUS_MAX + 1 })
    );
}
