//! Accesses through the GOT on x86-64.
//!
//! System V psABI, "Optimize GOTPCRELX Relocations": an instruction that loads an address from the
//! GOT becomes one that computes it, an indirect call or jump a direct one. A form that is not
//! among those keeps its load. What a linker may have made of one is more than what is made here:
//! it may also have loaded the address as an immediate. Each form is recognised from both sides, so
//! that an instruction which merely looks similar is a difference.

use xsplice_abi::machine::x86_64::{GOTPCRELX, REX_GOTPCRELX};

use super::super::got::{Access, Field, Form, Linked};

/// The addend of a GOT access whose field is the last of the instruction; no other is rewritten.
const FIELD_AT_END: i64 = -4;
/// Bytes of the field.
const FIELD_BYTES: usize = 4;
/// Opcode and ModRM before it.
const OPCODE_BYTES: usize = 2;
/// Opcode, ModRM and field.
const INSTRUCTION_BYTES: usize = 6;

pub(in super::super) fn relax(code: &mut [u8], offset: u64, kind: u32, addend: i64) -> Access {
    let is_rex = kind == REX_GOTPCRELX.number;
    if addend != FIELD_AT_END || !(is_rex || kind == GOTPCRELX.number) {
        return Access::Slot;
    }
    let direct = Access::Direct { offset, addend };
    let Some(opcode_at) = usize::try_from(offset)
        .ok()
        .and_then(|at| at.checked_sub(OPCODE_BYTES))
    else {
        return Access::Slot;
    };
    let Some([opcode, mod_rm, field @ ..]) = code
        .get_mut(opcode_at..)
        .and_then(|rest| rest.first_chunk_mut::<INSTRUCTION_BYTES>())
    else {
        return Access::Slot;
    };
    match (is_rex, *opcode, *mod_rm) {
        // mov foo@GOTPCREL(%rip), %reg -> lea foo(%rip), %reg. Without a REX prefix the
        // destination is 32 bits wide, which a 64-bit address does not fit, so only the REX form.
        (true, 0x8b, mod_rm) if mod_rm & 0xc7 == 0x05 => {
            *opcode = 0x8d;
            direct
        }
        // call *foo@GOTPCREL(%rip) -> addr32 call foo
        (false, 0xff, 0x15) => {
            *opcode = 0x67;
            *mod_rm = 0xe8;
            direct
        }
        // jmp *foo@GOTPCREL(%rip) -> jmp foo; nop
        (false, 0xff, 0x25) => {
            *opcode = 0xe9;
            *mod_rm = 0;
            field.copy_from_slice(&[0, 0, 0, 0x90]);
            Access::Direct {
                offset: offset - 1,
                addend,
            }
        }
        _ => Access::Slot,
    }
}

pub(in super::super) fn linked(access: &Field<'_>) -> Option<Linked> {
    let Field { bytes, linked, .. } = *access;
    let offset = access.offset;
    let end = offset.checked_add(FIELD_BYTES)?;
    let opcode_at = offset.checked_sub(OPCODE_BYTES)?;
    let (&[old_opcode, old_mod_rm], &[opcode, mod_rm]) = (
        bytes.get(opcode_at..offset)?,
        linked.get(opcode_at..offset)?,
    ) else {
        return None;
    };
    let last = *linked.get(end.checked_sub(1)?)?;
    let became = |form, start| Linked {
        form,
        field: offset..end,
        start,
        end,
    };
    if (old_opcode, old_mod_rm) == (opcode, mod_rm) {
        return Some(became(Form::Slot, offset));
    }
    // Bytes behind the field make the addend less.
    if access.addend != FIELD_AT_END {
        return None;
    }
    match (old_opcode, old_mod_rm, opcode, mod_rm) {
        // mov -> lea
        (0x8b, old, 0x8d, new) if old == new => Some(became(Form::Distance, opcode_at)),
        // call *slot -> addr32 call; or call and a nop behind it
        (0xff, 0x15, 0x67, 0xe8) => Some(became(Form::Distance, opcode_at)),
        (0xff, 0x15, 0xe8, _) | (0xff, 0x25, 0xe9, _) if last == 0x90 => Some(Linked {
            field: offset - 1..end - 1,
            ..became(Form::Distance, opcode_at)
        }),
        _ => {
            let register = (old_mod_rm >> 3) & 7;
            let expected = match old_opcode {
                0x8b => (0xc7, 0xc0 | register),
                0x85 => (0xf7, 0xc0 | register),
                binary if binary & 0xc7 == 0x03 => (0x81, 0xc0 | (binary & 0x38) | register),
                _ => return None,
            };
            if (opcode, mod_rm) != expected {
                return None;
            }
            // What stands before the instruction may be the field of another one: only the
            // relocation type tells whether it has a prefix.
            if access.kind == GOTPCRELX.number {
                // A 32-bit register: the upper half of the address is zero.
                return Some(became(Form::Number, opcode_at));
            }
            if access.kind != REX_GOTPCRELX.number {
                return None;
            }
            // The register moves from the ModRM's reg field (REX.R) to its rm field (REX.B).
            let rex_at = opcode_at.checked_sub(1)?;
            let (old, new) = (*bytes.get(rex_at)?, *linked.get(rex_at)?);
            let moved = (old & !0x05) | ((old & 0x04) >> 2);
            (new == moved).then(|| became(Form::SignedNumber, rex_at))
        }
    }
}

#[cfg(test)]
mod tests {
    use iced_x86::{Code, Decoder, DecoderOptions, Instruction};
    use xsplice_abi::machine::x86_64;

    use super::super::super::got::Reached;
    use super::{Access, Field, linked, relax};

    const GOTPCREL: u32 = x86_64::GOTPCREL.number;
    const GOTPCRELX: u32 = x86_64::GOTPCRELX.number;
    const REX_GOTPCRELX: u32 = x86_64::REX_GOTPCRELX.number;

    fn decode(code: &[u8]) -> Vec<Instruction> {
        Decoder::new(64, code, DecoderOptions::NONE)
            .iter()
            .collect()
    }

    #[test]
    fn a_load_becomes_an_address_computation_into_the_same_register() {
        // mov foo@GOTPCREL(%rip), %r12
        let mut code = [0x4c, 0x8b, 0x25, 0, 0, 0, 0];
        let before = decode(&code)[0];
        assert_eq!(before.code(), Code::Mov_r64_rm64);
        let access = relax(&mut code, 3, REX_GOTPCRELX, -4);
        assert_eq!(
            access,
            Access::Direct {
                offset: 3,
                addend: -4
            }
        );
        let after = decode(&code);
        assert_eq!(after.len(), 1);
        assert_eq!(after[0].code(), Code::Lea_r64_m);
        assert_eq!(after[0].op0_register(), before.op0_register());
        assert!(after[0].is_ip_rel_memory_operand());
    }

    #[test]
    fn an_indirect_call_becomes_one_direct_call_of_the_same_length() {
        let mut code = [0xff, 0x15, 0, 0, 0, 0];
        let access = relax(&mut code, 2, GOTPCRELX, -4);
        assert_eq!(
            access,
            Access::Direct {
                offset: 2,
                addend: -4
            }
        );
        let after = decode(&code);
        assert_eq!(after.len(), 1);
        assert_eq!(after[0].code(), Code::Call_rel32_64);
        assert_eq!(after[0].near_branch_target(), 6);
    }

    #[test]
    fn an_indirect_jump_becomes_a_direct_jump_and_a_nop() {
        let mut code = [0xff, 0x25, 9, 9, 9, 9];
        let access = relax(&mut code, 2, GOTPCRELX, -4);
        assert_eq!(
            access,
            Access::Direct {
                offset: 1,
                addend: -4
            }
        );
        let after = decode(&code);
        assert_eq!(after.len(), 2);
        assert_eq!(after[0].code(), Code::Jmp_rel32_64);
        assert_eq!(after[0].near_branch_target(), 5);
        assert_eq!(after[1].code(), Code::Nopd);
    }

    /// Where a call or load through the GOT leads once it was linked, and the first byte that may
    /// differ; other code stands before it.
    fn became(
        kind: u32,
        before: [&[u8]; 2],
        linked_before: [&[u8]; 2],
    ) -> Option<(Reached, usize)> {
        let (bytes, code) = (before.concat(), linked_before.concat());
        let access = Field {
            bytes: &bytes,
            linked: &code,
            offset: bytes.len() - 4,
            kind,
            addend: -4,
        };
        let found = linked(&access)?;
        Some((found.reached(&access, 0x1000)?, found.start))
    }

    #[test]
    fn a_field_of_another_instruction_before_an_access_is_no_prefix_of_it() {
        // call f; call *g@GOTPCREL(%rip), left as it was, behind a call backwards
        let calls: [&[u8]; 2] = [&[0xe8, 0, 0, 0, 0], &[0xff, 0x15, 0, 0, 0, 0]];
        let back: [&[u8]; 2] = [&[0xe8, 0, 0, 0, 0xff], &[0xff, 0x15, 0x10, 0, 0, 0]];
        let slot = Reached::Slot(0x1000 + 11 + 0x10);
        assert_eq!(became(GOTPCRELX, calls, back), Some((slot, 7)));
        // call f; mov g@GOTPCREL(%rip), %eax, which became mov $g, %eax; the byte before looks
        // like a REX prefix
        let load: [&[u8]; 2] = [&[0xe8, 0, 0, 0, 0x48], &[0x8b, 0x05, 0, 0, 0, 0]];
        let number: [&[u8]; 2] = [
            &[0xe8, 0, 0, 0, 0x44],
            &[0xc7, 0xc0, 0x78, 0x56, 0x34, 0x92],
        ];
        let target = Reached::Target(0x9234_5678);
        assert_eq!(became(GOTPCRELX, load, number), Some((target, 5)));
    }

    #[test]
    fn a_prefix_must_move_with_its_register() {
        // mov g@GOTPCREL(%rip), %r12 -> mov $g, %r12
        let load: [&[u8]; 2] = [&[0x4c], &[0x8b, 0x25, 0, 0, 0, 0]];
        let number = |rex| [rex, &[0xc7, 0xc4, 0x78, 0x56, 0x34, 0x12][..]];
        let target = Reached::Target(0x1234_5678);
        let found = became(REX_GOTPCRELX, load, number(&[0x49]));
        assert_eq!(found, Some((target, 0)));
        assert_eq!(became(REX_GOTPCRELX, load, number(&[0x4c])), None);
    }

    #[test]
    fn forms_that_may_not_be_rewritten_keep_their_bytes_and_get_a_slot() {
        // The plain type gives no leave to rewrite; cmp, a 32-bit mov, another addend and a
        // field at the very start are no known forms.
        let cases: [(&[u8], u64, u32, i64); 5] = [
            (&[0x48, 0x8b, 0x05, 0, 0, 0, 0], 3, GOTPCREL, -4),
            (&[0x48, 0x3b, 0x05, 0, 0, 0, 0], 3, REX_GOTPCRELX, -4),
            (&[0x8b, 0x05, 0, 0, 0, 0], 2, GOTPCRELX, -4),
            (&[0x48, 0x8b, 0x05, 0, 0, 0, 0], 3, REX_GOTPCRELX, -8),
            (&[0, 0, 0, 0], 0, GOTPCRELX, -4),
        ];
        for (bytes, offset, kind, addend) in cases {
            let mut code = bytes.to_vec();
            assert_eq!(relax(&mut code, offset, kind, addend), Access::Slot);
            assert_eq!(code, bytes);
        }
    }

    #[test]
    fn a_field_beyond_the_section_is_a_slot_and_no_panic() {
        for offset in [0, 1, 2, 5, 6, u64::MAX] {
            let mut code = [0xff, 0x15, 0, 0, 0];
            let access = relax(&mut code, offset, GOTPCRELX, -4);
            assert_eq!(access, Access::Slot);
        }
    }
}
