//! Entries of the tables that the loader walks, each by the code that it belongs to.

use serde::Serialize;
use xsplice_abi::tables::{Alternative, BugFrame, BugKind, ExceptionEntry, SpecialTable};
use xsplice_runtime::read::view::{Relocation, SectionId};

use super::code::CodeBlock;
use super::places::Places;
use crate::facts::{Facts, TableFacts};

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EntryLine {
    /// The place in the code that it is about.
    pub owner: String,
    /// The new text.
    pub text: String,
}

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
        let owner = self.named(table.section, start, 0);
        let text = match table.kind {
            SpecialTable::BugFrames(kind) => return self.bug_frame(table.section, start, kind),
            SpecialTable::Exceptions => {
                let resume = self.named(table.section, start + ExceptionEntry::RESUME_AT, 0);
                format!("a fault here continues at {resume}")
            }
            SpecialTable::Alternatives => self.alternative(table.section, start),
            SpecialTable::CallSites => "alternative call".to_owned(),
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
    fn bug_frame(&self, section: SectionId, start: u64, kind: BugKind) -> EntryLine {
        let form = self.facts.machine.entry_form;
        let message_at = BugFrame::message_at(form);
        let split = |at: u64| -> Option<(Relocation, i64)> {
            let entry = *self.field(section, start + at)?;
            let (displacement, line) = BugFrame::part_addend(form, entry.addend);
            let addend = displacement - i64::try_from(at).unwrap_or(0);
            Some((Relocation { addend, ..entry }, line))
        };
        let target = |part: &Option<(Relocation, i64)>| match part {
            Some((entry, _)) => self.places.target(entry, 0),
            None => "a place that no relocation names".to_owned(),
        };
        let (location, pointer) = (split(BugFrame::LOCATION_AT), split(BugFrame::POINTER_AT));
        let beside = BugFrame::line_field(form).and_then(|line| {
            let data = self.facts.view.section(section)?.data;
            let entry = data.get(usize::try_from(start).ok()?..)?;
            i64::try_from(line.read(entry)?).ok()
        });
        let line = match (beside, &location, &pointer) {
            (Some(line), _, _) => line,
            (None, Some((_, high)), Some((_, low))) => BugFrame::joined_line(*high, *low),
            _ => 0,
        };
        let text = match kind {
            BugKind::RunFunction => format!("runs {}", target(&pointer)),
            BugKind::Warning => format!("warning at line {line} of {}", target(&pointer)),
            BugKind::Bug => format!("bug at line {line} of {}", target(&pointer)),
            BugKind::Assertion => format!(
                "assertion at line {line} of {}: {}",
                target(&pointer),
                // Counted from the frame too.
                self.named(section, start + message_at, -message_at.cast_signed())
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
        let form = self.facts.machine.entry_form;
        let entry = usize::try_from(start)
            .ok()
            .and_then(|start| Alternative::read(form, data.get(start..)?));
        let Some(entry) = entry else {
            return "an entry that is cut".to_owned();
        };
        let condition = if entry.is_inverted() {
            "without"
        } else {
            "with"
        };
        let new = entry.replacement_bytes;
        let place = self
            .field(section, start + Alternative::REPLACEMENT_AT)
            .and_then(|entry| self.places.in_payload(entry, 0));
        let replacement = match place {
            Some(place) if new != 0 => self.replacement(place, new),
            _ => "nothing".to_owned(),
        };
        format!(
            "{condition} feature {:#x}: {} bytes become {new} bytes, {replacement}",
            entry.feature(),
            entry.place_bytes(),
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
