//! The command line on the real runtime, over a base in memory: the states, the stack and the error
//! numbers are the loader's own. What needs many CPUs is tested in the booted kernel.

use crate::server::{Kernel, Run, Server, UNKNOWN_CALL};
use crate::support::{Maker, TEXT, jump_at};
use std::sync::Arc;
use xsplice_abi::Errno;
use xsplice_abi::channel::CALL_DUMP;
use xsplice_abi::hypercall::{OP_GET, Operation};
use xsplice_runtime::Privilege;
use xsplice_runtime::Runtime;
use xsplice_runtime::patch::memory::MemoryPlatform;
use xsplice_runtime::rendezvous::cpu::CpuId;

/// A kernel of one CPU, which goes to its safe point between two calls, at every third look only:
/// whoever does not wait for an action sees it in progress.
struct OneCpu {
    runtime: Arc<Runtime<'static, MemoryPlatform>>,
    privilege: Privilege,
    looks: u32,
}

impl Kernel for OneCpu {
    fn sysctl(&mut self, operation: &mut Operation, area: &mut [u8]) -> i32 {
        if operation.cmd.get() == OP_GET {
            self.looks += 1;
            if self.looks.is_multiple_of(3) {
                self.runtime.safe_point(CpuId(0));
            }
        }
        self.runtime.hypercall(self.privilege, operation, area)
    }

    fn text(&mut self, call: u32, _: &str) -> (i32, String) {
        if self.privilege == Privilege::Unprivileged {
            return (Errno::EPERM.negated(), String::new());
        }
        if call != CALL_DUMP {
            return UNKNOWN_CALL;
        }
        let mut text = String::new();
        self.runtime.dump(&mut text).unwrap();
        (0, text)
    }
}

/// A kernel, its two ports, and a folder of payloads.
struct Machine {
    runtime: Arc<Runtime<'static, MemoryPlatform>>,
    control: Server,
    guest: Server,
}

impl Machine {
    fn boot() -> Machine {
        let runtime = Arc::new(crate::support::runtime());
        let port = |privilege| {
            Server::start(OneCpu {
                runtime: Arc::clone(&runtime),
                privilege,
                looks: 0,
            })
        };
        Machine {
            control: port(Privilege::Privileged),
            guest: port(Privilege::Unprivileged),
            runtime,
        }
    }

    /// Writes a payload to a file named after it.
    fn file(&self, name: &str, payload: &Maker) -> String {
        let path = self
            .control
            .file(&format!("{name}.xsplice"), &payload.write());
        path.to_str().unwrap().to_owned()
    }

    /// Runs the tool; it must succeed.
    fn done(&self, line: &str) -> String {
        let run = self.run(line);
        assert_eq!(
            (run.status, run.err.as_str()),
            (Some(0), ""),
            "{line}: {}",
            run.out
        );
        run.out
    }

    /// Runs the tool; it must fail with this error number and exit status.
    fn refused(&self, line: &str, errno: Errno, status: i32) -> String {
        let run = self.run(line);
        assert_eq!(run.status, Some(status), "{line}: {}{}", run.out, run.err);
        let name = format!("-{} ({}: ", errno.name().unwrap(), errno.negated());
        assert!(run.err.contains(&name), "{line}: {}", run.err);
        run.err
    }

    fn run(&self, line: &str) -> Run {
        let arguments: Vec<&str> = line.split(' ').collect();
        self.control.ctl(&arguments)
    }

    fn states(&self) -> Vec<(String, String)> {
        let table = self.done("list");
        table
            .lines()
            .skip(2)
            .map(|line| {
                let (name, state) = line.split_once('|').unwrap();
                (name.trim().to_owned(), state.trim().to_owned())
            })
            .collect()
    }

    fn assert_states(&self, wanted: &[(&str, &str)]) {
        let states = self.states();
        let states: Vec<(&str, &str)> = states
            .iter()
            .map(|(name, state)| (name.as_str(), state.as_str()))
            .collect();
        assert_eq!(states, wanted);
    }
}

#[test]
fn load_puts_a_jump_into_the_base_and_revert_and_unload_take_all_away() {
    let machine = Machine::boot();
    let before = machine.runtime.platform().snapshot();
    let file = machine.file("fix", &Maker::new(1));
    let said = machine.done(&format!("load {file}"));
    assert!(
        said.ends_with("as fix: completed\nPerforming apply: completed\n"),
        "{said}"
    );
    machine.assert_states(&[("fix", "APPLIED")]);
    assert!(jump_at(&machine.runtime, TEXT).is_some());
    assert!(machine.done("dump").contains("fix"));

    assert_eq!(machine.done("revert fix"), "Performing revert: completed\n");
    machine.assert_states(&[("fix", "CHECKED")]);
    assert_eq!(jump_at(&machine.runtime, TEXT), None);
    assert_eq!(machine.done("unload fix"), "Performing unload: completed\n");
    machine.assert_states(&[]);
    assert_eq!(machine.runtime.platform().snapshot(), before);
}

#[test]
fn the_stack_is_built_and_taken_down_in_order_only() {
    let machine = Machine::boot();
    let first = machine.file("first", &Maker::new(1));
    let second = machine.file("second", &Maker::new(2).stacked_on(1));
    machine.done(&format!("upload first {first}"));
    machine.done(&format!("upload second {second}"));
    machine.refused("check second", Errno::EINVAL, 1);
    machine.refused("apply second", Errno::EINVAL, 1);
    assert_eq!(machine.done("check first"), "Performing check: completed\n");
    machine.assert_states(&[("first", "CHECKED"), ("second", "CHECKED")]);
    machine.done("apply first");
    machine.done("check second");
    machine.done("apply second");
    machine.refused("revert first", Errno::EBUSY, 2);
    machine.assert_states(&[("first", "APPLIED"), ("second", "APPLIED")]);
    machine.done("revert second");
    machine.done("revert first");
    machine.done("apply second --nodeps");
    machine.assert_states(&[("first", "CHECKED"), ("second", "APPLIED")]);
}

#[test]
fn replace_reverts_what_is_in_effect() {
    let machine = Machine::boot();
    let first = machine.file("first", &Maker::new(1));
    let other = machine.file("other", &Maker::new(2));
    machine.done(&format!("load {first}"));
    machine.done(&format!("upload other {other}"));
    machine.done("replace other");
    machine.assert_states(&[("first", "CHECKED"), ("other", "APPLIED")]);
    let again = machine.refused("replace other", Errno::EINVAL, 1);
    assert!(
        again.contains("it is APPLIED, and replace is for what is CHECKED"),
        "{again}"
    );
    assert_eq!(
        machine.done("replace other --if-needed"),
        "Performing replace: nothing to do\n"
    );
}

#[test]
fn load_if_needed_takes_what_is_there_when_it_is_the_same_payload() {
    let machine = Machine::boot();
    let first = machine.file("first", &Maker::new(1));
    let stacked = machine.file("stacked", &Maker::new(3).stacked_on(1));
    machine.done(&format!("upload stacked {stacked}"));
    // What was there before is not taken out when its apply fails.
    machine.refused(&format!("load {stacked} --if-needed"), Errno::EINVAL, 1);
    machine.assert_states(&[("stacked", "CHECKED")]);
    machine.done(&format!("load {first} --if-needed"));
    machine.refused(&format!("load {first}"), Errno::EEXIST, 1);
    let said = machine.done(&format!("load {stacked} --if-needed"));
    assert!(
        said.ends_with("as stacked: nothing to do\nPerforming apply: completed\n"),
        "{said}"
    );
    let again = machine.done(&format!("load {first} --if-needed"));
    assert!(
        again.ends_with("as first: nothing to do\nPerforming apply: nothing to do\n"),
        "{again}"
    );
    let again = machine.done(&format!("upload first {first} --if-needed"));
    assert!(again.ends_with("as first: nothing to do\n"), "{again}");
}

#[test]
fn metadata_that_exceed_a_frame_together_are_listed_all_the_same() {
    let machine = Machine::boot();
    let mut names = Vec::new();
    for number in 1..=3 {
        let mut payload = Maker::new(number);
        let text = format!("abi=xsplice\0note={}\0", "x".repeat(1_200_000));
        payload.metadata = Some(text.into_bytes());
        let name = format!("large{number}");
        let file = machine.file(&name, &payload);
        machine.done(&format!("upload {name} {file}"));
        names.push(name);
    }
    let states: Vec<String> = machine.states().into_iter().map(|(name, _)| name).collect();
    assert_eq!(states, names);
}

#[test]
fn another_payload_of_the_same_name_is_not_what_is_needed() {
    let machine = Machine::boot();
    let first = machine.file("first", &Maker::new(1));
    let other = machine.file("other", &Maker::new(2));
    machine.done(&format!("load {first} --name fix"));
    let before = machine.runtime.platform().snapshot();
    for line in [
        format!("load {other} --name fix --if-needed"),
        format!("upload fix {other} --if-needed"),
    ] {
        let said = machine.refused(&line, Errno::EEXIST, 1);
        assert!(said.contains("another payload of this name"), "{said}");
    }
    assert_eq!(machine.runtime.platform().snapshot(), before);
    machine.assert_states(&[("fix", "APPLIED")]);
}

#[test]
fn what_the_loader_refuses_is_not_left_behind_by_load() {
    let machine = Machine::boot();
    let first = machine.file("first", &Maker::new(1));
    let stacked = machine.file("stacked", &Maker::new(3).stacked_on(2));
    machine.done(&format!("load {first}"));
    machine.refused(&format!("load {first}"), Errno::EEXIST, 1);
    machine.refused(&format!("load {first} --name other"), Errno::EEXIST, 1);
    let said = machine.refused(&format!("load {stacked}"), Errno::EINVAL, 1);
    assert!(said.ends_with("; unloaded again\n"), "{said}");
    let mut truncated = Maker::new(4).write();
    truncated.truncate(truncated.len() / 2);
    let truncated = machine.control.file("truncated", &truncated);
    let run = machine
        .control
        .ctl(&["upload", "truncated", truncated.to_str().unwrap()]);
    assert_eq!(run.status, Some(1), "{}", run.out);
    machine.assert_states(&[("first", "APPLIED")]);
    machine.refused("unload first", Errno::EINVAL, 1);
    machine.refused("get nobody", Errno::ENOENT, 1);
}

#[test]
fn the_unprivileged_port_is_refused_every_command() {
    let machine = Machine::boot();
    let file = machine.file("fix", &Maker::new(1));
    machine.done(&format!("upload fix {file}"));
    for line in [
        "info",
        "list",
        "get fix",
        &format!("upload other {file}"),
        &format!("load {file}"),
        "check fix",
        "apply fix",
        "revert fix",
        "replace fix",
        "unload fix",
        "dump",
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        let run = machine.guest.ctl(&arguments);
        assert_eq!(run.status, Some(1), "{line}: {}", run.out);
        assert!(run.err.contains("-EPERM (-1: "), "{line}: {}", run.err);
    }
    machine.assert_states(&[("fix", "CHECKED")]);
}

#[test]
fn a_list_longer_than_the_table_of_one_look_is_complete() {
    let machine = Machine::boot();
    let names: Vec<String> = (1..=40).map(|number| format!("payload-{number}")).collect();
    for (number, name) in (1..).zip(&names) {
        let file = machine.file(name, &Maker::new(number));
        machine.done(&format!("upload {name} {file}"));
    }
    let states = machine.states();
    let listed: Vec<&String> = states.iter().map(|(name, _)| name).collect();
    assert_eq!(listed, names.iter().collect::<Vec<_>>());
}
