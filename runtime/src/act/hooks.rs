//! Calls the hooks of a payload with the argument of their kind.

use xsplice_abi::errno::Errno;
use xsplice_abi::hook::{HookArgument, HookKind};

use crate::payload::Payload;
use crate::platform::Platform;

/// The structure that a hook is given: the payload's name, state, result and records.
#[must_use]
pub fn argument(payload: &Payload, rc: i32) -> HookArgument {
    HookArgument {
        bytes: u32::try_from(size_of::<HookArgument>()).unwrap_or(0),
        state: payload.state.number(),
        rc,
        records: u32::try_from(payload.patches.len()).unwrap_or(u32::MAX),
        // The name lives in the runtime's memory for as long as the payload is loaded.
        name: u64::try_from(payload.name.as_ptr().addr()).unwrap_or(0),
        funcs: payload.records_address,
    }
}

/// Calls the one hook of a kind, if there is one; 0, or the negated error number of its refusal.
///
/// Two results are replaced. -EAGAIN means "in progress" in GET and LIST, so a caller that waits
/// for the action would wait for ever. A positive number would be taken for success.
pub fn call_single(
    platform: &impl Platform,
    payload: &Payload,
    kind: HookKind,
    rc: i32,
) -> Option<i32> {
    let address = payload.hooks.single(kind)?;
    let answer = platform.call_hook(address, Some(&argument(payload, rc)));
    Some(match Errno::from_return(answer) {
        None if answer == 0 => 0,
        None => Errno::EINVAL.negated(),
        Some(Errno::EAGAIN) => Errno::EBUSY.negated(),
        Some(errno) => errno.negated(),
    })
}

/// Calls all load or unload hooks in order.
pub fn call_all(platform: &impl Platform, payload: &Payload, kind: HookKind) {
    for address in payload.hooks.of(kind) {
        platform.call_hook(address, None);
    }
}
