//! A replace that fails puts everything back, with the hooks that belong to that.

use crate::hooks::{answering, hooked, hooked_of, names, order_of, refusing};
use crate::support::{Caller, Maker, TEXT, jump_at, runtime};
use xsplice_abi::Errno;
use xsplice_abi::action::{ACTION_APPLY, ACTION_REPLACE, ACTION_REVERT, ACTION_UNLOAD};
use xsplice_abi::hypercall::{STATE_APPLIED, STATE_CHECKED};
use xsplice_abi::profile::{LIVEPATCH, XSPLICE};

#[test]
fn a_failed_replace_writes_no_jump_that_did_not_stand_before() {
    let system = runtime();
    let mut standing_in = Maker::new(1);
    standing_in.functions.insert("stands_in", vec![0xc3; 16]);
    standing_in.hooks.push(("apply", vec!["stands_in"]));
    assert_eq!(system.upload("one", &standing_in.write()), 0);
    assert_eq!(
        system.upload("two", &Maker::new(2).stacked_on(1).write()),
        0
    );
    assert_eq!(system.upload("three", &hooked(3, &["apply"]).write()), 0);
    assert_eq!(system.act("one", ACTION_APPLY), 0);
    assert_eq!(jump_at(&system, TEXT), None, "its hook stands in");
    for stands_in in [0, -22] {
        let answers = [("stands_in", stands_in), ("apply", -22)];
        let calls = answering(&system, Box::leak(Box::new(answers)));
        let before = system.platform().snapshot();
        assert_eq!(system.act("three", ACTION_REPLACE), -22);
        assert_eq!(names(&calls), ["apply", "stands_in"]);
        assert_eq!(system.platform().snapshot(), before, "{stands_in}");
        assert_eq!(system.get("one"), Ok((STATE_APPLIED, stands_in)));
    }
    // What does stand is put back beside it.
    assert_eq!(system.act("two", ACTION_APPLY), 0);
    let _calls = answering(&system, &[("stands_in", -22), ("apply", -22)]);
    let before = system.platform().snapshot();
    assert_ne!(jump_at(&system, TEXT), None);
    assert_eq!(system.act("three", ACTION_REPLACE), -22);
    assert_eq!(system.platform().snapshot(), before);
}

#[test]
fn a_failed_replace_calls_load_hooks_again_in_the_order_of_the_profile() {
    for (profile, expected) in [
        (&LIVEPATCH, ["undo", "hook", "hook", "hook", "jump"]),
        (&XSPLICE, ["hook", "undo", "hook", "jump", "hook"]),
    ] {
        let system = runtime();
        let mut maker = Maker::of(profile, 1);
        maker.hooks = vec![("load", vec!["new"]), ("unload", vec!["new"])];
        assert_eq!(system.upload("one", &maker.write()), 0);
        assert_eq!(system.upload("two", &hooked(2, &["apply"]).write()), 0);
        assert_eq!(system.act("one", ACTION_APPLY), 0);
        let _calls = answering(&system, &[("apply", -22)]);
        let _ = system.platform().take_events();
        assert_eq!(system.act("two", ACTION_REPLACE), -22);
        assert_eq!(order_of(&system), expected, "{}", profile.name);
    }
}

#[test]
fn a_failed_replace_puts_back_what_it_took_off_and_nothing_else() {
    let system = runtime();
    for (name, number) in [("one", 1), ("two", 2)] {
        assert_eq!(system.upload(name, &Maker::new(number).write()), 0);
    }
    assert_eq!(system.upload("three", &hooked(3, &["apply"]).write()), 0);
    let _calls = answering(&system, &[("apply", -22)]);
    assert_eq!(system.act("one", ACTION_APPLY), 0);
    assert_eq!(system.act("one", ACTION_REVERT), 0);
    assert_eq!(system.act("two", ACTION_APPLY), 0);
    assert_eq!(system.act("three", ACTION_REPLACE), -22);
    assert_eq!(system.get("one"), Ok((STATE_CHECKED, 0)));
    assert_eq!(system.get("two").map(|(state, _)| state), Ok(STATE_APPLIED));
}

#[test]
fn a_hook_that_stands_in_leaves_load_and_unload_hooks_out() {
    for profile in [&LIVEPATCH, &XSPLICE] {
        let system = runtime();
        let all = hooked_of(profile, 1, &["apply", "revert", "load", "unload"]);
        assert_eq!(system.upload("one", &all.write()), 0);
        assert_eq!(system.upload("two", &refusing(profile, 2).write()), 0);
        let calls = answering(&system, &[]);
        assert_eq!(system.act("one", ACTION_APPLY), 0);
        assert_eq!(names(&calls), ["apply"], "{}", profile.name);
        assert_eq!(
            system.schedule("one", ACTION_UNLOAD, 0),
            Errno::EINVAL.negated(),
            "a payload that a hook applied is applied"
        );
        let calls = answering(&system, &[("refuse", -22)]);
        assert_eq!(system.act("two", ACTION_REPLACE), -22);
        assert_eq!(names(&calls), ["revert", "refuse", "apply"]);
        assert_eq!(system.act("one", ACTION_REVERT), 0);
        assert_eq!(names(&calls), ["revert"], "{}", profile.name);
    }
}
