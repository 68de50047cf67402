//! Accesses through the GOT, which a payload does not have.
//!
//! System V psABI x86-64, "Optimize GOTPCRELX Relocations": an instruction that loads an address
//! from the GOT becomes one that computes it, an indirect call or jump a direct one. A form that
//! is not among those keeps its load and gets an 8-byte slot in read-only memory.

/// `R_X86_64_GOTPCREL`.
pub const GOTPCREL: u32 = 9;
/// `R_X86_64_GOTPCRELX`.
pub const GOTPCRELX: u32 = 41;
/// `R_X86_64_REX_GOTPCRELX`.
pub const REX_GOTPCRELX: u32 = 42;
/// `R_X86_64_CODE_4_GOTPCRELX`: as the two above, after a REX2 prefix.
pub const CODE_4_GOTPCRELX: u32 = 43;

/// The addend of every GOT access: its field is the last of the instruction.
const FIELD_AT_END: i64 = -4;

/// Opcode, ModRM and field.
const INSTRUCTION_BYTES: usize = 6;

/// What becomes of a GOT access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The instruction was rewritten; its PC32 field is at this offset, with this addend.
    Direct {
        /// Offset of the field.
        offset: u64,
        /// Added to the target.
        addend: i64,
    },
    /// The instruction stays; its field points at a slot.
    Slot,
}

/// Whether `kind` is a relocation that goes through the GOT in the way handled here.
#[must_use]
pub fn is_got_access(kind: u32) -> bool {
    matches!(
        kind,
        GOTPCREL | GOTPCRELX | REX_GOTPCRELX | CODE_4_GOTPCRELX
    )
}

/// Rewrites the instruction around the GOT field at `offset` of `code`, if the relocation type
/// says that it may be and the form is known.
#[must_use]
pub fn relax(code: &mut [u8], offset: u64, kind: u32, addend: i64) -> Access {
    if addend != FIELD_AT_END || !matches!(kind, GOTPCRELX | REX_GOTPCRELX) {
        return Access::Slot;
    }
    let direct = Access::Direct { offset, addend };
    let Some(opcode_at) = usize::try_from(offset)
        .ok()
        .and_then(|at| at.checked_sub(2))
    else {
        return Access::Slot;
    };
    let Some([opcode, mod_rm, field @ ..]) = code
        .get_mut(opcode_at..)
        .and_then(|rest| rest.first_chunk_mut::<INSTRUCTION_BYTES>())
    else {
        return Access::Slot;
    };
    match (kind, *opcode, *mod_rm) {
        // mov foo@GOTPCREL(%rip), %reg -> lea foo(%rip), %reg. Without a REX prefix the
        // destination is 32 bits wide, which a 64-bit address does not fit, so only the REX form.
        (REX_GOTPCRELX, 0x8b, mod_rm) if mod_rm & 0xc7 == 0x05 => {
            *opcode = 0x8d;
            direct
        }
        // call *foo@GOTPCREL(%rip) -> addr32 call foo
        (GOTPCRELX, 0xff, 0x15) => {
            *opcode = 0x67;
            *mod_rm = 0xe8;
            direct
        }
        // jmp *foo@GOTPCREL(%rip) -> jmp foo; nop
        (GOTPCRELX, 0xff, 0x25) => {
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

#[cfg(test)]
mod tests {
    use super::{Access, GOTPCREL, GOTPCRELX, REX_GOTPCRELX, relax};
    use iced_x86::{Code, Decoder, DecoderOptions, Instruction};

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

    #[test]
    fn forms_that_may_not_be_rewritten_keep_their_bytes_and_get_a_slot() {
        // The plain type must not be rewritten. `cmp`, a 32-bit `mov`, another addend and a field
        // at the very start are not among the known forms.
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
