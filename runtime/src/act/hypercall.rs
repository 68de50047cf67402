//! The payload hypercall: its operations, their arguments and error numbers.

use xsplice_abi::action::ActionKind;
use xsplice_abi::errno::Errno;
use xsplice_abi::hypercall::{
    ACTION_FLAG_LEAVE_WORDS, ACTION_FLAG_NODEPS, Action, Get, List, Name, OP_ACTION, OP_GET,
    OP_LIST, OP_UPLOAD, Operation, Status, Upload,
};
use xsplice_abi::limits::{NAME_BYTES_MAX, PAYLOAD_BYTES_MAX, TIMEOUT_DEFAULT_NS};
use zerocopy::byteorder::little_endian::{I32, U16, U32};

use crate::act::action::{self, Dependency, Waived};
use crate::act::hooks;
use crate::act::list;
use crate::act::runtime::{Privilege, Runtime};
use crate::load;
use crate::patch::ChangedWord;
use crate::payload::directory::Listing;
use crate::payload::stack::{Scheduled, Stack, Work};
use crate::payload::{Payload, PayloadState, Placed};
use crate::platform::{Interrupts, Level, Platform};
use crate::rendezvous::Busy;

/// How long the next action at least waits for CPUs that have not left the last one.
const LEAVE_LIMIT_NS: u64 = 1_000_000_000;

/// The bytes of the caller's memory that a handle and a length name.
///
/// # Errors
/// -EFAULT when any of them lies outside.
pub(crate) fn buffer(area: &[u8], handle: u64, bytes: u64) -> Result<&[u8], Errno> {
    let start = usize::try_from(handle).map_err(|_| Errno::EFAULT)?;
    let bytes = usize::try_from(bytes).map_err(|_| Errno::EFAULT)?;
    let end = start.checked_add(bytes).ok_or(Errno::EFAULT)?;
    area.get(start..end).ok_or(Errno::EFAULT)
}

/// The name in the caller's memory, its NUL included.
fn name<'area>(name: &Name, area: &'area [u8]) -> Result<&'area [u8], Errno> {
    let bytes = name.size.get();
    if name.pad != [U16::ZERO; 3] || bytes < 2 || usize::from(bytes) > NAME_BYTES_MAX {
        return Err(Errno::EINVAL);
    }
    let text = buffer(area, name.name_handle.get(), bytes.into())?;
    match text.split_last() {
        Some((0, label)) if is_name(label) => Ok(text),
        _ => Err(Errno::EINVAL),
    }
}

/// Without control characters: names stand in lists and logs, a line each.
fn is_name(label: &[u8]) -> bool {
    core::str::from_utf8(label).is_ok_and(|label| !label.chars().any(char::is_control))
}

impl<P: Platform> Runtime<'_, P> {
    /// Carries out one payload operation; handles are offsets into `area`, the caller's memory.
    /// Called at thread level, interrupts on, on any CPU that goes to its safe point afterwards.
    /// An action is only scheduled here: it happens when all CPUs have come to
    /// [`Runtime::safe_point`], and its result is then in the payload's status.
    ///
    /// Returns 0 or more, or a negated error number.
    pub fn hypercall(
        &self,
        privileged: Privilege,
        operation: &mut Operation,
        area: &mut [u8],
    ) -> i32 {
        if privileged == Privilege::Unprivileged {
            return Errno::EPERM.negated();
        }
        if operation.pad != U32::ZERO {
            return Errno::EINVAL.negated();
        }
        let result = match operation.cmd.get() {
            OP_UPLOAD => self.upload(&operation.read(), area).map(|()| 0),
            OP_GET => self.get(operation.read(), area).map(|get| {
                operation.write(&get);
                0
            }),
            OP_LIST => {
                let mut list: List = operation.read();
                let filled = list::list(&self.lock_stack(), &mut list, area);
                if filled.is_ok() {
                    operation.write(&list);
                }
                filled
            }
            OP_ACTION => self.action(&operation.read(), area).map(|()| 0),
            _ => Err(Errno::EOPNOTSUPP),
        };
        result.unwrap_or_else(Errno::negated)
    }

    fn upload(&self, upload: &Upload, area: &[u8]) -> Result<(), Errno> {
        let name = name(&upload.name, area)?;
        let largest = u64::try_from(PAYLOAD_BYTES_MAX).unwrap_or(u64::MAX);
        let bytes = upload.size.get();
        if bytes == 0 || bytes > largest {
            return Err(Errno::EINVAL);
        }
        let file = buffer(area, upload.payload_handle.get(), bytes)?;
        let (id, version) = {
            let mut stack = self.lock_stack();
            if stack.named(name).is_ok() {
                return Err(Errno::EEXIST);
            }
            self.release_unmapped(&mut stack);
            (stack.new_id(), stack.version)
        };
        // Reading and checking take time: others go on meanwhile, and are looked at again below.
        let is_loaded = |id: &[u8]| {
            let stack = self.lock_stack();
            let mut payloads = stack.payloads.iter();
            payloads.any(|payload| payload.build_id.as_bytes() == id)
        };
        let loaded = load::load(&self.surroundings(), is_loaded, id, name, file);
        let (payload, listing) = loaded.map_err(|error| {
            let label = core::str::from_utf8(name).unwrap_or_default();
            let label = label.trim_end_matches('\0');
            self.platform
                .log(Level::Error, format_args!("{label}: {error}"));
            error.errno()
        })?;
        self.put_in(version, payload, listing)
    }

    /// Puts a payload to the others, if it still goes with them; they were `version` of the list
    /// when it was begun to be loaded.
    fn put_in(&self, version: u32, payload: Payload, listing: Listing) -> Result<(), Errno> {
        let mut stack = self.lock_stack();
        // Space for all regions in the list of unmapped ones, so that whatever takes them out of
        // the page tables needs no memory.
        let regions = stack.mapped_regions() + payload.regions.len();
        let has_room = stack.unmapped.try_reserve(regions).is_ok();
        if stack.version != version
            && let Err(errno) = load::still_fits(&self.surroundings(), &stack, &payload, &listing)
        {
            self.give_back(&mut stack, &payload.regions);
            self.platform.log(
                Level::Error,
                format_args!("{}: other payloads have changed meanwhile", payload.label()),
            );
            return Err(errno);
        }
        let has_room = has_room
            && stack.payloads.try_reserve(1).is_ok()
            && self.directory.add(&self.platform, listing).is_ok();
        if !has_room {
            self.give_back(&mut stack, &payload.regions);
            return Err(Errno::ENOMEM);
        }
        stack.payloads.push(payload);
        stack.version = stack.version.wrapping_add(1);
        Ok(())
    }

    fn get(&self, mut get: Get, area: &[u8]) -> Result<Get, Errno> {
        if get.status != Status::default() {
            return Err(Errno::EINVAL);
        }
        let name = name(&get.name, area)?;
        let stack = self.lock_stack();
        let payload = stack.named(name)?;
        get.status = Status {
            state: U32::new(payload.state.number()),
            rc: I32::new(payload.rc),
        };
        Ok(get)
    }

    fn action(&self, action: &Action, area: &[u8]) -> Result<(), Errno> {
        if action.pad != U32::ZERO {
            return Err(Errno::EINVAL);
        }
        let name = name(&action.name, area)?;
        let kind = ActionKind::of(action.cmd.get());
        let mut waived = Waived {
            dependency: Dependency::Checked,
            changed: ChangedWord::Refused,
        };
        match (action.flags.get(), kind) {
            (0, _) => {}
            (ACTION_FLAG_NODEPS, Some(ActionKind::Apply | ActionKind::Check)) => {
                waived.dependency = Dependency::Ignored;
            }
            (ACTION_FLAG_LEAVE_WORDS, Some(ActionKind::Revert)) => {
                waived.changed = ChangedWord::Left;
            }
            _ => return Err(Errno::EINVAL),
        }
        let timeout_ns = u64::from(match action.timeout_ns.get() {
            0 => TIMEOUT_DEFAULT_NS,
            given => given,
        });
        self.await_leaving(timeout_ns);
        let mut stack = self.lock_stack();
        let id = stack.named(name)?.id;
        let kind = kind.ok_or(Errno::EOPNOTSUPP)?;
        // A check tells whether an apply would work now; taking out what is not in effect stops
        // nobody.
        if kind.is_about_cpus()
            && let Err(reason) = self.platform.is_safe_to_act()
        {
            self.platform
                .log(Level::Error, format_args!("not at this moment: {reason}"));
            return Err(Errno::EBUSY);
        }
        let work = match kind {
            ActionKind::Unload => return self.unload(&mut stack, name),
            ActionKind::Check => {
                if self.rendezvous.is_busy() {
                    return Err(Errno::EBUSY);
                }
                return self.prepare(&mut stack, Work::Apply(id), waived);
            }
            ActionKind::Revert => Work::Revert(id),
            ActionKind::Apply => Work::Apply(id),
            ActionKind::Replace => Work::Replace(id),
        };
        let claim = self.claim().map_err(|busy| self.say_busy(busy))?;
        let ready = self
            .prepare(&mut stack, work, waived)
            .and_then(|()| self.ask_hook(&mut stack, work));
        if let Err(errno) = ready {
            self.abandon(claim);
            return Err(errno);
        }
        let before = stack.get(id).map_or(0, |payload| payload.rc);
        if let Some(payload) = stack.get_mut(id) {
            payload.rc = Errno::EAGAIN.negated();
        }
        stack.scheduled = Some(Scheduled { work, result: None });
        self.open(claim, timeout_ns).map_err(|busy| {
            stack.scheduled = None;
            if let Some(payload) = stack.get_mut(id) {
                payload.rc = before;
            }
            self.say_busy(busy)
        })
    }

    /// The result of an action is known slightly before every CPU has left it, and a next action at
    /// that moment would be refused as busy. So this waits for the CPUs to leave: up to the
    /// caller's timeout, or [`LEAVE_LIMIT_NS`]. The stack is not locked meanwhile, because the
    /// master needs it.
    fn await_leaving(&self, timeout_ns: u64) {
        let limit = timeout_ns.max(LEAVE_LIMIT_NS);
        let deadline = self.platform.now_ns().saturating_add(limit);
        while let Some(Busy::NotLeft(_)) = self.rendezvous.busy() {
            if self.platform.now_ns() >= deadline {
                return;
            }
            self.platform.relax(Interrupts::On);
        }
    }

    fn say_busy(&self, busy: Busy) -> Errno {
        let log = |text| self.platform.log(Level::Error, text);
        match busy {
            Busy::InProgress => log(format_args!("another action is in progress")),
            Busy::NotLeft(cpus) => log(format_args!("the last action is not left by: {cpus}")),
            Busy::OnlineChanging => log(format_args!("a CPU is coming or going")),
        }
        Errno::EBUSY
    }

    fn prepare(&self, stack: &mut Stack, work: Work, waived: Waived) -> Result<(), Errno> {
        action::conditions(stack, self.base.build_id, work, waived.dependency)
            .and_then(|()| action::prepare(&self.platform, stack, work, waived.changed))
            .map_err(|error| {
                let label = stack
                    .get(work.payload())
                    .map_or("", |payload| payload.label());
                let verb = work.verb();
                self.platform
                    .log(Level::Error, format_args!("{label}: {verb}: {error}"));
                error.errno()
            })
    }

    /// Calls the hook that may veto; its refusal is the payload's result and the call's.
    fn ask_hook(&self, stack: &mut Stack, work: Work) -> Result<(), Errno> {
        let Some(kind) = work.pre_hook() else {
            return Ok(());
        };
        let payload = stack.get_mut(work.payload()).ok_or(Errno::ENOENT)?;
        let answer = hooks::call_single(&self.platform, payload, kind, payload.rc).unwrap_or(0);
        if answer == 0 {
            return Ok(());
        }
        payload.rc = answer;
        self.platform.log(
            Level::Error,
            format_args!(
                "{}: the {} hook refused with {answer}",
                payload.label(),
                kind.name()
            ),
        );
        Err(Errno::from_return(answer).unwrap_or(Errno::EINVAL))
    }

    fn unload(&self, stack: &mut Stack, name: &[u8]) -> Result<(), Errno> {
        if self.rendezvous.is_busy() {
            return Err(Errno::EBUSY);
        }
        let payload = stack.named(name)?;
        let id = payload.id;
        if payload.state != PayloadState::Checked {
            return Err(Errno::EINVAL);
        }
        let is_used = |other: &Payload| other.uses.contains(&id);
        if stack.payloads.iter().any(is_used) {
            let error = action::ActionError::InUse;
            self.platform.log(
                Level::Error,
                format_args!("{}: unload: {error}", payload.label()),
            );
            return Err(error.errno());
        }
        let index = stack
            .payloads
            .iter()
            .position(|payload| payload.id == id)
            .ok_or(Errno::ENOENT)?;
        self.directory.remove(&self.platform, id);
        let payload = stack.payloads.remove(index);
        stack.version = stack.version.wrapping_add(1);
        self.give_back(stack, &payload.regions);
        Ok(())
    }

    /// Takes regions out of the page tables, and releases their pages once no TLB knows them.
    fn give_back(&self, stack: &mut Stack, regions: &[Placed]) {
        for placed in regions {
            self.platform.unmap(placed.region);
        }
        if self.flush(stack) {
            for placed in regions {
                self.platform.release(placed.region);
            }
        } else {
            let room = stack.unmapped.capacity() - stack.unmapped.len();
            // The list has space, unless there was no memory for it when the payload was loaded.
            // Pages are leaked then, but never reused too early.
            let kept = regions.iter().take(room).map(|placed| placed.region);
            stack.unmapped.extend(kept);
        }
    }

    /// Releases the pages of regions that were unmapped earlier, if every CPU flushes its TLB now.
    fn release_unmapped(&self, stack: &mut Stack) {
        if !stack.unmapped.is_empty() {
            self.flush(stack);
        }
    }

    /// Makes every CPU flush its TLB, and releases the pages that waited for it.
    fn flush(&self, stack: &mut Stack) -> bool {
        match self.platform.flush_tlbs() {
            Ok(()) => {
                for region in stack.unmapped.drain(..) {
                    self.platform.release(region);
                }
                true
            }
            Err(late) => {
                self.platform.log(
                    Level::Error,
                    format_args!("pages are kept: no TLB flush by {late}"),
                );
                false
            }
        }
    }
}
