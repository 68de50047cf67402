//! States, stack rules and what is written: the four actions against a base in memory.

use std::sync::{Arc, Mutex};

use crate::support::{
    A, Caller, Extra, FUNCTIONS, Maker, Record, TEXT, area, base_text, jump_at, peek, runtime,
};
use xsplice_abi::Errno;
use xsplice_abi::action::{
    ACTION_APPLY, ACTION_CHECK, ACTION_REPLACE, ACTION_REVERT, ACTION_UNLOAD,
};
use xsplice_abi::hook::HookArgument;
use xsplice_abi::hypercall::{
    ACTION_FLAG_NODEPS, Action, OP_ACTION, Operation, STATE_APPLIED, STATE_CHECKED,
};
use xsplice_abi::limits::TIMEOUT_DEFAULT_NS;
use xsplice_abi::profile::{LIVEPATCH, XSPLICE_V1};
use xsplice_runtime::platform::Platform as _;

const EINVAL: i32 = Errno::EINVAL.negated();
const EBUSY: i32 = Errno::EBUSY.negated();
const ENOENT: i32 = Errno::ENOENT.negated();
const EAGAIN: i32 = Errno::EAGAIN.negated();

#[test]
fn apply_writes_a_jump_to_the_new_code_and_revert_takes_it_back() {
    let runtime = runtime();
    let before = runtime.platform().snapshot();
    assert_eq!(runtime.upload("one", &Maker::new(1).write()), 0);
    assert_eq!(runtime.get("one"), Ok((STATE_CHECKED, 0)));
    assert_eq!(runtime.schedule("one", ACTION_APPLY, 0), 0);
    assert_eq!(runtime.get("one"), Ok((STATE_CHECKED, EAGAIN)));
    assert_eq!(
        jump_at(&runtime, TEXT),
        None,
        "nothing happens before the rendezvous"
    );
    let epoch = runtime.epoch();
    runtime.stop();
    assert_ne!(runtime.epoch(), epoch);
    assert_eq!(runtime.get("one"), Ok((STATE_APPLIED, 0)));
    let new = jump_at(&runtime, TEXT).expect("a jump stands at f0");
    assert_eq!(
        peek(&runtime, new, 2),
        [1, 1],
        "it lands on the payload's code"
    );
    assert_eq!(
        peek(&runtime, TEXT + 5, 27),
        base_text()[5..32],
        "only the jump is written"
    );

    assert_eq!(runtime.act("one", ACTION_REVERT), 0);
    assert_eq!(runtime.get("one"), Ok((STATE_CHECKED, 0)));
    assert_eq!(peek(&runtime, TEXT, 32), base_text()[..32]);
    assert_eq!(
        runtime.act("one", ACTION_UNLOAD),
        ENOENT,
        "GET after UNLOAD finds nothing"
    );
    assert_eq!(
        runtime.platform().snapshot(),
        before,
        "no page and no byte is left behind"
    );
}

#[test]
fn the_jump_goes_after_endbr64() {
    let runtime = runtime();
    let mut maker = Maker::new(1);
    maker.records = vec![Record::replacing("f3")];
    assert_eq!(runtime.upload("one", &maker.write()), 0);
    assert_eq!(runtime.act("one", ACTION_APPLY), 0);
    let f3 = FUNCTIONS[3].2;
    assert_eq!(peek(&runtime, f3, 4), [0xf3, 0x0f, 0x1e, 0xfa]);
    assert!(jump_at(&runtime, f3 + 4).is_some());
}

#[test]
fn each_action_starts_from_its_state_alone() {
    let runtime = runtime();
    assert_eq!(runtime.act("one", ACTION_APPLY), ENOENT);
    runtime.upload("one", &Maker::new(1).write());
    assert_eq!(runtime.act("one", ACTION_REVERT), EINVAL);
    assert_eq!(runtime.act("one", ACTION_APPLY), 0);
    for action in [ACTION_APPLY, ACTION_REPLACE, ACTION_UNLOAD, ACTION_CHECK] {
        assert_eq!(
            runtime.schedule("one", action, 0),
            EINVAL,
            "action {action}"
        );
        assert_eq!(runtime.get("one"), Ok((STATE_APPLIED, 0)));
    }
    assert_eq!(runtime.act("one", ACTION_REVERT), 0);
    assert_eq!(
        runtime.act("one", ACTION_APPLY),
        0,
        "without data it may be applied again"
    );
}

#[test]
fn payloads_stack_on_what_they_depend_on_and_come_off_in_order() {
    let runtime = runtime();
    runtime.upload("one", &Maker::new(1).write());
    runtime.upload("two", &Maker::new(2).stacked_on(1).write());
    assert_eq!(
        runtime.act("two", ACTION_APPLY),
        EINVAL,
        "its dependency is not there"
    );
    assert_eq!(runtime.act("one", ACTION_APPLY), 0);
    let first = jump_at(&runtime, TEXT);
    assert_eq!(runtime.act("two", ACTION_APPLY), 0);
    assert_ne!(
        jump_at(&runtime, TEXT),
        first,
        "the newer payload is reached"
    );
    assert_eq!(runtime.act("one", ACTION_REVERT), EBUSY, "it is not on top");
    assert_eq!(runtime.act("two", ACTION_REVERT), 0);
    assert_eq!(jump_at(&runtime, TEXT), first, "the older payload is back");
    assert_eq!(runtime.act("one", ACTION_REVERT), 0);
    assert_eq!(peek(&runtime, TEXT, 32), base_text()[..32]);
}

#[test]
fn the_operator_may_ignore_the_dependency_of_an_apply_and_of_nothing_else() {
    let runtime = runtime();
    runtime.upload("two", &Maker::new(2).stacked_on(1).write());
    assert_eq!(
        runtime.schedule("two", ACTION_REPLACE, ACTION_FLAG_NODEPS),
        EINVAL
    );
    assert_eq!(
        runtime.schedule("two", ACTION_APPLY, 2),
        EINVAL,
        "an unknown flag"
    );
    assert_eq!(runtime.schedule("two", ACTION_CHECK, 0), EINVAL);
    assert_eq!(runtime.schedule("two", ACTION_CHECK, ACTION_FLAG_NODEPS), 0);
    assert_eq!(runtime.schedule("two", ACTION_APPLY, ACTION_FLAG_NODEPS), 0);
    runtime.stop();
    assert_eq!(runtime.get("two"), Ok((STATE_APPLIED, 0)));
}

#[test]
fn replace_leaves_the_new_payload_alone_on_the_base() {
    let runtime = runtime();
    let mut one = Maker::new(1);
    one.records.push(Record::replacing("f1"));
    runtime.upload("one", &one.write());
    runtime.upload("two", &Maker::new(2).stacked_on(1).write());
    runtime.upload("three", &Maker::new(3).write());
    runtime.act("one", ACTION_APPLY);
    runtime.act("two", ACTION_APPLY);
    assert_eq!(runtime.act("three", ACTION_REPLACE), 0);
    assert_eq!(runtime.get("one"), Ok((STATE_CHECKED, 0)));
    assert_eq!(runtime.get("two"), Ok((STATE_CHECKED, 0)));
    assert_eq!(runtime.get("three"), Ok((STATE_APPLIED, 0)));
    let new = jump_at(&runtime, TEXT).expect("f0 is replaced");
    assert_eq!(peek(&runtime, new, 1), [3]);
    assert_eq!(
        jump_at(&runtime, FUNCTIONS[1].2),
        None,
        "f1 is the base's again"
    );
    assert_eq!(runtime.act("three", ACTION_REVERT), 0);
    assert_eq!(peek(&runtime, TEXT, 64), base_text()[..64]);
}

/// Records are in any order, and each function is known by its own address.
#[test]
fn replace_compares_with_the_bytes_of_the_base_below_each_function() {
    let functions = [3, 0, 1].map(|number| FUNCTIONS[number]);
    let text = base_text();
    let mut expectations = Vec::new();
    for (_, _, address) in functions {
        let at = usize::try_from(address - TEXT).unwrap();
        expectations.push(31);
        expectations.extend(&text[at..at + 31]);
    }
    let replacing = |number| {
        let mut maker = Maker::new(number);
        maker.records = functions
            .map(|(_, name, _)| Record::replacing(name))
            .to_vec();
        maker
    };
    let runtime = runtime();
    assert_eq!(runtime.upload("one", &replacing(1).write()), 0);
    let mut two = replacing(2);
    two.sections
        .push(Extra::new(".xsplice.expect", A, &expectations));
    assert_eq!(runtime.upload("two", &two.write()), 0);
    assert_eq!(runtime.act("one", ACTION_APPLY), 0);
    assert_eq!(runtime.act("two", ACTION_REPLACE), 0);
    assert_eq!(runtime.act("two", ACTION_REVERT), 0);
    assert_eq!(peek(&runtime, TEXT, text.len()), text);
}

#[test]
fn replace_with_a_payload_for_another_one_is_refused() {
    let runtime = runtime();
    runtime.upload("one", &Maker::new(1).write());
    runtime.upload("two", &Maker::new(2).stacked_on(1).write());
    runtime.act("one", ACTION_APPLY);
    assert_eq!(runtime.act("two", ACTION_REPLACE), EINVAL);
    assert_eq!(runtime.get("one"), Ok((STATE_APPLIED, 0)));
}

#[test]
fn one_action_at_a_time() {
    let runtime = runtime();
    runtime.upload("one", &Maker::new(1).write());
    runtime.upload("two", &Maker::new(2).write());
    assert_eq!(runtime.schedule("one", ACTION_APPLY, 0), 0);
    for action in [ACTION_APPLY, ACTION_REPLACE, ACTION_UNLOAD, ACTION_CHECK] {
        assert_eq!(runtime.schedule("two", action, 0), EBUSY, "action {action}");
    }
    assert_eq!(
        runtime.upload("three", &Maker::new(3).write()),
        0,
        "uploads go on"
    );
    runtime.stop();
    assert_eq!(runtime.schedule("two", ACTION_UNLOAD, 0), 0);
}

#[test]
fn cpus_that_do_not_come_are_named_and_nothing_changes() {
    let runtime = runtime();
    runtime.upload("one", &Maker::new(1).write());
    let before = runtime.platform().snapshot();
    runtime.platform().set_online(3);
    assert_eq!(runtime.act("one", ACTION_APPLY), EBUSY);
    assert_eq!(runtime.get("one"), Ok((STATE_CHECKED, EBUSY)));
    assert_eq!(runtime.platform().snapshot(), before);
    let events = format!("{:?}", runtime.platform().take_events());
    assert!(events.contains("CPU1, CPU2"), "{events}");
    assert!(
        !events.contains("MaskNmis") && !events.contains("WriteText"),
        "{events}"
    );
    runtime.platform().set_online(1);
    assert_eq!(runtime.act("one", ACTION_APPLY), 0, "the next try works");
}

#[test]
fn the_others_are_waited_for_as_long_as_the_caller_says_or_the_default() {
    for (told_ns, waited_ns) in [
        (0, TIMEOUT_DEFAULT_NS),
        (5_000_000, 5_000_000),
        (2_000_000_000, 2_000_000_000),
    ] {
        let runtime = runtime();
        runtime.upload("one", &Maker::new(1).write());
        runtime.platform().set_online(2);
        let (name, mut area) = area("one", &[]);
        let action = Action {
            name,
            cmd: ACTION_APPLY.into(),
            timeout_ns: told_ns.into(),
            ..Action::default()
        };
        let mut operation = Operation::with(OP_ACTION, &action);
        assert_eq!(runtime.call(&mut operation, &mut area), 0);
        let before = runtime.platform().now_ns();
        runtime.stop();
        let took = runtime.platform().now_ns() - before;
        assert_eq!(runtime.get("one"), Ok((STATE_CHECKED, EBUSY)));
        // The clock goes on by a millisecond each time that somebody looks at it.
        let waited_ns = u64::from(waited_ns);
        let expected = waited_ns..waited_ns + 5_000_000;
        assert!(expected.contains(&took), "{told_ns}: {took}");
    }
}

#[test]
fn what_is_reverted_is_not_told_of_as_applied() {
    let runtime = runtime();
    runtime.upload("one", &Maker::new(1).write());
    for (action, applied) in [(ACTION_APPLY, 1), (ACTION_REVERT, 0), (ACTION_APPLY, 1)] {
        assert_eq!(runtime.act("one", action), 0);
        let mut text = String::new();
        runtime.dump(&mut text).unwrap();
        assert_eq!(text.matches("(applied)").count(), applied, "{text}");
    }
}

#[test]
fn ignoring_the_order_never_lets_a_payload_without_base_id_onto_another_base() {
    let runtime = runtime();
    let stacked = |number, below| Maker::of(&XSPLICE_V1, number).stacked_on(below).write();
    let nodeps = |name| runtime.schedule(name, ACTION_APPLY, ACTION_FLAG_NODEPS);
    // On a base that is not this one, and on a payload that is made for that.
    runtime.upload("foreign", &stacked(1, 0x77));
    runtime.upload("above", &stacked(2, 1));
    // Two that stack on each other lead nowhere.
    runtime.upload("round", &stacked(3, 4));
    runtime.upload("and round", &stacked(4, 3));
    let before = runtime.platform().snapshot();
    for name in ["foreign", "above", "round", "and round"] {
        assert_eq!(nodeps(name), EINVAL, "{name}");
        let check = runtime.schedule(name, ACTION_CHECK, ACTION_FLAG_NODEPS);
        assert_eq!(check, EINVAL, "{name}");
    }
    assert_eq!(runtime.platform().snapshot(), before);
    // What leads to this base may skip the order.
    runtime.upload("third", &stacked(7, 6));
    assert_eq!(nodeps("third"), EINVAL, "what it stacks on is not loaded");
    runtime.upload("second", &stacked(6, 5));
    runtime.upload("first", &Maker::of(&LIVEPATCH, 5).write());
    assert_eq!(
        runtime.act("third", ACTION_APPLY),
        EINVAL,
        "without the flag"
    );
    assert_eq!(nodeps("third"), 0);
    runtime.stop();
    assert_eq!(runtime.get("third"), Ok((STATE_APPLIED, 0)));
}

#[test]
fn bytes_that_change_before_the_zone_stop_an_apply() {
    // The first written byte, and the last.
    for offset in [0, 4] {
        let runtime = runtime();
        runtime.upload("one", &Maker::new(1).write());
        assert_eq!(runtime.schedule("one", ACTION_APPLY, 0), 0);
        runtime
            .platform()
            .overwrite(TEXT + offset, &[0xf4])
            .unwrap();
        let before = runtime.platform().snapshot();
        runtime.stop();
        assert_eq!(runtime.get("one"), Ok((STATE_CHECKED, EINVAL)), "{offset}");
        assert_eq!(runtime.platform().snapshot(), before, "{offset}");
    }
    // A byte that is neither expected nor written is nobody's business.
    let runtime = runtime();
    runtime.upload("one", &Maker::new(1).write());
    assert_eq!(runtime.schedule("one", ACTION_APPLY, 0), 0);
    runtime.platform().overwrite(TEXT + 5, &[0xf4]).unwrap();
    runtime.stop();
    assert_eq!(runtime.get("one"), Ok((STATE_APPLIED, 0)));
}

#[test]
fn a_revert_never_writes_over_foreign_bytes() {
    let runtime = runtime();
    runtime.upload("one", &Maker::new(1).write());
    assert_eq!(runtime.act("one", ACTION_APPLY), 0);
    let jump = peek(&runtime, TEXT, 5);
    runtime.platform().overwrite(TEXT, &[0xcc]).unwrap();
    assert_eq!(runtime.act("one", ACTION_REVERT), EINVAL);
    assert_eq!(peek(&runtime, TEXT, 1), [0xcc]);
    runtime.platform().overwrite(TEXT, &jump).unwrap();
    assert_eq!(runtime.act("one", ACTION_REVERT), 0);
}

#[test]
fn a_hook_is_told_where_the_records_are() {
    let system = runtime();
    let mut maker = Maker::new(1);
    maker.hooks.push(("preapply", vec!["new"]));
    assert_eq!(system.upload("one", &maker.write()), 0);
    let told = Arc::new(Mutex::new(None));
    let noted = Arc::clone(&told);
    let hook = move |_: u64, argument: Option<&HookArgument>| {
        *noted.lock().unwrap() = argument.map(|a| (a.records, a.funcs));
        0
    };
    system.platform().set_hook(Box::new(hook));
    assert_eq!(system.act("one", ACTION_APPLY), 0);
    let (records, funcs) = told.lock().unwrap().expect("it was called");
    assert_eq!(records, 1);
    // The old address stands 16 bytes into a record.
    assert_eq!(peek(&system, funcs + 16, 8), TEXT.to_le_bytes());
}
