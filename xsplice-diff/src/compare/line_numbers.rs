//! Recognises functions that differ only in line numbers, and functions that differ only in
//! displacements.
//!
//! `__LINE__` ends up as an immediate operand that is an argument of a call for reporting
//! ([`crate::compare::log_call`] decides which are). The difference is proven when both immediates
//! also equal the line that their own line table gives for the instruction. Without line tables it
//! is only a guess. A constant that is used in any other way is never taken for a line number,
//! whatever its value.

use iced_x86::{Decoder, DecoderOptions, Instruction, OpKind};

use crate::compare::log_call::{Follower, Likeness};
use crate::debug_info::line_table::LineTable;
use crate::read::items::ItemId;
use crate::read::side::Build;

/// Kinds of differences between two functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Line numbers, every one of them proven.
    ProvenLineNumbers,
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
pub struct Shift {
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

/// Line tables of both builds, where they have any.
#[derive(Debug)]
pub struct LineTables {
    /// Of the original.
    pub original: Option<LineTable>,
    /// Of the patched object.
    pub patched: Option<LineTable>,
}

impl LineTables {
    /// Reads both.
    #[must_use]
    pub fn new(original: &Build<'_>, patched: &Build<'_>) -> LineTables {
        LineTables {
            original: LineTable::new(&original.object),
            patched: LineTable::new(&patched.object),
        }
    }
}

/// Largest number that is taken for a line number without proof.
const LINE_MAX: u64 = 100_000;

/// What two functions, whose relocations are the same, differ in.
#[must_use]
pub fn classify(
    original: &Build<'_>,
    o: ItemId,
    patched: &Build<'_>,
    p: ItemId,
    tables: &LineTables,
) -> Difference {
    let (old, new) = (original.bytes(o), patched.bytes(p));
    let (old_item, new_item) = (original.items.item(o), patched.items.item(p));
    let mut before = Decoder::with_ip(64, old, old_item.offset, DecoderOptions::NONE);
    let mut after = Decoder::with_ip(64, new, new_item.offset, DecoderOptions::NONE);
    let (mut a, mut b) = (Instruction::default(), Instruction::default());
    let (mut proven, mut displacements) = (0, 0_u64);
    let mut shifts = Vec::new();
    let mut follower = Follower::new(original, o);
    let mut all_report = true;
    let mut shift = None;
    let mut shift_is_one = true;
    while before.can_decode() && after.can_decode() {
        before.decode_out(&mut a);
        after.decode_out(&mut b);
        if a.is_invalid() || b.is_invalid() || a.mnemonic() != b.mnemonic() {
            return Difference::Other;
        }
        follower.step(&a);
        match pair(&a, &b) {
            Pair::Same => {
                if !same_bytes(old, &before, &a, new, &after, &b) {
                    return Difference::Other;
                }
            }
            Pair::Displacement => displacements += 1,
            Pair::Immediate(old_value, new_value) => {
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
                let is_line = |table: &Option<LineTable>, section, ip, value| {
                    table
                        .as_ref()
                        .is_some_and(|table| table.lines_at(section, ip).any(|line| line == value))
                };
                let both = is_line(&tables.original, old_item.section, a.ip(), old_value)
                    && is_line(&tables.patched, new_item.section, b.ip(), new_value);
                proven += usize::from(both);
            }
            Pair::Other => return Difference::Other,
        }
    }
    let both_ended = !before.can_decode() && !after.can_decode();
    // Only an immediate may differ here, so the instructions must be equally long.
    let same_length = old.len() == new.len();
    match (both_ended, shifts.len(), displacements) {
        (false, _, _) => Difference::Other,
        (true, lines @ 1.., 0) if same_length && proven == lines => {
            if all_report {
                Difference::ProvenLineNumbers
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

/// Whether instructions with the same operands are equal byte for byte. Branches and fields that
/// the assembler resolved are left out: their targets were compared.
fn same_bytes(
    old: &[u8],
    before: &Decoder<'_>,
    a: &Instruction,
    new: &[u8],
    after: &Decoder<'_>,
    b: &Instruction,
) -> bool {
    let is_branch = a.op_count() > 0
        && matches!(
            a.op0_kind(),
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
        );
    if is_branch || a.is_ip_rel_memory_operand() || a.len() != b.len() {
        return true;
    }
    let bytes = |code: &[u8], end: usize| {
        end.checked_sub(a.len())
            .map(|from| code[from..end].to_vec())
    };
    bytes(old, before.position()) == bytes(new, after.position())
}

/// How two corresponding instructions differ.
enum Pair {
    Same,
    Immediate(u64, u64),
    Displacement,
    Other,
}

fn pair(a: &Instruction, b: &Instruction) -> Pair {
    if a.op_count() != b.op_count() {
        return Pair::Other;
    }
    let mut result = Pair::Same;
    for operand in 0..a.op_count() {
        let (kind, other) = (a.op_kind(operand), b.op_kind(operand));
        let same = match kind {
            _ if kind != other => false,
            OpKind::Register => a.op_register(operand) == b.op_register(operand),
            // Distances of jumps within the function change with the code before their targets.
            // Where all instructions correspond, so do the targets. Other jumps have relocations.
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => {
                let distance = |one: &Instruction| one.near_branch_target().wrapping_sub(one.ip());
                if distance(a) != distance(b) && a.len() == b.len() && is_same_form(a, b) {
                    result = Pair::Displacement;
                }
                true
            }
            OpKind::Memory => {
                let same_form = a.memory_base() == b.memory_base()
                    && a.memory_index() == b.memory_index()
                    && a.memory_index_scale() == b.memory_index_scale()
                    && a.segment_prefix() == b.segment_prefix()
                    && a.memory_size() == b.memory_size();
                let distance = |one: &Instruction| {
                    if one.is_ip_rel_memory_operand() {
                        one.memory_displacement64().wrapping_sub(one.next_ip())
                    } else {
                        one.memory_displacement64()
                    }
                };
                if same_form && distance(a) != distance(b) {
                    result = Pair::Displacement;
                }
                same_form
            }
            _ => match (a.try_immediate(operand), b.try_immediate(operand)) {
                (Ok(old), Ok(new)) => {
                    if old != new {
                        if a.len() != b.len() || !matches!(result, Pair::Same) {
                            return Pair::Other;
                        }
                        result = Pair::Immediate(old, new);
                    }
                    true
                }
                _ => true,
            },
        };
        if !same {
            return Pair::Other;
        }
    }
    let same_prefixes = a.has_lock_prefix() == b.has_lock_prefix()
        && a.has_rep_prefix() == b.has_rep_prefix()
        && a.has_repne_prefix() == b.has_repne_prefix();
    if same_prefixes { result } else { Pair::Other }
}

fn is_same_form(a: &Instruction, b: &Instruction) -> bool {
    a.code() == b.code()
}
