//! Whether two instructions of x86-64 are the same but for numbers.

use iced_x86::{Instruction, OpKind};

use super::super::Alike;
use super::{Decoded, is_near_branch};

pub(in super::super) fn compare(
    (old, old_bytes): (&Decoded, &[u8]),
    (new, new_bytes): (&Decoded, &[u8]),
) -> Alike {
    let (a, b) = (&old.0, &new.0);
    if a.mnemonic() != b.mnemonic() {
        return Alike::Other;
    }
    match operands(a, b) {
        // Fields that lead somewhere are compared by where they lead; another length of the same
        // operands is another way to write them.
        Alike::Same
            if !is_near_branch(a)
                && !a.is_ip_rel_memory_operand()
                && a.len() == b.len()
                && old_bytes != new_bytes =>
        {
            Alike::Other
        }
        alike => alike,
    }
}

fn operands(a: &Instruction, b: &Instruction) -> Alike {
    if a.op_count() != b.op_count() {
        return Alike::Other;
    }
    let mut result = Alike::Same;
    for operand in 0..a.op_count() {
        let (kind, other) = (a.op_kind(operand), b.op_kind(operand));
        let same = match kind {
            _ if kind != other => false,
            OpKind::Register => a.op_register(operand) == b.op_register(operand),
            // Jumps within the function move with what stands before their targets; where all
            // instructions face each other, so do targets. Others have relocations.
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => {
                let distance = |one: &Instruction| one.near_branch_target().wrapping_sub(one.ip());
                if distance(a) != distance(b) && a.len() == b.len() && a.code() == b.code() {
                    result = Alike::Displacement;
                }
                true
            }
            OpKind::Memory => {
                let same_form = is_same_memory(a, b);
                if same_form && distance(a) != distance(b) {
                    result = Alike::Displacement;
                }
                same_form
            }
            _ => match (a.try_immediate(operand), b.try_immediate(operand)) {
                (Ok(old), Ok(new)) => {
                    if old != new {
                        if a.len() != b.len() || result != Alike::Same {
                            return Alike::Other;
                        }
                        result = Alike::Immediate(old, new);
                    }
                    true
                }
                _ => true,
            },
        };
        if !same {
            return Alike::Other;
        }
    }
    let same_prefixes = a.has_lock_prefix() == b.has_lock_prefix()
        && a.has_rep_prefix() == b.has_rep_prefix()
        && a.has_repne_prefix() == b.has_repne_prefix();
    if same_prefixes { result } else { Alike::Other }
}

/// Whether two memory operands differ in their displacements at most.
fn is_same_memory(a: &Instruction, b: &Instruction) -> bool {
    a.memory_base() == b.memory_base()
        && a.memory_index() == b.memory_index()
        && a.memory_index_scale() == b.memory_index_scale()
        && a.segment_prefix() == b.segment_prefix()
        && a.memory_size() == b.memory_size()
}

fn distance(one: &Instruction) -> u64 {
    if one.is_ip_rel_memory_operand() {
        one.memory_displacement64().wrapping_sub(one.next_ip())
    } else {
        one.memory_displacement64()
    }
}
