//! Recognises functions that differ only in line numbers, and functions that differ only in
//! displacements.
//!
//! `__LINE__` ends up as an immediate operand that is an argument of a call for reporting
//! ([`crate::compare::log_call`] decides which are). The difference is proven when both immediates
//! also equal the line that their own line table gives for the instruction. Without line tables it
//! is only a guess. A constant that is used in any other way is never taken for a line number,
//! whatever its value.

use std::cell::OnceCell;

use crate::compare::log_call::{Follower, Likeness};
use crate::debug_info::line_table::LineTable;
use crate::machine::{Alike, Instruction, walk};
use crate::read::items::ItemId;
use crate::read::object::SectionId;
use crate::read::side::Build;

/// Kinds of differences between two functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// Line numbers, every one of them proven: all of them.
    ProvenLineNumbers(Vec<Shift>),
    /// Immediates that look like line numbers, not all of them proven. Holds all of them.
    LooksLikeLineNumbers(Vec<Shift>),
    /// Immediates that equal their line number, passed to functions that are not known to report
    /// anything: `set_limit("queue", 4)` on line 4.
    LineNumbersOrValues,
    /// Displacements of memory operands.
    Displacements,
    /// Anything else.
    Other,
}

/// A number that changed as its line number did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shift {
    /// What it was.
    pub old: u64,
    /// What it is.
    pub new: u64,
    /// The function that it is given to.
    pub callee: String,
}

impl std::fmt::Display for Shift {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} for {} is now {}", self.old, self.callee, self.new)
    }
}

/// The numbers of one function in one sentence; of very many the first ones.
#[must_use]
pub(crate) fn said(shifts: &[Shift]) -> String {
    const SAID_MAX: usize = 8;
    let first: Vec<String> = shifts
        .iter()
        .take(SAID_MAX)
        .map(ToString::to_string)
        .collect();
    let rest = match shifts.len().saturating_sub(SAID_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{rest}", first.join(", "))
}

/// Line tables of both builds, where they have any; each is read when a number is first looked up
/// in it. Most changes are in no number, or in one that is no line of the original.
#[derive(Debug, Default)]
pub(crate) struct LineTables {
    original: OnceCell<Option<LineTable>>,
    patched: OnceCell<Option<LineTable>>,
}

/// Whether the line table of a build gives a line for the instruction at an offset.
fn is_line(
    table: &OnceCell<Option<LineTable>>,
    build: &Build<'_>,
    (section, offset): (SectionId, u64),
    number: u64,
) -> bool {
    let table = table.get_or_init(|| LineTable::new(&build.object)).as_ref();
    table.is_some_and(|table| {
        let mut lines = table.lines_at(section, offset);
        lines.any(|line| line == number)
    })
}

/// Largest number that is taken for a line number without proof.
const LINE_MAX: u64 = 100_000;

/// What two functions, whose relocations are the same, differ in.
///
/// Shortcut S11: each number is, in its own build, the line that the line table gives for its very
/// instruction, it is given to a function that reports, and every branch leads to the same
/// instruction.
#[must_use]
pub(crate) fn classify(
    original: &Build<'_>,
    o: ItemId,
    patched: &Build<'_>,
    p: ItemId,
    tables: &LineTables,
) -> Difference {
    let (old, new) = (original.bytes(o), patched.bytes(p));
    let (old_item, new_item) = (original.items.item(o), patched.items.item(p));
    let mut before = walk(original.object.machine, old, old_item.offset);
    let mut after = walk(patched.object.machine, new, new_item.offset);
    let (mut proven, mut displacements) = (0, 0_u64);
    let mut leads = Leads::default();
    let mut shifts = Vec::new();
    let mut follower = Follower::new(original, o);
    let mut all_report = true;
    let mut shift = None;
    let mut shift_is_one = true;
    let both_ended = loop {
        let (a, b) = match (before.next(), after.next()) {
            (Some(a), Some(b)) => (a, b),
            (None, None) => break true,
            _ => break false,
        };
        follower.step(&a);
        leads.step((original, o, &a), (patched, p, &b));
        match a.compare(&b) {
            Alike::Same => {}
            Alike::Displacement => displacements += 1,
            Alike::Immediate(old_value, new_value) => {
                let Some(call) = follower.call_of(&a) else {
                    return Difference::Other;
                };
                all_report &= call.likeness == Likeness::Reports;
                shifts.push(Shift {
                    old: old_value,
                    new: new_value,
                    callee: call.callee,
                });
                let delta = new_value.wrapping_sub(old_value);
                shift_is_one &= *shift.get_or_insert(delta) == delta
                    && (1..LINE_MAX).contains(&old_value)
                    && (1..LINE_MAX).contains(&new_value);
                let old_place = (old_item.section, a.start);
                let new_place = (new_item.section, b.start);
                let both = is_line(&tables.original, original, old_place, old_value)
                    && is_line(&tables.patched, patched, new_place, new_value);
                proven += usize::from(both);
            }
            Alike::Other => return Difference::Other,
        }
    };
    // Only an immediate may differ here, so the instructions must be equally long.
    let same_length = old.len() == new.len();
    match (both_ended, shifts.len(), displacements) {
        (false, _, _) => Difference::Other,
        _ if !leads.lead_alike() => Difference::Other,
        (true, lines @ 1.., 0) if same_length && proven == lines => {
            if all_report {
                Difference::ProvenLineNumbers(shifts)
            } else {
                Difference::LineNumbersOrValues
            }
        }
        (true, 1.., 0) if same_length && shift_is_one && all_report => {
            Difference::LooksLikeLineNumbers(shifts)
        }
        (true, 0, 1..) => Difference::Displacements,
        _ => Difference::Other,
    }
}

/// Where the fields of two functions lead that the assembler filled, and that have no relocation:
/// to instructions of the function itself.
#[derive(Debug, Default)]
struct Leads {
    /// Where the instructions begin that were stepped over, from the starts of their functions.
    old_starts: Vec<u64>,
    new_starts: Vec<u64>,
    /// Where fields that face each other lead.
    pairs: Vec<(u64, u64)>,
    /// Whether one leads somewhere and the other does not.
    is_broken: bool,
}

impl Leads {
    /// Takes note of two instructions that face each other.
    fn step(
        &mut self,
        (original, o, a): (&Build<'_>, ItemId, &Instruction<'_>),
        (patched, p, b): (&Build<'_>, ItemId, &Instruction<'_>),
    ) {
        let (old, new) = (original.items.item(o).offset, patched.items.item(p).offset);
        self.old_starts.push(a.start - old);
        self.new_starts.push(b.start - new);
        match (unrelocated(original, o, a), unrelocated(patched, p, b)) {
            (None, None) => {}
            (Some(a), Some(b)) => self.pairs.push((a.wrapping_sub(old), b.wrapping_sub(new))),
            _ => self.is_broken = true,
        }
    }

    /// Whether all fields lead to instructions that face each other. A place where no instruction
    /// begins, such as the end of the function, must be at one distance from the start in both.
    fn lead_alike(&self) -> bool {
        let alike = |(old, new): &(u64, u64)| match (
            self.old_starts.binary_search(old),
            self.new_starts.binary_search(new),
        ) {
            (Ok(old), Ok(new)) => old == new,
            (Err(_), Err(_)) => old == new,
            _ => false,
        };
        !self.is_broken && self.pairs.iter().all(alike)
    }
}

/// Where an instruction leads by a field without a relocation, counted as its start is.
fn unrelocated(build: &Build<'_>, item: ItemId, instruction: &Instruction<'_>) -> Option<u64> {
    let lead = instruction.lead?;
    let range = build.relocation_range(item);
    let fields = build.object.relocations.get(range)?;
    let at = fields.binary_search_by_key(&lead.field.offset, |one| one.offset);
    at.is_err().then_some(lead.to)
}
