//! The text of the dump call: every payload with its state, regions, records and ids.
//!
//! A payload chooses how much it has to tell, and there may be many. So the text is made a part at
//! a time, each with the stack locked anew and no larger than the caller wants to hold.

use alloc::vec::Vec;
use core::fmt;

use crate::act::runtime::Runtime;
use crate::names::OutOfMemory;
use crate::patch::Applied;
use crate::patch::record::Replacement;
use crate::payload::stack::Stack;
use crate::payload::{BuildId, Payload, PayloadId, PayloadState};
use crate::platform::Platform;

/// Where a dump goes on. A payload that fits into one part is never in two, so that it is told of
/// as it was at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DumpCursor {
    /// The payload that is to be told of next; `None`: the head.
    at: Option<PayloadId>,
    /// How many bytes of its text have been written.
    written: usize,
}

/// One part of a dump.
#[derive(Debug)]
pub struct DumpPart {
    /// Text; a character may be cut at its end.
    pub text: Vec<u8>,
    /// Where the next part begins; `None` when this is the last.
    pub next: Option<DumpCursor>,
}

impl<P: Platform> Runtime<'_, P> {
    /// Writes every payload with its regions and records, in the order in which the uploads began.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn dump(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let stack = self.lock_stack();
        let mut at = None;
        loop {
            self.tell(&stack, at, out)?;
            at = after(&stack, at);
            if at.is_none() {
                return Ok(());
            }
        }
    }

    /// The next part of the same text, of at most `room` bytes, which must not be 0.
    ///
    /// # Errors
    /// No memory for the part.
    pub fn dump_part(&self, cursor: DumpCursor, room: usize) -> Result<DumpPart, OutOfMemory> {
        let stack = self.lock_stack();
        let mut cursor = cursor;
        let mut out = Part::default();
        loop {
            let begun = out.text.len();
            out.begin(cursor.written, room);
            let told = self.tell(&stack, cursor.at, &mut out);
            match out.state {
                PartState::NoMemory => return Err(OutOfMemory),
                PartState::Full if begun > 0 => out.text.truncate(begun),
                PartState::Full => cursor.written += out.text.len(),
                PartState::Fits => {
                    debug_assert!(told.is_ok(), "a part takes all that fits");
                    let Some(at) = after(&stack, cursor.at) else {
                        return Ok(out.end(None));
                    };
                    cursor = DumpCursor {
                        at: Some(at),
                        written: 0,
                    };
                    continue;
                }
            }
            return Ok(out.end(Some(cursor)));
        }
    }

    /// The text of one payload, or the head; nothing of a payload that has been unloaded.
    fn tell(&self, stack: &Stack, at: Option<PayloadId>, out: &mut dyn fmt::Write) -> fmt::Result {
        let Some(id) = at else {
            return self.head(stack, out);
        };
        let Some(payload) = stack.get(id) else {
            return Ok(());
        };
        let level = stack.applied.iter().position(|applied| *applied == id);
        one(payload, level, out)
    }

    fn head(&self, stack: &Stack, out: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(out, "build-id: {}", BuildId::new(self.base.build_id))?;
        writeln!(
            out,
            "payloads: {}, applied: {}, epoch: {}",
            stack.payloads.len(),
            stack.applied.len(),
            self.epoch()
        )?;
        let last = self.milestones();
        if let (Some(stopping), Some(acting), Some(releasing)) =
            (last.stopping_ns(), last.acting_ns(), last.releasing_ns())
        {
            writeln!(
                out,
                "last action: all stopped after {stopping} ns, for {acting} ns, all running \
                 {releasing} ns later"
            )?;
        }
        Ok(())
    }
}

/// The payload that is told of after `at`.
fn after(stack: &Stack, at: Option<PayloadId>) -> Option<PayloadId> {
    let ids = stack.payloads.iter().map(|payload| payload.id);
    ids.filter(|id| at.is_none_or(|at| *id > at)).min()
}

/// Collects what fits of a text that has been written in part.
#[derive(Debug, Default)]
struct Part {
    text: Vec<u8>,
    /// Bytes of what comes next that have been written before.
    skipped: usize,
    room: usize,
    state: PartState,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum PartState {
    #[default]
    Fits,
    Full,
    NoMemory,
}

impl Part {
    /// Goes on with the text of one payload, after all so far has fitted.
    fn begin(&mut self, skipped: usize, room: usize) {
        self.skipped = skipped;
        self.room = room;
    }

    fn end(self, next: Option<DumpCursor>) -> DumpPart {
        DumpPart {
            text: self.text,
            next,
        }
    }
}

impl fmt::Write for Part {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        if self.state != PartState::Fits {
            return Err(fmt::Error);
        }
        let skipped = self.skipped.min(piece.len());
        self.skipped -= skipped;
        let piece = piece.as_bytes().get(skipped..).unwrap_or_default();
        let fits = piece.len().min(self.room.saturating_sub(self.text.len()));
        if self.text.try_reserve(fits).is_err() {
            self.state = PartState::NoMemory;
            return Err(fmt::Error);
        }
        self.text
            .extend_from_slice(piece.get(..fits).unwrap_or_default());
        if fits < piece.len() {
            self.state = PartState::Full;
            return Err(fmt::Error);
        }
        Ok(())
    }
}

fn one(payload: &Payload, level: Option<usize>, out: &mut dyn fmt::Write) -> fmt::Result {
    let state = match payload.state {
        PayloadState::Checked => "CHECKED",
        PayloadState::Applied => "APPLIED",
    };
    write!(out, "{} state={state} rc={}", payload.label(), payload.rc)?;
    if let Some(level) = level {
        write!(out, " stack={level}")?;
    }
    writeln!(out, " abi={}", payload.profile.name)?;
    writeln!(out, "  build-id: {}", payload.build_id)?;
    writeln!(out, "  depends:  {}", payload.depends)?;
    if let Some(base) = payload.base {
        writeln!(out, "  base:     {base}")?;
    }
    // Metadata: NUL-terminated words.
    for word in payload.metadata.split(|byte| *byte == 0) {
        if let Ok(word) = core::str::from_utf8(word)
            && !word.is_empty()
        {
            writeln!(out, "  metadata: {}", Printable(word))?;
        }
    }
    for placed in &payload.regions {
        let region = placed.region;
        writeln!(
            out,
            "  {} {:#018x} bytes={:#x} used={:#x}",
            placed.access, region.address, region.bytes, placed.used_bytes
        )?;
    }
    for patch in &payload.patches {
        let name = payload.stored_name(patch.name);
        write!(
            out,
            "  {name} patch {:#x}({:#x}) with ",
            patch.old_address, patch.old_bytes
        )?;
        match patch.replacement {
            Replacement::Jump(address) => write!(out, "{address:#x}({:#x})", patch.new_bytes)?,
            Replacement::Nops(bytes) => write!(out, "{bytes} bytes of NOPs")?,
        }
        writeln!(out, "{}", mark(patch.applied))?;
    }
    for word in &payload.words {
        let name = payload.stored_name(word.name);
        writeln!(
            out,
            "  {name} word {:#x} {:#x} -> {:#x}{}",
            word.address,
            word.expected,
            word.value,
            mark(word.applied)
        )?;
    }
    Ok(())
}

/// Text on one line: control characters are shown as escapes.
struct Printable<'a>(&'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if character.is_control() {
                write!(out, "{}", character.escape_default())?;
            } else {
                fmt::Write::write_char(out, character)?;
            }
        }
        Ok(())
    }
}

fn mark(applied: Applied) -> &'static str {
    match applied {
        Applied::Yes => " (applied)",
        Applied::No => "",
    }
}
