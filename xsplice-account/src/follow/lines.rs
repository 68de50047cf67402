//! Line numbers in code, proven from the line tables of both builds.
//!
//! An immediate may differ when in each build it is the very line that the table gives for its own
//! instruction. Anything else of the instruction must be equal, so that a branch that leads
//! elsewhere, a displacement or another register never passes.

use std::sync::OnceLock;

use foldhash::HashMap;
use gimli::{DebugLine, DebugLineOffset, EndianSlice, LittleEndian};
use xsplice_abi::tables::{EntrySizes, SpecialTable};
use xsplice_diff::machine::{Alike, Machine, walk};
use xsplice_diff::read::object::{ElfObject, SectionId, SymbolPlace};

use crate::follow::Follower;
use crate::read::classes::{Descriptor, descriptor};
use crate::read::fields::{Form, form};
use crate::read::tree::{ItemId, Tree};

/// Lines by section and offset of the instruction; of several rows at one place, all.
type Table = HashMap<u32, Vec<(u64, u64)>>;

/// The tables of a build's objects, each read when it is first asked for.
#[derive(Debug)]
pub(crate) struct LineTables(Vec<OnceLock<Table>>);

impl LineTables {
    /// For this many objects.
    #[must_use]
    pub(crate) fn new(objects: usize) -> LineTables {
        LineTables((0..objects).map(|_| OnceLock::new()).collect())
    }

    /// Whether the line table gives `line` for the instruction at `offset` of a section.
    fn says(&self, tree: &Tree<'_>, item: ItemId, offset: u64, line: u64) -> bool {
        let elf = &tree.objects[item.object].elf;
        let table = self.0[item.object].get_or_init(|| read(elf).unwrap_or_default());
        let Some(rows) = table.get(&tree.item(item).section.0) else {
            return false;
        };
        let end = rows.partition_point(|&(start, _)| start <= offset);
        let Some(&(start, _)) = end.checked_sub(1).and_then(|last| rows.get(last)) else {
            return false;
        };
        rows[..end]
            .iter()
            .rev()
            .take_while(|row| row.0 == start)
            .any(|row| row.1 == line)
    }
}

impl Follower<'_, '_> {
    /// The line and column in what a sanitizer tells of a place of the source: compilers put it
    /// into a section of its own, behind a pointer to the name of the file. What has no such
    /// pointer has something else there, such as the letters of a type's name.
    pub(crate) fn described_line(&self, item: ItemId, at: usize) -> Option<(usize, usize)> {
        const PLACE: (usize, usize) = (8, 16);
        self.claims?;
        if descriptor(self.tree, item) != Some(Descriptor::Place) {
            return None;
        }
        let (object, content) = (&self.tree.objects[item.object], self.tree.item(item));
        let mut fields = object.fields_of(content).iter();
        let first = fields.next()?;
        let is_behind_name = first.offset == content.range.start
            && (first.form, usize::from(first.width)) == (Form::Absolute, PLACE.0)
            && fields.all(|field| field.offset >= content.range.start + PLACE.1 as u64);
        (is_behind_name && (PLACE.0..PLACE.1).contains(&at)).then_some(PLACE)
    }

    /// The bytes of an immediate that differ at `at` because a line does.
    pub(crate) fn line_number(
        &self,
        item: ItemId,
        address: u64,
        ours: &[u8],
        theirs: &[u8],
        at: usize,
    ) -> Option<(usize, usize)> {
        self.claims?;
        if !self.tree.is_code(item) {
            return None;
        }
        let machine = self.tree.objects[item.object].elf.machine;
        if machine.instruction_bytes.is_some() {
            let (offset, end, new, old) = operands_at(machine, ours, theirs, at)?;
            return self
                .are_lines(item, address, offset, (new, old))
                .then_some((offset, end));
        }
        let (start, width) = immediate_at(machine, ours, at)?;
        let (there, other_width) = immediate_at(machine, theirs, at)?;
        if (start.instruction, start.immediate, width)
            != (there.instruction, there.immediate, other_width)
            || ours[start.instruction..start.immediate]
                != theirs[start.instruction..start.immediate]
        {
            return None;
        }
        let end = start.immediate + width;
        let number = |bytes: &[u8]| {
            let mut wide = [0; 8];
            wide.get_mut(..width)?
                .copy_from_slice(bytes.get(start.immediate..end)?);
            Some(u64::from_le_bytes(wide))
        };
        let (new, old) = (number(ours)?, number(theirs)?);
        self.are_lines(item, address, start.instruction, (new, old))
            .then_some((start.immediate, end))
    }

    /// Whether two numbers are the lines of the instruction at `instruction` in each build.
    ///
    /// Shortcut S27: both tables give the numbers for the instruction, and nothing else of it
    /// differs.
    fn are_lines(
        &self,
        item: ItemId,
        address: u64,
        instruction: usize,
        (new, old): (u64, u64),
    ) -> bool {
        let Some(claims) = self.claims else {
            return false;
        };
        let instruction = instruction as u64;
        let offset = self.tree.item(item).range.start + instruction;
        let is_new = self.lines.says(self.tree, item, offset, new);
        let place = address + instruction;
        let is_old = claims.at(place).any(|(begin, original)| {
            let offset = claims.tree.item(original).range.start + (place - begin);
            self.original_lines.says(claims.tree, original, offset, old)
        });
        is_new && is_old
    }

    /// The bytes of a bug frame's line that differ at `at`, where it has bytes of its own.
    ///
    /// Shortcut S28: the layout of the table says which bytes are the line.
    pub(crate) fn line_beside(&self, item: ItemId, at: usize) -> Option<(usize, usize)> {
        let machine = self.tree.objects[item.object].elf.machine;
        let name = self.tree.section(item).name;
        let table = SpecialTable::of(name)?;
        let line = table.layout(&EntrySizes::of(machine)).line?.range();
        let (start, end) = (
            usize::try_from(line.start).ok()?,
            usize::try_from(line.end).ok()?,
        );
        (start..end).contains(&at).then_some((start, end))
    }
}

/// The instructions around `at` in two codes that differ in a number alone: where it begins and
/// ends, and both numbers.
fn operands_at(
    machine: &Machine,
    ours: &[u8],
    theirs: &[u8],
    at: usize,
) -> Option<(usize, usize, u64, u64)> {
    let at = u64::try_from(at).ok()?;
    let around = |code| walk(machine, code, 0).find(|instruction| instruction.end > at);
    let (ours, theirs) = (around(ours)?, around(theirs)?);
    match ours.compare(&theirs) {
        Alike::Immediate(new, old) => Some((
            usize::try_from(ours.start).ok()?,
            usize::try_from(ours.end).ok()?,
            new,
            old,
        )),
        Alike::Same | Alike::Displacement | Alike::Other => None,
    }
}

struct Bounds {
    instruction: usize,
    immediate: usize,
}

/// The instruction whose immediate holds the byte at `at`, and the bytes of that immediate.
fn immediate_at(machine: &Machine, code: &[u8], at: usize) -> Option<(Bounds, usize)> {
    let at = u64::try_from(at).ok()?;
    let instruction = walk(machine, code, 0).find(|instruction| instruction.end > at)?;
    let is_branch = instruction.lead.is_some_and(|lead| lead.is_branch);
    if is_branch || !instruction.is_valid {
        return None;
    }
    let immediate = instruction.immediate?;
    let holds = (immediate.offset..immediate.offset + immediate.bytes).contains(&at);
    let bounds = Bounds {
        instruction: usize::try_from(instruction.start).ok()?,
        immediate: usize::try_from(immediate.offset).ok()?,
    };
    let width = usize::try_from(immediate.bytes).ok()?;
    holds.then_some((bounds, width))
}

/// Addresses are section indices above this bit, and offsets below.
const SECTION_SHIFT: u32 = 32;

/// Reads the line table of an object.
fn read(elf: &ElfObject<'_>) -> Option<Table> {
    let (id, section) = elf
        .sections()
        .find(|(_, section)| section.name == ".debug_line")?;
    let mut bytes = section.data.to_vec();
    for relocation in elf.debug_relocations(id) {
        let symbol = elf.symbol(relocation.symbol);
        let SymbolPlace::Section(SectionId(target)) = symbol.place else {
            continue;
        };
        let (form, width) = form(elf.machine, relocation.kind);
        if form != Form::Absolute || width != 8 {
            continue;
        }
        let offset = symbol.value.wrapping_add_signed(relocation.addend);
        let value = (u64::from(target) << SECTION_SHIFT) | offset;
        let start = usize::try_from(relocation.offset).ok()?;
        bytes
            .get_mut(start..start + 8)?
            .copy_from_slice(&value.to_le_bytes());
    }
    let lines = DebugLine::new(&bytes, LittleEndian);
    let mut table = Table::default();
    let mut offset = 0;
    while offset < bytes.len() {
        let program = lines.program(DebugLineOffset(offset), 8, None, None).ok()?;
        let length = program.header().unit_length();
        // The 32-bit form of DWARF: four bytes of length in front.
        offset += length + 4;
        collect(program, &mut table)?;
    }
    for rows in table.values_mut() {
        rows.sort_unstable();
    }
    Some(table)
}

type Program<'bytes> = gimli::IncompleteLineProgram<EndianSlice<'bytes, LittleEndian>>;

fn collect(program: Program<'_>, table: &mut Table) -> Option<()> {
    let mut rows = program.rows();
    while let Some((_, row)) = rows.next_row().ok()? {
        if row.end_sequence() {
            continue;
        }
        let Some(line) = row.line() else { continue };
        let section = u32::try_from(row.address() >> SECTION_SHIFT).ok()?;
        let offset = row.address() & u64::from(u32::MAX);
        table.entry(section).or_default().push((offset, line.get()));
    }
    Some(())
}
