//! Entries of the tables that the loader walks, each by the code that it belongs to.

use serde::Serialize;
use xsplice_abi::section::{ALTINSTRUCTIONS, BUG_FRAMES, EX_TABLE};
use xsplice_runtime::read::view::{Relocation, SectionId};

use super::code::CodeBlock;
use super::places::Places;
use crate::read::facts::{Facts, TableFacts};

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EntryLine {
    /// The place in the code that it is about.
    pub owner: String,
    /// What it says.
    pub text: String,
}

/// Bits of a bug frame's word that hold the displacement; the rest holds 7 bits of the line.
const DISPLACEMENT_BITS: u32 = 24;
const LINE_BITS: u32 = 7;
/// Bit of an alternative's feature that turns its meaning round (Xen since 4.17.6).
const FEATURE_INVERTED: u16 = 1 << 15;

/// Looks at one table.
pub(super) struct Reader<'a, 'view, 'data> {
    /// The payload.
    pub facts: &'a Facts<'view, 'data>,
    /// Its places by name.
    pub places: &'a Places<'a, 'view, 'data>,
    /// Its code, for replacements.
    pub code: &'a [CodeBlock],
}

impl Reader<'_, '_, '_> {
    /// The entries of `table`.
    pub(super) fn entries(&self, table: &TableFacts<'_>) -> Vec<EntryLine> {
        let section = self.facts.view.section(table.section);
        let held = section.map_or(0, |one| one.data.len() as u64);
        (0..held / table.entry_bytes)
            .map(|index| self.entry(table, index * table.entry_bytes))
            .collect()
    }

    fn entry(&self, table: &TableFacts<'_>, start: u64) -> EntryLine {
        if let Some(kind) = table.name.strip_prefix(BUG_FRAMES) {
            return self.bug_frame(table.section, start, kind);
        }
        let owner = self.named(table.section, start, 0);
        let text = match table.name {
            EX_TABLE => {
                let resume = self.named(table.section, start + 4, 0);
                format!("a fault here continues at {resume}")
            }
            ALTINSTRUCTIONS => self.alternative(table.section, start),
            _ => "alternative call".to_owned(),
        };
        EntryLine { owner, text }
    }

    fn field(&self, section: SectionId, at: u64) -> Option<&Relocation> {
        self.facts.fields.at(section, at)
    }

    fn named(&self, section: SectionId, at: u64, bias: i64) -> String {
        self.field(section, at).map_or_else(
            || "a place that no relocation names".to_owned(),
            |entry| self.places.target(entry, bias),
        )
    }

    /// Displacements count from the frame; their upper bits hold the line.
    fn bug_frame(&self, section: SectionId, start: u64, kind: &str) -> EntryLine {
        let split = |at: u64| -> Option<(Relocation, i64)> {
            let entry = *self.field(section, start + at)?;
            let unused = i64::BITS - DISPLACEMENT_BITS;
            let displacement = (entry.addend << unused) >> unused;
            let line = entry.addend.wrapping_sub(displacement) >> DISPLACEMENT_BITS;
            let addend = displacement - i64::try_from(at).unwrap_or(0);
            Some((Relocation { addend, ..entry }, line))
        };
        let target = |part: &Option<(Relocation, i64)>| match part {
            Some((entry, _)) => self.places.target(entry, 0),
            None => "a place that no relocation names".to_owned(),
        };
        let (location, pointer) = (split(0), split(4));
        let line = match (&location, &pointer) {
            (Some((_, high)), Some((_, low))) => (high << LINE_BITS) | low,
            _ => 0,
        };
        let text = match kind {
            "0" => format!("runs {}", target(&pointer)),
            "1" => format!("warning at line {line} of {}", target(&pointer)),
            "2" => format!("bug at line {line} of {}", target(&pointer)),
            _ => format!(
                "assertion at line {line} of {}: {}",
                target(&pointer),
                // Counted from the frame too.
                self.named(section, start + 12, -12)
            ),
        };
        EntryLine {
            owner: target(&location),
            text,
        }
    }

    fn alternative(&self, section: SectionId, start: u64) -> String {
        let data = self
            .facts
            .view
            .section(section)
            .map_or(&[][..], |one| one.data);
        let byte = |at: u64| {
            let at = usize::try_from(start + at).ok();
            at.and_then(|at| data.get(at)).copied().unwrap_or(0)
        };
        let feature = u16::from_le_bytes([byte(8), byte(9)]);
        let condition = if feature & FEATURE_INVERTED == 0 {
            "with"
        } else {
            "without"
        };
        let (old, new, padding) = (byte(10), byte(11), byte(12));
        let place = self
            .field(section, start + 4)
            .and_then(|entry| self.places.in_payload(entry, 0));
        let replacement = match place {
            Some(place) if new != 0 => self.replacement(place, new),
            _ => "nothing".to_owned(),
        };
        format!(
            "{condition} feature {:#x}: {} bytes become {new} bytes, {replacement}",
            feature & !FEATURE_INVERTED,
            u16::from(old) + u16::from(padding),
        )
    }

    /// The replacement's instructions.
    fn replacement(&self, (section, offset): (SectionId, u64), bytes: u8) -> String {
        let name = self.facts.view.section(section).map_or("?", |one| one.name);
        let range = offset..offset.saturating_add(bytes.into());
        let lines = self
            .code
            .iter()
            .filter(|block| block.section == name)
            .flat_map(|block| {
                block
                    .instructions
                    .iter()
                    .filter(|line| range.contains(&(block.offset + line.offset)))
            });
        let text: Vec<_> = lines.map(|line| line.text.as_str()).collect();
        text.join("; ")
    }
}
