//! A trial load on the host: the bundled runtime runs on a copy of the base in memory, loads the
//! payloads below and this one, and is asked whether it would apply it, at both ends of the window
//! in which a payload may be placed. So the result and the error number are the loader's own.

use std::ops::Range;

use serde::Serialize;
use xsplice_abi::action::{ACTION_APPLY, ACTION_CHECK};
use xsplice_abi::errno::Errno;
use xsplice_abi::hypercall::{
    ACTION_FLAG_NODEPS, Action, Get, Name, OP_ACTION, OP_GET, OP_UPLOAD, Operation, Upload,
};
use xsplice_abi::limits::{PAGE_BYTES, PAYLOAD_BYTES_MAX};
use xsplice_runtime::Policy;
use xsplice_runtime::Privilege;
use xsplice_runtime::Runtime;
use xsplice_runtime::load::place::{self, ACCESSES};
use xsplice_runtime::patch::memory::{Event, MemoryPlatform};
use xsplice_runtime::platform::Level;
use xsplice_runtime::read::deny::Denied;
use xsplice_runtime::read::elf;
use xsplice_runtime::read::signature;
use xsplice_runtime::read::symbols::Symbols;
use xsplice_runtime::rendezvous::cpu::CpuId;
use zerocopy::byteorder::little_endian::{U16, U32, U64};

use super::{Against, Check, CheckKind, Lines, NamedFile, Verdict, records};
use crate::base::{Base, TOP_WINDOW_START};
use crate::sign;

/// How often the only CPU passes its safe point before an action counts as stuck.
const PASSES_MAX: u32 = 1000;

/// The loader's answers: the error numbers that UPLOAD and, if that succeeds, APPLY return.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// UPLOAD's error number; `None` when it succeeds.
    pub upload: Option<i32>,
    /// APPLY's error number; `None` when it succeeds or the payload is not uploaded.
    pub apply: Option<i32>,
}

impl Answer {
    /// Whether the payload would be uploaded and applied.
    #[must_use]
    pub fn is_taken(self) -> bool {
        self == Answer::default()
    }

    /// The call that fails, and its error number as a positive number.
    #[must_use]
    pub fn refusal(self) -> Option<(&'static str, i32)> {
        let upload = self.upload.map(|code| ("UPLOAD", code));
        upload.or_else(|| self.apply.map(|code| ("APPLY", code)))
    }
}

/// Result of one attempt, and what the loader logged.
#[derive(PartialEq, Eq)]
struct Attempt {
    answer: Answer,
    reason: String,
}

/// Runs the loader. There is no line when the file breaks rules that are reported by other checks.
pub(super) fn check(
    payload: NamedFile<'_>,
    against: &Against<'_>,
    checks: &mut Vec<Check>,
) -> Answer {
    if payload.bytes.len() <= PAYLOAD_BYTES_MAX
        && let Err(error) = signature::accept(payload.bytes, super::verifier(against.signer))
    {
        return Answer {
            upload: Some(error.errno().code()),
            apply: None,
        };
    }
    let is_told = checks
        .iter()
        .any(|check| check.check <= CheckKind::LoaderRules && check.errno.is_some());
    let is_trapped = checks
        .iter()
        .any(|check| check.check == CheckKind::Traps && check.verdict == Verdict::Fail);
    if is_trapped {
        return untried(checks);
    }
    let mut lines = Lines::new(checks, CheckKind::TrialLoad);
    let window = window(against.base);
    let bytes_needed = region_bytes(payload, against.stack);
    let highest = window.end.saturating_sub(bytes_needed).max(window.start);
    let ends = [("lowest", window.clone()), ("highest", highest..window.end)];
    let mut refusals: Vec<(&str, Attempt)> = Vec::new();
    for (end, window) in ends {
        match attempt(payload, against, window) {
            Ok(attempt) if attempt.answer.is_taken() => {}
            Ok(attempt) => refusals.push((end, attempt)),
            Err(message) => lines.fail_unseen(message),
        }
    }
    let answer = refusals
        .first()
        .map_or(Answer::default(), |(_, attempt)| attempt.answer);
    if let [(_, low), (_, high)] = refusals.as_slice()
        && low == high
    {
        refusals.pop();
        if let Some((end, _)) = refusals.first_mut() {
            *end = "any";
        }
    }
    for (end, attempt) in refusals {
        if let Some((call, code)) = attempt.answer.refusal()
            && !is_told
        {
            lines.push(
                Some(code),
                format!(
                    "placed at {end} address that the loader may choose, {call} fails: {}",
                    attempt.reason
                ),
            );
        }
    }
    if answer.is_taken() {
        lines.pass("the loader's own code takes it at both ends of the window");
    }
    answer
}

/// The answer for a payload with something that the bundled loader refuses and the machine's loader
/// takes: what the other checks found.
fn untried(checks: &mut Vec<Check>) -> Answer {
    // What is looked at when the payload is applied.
    let is_later =
        |check: &&Check| matches!(check.check, CheckKind::Depends | CheckKind::Expectations);
    let errno = |check: &Check| check.errno;
    let answer = Answer {
        upload: checks
            .iter()
            .filter(|check| !is_later(check))
            .find_map(errno),
        apply: checks.iter().filter(is_later).find_map(errno),
    };
    Lines::new(checks, CheckKind::TrialLoad)
        .not_asked("the bundled loader refuses what the hypervisor's takes here (traps)");
    answer
}

/// Addresses that the payload's regions may cover: every part of the image is within the window's
/// size of every one of them.
fn window(base: &Base<'_>) -> Range<u64> {
    let image = image_span(base);
    let bytes = base.machine().window_bytes;
    let low = image.end.saturating_sub(bytes).max(PAGE_BYTES);
    let high = image.start.saturating_add(bytes);
    // An image in the top 2 GiB is addressed by 32 sign-extended bits, so its loader stays there.
    let low = if base.is_in_top_window() {
        low.max(TOP_WINDOW_START)
    } else {
        low
    };
    let low = low.checked_next_multiple_of(PAGE_BYTES).unwrap_or(high);
    low..high & !(PAGE_BYTES - 1)
}

fn image_span(base: &Base<'_>) -> Range<u64> {
    let start = base.sections().first().map_or(0, |one| one.range.start);
    let ends = base.sections().iter().map(|one| one.range.end);
    start..ends.max().unwrap_or(start)
}

/// Bytes that the regions of all payloads need together. For a file that cannot be laid out this is
/// too small, but the loader refuses such a file before it allocates memory.
fn region_bytes(payload: NamedFile<'_>, stack: &[NamedFile<'_>]) -> u64 {
    let bytes = |file: &NamedFile<'_>| -> u64 {
        let Ok(view) = elf::parse(sign::content(file.bytes)) else {
            return 0;
        };
        place::lay_out(&view).map_or(0, |layout| {
            ACCESSES.iter().fold(0, |sum: u64, access| {
                sum.saturating_add(layout.region_bytes(*access))
            })
        })
    };
    stack.iter().chain([&payload]).map(bytes).sum()
}

/// Uploads the stack and the payload and asks for the verdict on APPLY.
///
/// An `Err` says why the loader could not even be asked.
fn attempt(
    payload: NamedFile<'_>,
    against: &Against<'_>,
    window: Range<u64>,
) -> Result<Attempt, String> {
    let base = against.base;
    let platform = MemoryPlatform::new(window).on(base.machine());
    for section in base.sections() {
        if section.data.is_empty() {
            platform.map_zeros(section.range.clone());
        } else {
            platform.map(section.range.start, section.data);
        }
    }
    let symbols = Symbols::from_elf(base.file_bytes())
        .map_err(|error| format!("the loader cannot read {}: {error}", base.path()))?;
    // Lines that name nothing of the base are reported by the check of the deny list.
    let names_something = |line: &&Denied<'_>| line.addresses(|name| base.named(name)).is_ok();
    let deny: Vec<_> = against
        .deny
        .iter()
        .filter(names_something)
        .copied()
        .collect();
    let running = xsplice_runtime::Base {
        symbols,
        build_id: base.build_id().as_bytes(),
        text: records::text_span(base),
    };
    let policy = Policy {
        deny: &deny,
        verifier: None,
    };
    let runtime = Runtime::new(platform, running, policy)
        .map_err(|error| format!("the loader does not start on {}: {error}", base.path()))?;
    for (index, below) in against.stack.iter().enumerate() {
        let name = format!("below-{index}");
        let done = upload(&runtime, &name, below.bytes).and_then(|()| {
            let applied = action(&runtime, &name, ACTION_APPLY, ACTION_FLAG_NODEPS);
            applied.and_then(|()| finish(&runtime, &name))
        });
        if done.is_err() {
            let reason = reason(&runtime);
            return Err(format!("{} cannot be below it: {reason}", below.path));
        }
    }
    let _ = reason(&runtime);
    let mut answer = Answer::default();
    match upload(&runtime, "payload", payload.bytes) {
        Err(errno) => answer.upload = Some(errno.code()),
        Ok(()) => {
            let applied = action(&runtime, "payload", ACTION_CHECK, 0);
            answer.apply = applied.err().map(Errno::code);
        }
    }
    Ok(Attempt {
        answer,
        reason: reason(&runtime),
    })
}

type Loader<'base> = Runtime<'base, MemoryPlatform>;

/// The last error that the loader logged since it was asked last.
fn reason(runtime: &Loader<'_>) -> String {
    let events = runtime.platform().take_events().into_iter().rev();
    let mut errors = events.filter_map(|event| match event {
        Event::Log(Level::Error, line) => Some(line),
        _ => None,
    });
    // The lines begin with the name that the payload was uploaded under.
    errors.next().map_or_else(
        || "it says no reason".to_owned(),
        |line| match line.strip_prefix("payload: ") {
            Some(rest) => rest.to_owned(),
            None => line,
        },
    )
}

/// A caller's memory with the payload's name in it, and where that is.
fn named(name: &str) -> (Vec<u8>, Name) {
    let mut area = name.as_bytes().to_vec();
    area.push(0);
    let handle = Name {
        name_handle: U64::ZERO,
        size: U16::new(u16::try_from(area.len()).expect("the names given here are short")),
        pad: [U16::ZERO; 3],
    };
    (area, handle)
}

fn upload(runtime: &Loader<'_>, name: &str, bytes: &[u8]) -> Result<(), Errno> {
    let wide = |length: usize| U64::new(u64::try_from(length).expect("a usize fits 64 bits"));
    let (mut area, name) = named(name);
    let payload_handle = wide(area.len());
    area.extend_from_slice(bytes);
    let argument = Upload {
        name,
        size: wide(bytes.len()),
        payload_handle,
    };
    call(
        runtime,
        &mut Operation::with(OP_UPLOAD, &argument),
        &mut area,
    )
}

fn action(runtime: &Loader<'_>, name: &str, command: u32, flags: u32) -> Result<(), Errno> {
    let (mut area, name) = named(name);
    let argument = Action {
        name,
        cmd: U32::new(command),
        flags: U32::new(flags),
        ..Action::default()
    };
    call(
        runtime,
        &mut Operation::with(OP_ACTION, &argument),
        &mut area,
    )
}

/// Lets the only CPU pass its safe point until the action on `name` has a result.
fn finish(runtime: &Loader<'_>, name: &str) -> Result<(), Errno> {
    for _ in 0..PASSES_MAX {
        runtime.safe_point(CpuId(0));
        let (mut area, handle) = named(name);
        let argument = Get {
            name: handle,
            ..Get::default()
        };
        let mut operation = Operation::with(OP_GET, &argument);
        call(runtime, &mut operation, &mut area)?;
        match Errno::from_return(operation.read::<Get>().status.rc.get()) {
            Some(Errno::EAGAIN) => {}
            Some(errno) => return Err(errno),
            None => return Ok(()),
        }
    }
    Err(Errno::EAGAIN)
}

fn call(runtime: &Loader<'_>, operation: &mut Operation, area: &mut [u8]) -> Result<(), Errno> {
    let result = runtime.hypercall(Privilege::Privileged, operation, area);
    Errno::from_return(result).map_or(Ok(()), Err)
}
