//! What is looked at again when nothing else runs, and what an action that does not take place
//! leaves behind.

use crate::support::{Caller, FUNCTIONS, Maker, Record, TEXT, base_text, peek, runtime};
use xsplice_abi::Errno;
use xsplice_abi::action::{ACTION_APPLY, ACTION_REPLACE, ACTION_REVERT, ACTION_UNLOAD};
use xsplice_abi::hypercall::{STATE_APPLIED, STATE_CHECKED};
use xsplice_runtime::patch::memory::Event;
use xsplice_runtime::payload::PayloadId;
use xsplice_runtime::payload::directory::{Directory, Listing};
use xsplice_runtime::platform::{Interrupts, Platform};

const EINVAL: i32 = Errno::EINVAL.negated();
const EBUSY: i32 = Errno::EBUSY.negated();

fn of_function(number: u8, name: &'static str) -> Maker {
    let mut maker = Maker::new(number);
    maker.records = vec![Record::replacing(name)];
    maker
}

#[test]
fn bytes_that_change_before_the_zone_stop_a_revert() {
    for offset in [0, 4] {
        let runtime = runtime();
        runtime.upload("one", &Maker::new(1).write());
        assert_eq!(runtime.act("one", ACTION_APPLY), 0);
        let jump = peek(&runtime, TEXT, 5);
        assert_eq!(runtime.schedule("one", ACTION_REVERT, 0), 0);
        let changed = jump[usize::try_from(offset).unwrap()] ^ 1;
        runtime
            .platform()
            .overwrite(TEXT + offset, &[changed])
            .unwrap();
        let before = runtime.platform().snapshot();
        runtime.stop();
        assert_eq!(runtime.get("one"), Ok((STATE_APPLIED, EINVAL)), "{offset}");
        assert_eq!(runtime.platform().snapshot(), before, "{offset}");
        runtime.platform().overwrite(TEXT, &jump).unwrap();
        assert_eq!(runtime.act("one", ACTION_REVERT), 0);
        assert_eq!(peek(&runtime, TEXT, 32), base_text()[..32]);
    }
}

#[test]
fn bytes_after_endbr64_are_confirmed_to_the_last_that_is_written() {
    let f3 = FUNCTIONS[3].2;
    for (offset, result) in [(0, EINVAL), (4, EINVAL), (8, EINVAL), (9, 0)] {
        let runtime = runtime();
        runtime.upload("one", &of_function(1, "f3").write());
        assert_eq!(runtime.schedule("one", ACTION_APPLY, 0), 0);
        runtime.platform().overwrite(f3 + offset, &[0xf4]).unwrap();
        runtime.stop();
        assert_eq!(runtime.get("one").map(|(_, rc)| rc), Ok(result), "{offset}");
    }
}

#[test]
fn every_payload_of_a_replace_is_as_it_was_prepared() {
    // One place of each of the two that come off, one of what goes on, and none.
    for (changed, result) in [
        (Some(FUNCTIONS[0].2), EINVAL),
        (Some(FUNCTIONS[1].2), EINVAL),
        (Some(FUNCTIONS[2].2), EINVAL),
        (None, 0),
    ] {
        let runtime = runtime();
        let two = {
            let mut maker = of_function(2, "f1");
            maker.depends = vec![1; 20];
            maker
        };
        let three = of_function(3, "a.c#local");
        for (name, maker) in [
            ("one", of_function(1, "f0")),
            ("two", two),
            ("three", three),
        ] {
            assert_eq!(runtime.upload(name, &maker.write()), 0);
        }
        assert_eq!(runtime.act("one", ACTION_APPLY), 0);
        assert_eq!(runtime.act("two", ACTION_APPLY), 0);
        assert_eq!(runtime.schedule("three", ACTION_REPLACE, 0), 0);
        if let Some(address) = changed {
            runtime.platform().overwrite(address, &[0xf4]).unwrap();
        }
        let before = runtime.platform().snapshot();
        runtime.stop();
        assert_eq!(runtime.get("three").map(|(_, rc)| rc), Ok(result));
        let stands = runtime.platform().snapshot() == before;
        assert_eq!(stands, changed.is_some(), "{changed:x?}");
    }
}

#[test]
fn an_action_that_meets_a_cpu_that_comes_or_goes_is_forgotten() {
    let runtime = runtime();
    runtime.upload("one", &Maker::new(1).write());
    runtime.platform().refuse_freezes(1);
    let before = runtime.platform().snapshot();
    let epoch = runtime.epoch();
    assert_eq!(runtime.schedule("one", ACTION_APPLY, 0), EBUSY);
    assert_eq!(
        runtime.get("one"),
        Ok((STATE_CHECKED, 0)),
        "not in progress"
    );
    runtime.stop();
    assert_eq!(runtime.get("one"), Ok((STATE_CHECKED, 0)));
    assert_eq!(runtime.platform().snapshot(), before);
    assert_eq!(runtime.epoch(), epoch);
    // What the last action gave is said again, not what this one would have.
    runtime.platform().set_online(2);
    assert_eq!(runtime.act("one", ACTION_APPLY), EBUSY);
    runtime.platform().set_online(1);
    runtime.platform().refuse_freezes(1);
    assert_eq!(runtime.schedule("one", ACTION_APPLY, 0), EBUSY);
    assert_eq!(runtime.get("one"), Ok((STATE_CHECKED, EBUSY)));
    assert_eq!(runtime.act("one", ACTION_APPLY), 0);
}

#[test]
fn an_action_that_is_given_up_has_no_milestones_of_the_one_before() {
    let runtime = runtime();
    runtime.upload("one", &Maker::new(1).write());
    assert_eq!(runtime.act("one", ACTION_APPLY), 0);
    let done = runtime.milestones();
    assert!(done.stopping_ns().is_some() && done.acting_ns().is_some());
    assert!(done.releasing_ns().is_some(), "{done:?}");
    let order = [
        done.requested_ns,
        done.stopped_ns,
        done.released_ns,
        done.running_ns,
    ];
    assert!(order.is_sorted() && order[0] > 0, "{done:?}");
    runtime.platform().set_online(2);
    assert_eq!(runtime.act("one", ACTION_REVERT), EBUSY);
    let late = runtime.milestones();
    assert!(late.requested_ns > done.running_ns);
    assert_eq!(late.stopping_ns(), None, "{late:?}");
    assert_eq!(late.acting_ns(), None);
    assert_eq!(late.releasing_ns(), None);
}

/// How often interrupts were turned off and on again.
fn switched(events: &[Event]) -> (usize, usize) {
    let count = |wanted: &Event| events.iter().filter(|event| *event == wanted).count();
    (count(&Event::InterruptsOff), count(&Event::InterruptsOn))
}

#[test]
fn tables_that_handlers_read_are_touched_with_interrupts_off() {
    let runtime = runtime();
    let upload = Maker::new(1).write();
    let _ = runtime.platform().take_events();
    assert_eq!(runtime.upload("one", &upload), 0);
    assert_eq!(switched(&runtime.platform().take_events()), (1, 1));
    assert_eq!(runtime.schedule("one", ACTION_UNLOAD, 0), 0);
    assert_eq!(switched(&runtime.platform().take_events()), (1, 1));
    // They are left as they were found. A hypercall comes with interrupts on: this is the table's
    // own.
    let (tables, platform) = (Directory::default(), runtime.platform());
    let _ = platform.interrupts_off();
    let _ = platform.take_events();
    let listing = Listing {
        id: PayloadId(0),
        payload: Vec::new(),
        names: Vec::new(),
        symbols: Vec::new(),
        new: Vec::new(),
        exceptions: Vec::new(),
        bugs: Vec::new(),
        regions: Vec::new(),
    };
    assert!(tables.add(platform, listing).is_ok());
    assert_eq!(switched(&platform.take_events()), (1, 0));
    tables.remove(platform, PayloadId(0));
    assert_eq!(switched(&platform.take_events()), (1, 0));
}

#[test]
fn shadow_variables_are_touched_with_interrupts_off_and_leave_them_as_they_were() {
    let runtime = runtime();
    let (shadows, platform) = (runtime.shadows(), runtime.platform());
    for before in [Interrupts::On, Interrupts::Off] {
        let _ = platform.interrupts_off();
        platform.interrupts_restore(before);
        let on = usize::from(before == Interrupts::On);
        let once = |what: &str| {
            assert_eq!(switched(&platform.take_events()), (1, on), "{what}");
        };
        let _ = platform.take_events();
        shadows.attach(platform, 1, 1, 8).unwrap();
        once("attach");
        assert!(shadows.get(platform, 1, 1).is_some());
        once("get");
        assert_eq!(shadows.attach(platform, 1, 1, 8), Err(Errno::EEXIST));
        once("attach again");
        assert_eq!(shadows.detach(platform, 1, 1), Ok(()));
        once("detach");
        assert_eq!(shadows.detach_all(platform, 1), 0);
        once("detach all");
    }
}

#[test]
fn a_function_of_exactly_the_size_of_the_jump_is_replaced_and_a_smaller_one_is_not() {
    // The second begins with endbr64, which stays.
    for (name, exact) in [("f0", 5), ("f3", 9)] {
        let apply = |old_size| {
            let mut maker = of_function(1, name);
            maker.records[0].old_size = old_size;
            let runtime = runtime();
            match runtime.upload("one", &maker.write()) {
                0 => runtime.act("one", ACTION_APPLY),
                refused => refused,
            }
        };
        assert_eq!(apply(exact), 0, "{name}");
        assert_eq!(apply(exact - 1), EINVAL, "{name}");
    }
}
