//! Does on a runtime in this process what an operator does on a machine: uploads, acts, waits,
//! reads the state back. One CPU goes to its safe point whenever there is something to wait for.

use xsplice_abi::action::{
    ACTION_APPLY, ACTION_CHECK, ACTION_REPLACE, ACTION_REVERT, ACTION_UNLOAD,
};
use xsplice_abi::errno::Errno;
use xsplice_abi::hypercall::{
    self, ACTION_FLAG_NODEPS, Action, Get, Name, OP_ACTION, OP_GET, OP_UPLOAD, Operation,
    STATE_APPLIED, STATE_CHECKED, Upload,
};
use xsplice_runtime::Privilege;
use xsplice_runtime::Runtime;
use xsplice_runtime::platform::Platform;
use xsplice_runtime::rendezvous::cpu::CpuId;
use zerocopy::byteorder::little_endian::{U16, U32, U64};

/// What may be done with a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Forget it.
    Unload,
    /// Undo it.
    Revert,
    /// Put it into effect on top of what is.
    Apply,
    /// Put it into effect in place of all that is.
    Replace,
    /// The same, whatever it depends on.
    ApplyAnyhow,
    /// Would APPLY succeed?
    Check,
}

/// State of a payload that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Loaded.
    Checked,
    /// In effect.
    Applied,
}

/// How often a CPU passes its safe point before an action counts as stuck.
const PASSES_MAX: u32 = 100_000;

/// Loads `payload` as `name`.
///
/// # Errors
/// The negated error number.
pub fn upload<P: Platform>(
    runtime: &Runtime<'_, P>,
    name: &str,
    payload: &[u8],
) -> Result<(), i32> {
    let (mut area, name) = named(name);
    let payload_handle = area.len();
    area.extend_from_slice(payload);
    let argument = Upload {
        name,
        size: U64::new(wide(payload.len())),
        payload_handle: U64::new(wide(payload_handle)),
    };
    result(runtime.hypercall(
        Privilege::Privileged,
        &mut Operation::with(OP_UPLOAD, &argument),
        &mut area,
    ))
}

/// Carries out `act` on the payload called `name`, to its end.
///
/// # Errors
/// The negated error number, of the call or, once scheduled, of the action.
///
/// # Panics
/// When the action never ends.
pub fn act<P: Platform>(runtime: &Runtime<'_, P>, name: &str, act: Act) -> Result<(), i32> {
    let (mut area, handle) = named(name);
    let argument = Action {
        name: handle,
        cmd: U32::new(match act {
            Act::Unload => ACTION_UNLOAD,
            Act::Revert => ACTION_REVERT,
            Act::Apply | Act::ApplyAnyhow => ACTION_APPLY,
            Act::Replace => ACTION_REPLACE,
            Act::Check => ACTION_CHECK,
        }),
        flags: U32::new(match act {
            Act::ApplyAnyhow => ACTION_FLAG_NODEPS,
            _ => 0,
        }),
        ..Action::default()
    };
    result(runtime.hypercall(
        Privilege::Privileged,
        &mut Operation::with(OP_ACTION, &argument),
        &mut area,
    ))?;
    if act == Act::Unload {
        return Ok(());
    }
    for _ in 0..PASSES_MAX {
        runtime.safe_point(CpuId(0));
        match status(runtime, name)?.1 {
            rc if rc == Errno::EAGAIN.negated() => {}
            rc => return result(rc),
        }
    }
    panic!("{act:?} of {name} is still in progress after {PASSES_MAX} safe points");
}

/// State of the payload called `name`, and the result of its last action.
///
/// # Errors
/// The negated error number, when there is no such payload.
///
/// # Panics
/// When the runtime invents a state.
pub fn status<P: Platform>(runtime: &Runtime<'_, P>, name: &str) -> Result<(State, i32), i32> {
    let (mut area, handle) = named(name);
    let argument = Get {
        name: handle,
        ..Get::default()
    };
    let mut operation = Operation::with(OP_GET, &argument);
    result(runtime.hypercall(Privilege::Privileged, &mut operation, &mut area))?;
    let status: hypercall::Status = operation.read::<Get>().status;
    let state = match status.state.get() {
        STATE_CHECKED => State::Checked,
        STATE_APPLIED => State::Applied,
        other => panic!("{other} is no state"),
    };
    Ok((state, status.rc.get()))
}

fn named(name: &str) -> (Vec<u8>, Name) {
    let mut area = name.as_bytes().to_vec();
    area.push(0);
    let size = u16::try_from(area.len()).expect("names of tests are short");
    let handle = Name {
        name_handle: U64::ZERO,
        size: U16::new(size),
        pad: [U16::ZERO; 3],
    };
    (area, handle)
}

fn wide(length: usize) -> u64 {
    u64::try_from(length).expect("lengths have at most 64 bits")
}

fn result(rc: i32) -> Result<(), i32> {
    if rc < 0 { Err(rc) } else { Ok(()) }
}
