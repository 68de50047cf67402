//! The command line on a scripted kernel: what it prints, what it waits for, how it exits. The
//! rules of the real runtime are tested where that is; here the script decides what the kernel
//! says.

use crate::server::{Kernel, Run, Server, UNKNOWN_CALL, finished, run, tool};
use std::path::Path;
use std::sync::{Arc, Mutex};
use xsplice_abi::Errno;
use xsplice_abi::action::{
    ACTION_APPLY, ACTION_CHECK, ACTION_REPLACE, ACTION_REVERT, ACTION_UNLOAD,
};
use xsplice_abi::channel::{CALL_DUMP, CALL_INFO, CALL_TEST};
use xsplice_abi::hypercall::{
    ACTION_FLAG_NODEPS, Action, Get, List, Name, OP_ACTION, OP_GET, OP_LIST, OP_UPLOAD, Operation,
    STATE_APPLIED, STATE_CHECKED, Upload,
};
use zerocopy::byteorder::little_endian::{I32, U32};

/// One payload, as the script has it.
#[derive(Clone, Default)]
struct Payload {
    name: String,
    bytes: Vec<u8>,
    state: u32,
    rc: i32,
    /// How many looks find the action in progress, and what it then comes to.
    pending: Option<(u32, Ending)>,
}

#[derive(Clone, Copy)]
struct Ending {
    state: u32,
    rc: i32,
}

#[derive(Clone, Default)]
struct Script {
    payloads: Vec<Payload>,
    /// How many looks an action takes.
    looks: u32,
    /// What APPLY comes to, after the looks.
    apply_ends: i32,
    /// What ACTION returns at once, by its number.
    action_returns: Option<(u32, i32)>,
    /// Every action that was asked for: number, timeout, flags.
    actions: Vec<(u32, u32, u32)>,
}

/// The script, which the test keeps an eye on.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Script>>);

fn name_in(area: &[u8], name: &Name) -> String {
    let at = name.name_handle.get() as usize;
    assert_ne!(at, 0, "a handle of 0 is no buffer");
    let bytes = &area[at..at + usize::from(name.size.get())];
    let (last, text) = bytes.split_last().unwrap();
    assert_eq!(*last, 0, "names end with NUL");
    String::from_utf8(text.to_vec()).unwrap()
}

impl Script {
    fn find(&mut self, name: &str) -> Option<&mut Payload> {
        self.payloads
            .iter_mut()
            .find(|payload| payload.name == name)
    }

    fn upload(&mut self, upload: &Upload, area: &[u8]) -> i32 {
        let name = name_in(area, &upload.name);
        if self.find(&name).is_some() {
            return Errno::EEXIST.negated();
        }
        let at = upload.payload_handle.get() as usize;
        let bytes = area[at..at + upload.size.get() as usize].to_vec();
        if bytes.is_empty() {
            return Errno::EINVAL.negated();
        }
        self.payloads.push(Payload {
            name,
            bytes,
            state: STATE_CHECKED,
            ..Payload::default()
        });
        0
    }

    fn get(&mut self, get: &mut Get, area: &[u8]) -> i32 {
        let Some(payload) = self.find(&name_in(area, &get.name)) else {
            return Errno::ENOENT.negated();
        };
        get.status.state = U32::new(payload.state);
        get.status.rc = I32::new(payload.rc);
        match &mut payload.pending {
            Some((0, ending)) => {
                (payload.state, payload.rc) = (ending.state, ending.rc);
                payload.pending = None;
                get.status.state = U32::new(payload.state);
                get.status.rc = I32::new(payload.rc);
            }
            Some((looks, _)) => *looks -= 1,
            None => {}
        }
        0
    }

    fn list(&self, list: &mut List, area: &mut [u8]) -> i32 {
        let count = list.nr.get().min(self.payloads.len() as u32);
        let mut name_at = list.name_handle.get() as usize;
        for (slot, payload) in self.payloads[..count as usize].iter().enumerate() {
            let mut put = |at: usize, bytes: &[u8]| {
                area[at..at + bytes.len()].copy_from_slice(bytes);
                bytes.len()
            };
            let status = list.status_handle.get() as usize + 8 * slot;
            put(status, &payload.state.to_le_bytes());
            put(status + 4, &payload.rc.to_le_bytes());
            let length = put(name_at, format!("{}\0", payload.name).as_bytes());
            name_at += length;
            put(
                list.len_handle.get() as usize + 4 * slot,
                &(length as u32).to_le_bytes(),
            );
            put(
                list.metadata_len_handle.get() as usize + 4 * slot,
                &6_u32.to_le_bytes(),
            );
            put(list.metadata_handle.get() as usize + 6 * slot, b"abi=x\0");
        }
        let names: usize = self.payloads.iter().map(|p| p.name.len() + 1).sum();
        list.name_total_size = U32::new(names as u32);
        list.metadata_total_size = U32::new(6 * self.payloads.len() as u32);
        list.nr = U32::new(self.payloads.len() as u32 - count);
        count as i32
    }

    fn action(&mut self, action: &Action, area: &[u8]) -> i32 {
        let number = action.cmd.get();
        self.actions
            .push((number, action.timeout_ns.get(), action.flags.get()));
        let (looks, apply_ends) = (self.looks, self.apply_ends);
        if let Some((which, result)) = self.action_returns
            && which == number
        {
            return result;
        }
        let name = name_in(area, &action.name);
        let Some(payload) = self.find(&name) else {
            return Errno::ENOENT.negated();
        };
        let (needed, reached) = match number {
            ACTION_UNLOAD | ACTION_CHECK => (STATE_CHECKED, STATE_CHECKED),
            ACTION_REVERT => (STATE_APPLIED, STATE_CHECKED),
            ACTION_APPLY | ACTION_REPLACE => (STATE_CHECKED, STATE_APPLIED),
            _ => return Errno::EOPNOTSUPP.negated(),
        };
        if payload.state != needed {
            return Errno::EINVAL.negated();
        }
        // A check answers at once, and leaves what the action before ended with.
        if number == ACTION_CHECK {
            return 0;
        }
        let rc = if number == ACTION_APPLY {
            apply_ends
        } else {
            0
        };
        let ending = Ending {
            state: if rc == 0 { reached } else { needed },
            rc,
        };
        payload.rc = Errno::EAGAIN.negated();
        payload.pending = Some((looks, ending));
        if number == ACTION_UNLOAD {
            self.payloads.retain(|payload| payload.name != name);
        }
        0
    }
}

impl Kernel for Scripted {
    fn sysctl(&mut self, operation: &mut Operation, area: &mut [u8]) -> i32 {
        let mut script = self.0.lock().unwrap();
        match operation.cmd.get() {
            OP_UPLOAD => script.upload(&operation.read(), area),
            OP_GET => {
                let mut get = operation.read();
                let result = script.get(&mut get, area);
                operation.write(&get);
                result
            }
            OP_LIST => {
                let mut list = operation.read();
                let result = script.list(&mut list, area);
                operation.write(&list);
                result
            }
            OP_ACTION => script.action(&operation.read(), area),
            _ => Errno::EOPNOTSUPP.negated(),
        }
    }

    fn text(&mut self, call: u32, request: &str) -> (i32, String) {
        match call {
            CALL_TEST => (0, format!("asked: {request}\n")),
            CALL_INFO => (0, "xen_extra=-unstable\nnr_cpus=4\n".to_owned()),
            CALL_DUMP => (0, "payload a\n  record f\n".to_owned()),
            _ => UNKNOWN_CALL,
        }
    }
}

fn payload(name: &str, state: u32) -> Payload {
    Payload {
        name: name.to_owned(),
        state,
        ..Payload::default()
    }
}

fn kernel(script: Script) -> (Server, Scripted) {
    let scripted = Scripted(Arc::new(Mutex::new(script)));
    (Server::start(scripted.clone()), scripted)
}

fn done(out: &str) -> Run {
    Run {
        status: Some(0),
        out: out.to_owned(),
        err: String::new(),
    }
}

#[test]
fn hello_world_reads_as_it_did() {
    let (server, scripted) = kernel(Script {
        looks: 3,
        ..Script::default()
    });
    let file = server.file("xen_hello_world.xsplice", b"payload");
    let path = file.to_str().unwrap();
    let load = server.ctl(&["load", path]);
    let uploading = format!("Uploading {path} (7 bytes) as xen_hello_world: completed\n");
    assert_eq!(
        load,
        done(&format!("{uploading}Performing apply: completed\n"))
    );
    assert_eq!(scripted.0.lock().unwrap().payloads[0].bytes, b"payload");
    let table = " ID                                     | status\n\
                 ----------------------------------------+------------\n\
                 xen_hello_world                         | APPLIED\n";
    assert_eq!(server.ctl(&["list"]), done(table));
    assert_eq!(
        server.ctl(&["revert", "xen_hello_world"]),
        done("Performing revert: completed\n")
    );
    assert_eq!(
        server.ctl(&["unload", "xen_hello_world"]),
        done("Performing unload: completed\n")
    );
    assert!(scripted.0.lock().unwrap().payloads.is_empty());
    assert_eq!(
        server.ctl(&["info"]),
        done("xen_extra              : -unstable\nnr_cpus                : 4\n")
    );
    assert_eq!(server.ctl(&["dump"]), done("payload a\n  record f\n"));
    assert_eq!(server.ctl(&["test", "nmi", "on"]), done("asked: nmi on\n"));
}

#[test]
fn each_action_asks_for_its_own_number_with_its_timeout_and_flags() {
    let (server, scripted) = kernel(Script {
        payloads: vec![payload("a", STATE_CHECKED)],
        ..Script::default()
    });
    for line in [
        "check a",
        "check a --nodeps",
        "apply a --timeout 2s --nodeps",
        "revert a --timeout 5ms",
        "replace a --timeout 7us",
        "rev a",
        "unload a",
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        assert_eq!(server.ctl(&arguments).status, Some(0), "{line}");
    }
    assert_eq!(
        scripted.0.lock().unwrap().actions,
        [
            (ACTION_CHECK, 0, 0),
            (ACTION_CHECK, 0, ACTION_FLAG_NODEPS),
            (ACTION_APPLY, 2_000_000_000, ACTION_FLAG_NODEPS),
            (ACTION_REVERT, 5_000_000, 0),
            (ACTION_REPLACE, 7_000, 0),
            (ACTION_REVERT, 0, 0),
            (ACTION_UNLOAD, 0, 0),
        ]
    );
}

#[test]
fn a_check_tells_its_own_answer_and_not_how_the_action_before_ended() {
    let busy = Payload {
        rc: Errno::EBUSY.negated(),
        ..payload("a", STATE_CHECKED)
    };
    let (server, scripted) = kernel(Script {
        payloads: vec![busy],
        ..Script::default()
    });
    assert_eq!(server.ctl(&["check", "a"]).status, Some(0));
    scripted.0.lock().unwrap().action_returns = Some((ACTION_CHECK, Errno::EINVAL.negated()));
    assert_eq!(server.ctl(&["check", "a"]).status, Some(1));
}

#[test]
fn a_load_whose_apply_fails_leaves_nothing_behind_and_exits_by_the_reason() {
    for (errno, status) in [(Errno::EINVAL, 1), (Errno::EBUSY, 2)] {
        let (server, scripted) = kernel(Script {
            looks: 2,
            apply_ends: errno.negated(),
            ..Script::default()
        });
        let file = server.file("fix.tar.xsplice", b"payload");
        let load = server.ctl(&["load", file.to_str().unwrap()]);
        assert_eq!(load.status, Some(status), "{}", load.err);
        assert!(
            load.out.ends_with("Performing apply: failed\n"),
            "{}",
            load.out
        );
        let name = errno.name().unwrap();
        let expected = format!(
            "xsplice-ctl: fix.tar: apply failed: -{name} ({}: ",
            errno.negated()
        );
        assert!(load.err.starts_with(&expected), "{}", load.err);
        assert!(load.err.ends_with("; unloaded again\n"), "{}", load.err);
        assert!(scripted.0.lock().unwrap().payloads.is_empty());
    }
}

#[test]
fn a_load_that_is_still_in_progress_is_left_alone() {
    let (server, scripted) = kernel(Script {
        looks: u32::MAX,
        ..Script::default()
    });
    let file = server.file("slow.xsplice", b"payload");
    let load = server.ctl(&["load", file.to_str().unwrap(), "--wait", "50ms"]);
    assert_eq!(load.status, Some(2));
    assert!(
        load.err.contains("still in progress after 50ms: -EAGAIN"),
        "{}",
        load.err
    );
    assert!(
        load.err
            .ends_with("left loaded, since the action may still end\n")
    );
    assert_eq!(scripted.0.lock().unwrap().payloads.len(), 1);
    // And whoever comes now is told that this is not theirs to wait for.
    let apply = server.ctl(&["apply", "slow"]);
    assert_eq!(apply.status, Some(2));
    assert!(
        apply
            .err
            .contains("not started here is in progress: -EBUSY"),
        "{}",
        apply.err
    );
}

#[test]
fn a_wrong_state_says_both_states_and_if_needed_makes_it_right() {
    let (server, scripted) = kernel(Script {
        payloads: vec![payload("a", STATE_APPLIED)],
        ..Script::default()
    });
    let again = server.ctl(&["apply", "a"]);
    assert_eq!(again.status, Some(1));
    assert_eq!(again.out, "Performing apply: failed\n");
    assert_eq!(
        again.err,
        "xsplice-ctl: a: apply failed: -EINVAL (-22: invalid argument); it is APPLIED, and apply \
         is for what is CHECKED\n"
    );
    let asked = scripted.0.lock().unwrap().actions.len();
    assert_eq!(
        server.ctl(&["apply", "a", "--if-needed"]),
        done("Performing apply: nothing to do\n")
    );
    assert_eq!(
        scripted.0.lock().unwrap().actions.len(),
        asked,
        "the kernel was not asked"
    );

    assert_eq!(
        server.ctl(&["revert", "a", "--if-needed"]).out,
        "Performing revert: completed\n"
    );
    assert_eq!(
        server.ctl(&["revert", "a", "--if-needed"]).out,
        "Performing revert: nothing to do\n"
    );
    assert_eq!(
        server.ctl(&["unload", "a", "--if-needed"]).out,
        "Performing unload: completed\n"
    );
    assert_eq!(
        server.ctl(&["unload", "a", "--if-needed"]).out,
        "Performing unload: nothing to do\n"
    );
    assert_eq!(server.ctl(&["unload", "a"]).status, Some(1));
}

#[test]
fn replace_has_nothing_to_do_only_where_it_is_alone_in_effect() {
    let mut script = Script {
        payloads: vec![payload("below", STATE_APPLIED), payload("a", STATE_APPLIED)],
        ..Script::default()
    };
    let (server, _) = kernel(script.clone());
    let stacked = server.ctl(&["replace", "a", "--if-needed"]);
    assert_eq!(stacked.status, Some(1), "{}", stacked.out);
    script.payloads[0].state = STATE_CHECKED;
    let (server, _) = kernel(script);
    assert_eq!(
        server.ctl(&["replace", "a", "--if-needed"]),
        done("Performing replace: nothing to do\n")
    );
}

#[test]
fn busy_at_once_and_unknown_payloads_are_told_apart_by_exit_status() {
    let (server, _) = kernel(Script {
        payloads: vec![payload("a", STATE_CHECKED)],
        action_returns: Some((ACTION_APPLY, Errno::EBUSY.negated())),
        ..Script::default()
    });
    assert_eq!(server.ctl(&["apply", "a"]).status, Some(2));
    for line in ["get b", "apply b", "unload b"] {
        let arguments: Vec<&str> = line.split(' ').collect();
        let missing = server.ctl(&arguments);
        assert_eq!(missing.status, Some(1), "{line}");
        assert!(
            missing.err.contains("-ENOENT (-2: no such entry)"),
            "{}",
            missing.err
        );
    }
}

#[test]
fn success_that_leaves_the_wrong_state_is_a_failure() {
    let (server, _) = kernel(Script {
        payloads: vec![payload("a", STATE_CHECKED)],
        action_returns: Some((ACTION_APPLY, 0)),
        ..Script::default()
    });
    let lied = server.ctl(&["apply", "a"]);
    assert_eq!(lied.status, Some(1));
    assert!(
        lied.err
            .contains("apply reported success but the payload is CHECKED")
    );
}

#[test]
fn json_is_the_only_thing_on_stdout_in_success_and_in_failure() {
    let (server, _) = kernel(Script {
        payloads: vec![payload("a", STATE_CHECKED)],
        ..Script::default()
    });
    let file = server.file("b.xsplice", b"payload");
    let json = |arguments: &[&str]| -> serde_json::Value {
        let run = server.ctl(&[arguments, &["--json"]].concat());
        serde_json::from_str(&run.out).unwrap_or_else(|error| panic!("{error}: {run:?}"))
    };
    assert_eq!(json(&["get", "a"])["state"], "CHECKED");
    assert_eq!(json(&["list"])["payloads"][0]["metadata"][0], "abi=x");
    assert_eq!(json(&["info"])["info"]["xen_extra"], "-unstable");
    assert_eq!(json(&["dump"])["lines"][1], "  record f");
    assert_eq!(
        json(&["load", file.to_str().unwrap()])["result"],
        "completed"
    );
    assert_eq!(
        json(&["apply", "b", "--if-needed"])["result"],
        "nothing-to-do"
    );
    let error = json(&["apply", "b"]);
    assert_eq!(error["error"]["errno"], "EINVAL");
    assert_eq!(error["error"]["number"], -22);
    let error = json(&["upload", "c", "/nonexistent/file"]);
    assert_eq!(error["error"]["errno"], serde_json::Value::Null);
}

#[test]
fn metadata_is_a_column_on_request() {
    let (server, _) = kernel(Script {
        payloads: vec![payload("a", STATE_CHECKED)],
        ..Script::default()
    });
    let list = server.ctl(&["list", "--metadata"]);
    assert!(
        list.out
            .ends_with("a                                       | CHECKED    | abi=x\n"),
        "{}",
        list.out
    );
}

#[test]
fn what_cannot_work_is_said_before_the_kernel_is_asked() {
    let (server, scripted) = kernel(Script::default());
    let file = server.file("f", b"payload");
    let path = file.to_str().unwrap();
    let long = "n".repeat(128);
    for arguments in [
        &["upload", "a", "/nonexistent/file"][..],
        &["upload", "", path],
        &["upload", &long, path],
        &["load", "/nonexistent/file"],
        &["get", &long],
        &["apply", "a", "--timeout", "30"],
        &["apply", "a", "--timeout", "5s"],
        &["frobnicate"],
        &["re", "a"],
    ] {
        let run = server.ctl(arguments);
        assert_eq!(run.status, Some(1), "{arguments:?}: {}", run.err);
        assert_ne!(run.err, "", "{arguments:?}");
    }
    assert!(scripted.0.lock().unwrap().actions.is_empty());
    let fits = "n".repeat(127);
    assert_eq!(server.ctl(&["upload", &fits, path]).status, Some(0));
}

#[test]
fn without_a_kernel_the_message_names_the_socket_or_how_to_name_one() {
    let nowhere = run(Path::new("/nonexistent/socket"), &["list"]);
    assert_eq!(nowhere.status, Some(1));
    assert!(
        nowhere.err.contains("/nonexistent/socket: cannot connect"),
        "{}",
        nowhere.err
    );
    let unnamed = finished(tool().arg("list").output().unwrap());
    assert_eq!(unnamed.status, Some(1));
    assert!(unnamed.err.contains("XSPLICE_SOCKET"), "{}", unnamed.err);
    let help = finished(tool().output().unwrap());
    assert_eq!((help.status, help.err.as_str()), (Some(0), ""));
    assert!(help.out.contains("Usage: xsplice-ctl"), "{}", help.out);
}

#[test]
fn the_environment_names_the_socket_too() {
    let (server, _) = kernel(Script::default());
    let output = tool()
        .env("XSPLICE_SOCKET", server.socket())
        .arg("list")
        .output()
        .unwrap();
    assert_eq!(finished(output).status, Some(0));
}

#[test]
fn a_kernel_that_never_answers_is_given_up_after_the_limit() {
    struct Silent;
    impl Kernel for Silent {
        fn sysctl(&mut self, _: &mut Operation, _: &mut [u8]) -> i32 {
            std::thread::sleep(std::time::Duration::from_secs(600));
            0
        }
        fn text(&mut self, _: u32, _: &str) -> (i32, String) {
            UNKNOWN_CALL
        }
    }
    let server = Server::start(Silent);
    let run = server.ctl(&["get", "a", "--wait", "100ms"]);
    assert_eq!(run.status, Some(1));
    assert!(run.err.contains("no answer within 100ms"), "{}", run.err);
}
