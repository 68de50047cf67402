//! Whether two instructions of x86-64 are the same but for numbers.
//!
//! Where both have their fields at the same places, every byte outside of them must be equal: no
//! list of operands, prefixes and masks can leave one out then. A field that leads somewhere is
//! not looked at, since whoever walks both functions compares where it leads. What is written in
//! another form is the same only if it is a branch, whose distance may have become short or long.

use iced_x86::{Instruction, OpKind};

use super::super::{Alike, FieldPlace, Instruction as Walked};
use super::{Decoded, is_near_branch};

/// Shortcut S10: the caller compares where each field leads, and every byte outside of fields is
/// equal; a short branch and a long one do the same.
pub(in super::super) fn compare(
    (old, a): (&Decoded, &Walked<'_>),
    (new, b): (&Decoded, &Walked<'_>),
) -> Alike {
    if a.bytes.len() == b.bytes.len()
        && place(a.displacement, a) == place(b.displacement, b)
        && place(a.immediate, a) == place(b.immediate, b)
    {
        let alike = in_one_form((old, a), (new, b));
        if alike != Alike::Other {
            return alike;
        }
    }
    in_two_forms(&old.0, &new.0)
}

/// A field, counted from the start of its instruction.
fn place(field: Option<FieldPlace>, of: &Walked<'_>) -> Option<(u64, u64)> {
    field.map(|field| (field.offset - of.start, field.bytes))
}

fn in_one_form((old, a): (&Decoded, &Walked<'_>), (new, b): (&Decoded, &Walked<'_>)) -> Alike {
    let holds = |field: Option<FieldPlace>, at: usize| {
        field.is_some_and(|field| {
            let at = a.start + at as u64;
            (field.offset..field.offset + field.bytes).contains(&at)
        })
    };
    let leads = a.lead.map(|lead| lead.field);
    if leads != b.lead.map(|lead| at_start_of(lead.field, b, a)) {
        return Alike::Other;
    }
    let mut result = Alike::Same;
    for (at, _) in differing(a.bytes, b.bytes) {
        result = if holds(leads, at) {
            result
        } else if holds(a.immediate, at) && result != Alike::Displacement {
            Alike::Immediate(0, 0)
        } else if holds(a.displacement, at) && result == Alike::Same {
            Alike::Displacement
        } else if holds(a.displacement, at) && result == Alike::Displacement {
            result
        } else {
            return Alike::Other;
        };
    }
    match result {
        Alike::Immediate(..) => {
            immediates(&old.0, &new.0).map_or(Alike::Other, |(old, new)| Alike::Immediate(old, new))
        }
        other => other,
    }
}

/// A field of `of`, counted as those of `other` are.
fn at_start_of(field: FieldPlace, of: &Walked<'_>, other: &Walked<'_>) -> FieldPlace {
    FieldPlace {
        offset: field.offset - of.start + other.start,
        ..field
    }
}

fn differing<'a>(old: &'a [u8], new: &'a [u8]) -> impl Iterator<Item = (usize, u8)> + 'a {
    let pairs = old.iter().zip(new).enumerate();
    pairs
        .filter(|(_, (old, new))| old != new)
        .map(|(at, (_, new))| (at, *new))
}

/// The operand that is a number, in both.
fn immediates(a: &Instruction, b: &Instruction) -> Option<(u64, u64)> {
    (0..a.op_count().min(b.op_count())).find_map(|operand| {
        let (old, new) = (
            a.try_immediate(operand).ok()?,
            b.try_immediate(operand).ok()?,
        );
        (old != new).then_some((old, new))
    })
}

/// Branches of another length, and operands whose displacement needs another number of bytes.
fn in_two_forms(a: &Instruction, b: &Instruction) -> Alike {
    let same_prefixes = a.has_lock_prefix() == b.has_lock_prefix()
        && a.has_rep_prefix() == b.has_rep_prefix()
        && a.has_repne_prefix() == b.has_repne_prefix();
    if a.mnemonic() != b.mnemonic() || a.op_count() != b.op_count() || !same_prefixes {
        return Alike::Other;
    }
    if is_near_branch(a) && is_near_branch(b) {
        let is_longer = a.len() != b.len();
        return if is_longer { Alike::Same } else { Alike::Other };
    }
    let mut result = Alike::Other;
    for operand in 0..a.op_count() {
        let (kind, other) = (a.op_kind(operand), b.op_kind(operand));
        let same = match kind {
            _ if kind != other => false,
            OpKind::Register => a.op_register(operand) == b.op_register(operand),
            OpKind::Memory => {
                result = Alike::Displacement;
                is_same_memory(a, b) && !a.is_ip_rel_memory_operand()
            }
            _ => a.try_immediate(operand).ok() == b.try_immediate(operand).ok(),
        };
        if !same {
            return Alike::Other;
        }
    }
    result
}

/// Whether two memory operands differ in their displacements at most.
fn is_same_memory(a: &Instruction, b: &Instruction) -> bool {
    a.memory_base() == b.memory_base()
        && a.memory_index() == b.memory_index()
        && a.memory_index_scale() == b.memory_index_scale()
        && a.segment_prefix() == b.segment_prefix()
        && a.memory_size() == b.memory_size()
        && a.op_mask() == b.op_mask()
        && a.zeroing_masking() == b.zeroing_masking()
        && a.is_broadcast() == b.is_broadcast()
}

#[cfg(test)]
mod tests {
    use xsplice_abi::machine::x86_64::MACHINE;

    use super::super::super::{Alike, walk};

    fn compare(old: &[u8], new: &[u8]) -> Alike {
        let one = |code| walk(&MACHINE, code, 0).next().expect("an instruction");
        one(old).compare(&one(new))
    }

    #[test]
    fn bytes_outside_of_numbers_must_be_equal() {
        let cases: [(&[u8], &[u8], Alike); 9] = [
            // mov $imm, %esi; mov $imm, %edi
            (
                &[0xbe, 7, 0, 0, 0],
                &[0xbe, 8, 0, 0, 0],
                Alike::Immediate(7, 8),
            ),
            (&[0xbe, 7, 0, 0, 0], &[0xbf, 7, 0, 0, 0], Alike::Other),
            // jne with another distance; jne and je
            (&[0x75, 1], &[0x75, 2], Alike::Same),
            (&[0x75, 1], &[0x74, 1], Alike::Other),
            // The same jump, short and long.
            (&[0xeb, 1], &[0xe9, 1, 0, 0, 0], Alike::Same),
            // movl $imm, x(%rip): where x is does not count, the number does.
            (
                &[0xc7, 0x05, 0, 0, 0, 0, 1, 0, 0, 0],
                &[0xc7, 0x05, 9, 0, 0, 0, 2, 0, 0, 0],
                Alike::Immediate(1, 2),
            ),
            // vmovdqu32 x(%rip), %zmm0 under the masks k1 and k2
            (
                &[0x62, 0xf1, 0x7e, 0x49, 0x6f, 0x05, 0, 0, 0, 0],
                &[0x62, 0xf1, 0x7e, 0x4a, 0x6f, 0x05, 0, 0, 0, 0],
                Alike::Other,
            ),
            // mov 8(%rax), %eax; mov 16(%rax), %eax; with a displacement of four bytes
            (&[0x8b, 0x40, 8], &[0x8b, 0x40, 16], Alike::Displacement),
            (
                &[0x8b, 0x40, 8],
                &[0x8b, 0x80, 0, 1, 0, 0],
                Alike::Displacement,
            ),
        ];
        for (old, new, wanted) in cases {
            assert_eq!(compare(old, new), wanted, "{old:x?} {new:x?}");
        }
    }

    #[test]
    fn a_number_and_a_displacement_that_differ_are_more_than_a_number() {
        // movl $imm, x(%rax)
        let old = [0xc7, 0x40, 8, 1, 0, 0, 0];
        let new = [0xc7, 0x40, 16, 2, 0, 0, 0];
        assert_eq!(compare(&old, &new), Alike::Other);
    }
}
