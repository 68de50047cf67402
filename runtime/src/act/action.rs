//! Actions: the rules under which one may start, what is prepared before the rendezvous, and what
//! happens inside it.

use core::fmt;

use thiserror::Error;
use xsplice_abi::errno::Errno;
use xsplice_abi::hook::HookKind;
use xsplice_abi::hook::HookOrder;

use crate::act::hooks;
use crate::check::Fault;
use crate::names::OutOfMemory;
use crate::patch::open_text::OpenText;
use crate::patch::overlay::Overlay;
use crate::patch::{ChangedWord, Patch, WordPatch};
use crate::payload::stack::{Stack, Work};
use crate::payload::{Freshness, Payload, PayloadId, PayloadState};
use crate::platform::Platform;
use crate::rendezvous::Quiesced;

/// Whether the dependency must be on top of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dependency {
    /// It must.
    Checked,
    /// The operator takes the responsibility (NODEPS).
    Ignored,
}

/// What the operator takes the responsibility for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waived {
    /// The stack's order.
    pub dependency: Dependency,
    /// What became of words of data.
    pub changed: ChangedWord,
}

/// Why an action is refused before anything happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum ActionError {
    /// The payload is gone.
    #[error("no such payload")]
    Unknown,
    /// Not in a state that the action starts from.
    #[error("the payload is {0}; this action does not start from there")]
    WrongState(StateName),
    /// Not on top of the stack.
    #[error("the payload is not on top of the stack; revert those above it first")]
    NotOnTop,
    /// Its dependency is not on top of the stack.
    #[error("made to stack on another build-id than what is on top of the stack")]
    DependencyNotOnTop,
    /// Its profile names no base, and what it stacks on is neither the base nor loaded on it.
    #[error("made to stack on a build-id that is neither the base's nor of a payload on this base")]
    ForeignBase,
    /// REPLACE starts from the bare base, and it was made to stack on something else.
    #[error("made to stack on another payload; REPLACE leaves the base alone below it")]
    NotForBase,
    /// It was applied before and its data may have been written since.
    #[error("applied before, and its data may have changed since; unload and upload it again")]
    Used,
    /// Pre- and post-hooks cannot be combined or rolled back.
    #[error("REPLACE is not possible with pre- or post-hooks on either side; revert and apply")]
    VetoingHooks,
    /// Other payloads refer to it.
    #[error("another loaded payload refers to it; unload that first")]
    InUse,
    /// A function or word does not have the expected contents.
    #[error("{}{index} of payload {}: {fault}", kind.name(), payload.0)]
    Item {
        /// Function or word.
        kind: ItemKind,
        /// Payload that it belongs to.
        payload: PayloadId,
        /// Its number there.
        index: usize,
        /// What is wrong.
        fault: Fault,
    },
    /// No memory to prepare it.
    #[error("out of memory")]
    OutOfMemory,
}

/// What an [`ActionError::Item`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ItemKind {
    /// A record.
    Function,
    /// An in-place word.
    Word,
}

impl ItemKind {
    const fn name(self) -> &'static str {
        match self {
            ItemKind::Function => "record ",
            ItemKind::Word => "word ",
        }
    }
}

/// A state, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateName(pub PayloadState);

impl fmt::Display for StateName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self.0 {
            PayloadState::Checked => "CHECKED",
            PayloadState::Applied => "APPLIED",
        })
    }
}

impl From<OutOfMemory> for ActionError {
    fn from(_: OutOfMemory) -> Self {
        ActionError::OutOfMemory
    }
}

impl ActionError {
    /// What ACTION returns.
    #[must_use]
    pub(crate) const fn errno(&self) -> Errno {
        match self {
            ActionError::Unknown => Errno::ENOENT,
            ActionError::WrongState(_)
            | ActionError::DependencyNotOnTop
            | ActionError::ForeignBase
            | ActionError::NotForBase
            | ActionError::Used => Errno::EINVAL,
            ActionError::NotOnTop | ActionError::InUse => Errno::EBUSY,
            ActionError::VetoingHooks => Errno::EOPNOTSUPP,
            ActionError::Item { fault, .. } => fault.errno(),
            ActionError::OutOfMemory => Errno::ENOMEM,
        }
    }
}

/// Finds that `work` may be done now.
///
/// # Errors
/// The first rule of the stack that it breaks.
pub(crate) fn conditions(
    stack: &Stack,
    base_id: &[u8],
    work: Work,
    dependency: Dependency,
) -> Result<(), ActionError> {
    let payload = stack.get(work.payload()).ok_or(ActionError::Unknown)?;
    let starts_from = match work {
        Work::Revert(_) => PayloadState::Applied,
        Work::Apply(_) | Work::Replace(_) => PayloadState::Checked,
    };
    if payload.state != starts_from {
        return Err(ActionError::WrongState(StateName(payload.state)));
    }
    if let Work::Revert(id) = work {
        return match stack.applied.last() {
            Some(top) if *top == id => Ok(()),
            _ => Err(ActionError::NotOnTop),
        };
    }
    if payload.freshness == Freshness::Used && payload.writable_bytes > 0 {
        return Err(ActionError::Used);
    }
    let depends = payload.depends.as_bytes();
    match work {
        // Answered above.
        Work::Revert(_) => {}
        Work::Replace(_) => {
            if depends != base_id {
                return Err(ActionError::NotForBase);
            }
            let mut applied = stack.applied.iter().filter_map(|id| stack.get(*id));
            if payload.hooks.is_vetoing() || applied.any(|other| other.hooks.is_vetoing()) {
                return Err(ActionError::VetoingHooks);
            }
        }
        Work::Apply(_) => {
            let below = stack
                .top()
                .map_or(base_id, |payload| payload.build_id.as_bytes());
            if dependency == Dependency::Checked && depends != below {
                return Err(ActionError::DependencyNotOnTop);
            }
            if !rests_on(stack, base_id, payload) {
                return Err(ActionError::ForeignBase);
            }
        }
    }
    Ok(())
}

/// Whether `payload` was made for this base. If its profile has a note of the base, the loader has
/// compared that. Otherwise its dependency must lead to the base through loaded payloads: NODEPS
/// never allows code that was made for another image.
fn rests_on(stack: &Stack, base_id: &[u8], payload: &Payload) -> bool {
    let mut payload = payload;
    // Each step goes one payload further down, so more steps than payloads mean a circle.
    for _ in 0..=stack.payloads.len() {
        let depends = payload.depends.as_bytes();
        if payload.base.is_some() || depends == base_id {
            return true;
        }
        let is_below = |other: &&Payload| other.build_id.as_bytes() == depends;
        match stack.payloads.iter().find(is_below) {
            Some(below) => payload = below,
            None => return false,
        }
    }
    false
}

/// Payloads that `work` reverts, the newest first.
fn reverted(stack: &Stack, work: Work) -> impl Iterator<Item = PayloadId> + '_ {
    let count = match work {
        Work::Apply(_) => 0,
        Work::Revert(_) => 1,
        Work::Replace(_) => stack.applied.len(),
    };
    stack.applied.iter().rev().take(count).copied()
}

/// Does everything that can fail: reads the bytes that will be overwritten, compares them with the
/// expectations, encodes the jumps, and allocates memory for undo data.
///
/// # Errors
/// A function or word is not as it must be; no memory.
pub(crate) fn prepare(
    platform: &impl Platform,
    stack: &mut Stack,
    work: Work,
    changed: ChangedWord,
) -> Result<(), ActionError> {
    stack.applied.try_reserve(1).map_err(|_| OutOfMemory)?;
    stack.reverted.clear();
    let on_stack = stack.applied.len();
    stack
        .reverted
        .try_reserve(on_stack)
        .map_err(|_| OutOfMemory)?;
    let newest_first = reverted(stack, work).filter_map(|id| stack.get(id));
    let overlay = Overlay::of(newest_first.map(|payload| (&*payload.patches, &*payload.words)))?;
    for depth in 0.. {
        let Some(id) = reverted(stack, work).nth(depth) else {
            break;
        };
        let payload = stack.get_mut(id).ok_or(ActionError::Unknown)?;
        each(
            payload,
            |patch| patch.prepare_revert(platform, &overlay, depth),
            |word| word.prepare(platform, &overlay, depth, changed),
        )?;
    }
    if let Work::Apply(id) | Work::Replace(id) = work {
        let payload = stack.get_mut(id).ok_or(ActionError::Unknown)?;
        each(
            payload,
            |patch| patch.prepare(platform, &overlay),
            |word| word.prepare(platform, &overlay, Overlay::EVERYTHING, changed),
        )?;
    }
    Ok(())
}

fn each(
    payload: &mut Payload,
    mut patch: impl FnMut(&mut Patch) -> Result<(), Fault>,
    mut word: impl FnMut(&mut WordPatch) -> Result<(), Fault>,
) -> Result<(), ActionError> {
    let id = payload.id;
    let item = |kind, index, fault| ActionError::Item {
        kind,
        payload: id,
        index,
        fault,
    };
    for (index, entry) in payload.patches.iter_mut().enumerate() {
        patch(entry).map_err(|fault| item(ItemKind::Function, index, fault))?;
    }
    for (index, entry) in payload.words.iter_mut().enumerate() {
        word(entry).map_err(|fault| item(ItemKind::Word, index, fault))?;
    }
    Ok(())
}

/// Carries out `work` while nothing else runs. Returns 0, or a negated error number with nothing
/// changed.
pub(crate) fn perform(
    platform: &impl Platform,
    quiesced: &Quiesced,
    stack: &mut Stack,
    work: Work,
) -> i32 {
    if !is_as_prepared(platform, stack, work) {
        return Errno::EINVAL.negated();
    }
    match work {
        Work::Apply(id) => apply(platform, quiesced, stack, id),
        Work::Revert(id) => revert(platform, quiesced, stack, id),
        Work::Replace(id) => replace(platform, quiesced, stack, id),
    }
}

/// Whether everything that `work` writes over is as it was when it was prepared.
fn is_as_prepared(platform: &impl Platform, stack: &Stack, work: Work) -> bool {
    let is_confirmed = |payload: &Payload| {
        let patches = payload
            .patches
            .iter()
            .all(|patch| patch.is_confirmed(platform));
        patches && payload.words.iter().all(|word| word.is_confirmed(platform))
    };
    let applied = match work {
        Work::Apply(id) | Work::Replace(id) => Some(id),
        // It is the one that is reverted.
        Work::Revert(_) => None,
    };
    reverted(stack, work)
        .chain(applied)
        .filter_map(|id| stack.get(id))
        .all(is_confirmed)
}

fn replace(platform: &impl Platform, quiesced: &Quiesced, stack: &mut Stack, id: PayloadId) -> i32 {
    let mut result = 0;
    while let Some(top) = stack.applied.last().copied() {
        result = revert(platform, quiesced, stack, top);
        if result != 0 {
            break;
        }
    }
    if result == 0 {
        result = apply(platform, quiesced, stack, id);
    }
    if result != 0 {
        // A hook refused: the old state is put back.
        restore(platform, quiesced, stack);
    }
    result
}

/// Applies again what a failed REPLACE has reverted, the oldest first.
fn restore(platform: &impl Platform, quiesced: &Quiesced, stack: &mut Stack) {
    while let Some(id) = stack.reverted.pop() {
        put_back(platform, quiesced, stack, id);
    }
}

/// Applies one payload again: exactly the jumps that were there. Its hooks are called as by an
/// apply, but a refusal of a hook is ignored, so that the old state is always restored.
fn put_back(platform: &impl Platform, quiesced: &Quiesced, stack: &mut Stack, id: PayloadId) {
    let Some(payload) = stack.get_mut(id) else {
        return;
    };
    let hook = hooks::call_single(platform, payload, HookKind::Apply, payload.rc);
    let order = payload.profile.hook_order;
    if hook.is_none() && order == HookOrder::WhileNotReplaced {
        hooks::call_all(platform, payload, HookKind::Load);
    }
    let text = OpenText::new(platform, quiesced);
    for patch in &mut payload.patches {
        patch.put_back(&text);
    }
    for word in &mut payload.words {
        word.put_back(&text);
    }
    drop(text);
    match hook {
        Some(result) => payload.rc = result,
        None if order == HookOrder::WhileReplaced => {
            hooks::call_all(platform, payload, HookKind::Load);
        }
        None => {}
    }
    payload.state = PayloadState::Applied;
    stack.applied.push(id);
}

fn apply(platform: &impl Platform, quiesced: &Quiesced, stack: &mut Stack, id: PayloadId) -> i32 {
    let Some(payload) = stack.get_mut(id) else {
        return Errno::ENOENT.negated();
    };
    let result = match hooks::call_single(platform, payload, HookKind::Apply, payload.rc) {
        Some(result) => result,
        None => {
            match payload.profile.hook_order {
                HookOrder::WhileReplaced => {
                    write(platform, quiesced, payload);
                    hooks::call_all(platform, payload, HookKind::Load);
                }
                HookOrder::WhileNotReplaced => {
                    hooks::call_all(platform, payload, HookKind::Load);
                    write(platform, quiesced, payload);
                }
            }
            0
        }
    };
    payload.freshness = Freshness::Used;
    if result == 0 {
        payload.state = PayloadState::Applied;
        // Memory was reserved when the action was prepared.
        stack.applied.push(id);
    }
    result
}

fn write(platform: &impl Platform, quiesced: &Quiesced, payload: &mut Payload) {
    let text = OpenText::new(platform, quiesced);
    for patch in &mut payload.patches {
        patch.apply(&text);
    }
    for word in &mut payload.words {
        word.apply(&text);
    }
}

fn revert(platform: &impl Platform, quiesced: &Quiesced, stack: &mut Stack, id: PayloadId) -> i32 {
    let Some(payload) = stack.get_mut(id) else {
        return Errno::ENOENT.negated();
    };
    let hook = hooks::call_single(platform, payload, HookKind::Revert, payload.rc);
    let order = payload.profile.hook_order;
    if hook.is_none() && order == HookOrder::WhileReplaced {
        hooks::call_all(platform, payload, HookKind::Unload);
    }
    let result = hook.unwrap_or(0);
    if result == 0 {
        // Also after a revert hook: no jump into a payload may remain once it is not applied.
        let text = OpenText::new(platform, quiesced);
        for word in payload.words.iter_mut().rev() {
            word.revert(&text);
        }
        for patch in payload.patches.iter_mut().rev() {
            patch.revert(&text);
        }
        drop(text);
        if hook.is_none() && order == HookOrder::WhileNotReplaced {
            hooks::call_all(platform, payload, HookKind::Unload);
        }
        payload.state = PayloadState::Checked;
        stack.applied.pop();
        // Memory was reserved when the action was prepared.
        stack.reverted.push(id);
    }
    result
}
