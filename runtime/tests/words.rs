//! Words of data that a payload changes in place: what is refused, what is compared when, and what
//! every way out leaves behind.

use crate::support::uploads::{refused, taken};
use crate::support::{
    A, AW, Caller, DATA, Extra, Maker, TEXT, peek, platform, runtime, runtime_on,
};
use xsplice_abi::Errno;
use xsplice_abi::action::{ACTION_APPLY, ACTION_REPLACE, ACTION_REVERT, ACTION_UNLOAD};
use xsplice_abi::hypercall::{ACTION_FLAG_LEAVE_WORDS, STATE_APPLIED, STATE_CHECKED};
use xsplice_abi::profile::XSPLICE_V1;
use xsplice_runtime::Policy;
use xsplice_runtime::patch::memory::Event;
use xsplice_runtime::platform::Access;

const EINVAL: i32 = Errno::EINVAL.negated();
const EBUSY: i32 = Errno::EBUSY.negated();
/// Another word of the base, which holds 0.
const SPARE: u64 = DATA + 0x20;

#[test]
fn words_are_changed_in_place_and_undone() {
    let words = |address: u64, expected: u64| Maker::new(1).with_word(address, expected, 0x1234);
    let runtime = runtime();
    assert_eq!(runtime.upload("one", &words(DATA, TEXT).write()), 0);
    assert_eq!(runtime.act("one", ACTION_APPLY), 0);
    assert_eq!(peek(&runtime, DATA, 8), 0x1234_u64.to_le_bytes());
    assert_eq!(runtime.act("one", ACTION_REVERT), 0);
    assert_eq!(peek(&runtime, DATA, 8), TEXT.to_le_bytes());
    assert_eq!(
        runtime.upload("other", &{
            let mut other = words(DATA, 7);
            other.build_id = vec![2; 20];
            other.write()
        }),
        0
    );
    let before = runtime.platform().snapshot();
    assert_eq!(runtime.act("other", ACTION_APPLY), Errno::EINVAL.negated());
    assert_eq!(
        runtime.platform().snapshot(),
        before,
        "no function is patched either"
    );
    refused(
        &words(DATA + 1, 0).write(),
        Errno::EINVAL,
        "no aligned word",
    );
    refused(
        &words(TEXT + 8, 0).write(),
        Errno::EINVAL,
        "no aligned word",
    );
    refused(
        &words(DATA + 0x1000, 0).write(),
        Errno::EINVAL,
        "no aligned word",
    );
    let mut old = Maker::of(&XSPLICE_V1, 1);
    old.sections.push(Extra::new(".xsplice.words", A, &[0; 32]));
    refused(&old.write(), Errno::EOPNOTSUPP, "does not know");
}

#[test]
fn no_word_is_changed_twice_by_one_payload() {
    let twice = Maker::new(1).with_word(SPARE, 0, 1).with_word(SPARE, 0, 2);
    refused(&twice.write(), Errno::EINVAL, "same bytes");
    let others = [DATA + 0x28, SPARE, DATA + 0x18, SPARE];
    let apart = others
        .iter()
        .fold(Maker::new(1), |maker, at| maker.with_word(*at, 0, 1));
    refused(&apart.write(), Errno::EINVAL, "same bytes");
    taken(
        &Maker::new(1)
            .with_word(SPARE, 0, 1)
            .with_word(SPARE + 8, 0, 2),
    );
}

#[test]
fn a_word_that_changes_before_the_zone_stops_the_action() {
    for action in [ACTION_APPLY, ACTION_REVERT] {
        let runtime = runtime();
        let maker = Maker::new(1)
            .with_word(DATA, TEXT, 7)
            .with_word(SPARE, 0, 8);
        assert_eq!(runtime.upload("one", &maker.write()), 0);
        if action == ACTION_REVERT {
            assert_eq!(runtime.act("one", ACTION_APPLY), 0);
        }
        let (state, _) = runtime.get("one").unwrap();
        let held = peek(&runtime, SPARE, 8);
        assert_eq!(runtime.schedule("one", action, 0), 0);
        runtime.platform().overwrite(SPARE, &[9]).unwrap();
        let before = runtime.platform().snapshot();
        runtime.stop();
        assert_eq!(runtime.get("one"), Ok((state, EINVAL)));
        assert_eq!(runtime.platform().snapshot(), before);
        runtime.platform().overwrite(SPARE, &held).unwrap();
        assert_eq!(runtime.act("one", action), 0);
    }
}

#[test]
fn a_replace_that_a_hook_stops_puts_words_back() {
    let runtime = runtime();
    let one = Maker::new(1).with_word(SPARE, 0, 5);
    assert_eq!(runtime.upload("one", &one.write()), 0);
    let two = Maker::new(2).stacked_on(1).with_word(SPARE, 5, 6);
    assert_eq!(runtime.upload("two", &two.write()), 0);
    let mut three = Maker::new(3).with_word(SPARE, 0, 7);
    three.hooks.push(("apply", vec!["new"]));
    assert_eq!(runtime.upload("three", &three.write()), 0);
    assert_eq!(runtime.act("one", ACTION_APPLY), 0);
    assert_eq!(runtime.act("two", ACTION_APPLY), 0);
    runtime.platform().set_hook(Box::new(|_, _| -22));
    let before = runtime.platform().snapshot();
    assert_eq!(runtime.act("three", ACTION_REPLACE), EINVAL);
    assert_eq!(runtime.platform().snapshot(), before);
    assert_eq!(runtime.get("two"), Ok((STATE_APPLIED, 0)));
    assert_eq!(runtime.act("two", ACTION_REVERT), 0);
    assert_eq!(peek(&runtime, SPARE, 8), 5_u64.to_le_bytes());
    assert_eq!(runtime.act("one", ACTION_REVERT), 0);
    assert_eq!(peek(&runtime, SPARE, 8), [0; 8]);
}

#[test]
fn a_replace_judges_words_by_what_they_hold_once_all_is_reverted() {
    let runtime = runtime();
    let one = Maker::new(1).with_word(SPARE, 0, 5);
    assert_eq!(runtime.upload("one", &one.write()), 0);
    let two = Maker::new(2).stacked_on(1).with_word(SPARE, 5, 6);
    assert_eq!(runtime.upload("two", &two.write()), 0);
    assert_eq!(runtime.act("one", ACTION_APPLY), 0);
    assert_eq!(runtime.act("two", ACTION_APPLY), 0);
    for (expected, result) in [(5, EINVAL), (6, EINVAL), (0, 0)] {
        let three = Maker::new(3).with_word(SPARE, expected, 7);
        assert_eq!(runtime.upload("three", &three.write()), 0);
        assert_eq!(runtime.act("three", ACTION_REPLACE), result, "{expected}");
        if result != 0 {
            assert_eq!(runtime.schedule("three", ACTION_UNLOAD, 0), 0);
        }
    }
    assert_eq!(peek(&runtime, SPARE, 8), 7_u64.to_le_bytes());
}

#[test]
fn a_payload_whose_word_another_one_changes_stays_loaded() {
    let runtime = runtime();
    let mut one = Maker::new(1);
    one.sections.push(Extra::new(".data.x", AW, &[0; 8]));
    one.globals.push("new");
    assert_eq!(runtime.upload("one", &one.write()), 0);
    let regions = runtime.platform().snapshot();
    let (address, ..) = *regions
        .iter()
        .find(|(_, _, access)| *access == Some(Access::ReadWrite))
        .expect("a region of written data");
    let two = Maker::new(2).with_word(address, 0, 1);
    assert_eq!(runtime.upload("two", &two.write()), 0);
    assert_eq!(runtime.schedule("one", ACTION_UNLOAD, 0), EBUSY);
    assert_eq!(runtime.schedule("two", ACTION_UNLOAD, 0), 0);
    assert_eq!(runtime.schedule("one", ACTION_UNLOAD, 0), 0);
}

#[test]
fn a_word_that_the_base_has_changed_since_keeps_the_payload_until_the_operator_says_so() {
    let runtime = runtime();
    let payload = Maker::new(1)
        .with_word(DATA, TEXT, 0x1234)
        .with_word(SPARE, 0, 0x77);
    assert_eq!(runtime.upload("one", &payload.write()), 0);
    for (cmd, flags) in [
        (ACTION_APPLY, ACTION_FLAG_LEAVE_WORDS),
        (ACTION_REPLACE, ACTION_FLAG_LEAVE_WORDS),
        (ACTION_UNLOAD, ACTION_FLAG_LEAVE_WORDS),
        (ACTION_REVERT, ACTION_FLAG_LEAVE_WORDS << 1),
    ] {
        assert_eq!(runtime.schedule("one", cmd, flags), EINVAL, "{cmd} {flags}");
    }
    assert_eq!(runtime.act("one", ACTION_APPLY), 0);
    runtime
        .platform()
        .overwrite(DATA, &0x5555_u64.to_le_bytes())
        .unwrap();
    assert_eq!(runtime.act("one", ACTION_REVERT), EINVAL);
    assert_eq!(
        runtime.get("one").map(|(state, _)| state),
        Ok(STATE_APPLIED)
    );
    assert_eq!(
        runtime.schedule("one", ACTION_REVERT, ACTION_FLAG_LEAVE_WORDS),
        0
    );
    runtime.stop();
    assert_eq!(runtime.get("one"), Ok((STATE_CHECKED, 0)));
    assert_eq!(peek(&runtime, DATA, 8), 0x5555_u64.to_le_bytes(), "left");
    assert_eq!(peek(&runtime, SPARE, 8), [0; 8], "put back as ever");
    assert_eq!(runtime.schedule("one", ACTION_UNLOAD, 0), 0);
}

#[test]
fn a_word_that_is_as_it_was_written_is_put_back_whatever_the_operator_says() {
    let runtime = runtime();
    let payload = Maker::new(1).with_word(DATA, TEXT, 0x1234);
    assert_eq!(runtime.upload("one", &payload.write()), 0);
    assert_eq!(runtime.act("one", ACTION_APPLY), 0);
    assert_eq!(
        runtime.schedule("one", ACTION_REVERT, ACTION_FLAG_LEAVE_WORDS),
        0
    );
    runtime.stop();
    assert_eq!(peek(&runtime, DATA, 8), TEXT.to_le_bytes());
}

/// Until it is loaded nothing says whether the pointer was filled in; page 0 may be mapped.
#[test]
fn there_is_no_word_at_address_zero() {
    let memory = platform();
    memory.map(0, &[0; 16]);
    let runtime = runtime_on(memory, Policy::default());
    let upload = |address| runtime.upload("one", &Maker::new(1).with_word(address, 0, 1).write());
    assert_eq!(upload(0), EINVAL);
    assert_eq!(upload(8), 0);
}

#[test]
fn code_of_another_payload_is_no_word() {
    let runtime = runtime();
    assert_eq!(runtime.upload("one", &Maker::new(1).write()), 0);
    let regions = runtime.platform().snapshot();
    let of = |access| {
        let mut found = regions
            .iter()
            .filter(|(_, _, found)| *found == Some(access));
        found.next().expect("a region of this kind").0
    };
    let with = |address| Maker::new(2).with_word(address, 0, 1).write();
    let code = of(Access::ReadExecute);
    assert_eq!(runtime.upload("two", &with(code)), EINVAL);
    assert_eq!(runtime.upload("two", &with(of(Access::ReadOnly))), 0);
}

#[test]
fn words_are_applied_and_reverted_as_often_as_one_likes() {
    let runtime = runtime();
    let maker = Maker::new(1).with_word(SPARE, 0, 5);
    assert_eq!(runtime.upload("one", &maker.write()), 0);
    for _ in 0..2 {
        for (action, value) in [(ACTION_APPLY, 5), (ACTION_REVERT, 0)] {
            let _ = runtime.platform().take_events();
            assert_eq!(runtime.act("one", action), 0);
            let written = Event::WriteWord(SPARE, value);
            assert!(runtime.platform().take_events().contains(&written));
            assert_eq!(peek(&runtime, SPARE, 8), value.to_le_bytes());
        }
    }
}

/// Words of a payload are in any order, and each is known by its own address.
#[test]
fn a_replace_finds_what_each_of_many_words_will_hold() {
    let runtime = runtime();
    let words = [3, 0, 2, 1].map(|number| (SPARE + 8 * number, 10 + number));
    let one = Maker::new(1);
    let one = words
        .iter()
        .fold(one, |maker, (at, value)| maker.with_word(*at, 0, *value));
    assert_eq!(runtime.upload("one", &one.write()), 0);
    let two = Maker::new(2).stacked_on(1);
    let two = words
        .iter()
        .fold(two, |maker, (at, value)| maker.with_word(*at, *value, 30));
    assert_eq!(runtime.upload("two", &two.write()), 0);
    let three = Maker::new(3);
    let three = words
        .iter()
        .fold(three, |maker, (at, _)| maker.with_word(*at, 0, 40));
    assert_eq!(runtime.upload("three", &three.write()), 0);
    assert_eq!(runtime.act("one", ACTION_APPLY), 0);
    assert_eq!(runtime.act("two", ACTION_APPLY), 0);
    assert_eq!(runtime.act("three", ACTION_REPLACE), 0);
    for (at, _) in words {
        assert_eq!(peek(&runtime, at, 8), 40_u64.to_le_bytes());
    }
}

#[test]
fn leave_to_keep_a_word_ends_with_the_action_it_was_given_for() {
    let runtime = runtime();
    let payload = Maker::new(1).with_word(SPARE, 0, 5);
    assert_eq!(runtime.upload("one", &payload.write()), 0);
    assert_eq!(runtime.act("one", ACTION_APPLY), 0);
    runtime.platform().overwrite(SPARE, &[7]).unwrap();
    // A CPU does not come, and the action is given up.
    runtime.platform().set_online(2);
    let scheduled = runtime.schedule("one", ACTION_REVERT, ACTION_FLAG_LEAVE_WORDS);
    assert_eq!(scheduled, 0);
    runtime.stop();
    assert_eq!(runtime.get("one"), Ok((STATE_APPLIED, EBUSY)));
    runtime.platform().set_online(1);
    // The word holds what was written again, so that a revert puts it back.
    runtime.platform().overwrite(SPARE, &[5]).unwrap();
    assert_eq!(runtime.act("one", ACTION_REVERT), 0);
    assert_eq!(peek(&runtime, SPARE, 8), [0; 8]);
}
