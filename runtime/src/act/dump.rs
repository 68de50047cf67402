//! The text of the dump call: every payload with its state, regions, records and ids.

use core::fmt;

use crate::act::runtime::Runtime;
use crate::patch::Applied;
use crate::patch::record::Replacement;
use crate::payload::{BuildId, Payload, PayloadState};
use crate::platform::Platform;

/// Metadata of a payload beyond this many bytes is counted, not shown: a payload chooses how much
/// it has, and the text of all of them has to fit one answer.
const METADATA_BYTES_SHOWN: usize = 16 * 1024;

impl<P: Platform> Runtime<'_, P> {
    /// Writes every payload with its regions and records, in order of upload.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn dump(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let stack = self.stack.lock();
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
        for payload in &stack.payloads {
            let level = stack.applied.iter().position(|id| *id == payload.id);
            one(payload, level, out)?;
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
    let shown = payload.metadata.len().min(METADATA_BYTES_SHOWN);
    let (metadata, hidden) = payload.metadata.split_at(shown);
    for word in metadata.split(|byte| *byte == 0) {
        if let Ok(word) = core::str::from_utf8(word)
            && !word.is_empty()
        {
            writeln!(out, "  metadata: {}", Printable(word))?;
        }
    }
    if !hidden.is_empty() {
        writeln!(out, "  metadata: {} bytes more", hidden.len())?;
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
