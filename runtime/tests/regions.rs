//! Memory that a payload is given: every way out takes it back, in the order that TLBs need.

use crate::support::uploads::changed;
use crate::support::{A, AW, Caller as _, Extra, Maker, R64, runtime};
use xsplice_abi::Errno;
use xsplice_abi::action::ACTION_UNLOAD;
use xsplice_runtime::patch::memory::Event;
use xsplice_runtime::platform::Region;
use xsplice_runtime::rendezvous::cpu::{CpuId, CpuSet};

/// A payload with regions of all three kinds.
fn payload(number: u8) -> Maker {
    let mut maker = Maker::new(number);
    maker.sections.push(Extra::new(".data.x", AW, &[0; 8]));
    maker
}

/// What was given, unmapped and released, each in its order.
fn regions(events: &[Event]) -> [Vec<Region>; 3] {
    let of = |which: fn(&Event) -> Option<Region>| events.iter().filter_map(which).collect();
    [
        of(|event| match event {
            Event::Allocate(region) => Some(*region),
            _ => None,
        }),
        of(|event| match event {
            Event::Unmap(region) => Some(*region),
            _ => None,
        }),
        of(|event| match event {
            Event::Release(region) => Some(*region),
            _ => None,
        }),
    ]
}

/// Nothing of it has been executed or read: no TLB knows its memory.
#[test]
fn what_a_refused_upload_was_given_is_unmapped_and_released() {
    let runtime = runtime();
    let file = changed(|maker| {
        let far = Extra::new(".rodata.x", A, &[0; 8]).relocated(0, R64, "nobody", 0);
        maker.sections.push(far);
    });
    let result = runtime.upload("one", &file.write());
    assert_eq!(result, Errno::ENOENT.negated());
    let [given, unmapped, released] = regions(&runtime.platform().take_events());
    assert_eq!(given.len(), 2);
    assert_eq!((&unmapped, &released), (&given, &given));
}

#[test]
fn an_unload_unmaps_flushes_and_then_releases() {
    let runtime = runtime();
    let before = runtime.platform().snapshot();
    assert_eq!(runtime.upload("one", &payload(1).write()), 0);
    let [given, ..] = regions(&runtime.platform().take_events());
    assert_eq!(given.len(), 3);
    assert_eq!(runtime.schedule("one", ACTION_UNLOAD, 0), 0);
    let events = runtime.platform().take_events();
    let flush = events.iter().position(|event| *event == Event::FlushTlbs);
    let (first, rest) = events.split_at(flush.expect("TLBs are flushed"));
    assert_eq!(regions(first), [vec![], given.clone(), vec![]]);
    assert_eq!(regions(rest), [vec![], vec![], given]);
    assert_eq!(runtime.platform().snapshot(), before);
}

#[test]
fn no_page_is_lost_however_many_wait_for_a_flush() {
    let runtime = runtime();
    let before = runtime.platform().snapshot();
    let mut deaf = CpuSet::EMPTY;
    deaf.insert(CpuId(1));
    let names = ["one", "two", "three", "four"];
    for (number, name) in (1..).zip(names) {
        assert_eq!(runtime.upload(name, &payload(number).write()), 0);
    }
    let [mut given, ..] = regions(&runtime.platform().take_events());
    runtime.platform().set_deaf(deaf);
    for name in names {
        assert_eq!(runtime.schedule(name, ACTION_UNLOAD, 0), 0);
    }
    // One that comes meanwhile finds the pages of the others waiting.
    assert_eq!(runtime.upload("five", &payload(5).write()), 0);
    assert_eq!(runtime.schedule("five", ACTION_UNLOAD, 0), 0);
    let [more, unmapped, released] = regions(&runtime.platform().take_events());
    assert_eq!((more.len(), unmapped.len(), released.len()), (3, 15, 0));
    assert_eq!(runtime.platform().snapshot(), before, "all are unmapped");

    runtime.platform().set_deaf(CpuSet::EMPTY);
    assert_eq!(runtime.upload("six", &payload(6).write()), 0);
    let [.., mut released] = regions(&runtime.platform().take_events());
    given.extend(more);
    given.sort_unstable_by_key(|region| region.address);
    released.sort_unstable_by_key(|region| region.address);
    assert_eq!(released, given);
}
