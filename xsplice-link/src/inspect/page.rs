//! The page: the same facts as the JSON, in the order in which a reviewer asks for them.

use std::fmt::{self, Write as _};

use super::{CodeBlock, DataLine, Inspection, RecordLine, ReferenceLine};

/// How much of a piece of data the page shows, in bytes; the JSON has all of it.
const DATA_SHOWN_MAX: usize = 64;
/// Bytes of data in one row.
const ROW_BYTES: usize = 16;
/// Hexadecimal digits of a byte.
const DIGITS: usize = 2;

impl fmt::Display for Inspection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.identity(out)?;
        heading(out, "replaces", self.records.len())?;
        self.records.iter().try_for_each(|one| record(out, one))?;
        heading(out, "changes words", self.words.len())?;
        for word in &self.words {
            writeln!(
                out,
                "  {} at {}: {}, was {}",
                word.name, word.address, word.value, word.expected
            )?;
        }
        heading(out, "hooks", self.hooks.len())?;
        for hook in &self.hooks {
            writeln!(out, "  {:<10} {}", hook.kind, hook.functions.join(", "))?;
        }
        heading(out, "tables", self.tables.len() + self.unknown_tables.len())?;
        for table in &self.tables {
            writeln!(out, "  {:<24} {} entries", table.name, table.entries)?;
            for item in &table.items {
                writeln!(out, "    {}: {}", item.owner, item.text)?;
            }
        }
        for table in &self.unknown_tables {
            writeln!(
                out,
                "  {:<24} unknown: {} bytes that no loader walks",
                table.name, table.size
            )?;
        }
        heading(out, "needs from the base", self.undefined.len())?;
        for name in &self.undefined {
            writeln!(out, "  {name}")?;
        }
        heading(out, "exports", self.exports.len())?;
        for name in &self.exports {
            writeln!(out, "  {name}")?;
        }
        heading(out, "brings", self.symbols.len())?;
        for symbol in &self.symbols {
            writeln!(
                out,
                "  {:<12} {:>6}  {}",
                symbol.section, symbol.size, symbol.name
            )?;
        }
        heading(out, "code", self.code.len())?;
        self.code.iter().try_for_each(|one| code(out, one))?;
        heading(out, "data", self.data.len())?;
        self.data.iter().try_for_each(|one| data(out, one))?;
        heading(out, "sections", self.sections.len())?;
        for section in self.sections.iter().chain(&self.unloaded) {
            writeln!(
                out,
                "  {:<4} {:>6}  align {:<4} {}",
                section.region, section.size, section.alignment, section.name
            )?;
        }
        heading(out, "relocations", self.relocations.len())?;
        for (name, count) in &self.relocations {
            writeln!(out, "  {name:<18} {count}")?;
        }
        self.references
            .iter()
            .try_for_each(|one| reference(out, one))
    }
}

impl Inspection {
    fn identity(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "payload   {}", or_none(self.name.as_deref()))?;
        writeln!(out, "abi       {}", self.abi)?;
        let signed = if self.signed { ", signed" } else { "" };
        writeln!(out, "size      {} bytes{signed}", self.size)?;
        writeln!(out, "sha256    {}", self.sha256)?;
        writeln!(out, "build-id  {}", or_none(self.build_id.as_deref()))?;
        writeln!(out, "stacks on {}", or_none(self.depends.as_deref()))?;
        writeln!(out, "base      {}", or_none(self.base_id.as_deref()))?;
        for (key, value) in &self.metadata {
            if !matches!(key.as_str(), "name" | "abi") {
                writeln!(out, "{key:<9} {value}")?;
            }
        }
        match &self.signature {
            Some(signature) => {
                writeln!(
                    out,
                    "signature {} bytes, {}, over the first {} bytes",
                    signature.bytes, signature.scheme, signature.content_bytes
                )?;
                writeln!(out, "  signer  {}", signature.signer)?;
                writeln!(out, "  key id  {}", signature.key_id)?;
                writeln!(out, "  sha256  {}", signature.content_sha256)
            }
            None if self.signed => writeln!(out, "signature cannot be read"),
            None => Ok(()),
        }
    }
}

fn or_none(text: Option<&str>) -> &str {
    text.unwrap_or("none")
}

fn record(out: &mut fmt::Formatter<'_>, record: &RecordLine) -> fmt::Result {
    writeln!(
        out,
        "  {} at {} ({} bytes) by {} ({} bytes)",
        or_none(record.name.as_deref()),
        record.old,
        record.old_size,
        record.new,
        record.new_size
    )?;
    if record.expect.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "    expects {}: {}",
        record.expect,
        record.expect_code.join("; ")
    )
}

fn code(out: &mut fmt::Formatter<'_>, block: &CodeBlock) -> fmt::Result {
    writeln!(
        out,
        "  {} ({}+{:#x}, {} bytes)",
        block.name,
        block.section,
        block.offset,
        block.bytes.len() / DIGITS
    )?;
    for line in &block.instructions {
        writeln!(out, "    {:>5x}  {}", line.offset, line.text)?;
    }
    Ok(())
}

fn data(out: &mut fmt::Formatter<'_>, piece: &DataLine) -> fmt::Result {
    writeln!(
        out,
        "  {} ({}, {} bytes)",
        piece.name, piece.section, piece.size
    )?;
    for text in &piece.strings {
        writeln!(out, "           {text:?}")?;
    }
    if piece.strings.is_empty() {
        let digits = piece.bytes.as_bytes();
        let shown = &digits[..digits.len().min(DATA_SHOWN_MAX * DIGITS)];
        for (row, digits) in shown.chunks(ROW_BYTES * DIGITS).enumerate() {
            let mut text = String::new();
            for byte in digits.chunks(DIGITS) {
                write!(text, " {}", String::from_utf8_lossy(byte))?;
            }
            writeln!(out, "    {:>5x} {text}", row * ROW_BYTES)?;
        }
        let more = digits.len().saturating_sub(DATA_SHOWN_MAX * DIGITS) / DIGITS;
        if more != 0 {
            writeln!(out, "           and {more} bytes more")?;
        }
    }
    for (offset, target) in &piece.pointers {
        writeln!(out, "    {offset:>5x}  -> {target}")?;
    }
    Ok(())
}

fn reference(out: &mut fmt::Formatter<'_>, reference: &ReferenceLine) -> fmt::Result {
    writeln!(
        out,
        "  {:<18} {}: {} {:+}",
        reference.kind, reference.place, reference.target, reference.addend
    )
}

/// A heading, unless nothing stands under it.
fn heading(out: &mut fmt::Formatter<'_>, title: &str, count: usize) -> fmt::Result {
    if count == 0 {
        Ok(())
    } else {
        writeln!(out, "\n{title}")
    }
}
