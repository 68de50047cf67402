//! Hooks of all kinds, and the order in which hardware sees an action.

use std::sync::{Arc, Mutex};

use crate::support::{AW, Caller, Extra, Maker, Record, TEXT, jump_at, runtime};
use xsplice_abi::Errno;
use xsplice_abi::action::{ACTION_APPLY, ACTION_REPLACE, ACTION_REVERT, ACTION_UNLOAD};
use xsplice_abi::hook::HookKind;
use xsplice_abi::hypercall::{STATE_APPLIED, STATE_CHECKED};
use xsplice_abi::profile::{LIVEPATCH, Profile, XSPLICE, XSPLICE_V1};
use xsplice_runtime::Runtime;
use xsplice_runtime::patch::memory::{Event, MemoryPlatform};
use xsplice_runtime::rendezvous::cpu::{CpuId, CpuSet};

pub(crate) type System = Runtime<'static, MemoryPlatform>;

/// A payload whose hooks are functions of their own, 16 bytes each.
pub(crate) fn hooked(number: u8, hooks: &[&'static str]) -> Maker {
    hooked_of(&XSPLICE, number, hooks)
}

/// The same of another profile.
pub(crate) fn hooked_of(profile: &'static Profile, number: u8, hooks: &[&'static str]) -> Maker {
    let mut maker = Maker::of(profile, number);
    for hook in hooks {
        maker.functions.insert(hook, vec![0xc3; 16]);
        maker.hooks.push((hook, vec![hook]));
    }
    maker
}

/// A payload with an apply hook, the function `refuse`.
pub(crate) fn refusing(profile: &'static Profile, number: u8) -> Maker {
    let mut maker = Maker::of(profile, number);
    maker.functions.insert("refuse", vec![0xc3; 16]);
    maker.hooks.push(("apply", vec!["refuse"]));
    maker
}

/// Calls seen: hook name, state and result in the argument, and whether f0 was patched then.
pub(crate) type Calls = Arc<Mutex<Vec<(String, Option<(u32, i32)>)>>>;

/// Has the hooks answer by name, and notes each call.
pub(crate) fn answering(system: &System, answers: &'static [(&'static str, i32)]) -> Calls {
    let calls = Calls::default();
    let noted = Arc::clone(&calls);
    // Names by address are asked of the runtime itself; the test has them from `describe`.
    let names: Arc<Mutex<Vec<(u64, String)>>> = Arc::default();
    let known = Arc::clone(&names);
    system
        .platform()
        .set_hook(Box::new(move |address, argument| {
            let known = known.lock().unwrap();
            let name = known
                .iter()
                .find(|(at, _)| *at == address)
                .map_or_else(|| "?".to_owned(), |(_, name)| name.clone());
            noted
                .lock()
                .unwrap()
                .push((name.clone(), argument.map(|a| (a.state, a.rc))));
            answers
                .iter()
                .find(|(hook, _)| *hook == name)
                .map_or(0, |(_, answer)| *answer)
        }));
    for (address, bytes, access) in system.platform().snapshot() {
        if access.is_none() {
            continue;
        }
        for offset in 0..bytes.len() as u64 {
            let mut text = String::new();
            system.describe(address + offset, &mut text).unwrap();
            if let Some((_, symbol)) = text.split_once(':')
                && let Some((name, _)) = symbol.split_once("+0x0/")
            {
                names
                    .lock()
                    .unwrap()
                    .push((address + offset, name.to_owned()));
            }
        }
    }
    calls
}

pub(crate) fn names(calls: &Calls) -> Vec<String> {
    calls
        .lock()
        .unwrap()
        .drain(..)
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn hooks_run_in_their_order_around_apply_and_revert() {
    let system = runtime();
    let maker = hooked(
        1,
        &[
            "load",
            "unload",
            "preapply",
            "postapply",
            "prerevert",
            "postrevert",
        ],
    );
    assert_eq!(system.upload("one", &maker.write()), 0);
    let calls = answering(&system, &[]);
    assert_eq!(system.act("one", ACTION_APPLY), 0);
    assert_eq!(names(&calls), ["preapply", "load", "postapply"]);
    assert_eq!(system.act("one", ACTION_REVERT), 0);
    assert_eq!(names(&calls), ["prerevert", "unload", "postrevert"]);
    assert_eq!(jump_at(&system, TEXT), None);
}

#[test]
fn load_hooks_see_the_jumps_and_unload_hooks_too() {
    let system = runtime();
    assert_eq!(
        system.upload("one", &hooked(1, &["load", "unload"]).write()),
        0
    );
    let _ = system.platform().take_events();
    assert_eq!(system.act("one", ACTION_APPLY), 0);
    assert_eq!(system.act("one", ACTION_REVERT), 0);
    let order: Vec<&str> = system
        .platform()
        .take_events()
        .iter()
        .filter_map(|event| match event {
            Event::WriteText(_, bytes) if bytes[0] == 0xe9 => Some("jump"),
            Event::WriteText(..) => Some("undo"),
            Event::CallHook(_) => Some("hook"),
            _ => None,
        })
        .collect();
    assert_eq!(order, ["jump", "hook", "hook", "undo"]);
}

#[test]
fn a_pre_hook_vetoes_before_anything_is_scheduled() {
    let system = runtime();
    assert_eq!(
        system.upload("one", &hooked(1, &["preapply", "postapply"]).write()),
        0
    );
    let calls = answering(&system, &[("preapply", -22)]);
    let before = system.platform().snapshot();
    assert_eq!(
        system.schedule("one", ACTION_APPLY, 0),
        Errno::EINVAL.negated()
    );
    assert_eq!(system.get("one"), Ok((STATE_CHECKED, -22)));
    system.stop();
    assert_eq!(
        names(&calls),
        ["preapply"],
        "the post hook has nothing to follow up"
    );
    assert_eq!(system.platform().snapshot(), before);
    assert_eq!(
        system.schedule("one", ACTION_UNLOAD, 0),
        0,
        "nothing is in progress"
    );
}

#[test]
fn a_pre_revert_hook_keeps_the_payload_applied() {
    let system = runtime();
    assert_eq!(system.upload("one", &hooked(1, &["prerevert"]).write()), 0);
    let _calls = answering(&system, &[("prerevert", -16)]);
    assert_eq!(system.act("one", ACTION_APPLY), 0);
    assert_eq!(
        system.schedule("one", ACTION_REVERT, 0),
        Errno::EBUSY.negated()
    );
    assert_eq!(system.get("one"), Ok((STATE_APPLIED, -16)));
    assert!(jump_at(&system, TEXT).is_some());
}

#[test]
fn an_apply_hook_stands_in_for_the_jumps_and_its_failure_is_the_result() {
    let system = runtime();
    assert_eq!(
        system.upload("one", &hooked(1, &["apply", "load", "postapply"]).write()),
        0
    );
    let calls = answering(&system, &[]);
    assert_eq!(system.act("one", ACTION_APPLY), 0);
    assert_eq!(names(&calls), ["apply", "postapply"]);
    assert_eq!(jump_at(&system, TEXT), None);
    assert_eq!(system.get("one"), Ok((STATE_APPLIED, 0)));
    assert_eq!(system.act("one", ACTION_REVERT), 0);

    let calls = answering(&system, &[("apply", -22)]);
    let epoch = system.epoch();
    assert_eq!(system.act("one", ACTION_APPLY), -22);
    assert_eq!(system.get("one"), Ok((STATE_CHECKED, -22)));
    assert_eq!(system.epoch(), epoch, "nothing was completed");
    let post = calls.lock().unwrap().last().cloned();
    assert_eq!(
        post,
        Some(("postapply".to_owned(), Some((STATE_CHECKED, -22))))
    );
}

#[test]
fn a_revert_hook_may_refuse_and_never_leaves_jumps_into_a_reverted_payload() {
    let system = runtime();
    assert_eq!(system.upload("one", &hooked(1, &["revert"]).write()), 0);
    let _calls = answering(&system, &[("revert", -22)]);
    assert_eq!(system.act("one", ACTION_APPLY), 0);
    assert_eq!(system.act("one", ACTION_REVERT), -22);
    assert_eq!(system.get("one"), Ok((STATE_APPLIED, -22)));
    assert!(jump_at(&system, TEXT).is_some());
    let _calls = answering(&system, &[]);
    assert_eq!(system.act("one", ACTION_REVERT), 0);
    assert_eq!(jump_at(&system, TEXT), None);
}

#[test]
fn replace_refuses_vetoing_hooks_on_either_side() {
    for kind in HookKind::ALL {
        let expected = if kind.is_vetoing() {
            Errno::EOPNOTSUPP.negated()
        } else {
            0
        };
        let system = runtime();
        system.upload("one", &hooked(1, &[kind.name()]).write());
        system.upload("two", &Maker::new(2).write());
        assert_eq!(system.act("one", ACTION_APPLY), 0);
        assert_eq!(
            system.act("two", ACTION_REPLACE),
            expected,
            "{} below",
            kind.name()
        );
        let system = runtime();
        system.upload("one", &Maker::new(1).write());
        system.upload("two", &hooked(2, &[kind.name()]).write());
        assert_eq!(system.act("one", ACTION_APPLY), 0);
        assert_eq!(
            system.act("two", ACTION_REPLACE),
            expected,
            "{} above",
            kind.name()
        );
    }
}

#[test]
fn a_replace_that_a_hook_stops_leaves_the_old_state() {
    for failing in ["apply", "revert"] {
        let system = runtime();
        let mut first = Maker::new(1);
        first.records.push(Record::replacing("f1"));
        if failing == "revert" {
            first.functions.insert("revert", vec![0xc3; 16]);
            first.hooks.push(("revert", vec!["revert"]));
        }
        system.upload("one", &first.write());
        system.upload("two", &Maker::new(2).stacked_on(1).write());
        let last = if failing == "apply" {
            hooked(3, &["apply"])
        } else {
            Maker::new(3)
        };
        system.upload("three", &last.write());
        assert_eq!(system.act("one", ACTION_APPLY), 0);
        assert_eq!(system.act("two", ACTION_APPLY), 0);
        let _calls = answering(&system, &[("apply", -22), ("revert", -22)]);
        let before = system.platform().snapshot();
        let epoch = system.epoch();
        assert_eq!(system.act("three", ACTION_REPLACE), -22, "{failing}");
        assert_eq!(system.platform().snapshot(), before, "{failing}");
        assert_eq!(system.epoch(), epoch);
        assert_eq!(system.get("one"), Ok((STATE_APPLIED, 0)));
        assert_eq!(system.get("two"), Ok((STATE_APPLIED, 0)));
        assert_eq!(system.get("three"), Ok((STATE_CHECKED, -22)));
        assert_eq!(
            system.act("one", ACTION_REVERT),
            Errno::EBUSY.negated(),
            "order is kept"
        );
        assert_eq!(system.act("two", ACTION_REVERT), 0);
    }
}

#[test]
fn no_answer_of_a_hook_is_taken_for_success_or_for_an_action_that_goes_on() {
    for (kind, action) in [
        (HookKind::PreApply, ACTION_APPLY),
        (HookKind::Apply, ACTION_APPLY),
        (HookKind::PreRevert, ACTION_REVERT),
        (HookKind::Revert, ACTION_REVERT),
    ] {
        for (answer, told) in [
            (Errno::EAGAIN.negated(), Errno::EBUSY.negated()),
            (5, Errno::EINVAL.negated()),
            (i32::MIN, Errno::EINVAL.negated()),
        ] {
            let system = runtime();
            system.upload("one", &hooked(1, &[kind.name()]).write());
            if action == ACTION_REVERT {
                assert_eq!(system.act("one", ACTION_APPLY), 0);
            }
            let answers = [(kind.name(), answer)];
            let _calls = answering(&system, Box::leak(Box::new(answers)));
            let what = format!("{} answers {answer}", kind.name());
            assert_eq!(system.act("one", action), told, "{what}");
            let (state, rc) = system.get("one").unwrap();
            assert_eq!(rc, told, "{what}");
            assert_eq!(state == STATE_APPLIED, action == ACTION_REVERT, "{what}");
            // Nothing is in progress: what the payload can do, it still does.
            let _calls = answering(&system, &[]);
            assert_eq!(system.act("one", action), 0, "{what}");
        }
    }
}

#[test]
fn a_hook_that_fails_changes_no_byte_whatever_its_kind() {
    let failing = |kind: HookKind, action: u32| {
        let system = runtime();
        let mut maker = hooked(1, &[kind.name()]);
        maker.records.push(Record::replacing("f1"));
        assert_eq!(system.upload("one", &maker.write()), 0);
        if action == ACTION_REVERT {
            assert_eq!(system.act("one", ACTION_APPLY), 0);
        }
        let _calls = answering(&system, Box::leak(Box::new([(kind.name(), -22)])));
        let before = (system.get("one").unwrap().0, system.platform().snapshot());
        let epoch = system.epoch();
        let result = system.act("one", action);
        let after = (system.get("one").unwrap().0, system.platform().snapshot());
        (result, before == after && system.epoch() == epoch)
    };
    for (kind, action) in [
        (HookKind::PreApply, ACTION_APPLY),
        (HookKind::Apply, ACTION_APPLY),
        (HookKind::PreRevert, ACTION_REVERT),
        (HookKind::Revert, ACTION_REVERT),
    ] {
        assert_eq!(failing(kind, action), (-22, true), "{}", kind.name());
    }
    // These come too late to refuse, so that what they return is not looked at.
    for (kind, action) in [
        (HookKind::Load, ACTION_APPLY),
        (HookKind::PostApply, ACTION_APPLY),
        (HookKind::Unload, ACTION_REVERT),
        (HookKind::PostRevert, ACTION_REVERT),
    ] {
        assert_eq!(failing(kind, action), (0, false), "{}", kind.name());
    }
}

#[test]
fn text_is_open_while_it_is_written_and_never_while_a_hook_runs() {
    // No payload with a post-hook takes part in a replace.
    for (hooks, result, writes) in [
        (&["load", "unload", "postapply"][..], -95, 4),
        (&["load", "unload"], -22, 8),
    ] {
        for profile in [&LIVEPATCH, &XSPLICE] {
            let system = runtime();
            let maker = hooked_of(profile, 1, hooks);
            assert_eq!(system.upload("one", &maker.write()), 0);
            let two = Maker::of(profile, 2).stacked_on(1);
            assert_eq!(system.upload("two", &two.write()), 0);
            assert_eq!(system.upload("three", &refusing(profile, 3).write()), 0);
            let _calls = answering(&system, &[("refuse", -22)]);
            let _ = system.platform().take_events();
            for (name, action, result) in [
                ("one", ACTION_APPLY, 0),
                ("two", ACTION_APPLY, 0),
                ("three", ACTION_REPLACE, result),
                ("two", ACTION_REVERT, 0),
                ("one", ACTION_REVERT, 0),
            ] {
                assert_eq!(system.act(name, action), result, "{name} {action}");
            }
            assert_eq!(writes_while_open(&system), writes, "{}", profile.name);
        }
    }
}

/// How often text was written; it was open then, and closed whenever a hook ran.
fn writes_while_open(system: &System) -> usize {
    let mut open = false;
    let mut writes = 0;
    for event in system.platform().take_events() {
        match event {
            Event::OpenText => assert!(!std::mem::replace(&mut open, true), "opened twice"),
            Event::CloseText => assert!(std::mem::take(&mut open), "closed twice"),
            Event::WriteText(..) => {
                assert!(open, "written while closed");
                writes += 1;
            }
            Event::CallHook(_) | Event::Serialise => assert!(!open, "{event:?} while open"),
            _ => {}
        }
    }
    assert!(!open, "left open");
    writes
}

#[test]
fn hook_sections_have_as_many_pointers_as_their_kind() {
    let system = runtime();
    let mut maker = Maker::new(1);
    maker.hooks = vec![("preapply", vec!["new", "new"])];
    assert_eq!(
        system.upload("one", &maker.write()),
        Errno::EINVAL.negated()
    );
    maker.hooks = vec![("preapply", vec![])];
    assert_eq!(
        system.upload("one", &maker.write()),
        Errno::EINVAL.negated()
    );
    maker.hooks = vec![("load", vec!["f0"])];
    assert_eq!(
        system.upload("one", &maker.write()),
        Errno::EINVAL.negated()
    );
    let mut old = Maker::of(&XSPLICE_V1, 1);
    old.hooks = vec![("preapply", vec!["new"])];
    assert_eq!(
        system.upload("one", &old.write()),
        Errno::EOPNOTSUPP.negated()
    );
    maker.hooks = vec![("load", vec!["new", "new"])];
    assert_eq!(system.upload("one", &maker.write()), 0);
}

#[test]
fn an_action_masks_writes_serialises_and_unmasks_in_that_order() {
    let system = runtime();
    system.upload("one", &Maker::new(1).write());
    let _ = system.platform().take_events();
    assert_eq!(system.schedule("one", ACTION_APPLY, 0), 0);
    let opened = system.platform().take_events();
    assert_eq!(opened, [Event::Freeze]);
    system.stop();
    let order: Vec<&str> = system
        .platform()
        .take_events()
        .iter()
        .map(|event| match event {
            Event::MaskNmis => "mask",
            Event::InterruptsOff => "off",
            Event::OpenText => "open",
            Event::WriteText(..) => "write",
            Event::CloseText => "close",
            Event::Serialise => "serialise",
            Event::InterruptsOn => "on",
            Event::UnmaskNmis => "unmask",
            Event::Log(..) => "log",
            Event::Thaw => "thaw",
            _ => "other",
        })
        .collect();
    assert_eq!(
        order,
        [
            "mask",
            "off",
            "open",
            "write",
            "close",
            "serialise",
            "on",
            "unmask",
            "log",
            "thaw"
        ]
    );
}

#[test]
fn pages_are_released_after_every_cpu_has_flushed_its_tlb() {
    let system = runtime();
    let free = system.platform().snapshot();
    system.upload("one", &Maker::new(1).write());
    let mut deaf = CpuSet::EMPTY;
    deaf.insert(CpuId(3));
    system.platform().set_deaf(deaf);
    let _ = system.platform().take_events();
    assert_eq!(system.schedule("one", ACTION_UNLOAD, 0), 0);
    let is_release = |event: &Event| matches!(event, Event::Release(_));
    let events = system.platform().take_events();
    assert!(
        !events.iter().any(is_release),
        "CPU3 may still know the pages: {events:?}"
    );
    assert!(format!("{events:?}").contains("CPU3"));
    system.platform().set_deaf(CpuSet::EMPTY);
    assert_eq!(system.upload("two", &Maker::new(2).write()), 0);
    let events = system.platform().take_events();
    let flush = events
        .iter()
        .position(|event| *event == Event::FlushTlbs)
        .unwrap();
    let release = events.iter().position(is_release).unwrap();
    assert!(flush < release);
    assert_eq!(system.schedule("two", ACTION_UNLOAD, 0), 0);
    assert_eq!(system.platform().snapshot(), free);
    assert!(system.platform().take_events().iter().any(is_release));
}

/// What happens to text and hooks, in order.
pub(crate) fn order_of(system: &System) -> Vec<&'static str> {
    let events = system.platform().take_events();
    let seen = events.iter().filter_map(|event| match event {
        Event::WriteText(_, bytes) if bytes[0] == 0xe9 => Some("jump"),
        Event::WriteText(..) => Some("undo"),
        Event::CallHook(_) => Some("hook"),
        _ => None,
    });
    seen.collect()
}

#[test]
fn hooks_of_a_livepatch_payload_run_as_in_xen_and_those_of_the_own_profiles_while_replaced() {
    for (profile, expected) in [
        (&LIVEPATCH, ["hook", "jump", "undo", "hook"]),
        (&XSPLICE, ["jump", "hook", "hook", "undo"]),
        (&XSPLICE_V1, ["jump", "hook", "hook", "undo"]),
    ] {
        let system = runtime();
        let mut maker = Maker::of(profile, 1);
        maker.hooks = vec![("load", vec!["new"]), ("unload", vec!["new"])];
        assert_eq!(system.upload("one", &maker.write()), 0);
        let _ = system.platform().take_events();
        assert_eq!(system.act("one", ACTION_APPLY), 0);
        assert_eq!(system.act("one", ACTION_REVERT), 0);
        assert_eq!(order_of(&system), expected, "{}", profile.name);
    }
}

#[test]
fn an_apply_hook_that_refused_may_have_written_the_data() {
    let system = runtime();
    let mut maker = hooked(1, &["apply"]);
    maker.sections.push(Extra::new(".data.x", AW, &[1; 8]));
    assert_eq!(system.upload("one", &maker.write()), 0);
    let calls = answering(&system, &[("apply", -22)]);
    assert_eq!(system.act("one", ACTION_APPLY), -22);
    assert_eq!(names(&calls), ["apply"]);
    let again = system.act("one", ACTION_APPLY);
    assert_eq!(again, Errno::EINVAL.negated());
    assert_eq!(names(&calls), [""; 0], "it is refused before its hook");
}

#[test]
fn no_post_hook_follows_an_action_that_a_cpu_came_too_late_for() {
    let system = runtime();
    let maker = hooked(1, &["preapply", "postapply"]);
    assert_eq!(system.upload("one", &maker.write()), 0);
    let calls = answering(&system, &[]);
    system.platform().set_online(2);
    assert_eq!(system.act("one", ACTION_APPLY), Errno::EBUSY.negated());
    assert_eq!(names(&calls), ["preapply"]);
    system.platform().set_online(1);
    assert_eq!(system.act("one", ACTION_APPLY), 0);
    assert_eq!(names(&calls), ["preapply", "postapply"]);
}
