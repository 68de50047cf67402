//! How code uses the addresses in its relocated fields: whether it goes there, reads there, adds an
//! index or keeps the address.
//!
//! Only the instruction around a field tells. Functions are decoded when somebody asks for one of
//! their fields, and then once.

use std::sync::{Mutex, PoisonError};

use foldhash::HashMap;

use crate::machine::cursor::Cursor;
use crate::machine::{Use, walk};
use crate::read::items::ItemId;
use crate::read::side::Build;

/// What was decoded: by item, the use of each of its relocations.
#[derive(Debug, Default)]
pub(crate) struct Uses(Mutex<HashMap<ItemId, Box<[Option<Use>]>>>);

impl Build<'_> {
    /// How `source` uses the address in the field of a relocation of its own (by its index); `None`
    /// in data, and where no instruction has such a field.
    #[must_use]
    pub(crate) fn use_of(&self, source: ItemId, index: usize) -> Option<Use> {
        let section = self.items.item(source).section;
        if !self.object.section(section).is_executable() {
            return None;
        }
        let range = self.relocation_range(source);
        let own = index.checked_sub(range.start)?;
        let mut known = self.uses.0.lock().unwrap_or_else(PoisonError::into_inner);
        let uses = known
            .entry(source)
            .or_insert_with(|| range.map(self.reader(source)).collect());
        uses.get(own).copied().flatten()
    }

    /// The multiple, in bytes, that the address in the field of a relocation of `source` must be of
    /// for no instruction to fault: the one around it, or, where the address is kept, any of the
    /// function that reads or writes by an address in a register.
    #[must_use]
    pub(crate) fn alignment_needed(&self, source: ItemId, index: usize) -> u64 {
        let field = self.object.relocations[index].offset;
        let start = self.items.item(source).offset;
        let code = || walk(self.object.machine, self.bytes(source), start);
        let kind = self.object.relocations[index].kind;
        let is_slot = self.object.machine.goes_through_slot(kind);
        match self.use_of(source, index) {
            // What is read there is the address, which is kept.
            Some(Use::Access) if !is_slot => code()
                .find(|one| field < one.end)
                .map_or(1, |one| one.alignment_needed()),
            Some(Use::Access | Use::Address | Use::Indexed) => code()
                .filter(|one| one.goes_by_register())
                .map(|one| one.alignment_needed())
                .max()
                .unwrap_or(1),
            Some(Use::Branch) | None => 1,
        }
    }

    /// Whether a relocation of `source` (by its index) is the operand of a call or jump.
    #[must_use]
    pub fn is_call(&self, source: ItemId, index: usize) -> bool {
        let relocation = &self.object.relocations[index];
        let section = self.items.item(source).section;
        // What a branch holds is a distance; what the assembler filled was decoded before.
        self.object.machine.is_relative(relocation.kind)
            && (self.is_filled_branch(section, relocation.offset)
                || self.use_of(source, index) == Some(Use::Branch))
    }

    /// Reads the uses of an item's relocations, one behind the other.
    fn reader(&self, source: ItemId) -> impl FnMut(usize) -> Option<Use> {
        let (code, start) = (self.bytes(source), self.items.item(source).offset);
        let mut cursor = Cursor::default();
        move |index| {
            let field = self.object.relocations[index].offset;
            cursor
                .holding(self.object.machine, code, start, field)?
                .use_of(field)
        }
    }
}
