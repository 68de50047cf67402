//! Two CPUs that act on one payload at the same time, over and over: the last CPU applies it, the
//! first reverts it. Each makes its own hypercalls, as two callers of a real kernel would, so that
//! actions follow each other back to back and collide.

use core::fmt;

use spin::Mutex;
use xsplice_abi::action::{ACTION_APPLY, ACTION_REVERT};
use xsplice_abi::errno::Errno;
use xsplice_abi::hypercall::{
    Action, Get, Name, OP_ACTION, OP_GET, Operation, STATE_APPLIED, STATE_CHECKED,
};
use xsplice_abi::limits::NAME_BYTES_MAX;
use xsplice_runtime::Privilege;
use zerocopy::byteorder::little_endian::{U16, U32, U64};

use crate::cpu;
use crate::platform::KernelRuntime;

/// What has come of one CPU's calls.
#[derive(Clone, Copy, Debug)]
struct Tally {
    /// Actions that ended well.
    done: u32,
    /// Actions that were scheduled and then failed.
    failed: u32,
    /// Calls turned away because another action was going on.
    busy: u64,
    /// Calls refused because the payload was in the other state.
    refused: u64,
    /// Calls that failed in any other way.
    other: u64,
    /// The epoch in which an action of this CPU was scheduled that is under way.
    waiting: Option<u64>,
}

impl Tally {
    const NONE: Tally = Tally {
        done: 0,
        failed: 0,
        busy: 0,
        refused: 0,
        other: 0,
        waiting: None,
    };
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    name: NameArea,
    rounds: u32,
    timeout_ns: u32,
}

/// Name of a payload with its NUL, as the memory that a call points into: nothing is allocated on
/// the way, so that a call can run out of memory in the runtime alone.
#[derive(Clone, Copy, Debug)]
struct NameArea {
    bytes: [u8; NAME_BYTES_MAX],
    length: usize,
}

impl NameArea {
    fn new(name: &str) -> Option<NameArea> {
        let mut bytes = [0; NAME_BYTES_MAX];
        let length = name.len().checked_add(1)?;
        bytes.get_mut(..length)?[..name.len()].copy_from_slice(name.as_bytes());
        Some(NameArea { bytes, length })
    }

    fn described(&self) -> Name {
        Name {
            name_handle: U64::ZERO,
            size: U16::new(u16::try_from(self.length).unwrap_or(u16::MAX)),
            pad: [U16::ZERO; 3],
        }
    }
}

static PLAN: Mutex<Option<Plan>> = Mutex::new(None);
/// Each CPU locks its own alone while it calls, so that the calls can collide.
static APPLYING: Mutex<Tally> = Mutex::new(Tally::NONE);
static REVERTING: Mutex<Tally> = Mutex::new(Tally::NONE);

/// Starts one: `rounds` actions of either kind on the payload called `name`.
///
/// # Errors
/// -EINVAL for a name that no payload can have.
pub(crate) fn start(name: &str, rounds: u32, timeout_ns: u32) -> Result<(), Errno> {
    let name = NameArea::new(name).ok_or(Errno::EINVAL)?;
    *APPLYING.lock() = Tally::NONE;
    *REVERTING.lock() = Tally::NONE;
    *PLAN.lock() = Some(Plan {
        name,
        rounds,
        timeout_ns,
    });
    Ok(())
}

/// Prints how far it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress;

impl fmt::Display for Progress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = PLAN.lock().as_ref().map_or(0, |plan| plan.rounds);
        let tallies = [("apply", *APPLYING.lock()), ("revert", *REVERTING.lock())];
        let is_running = tallies
            .iter()
            .any(|(_, tally)| tally.waiting.is_some() || tally.done < rounds);
        write!(out, "running={}", u8::from(is_running))?;
        for (what, tally) in tallies {
            let Tally {
                done,
                failed,
                busy,
                refused,
                other,
                ..
            } = tally;
            write!(
                out,
                " {what}={done} {what}_failed={failed} {what}_busy={busy} \
                 {what}_refused={refused} {what}_other={other}"
            )?;
        }
        out.write_str("\n")
    }
}

/// CPU `number`'s part of it, once a turn.
pub(crate) fn turn(runtime: &KernelRuntime, number: u32) {
    let (tally, action, from) = if number + 1 == cpu::count() {
        (&APPLYING, ACTION_APPLY, STATE_CHECKED)
    } else if number == 0 {
        (&REVERTING, ACTION_REVERT, STATE_APPLIED)
    } else {
        return;
    };
    let Some(plan) = *PLAN.lock() else {
        return;
    };
    let tally = &mut *tally.lock();
    if tally.done >= plan.rounds && tally.waiting.is_none() {
        return;
    }
    let mut get = Operation::with(
        OP_GET,
        &Get {
            name: plan.name.described(),
            ..Get::default()
        },
    );
    if call(runtime, &mut get, &plan.name) != 0 {
        tally.other += 1;
        return;
    }
    let status = get.read::<Get>().status;
    // The two kinds alternate, so that the epoch has changed if and only if it was done; the result
    // may be that of the other CPU's next action by now.
    if let Some(epoch) = tally.waiting {
        if runtime.epoch() != epoch {
            tally.waiting = None;
            tally.done += 1;
        } else if status.rc.get() != Errno::EAGAIN.negated() {
            tally.waiting = None;
            tally.failed += 1;
        }
    }
    // At once when the state is the one to leave: the other CPU's action may not be over yet.
    if tally.waiting.is_some() || tally.done >= plan.rounds || status.state.get() != from {
        return;
    }
    let mut operation = Operation::with(
        OP_ACTION,
        &Action {
            name: plan.name.described(),
            cmd: U32::new(action),
            timeout_ns: U32::new(plan.timeout_ns),
            ..Action::default()
        },
    );
    let epoch = runtime.epoch();
    match Errno::from_return(call(runtime, &mut operation, &plan.name)) {
        None => tally.waiting = Some(epoch),
        Some(Errno::EBUSY | Errno::EAGAIN) => tally.busy += 1,
        Some(Errno::EINVAL) => tally.refused += 1,
        Some(_) => tally.other += 1,
    }
}

/// A call whose area holds the name and nothing else.
fn call(runtime: &KernelRuntime, operation: &mut Operation, name: &NameArea) -> i32 {
    let mut area = name.bytes;
    let area = area.get_mut(..name.length).unwrap_or_default();
    runtime.hypercall(Privilege::Privileged, operation, area)
}
