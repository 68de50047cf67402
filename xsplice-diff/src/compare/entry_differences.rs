//! Compares the entries of special sections and the special code that belong to functions: a
//! function may change although its own bytes do not.

use crate::compare::comparer::Comparer;
use crate::compare::pieces::is_piece;
use crate::compare::special_entries::{Entry, SpecialEntries};
use crate::read::items::ItemId;
use crate::read::side::Build;
use crate::read::side::is_content;
use crate::read::special_sections::Line;
use crate::verdict::kinds::Reason;

impl<'data> Comparer<'_, 'data> {
    /// Whether two pieces of special code differ in their entries or in the code that they fall
    /// through into.
    pub(crate) fn differs_behind(&mut self, o: ItemId, p: ItemId) -> bool {
        let (original, patched) = (self.original, self.patched);
        let (old, new) = self.entries;
        if self.entries_differ(old.about(o), new.about(p)).is_some() {
            return true;
        }
        match (old.runs_into(original, o), new.runs_into(patched, p)) {
            (None, None) => false,
            (Some(o), Some(p)) if is_content(original, o) && is_content(patched, p) => {
                self.content_difference(o, p).is_some()
            }
            (Some(o), Some(p)) => self.correlation.original(p) != Some(o),
            _ => true,
        }
    }

    /// What differs between the special-section entries of counterparts, if anything does.
    pub(crate) fn entry_differences(
        &mut self,
        o: ItemId,
        old: &SpecialEntries,
        p: ItemId,
        new: &SpecialEntries,
    ) -> Option<Reason> {
        self.entries_differ(old.of(o), new.of(p))
    }

    /// What differs between two lists of entries, if anything does.
    ///
    /// Shortcut S15: the line of an entry is printed and nothing else, and a table of entries that
    /// belong to code is searched by address.
    pub(crate) fn entries_differ(&mut self, old: &[Entry], new: &[Entry]) -> Option<Reason> {
        let section =
            |build: &Build<'data>, entry: &Entry| build.object.section(entry.section).name;
        let differs = |name: &str, detail: String| Reason::SpecialEntryDiffers {
            section: name.to_owned(),
            detail,
        };
        for (before, after) in old.iter().zip(new) {
            let name = section(self.patched, after);
            if section(self.original, before) != name {
                return Some(differs(name, "an entry was added or removed".to_owned()));
            }
            if let Some(detail) = self.entry_difference(before, after) {
                return Some(differs(name, detail));
            }
        }
        if old.len() == new.len() {
            return None;
        }
        let name = match (old.get(new.len()), new.get(old.len())) {
            (Some(entry), _) => section(self.original, entry),
            (_, Some(entry)) => section(self.patched, entry),
            (None, None) => "",
        };
        Some(differs(
            name,
            format!("{} entries before, {} now", old.len(), new.len()),
        ))
    }

    fn entry_difference(&mut self, before: &Entry, after: &Entry) -> Option<String> {
        let (original, patched) = (self.original, self.patched);
        let line = match after.line {
            Line::Field(line) if after.size >= line.range().end => line.range(),
            _ => 0..0,
        };
        let old = before.bytes(original);
        let new = after.bytes(patched);
        if old.len() != new.len() {
            return Some(format!(
                "an entry has {} bytes, had {}",
                new.len(),
                old.len()
            ));
        }
        let at = (0_u64..)
            .zip(old.iter().zip(new))
            .find(|(at, (old, new))| old != new && !line.contains(at));
        if let Some((at, _)) = at {
            return Some(format!(
                "the entry at +{:#x} differs at byte {at}",
                after.offset
            ));
        }
        let old = before.relocation_range(original);
        let new = after.relocation_range(patched);
        if old.len() != new.len() {
            return Some(format!(
                "the entry at +{:#x} has other fields",
                after.offset
            ));
        }
        for (old, new) in old.zip(new) {
            let at = patched.object.relocations[new].offset - after.offset;
            let other = original.object.relocations[old].offset - before.offset;
            if at != other {
                return Some(format!(
                    "the entry at +{:#x} has other fields",
                    after.offset
                ));
            }
            if let Some(reason) = self.relocation_difference(old, new, at) {
                let what = match reason {
                    Reason::StringDiffers { old, new, .. } => format!("says {new:?}, said {old:?}"),
                    Reason::TargetDiffers { old, new, .. } => format!("points to {new}, was {old}"),
                    Reason::ConstantDiffers { name, .. } => {
                        let ends = (original.targets[old].item(), patched.targets[new].item());
                        let size = |build: &Build<'_>, item| build.items.item(item).size;
                        let is_itself = matches!(ends, (Some(o), Some(p))
                            if !is_piece(patched, p)
                                || size(original, o) != size(patched, p)
                                || self.first_byte_difference(o, p).is_some());
                        if is_itself {
                            format!("refers to code at {name} that differs")
                        } else {
                            format!("refers to code at {name} that leads to what differs")
                        }
                    }
                    _ => "differs".to_owned(),
                };
                return Some(format!("the entry at +{:#x} {what}", after.offset));
            }
        }
        None
    }
}
