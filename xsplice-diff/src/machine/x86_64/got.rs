//! Accesses through the GOT on x86-64.
//!
//! System V psABI, "Optimize GOTPCRELX Relocations": an instruction that loads an address from the
//! GOT becomes one that computes it, an indirect call or jump a direct one. A form that is not
//! among those keeps its load. What a linker may have made of one is more than what is made here:
//! it may also have loaded the address as an immediate. Each form is recognised from both sides, so
//! that an instruction which merely looks similar is a difference.

use xsplice_abi::machine::x86_64::{GOTPCRELX, REX_GOTPCRELX};

use super::super::got::{Access, Field, Linked, Reached};

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
    let Field {
        bytes,
        linked,
        address,
        offset,
        kind,
        addend,
    } = *access;
    let end = offset.checked_add(FIELD_BYTES)?;
    let field = i64::from(i32::from_le_bytes(
        linked.get(offset..end)?.try_into().ok()?,
    ));
    let next = address.wrapping_add(end as u64);
    let relative = next.wrapping_add_signed(field);
    let immediate = field.cast_unsigned();

    let opcode_at = offset.checked_sub(OPCODE_BYTES)?;
    let (&[old_opcode, old_mod_rm], &[opcode, mod_rm]) = (
        bytes.get(opcode_at..offset)?,
        linked.get(opcode_at..offset)?,
    ) else {
        return None;
    };
    // What stands before the instruction may be the field of another one: only the relocation
    // type tells whether it has a prefix.
    let rex_at = opcode_at
        .checked_sub(1)
        .filter(|_| kind == REX_GOTPCRELX.number);

    if (old_opcode, old_mod_rm) == (opcode, mod_rm) {
        // G + GOT + A - P: bytes behind the field make the addend less than -4.
        let place = address.wrapping_add(offset as u64);
        let slot_at = place
            .wrapping_add_signed(field)
            .wrapping_add_signed(addend.wrapping_neg());
        return Some(Linked {
            to: Reached::Slot(slot_at),
            start: offset,
            end,
        });
    }
    if addend != FIELD_AT_END {
        return None;
    }
    let direct = |target| Linked {
        to: Reached::Target(target),
        start: opcode_at,
        end,
    };
    match (old_opcode, old_mod_rm, opcode, mod_rm) {
        // mov -> lea
        (0x8b, old, 0x8d, new) if old == new => Some(direct(relative)),
        // call *slot -> addr32 call; or call and a nop behind it
        (0xff, 0x15, 0x67, 0xe8) => Some(direct(relative)),
        (0xff, 0x15, 0xe8, _) | (0xff, 0x25, 0xe9, _) => {
            let moved = linked.get(offset - 1..end - 1)?;
            let field = i64::from(i32::from_le_bytes(moved.try_into().ok()?));
            let is_padded = *linked.get(end - 1)? == 0x90;
            is_padded.then(|| direct(next.wrapping_sub(1).wrapping_add_signed(field)))
        }
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
            let Some(rex_at) = rex_at else {
                // A 32-bit register: the upper half of the address is zero.
                return Some(direct(immediate & u64::from(u32::MAX)));
            };
            // The register moves from the ModRM's reg field (REX.R) to its rm field (REX.B).
            let (old, new) = (*bytes.get(rex_at)?, *linked.get(rex_at)?);
            let moved = (old & !0x05) | ((old & 0x04) >> 2);
            (new == moved).then_some(Linked {
                to: Reached::Target(immediate),
                start: rex_at,
                end,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use iced_x86::{Code, Decoder, DecoderOptions, Instruction};
    use xsplice_abi::machine::x86_64;

    use super::{Access, Field, Linked, Reached, linked, relax};

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

    /// What a call or load through the GOT became, with four bytes of another field before it.
    fn became(kind: u32, before: [&[u8]; 2], linked_before: [&[u8]; 2]) -> Option<Linked> {
        let (bytes, code) = (before.concat(), linked_before.concat());
        linked(&Field {
            bytes: &bytes,
            linked: &code,
            address: 0x1000,
            offset: bytes.len() - 4,
            kind,
            addend: -4,
        })
    }

    #[test]
    fn a_field_of_another_instruction_before_an_access_is_no_prefix_of_it() {
        // call f; call *g@GOTPCREL(%rip), left as it was, behind a call backwards
        let calls: [&[u8]; 2] = [&[0xe8, 0, 0, 0, 0], &[0xff, 0x15, 0, 0, 0, 0]];
        let back: [&[u8]; 2] = [&[0xe8, 0, 0, 0, 0xff], &[0xff, 0x15, 0x10, 0, 0, 0]];
        let found = became(GOTPCRELX, calls, back).expect("it stayed");
        assert_eq!(found.to, Reached::Slot(0x1000 + 11 + 0x10));
        // call f; mov g@GOTPCREL(%rip), %eax, which became mov $g, %eax; the byte before looks
        // like a REX prefix
        let load: [&[u8]; 2] = [&[0xe8, 0, 0, 0, 0x48], &[0x8b, 0x05, 0, 0, 0, 0]];
        let number: [&[u8]; 2] = [
            &[0xe8, 0, 0, 0, 0x44],
            &[0xc7, 0xc0, 0x78, 0x56, 0x34, 0x92],
        ];
        let found = became(GOTPCRELX, load, number).expect("it became a number");
        assert_eq!((found.to, found.start), (Reached::Target(0x9234_5678), 5));
    }

    #[test]
    fn a_prefix_must_move_with_its_register() {
        // mov g@GOTPCREL(%rip), %r12 -> mov $g, %r12
        let load: [&[u8]; 2] = [&[0x4c], &[0x8b, 0x25, 0, 0, 0, 0]];
        let number = |rex| [rex, &[0xc7, 0xc4, 0x78, 0x56, 0x34, 0x12][..]];
        let found = became(REX_GOTPCRELX, load, number(&[0x49])).expect("it became a number");
        assert_eq!((found.to, found.start), (Reached::Target(0x1234_5678), 0));
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
