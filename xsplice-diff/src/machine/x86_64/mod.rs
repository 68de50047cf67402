//! x86-64, as far as a decoder is needed (Intel SDM volume 2; System V psABI for AMD64).

pub(super) mod accesses;
pub(super) mod addresses;
pub(super) mod alignment;
pub(super) mod alike;
pub(super) mod arguments;
pub(super) mod got;
pub(super) mod text;

use iced_x86::{DecoderOptions, FlowControl, Mnemonic, OpKind, Register};
use xsplice_abi::machine::RelocationType;
use xsplice_abi::machine::x86_64::{PC8, PC16, PC32, PLT32};

use super::{FieldPlace, Filler, Flow, Instruction, Lead, Step, Use};

/// What the decoder says of an instruction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decoded(iced_x86::Instruction);

/// Decodes one instruction behind the other.
pub(super) struct Decoder<'code> {
    inner: iced_x86::Decoder<'code>,
    code: &'code [u8],
}

impl std::fmt::Debug for Decoder<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Decoder at {:#x}", self.inner.ip())
    }
}

impl<'code> Decoder<'code> {
    pub(super) fn new(code: &'code [u8], start: u64) -> Decoder<'code> {
        const BITS: u32 = 64;
        Decoder {
            inner: iced_x86::Decoder::with_ip(BITS, code, start, DecoderOptions::NONE),
            code,
        }
    }

    pub(super) fn next(&mut self) -> Option<Instruction<'code>> {
        if !self.inner.can_decode() {
            return None;
        }
        let from = self.inner.position();
        let decoded = self.inner.decode();
        let bytes = self.code.get(from..self.inner.position())?;
        let (displacement, immediate) = self.numbers(&decoded);
        Some(Instruction {
            start: decoded.ip(),
            end: decoded.next_ip(),
            bytes,
            is_valid: !decoded.is_invalid(),
            flow: flow(&decoded),
            filler: filler(&decoded),
            is_barrier: decoded.mnemonic() == Mnemonic::Lfence,
            displacement,
            immediate,
            lead: lead(&decoded, displacement, immediate),
            decoded: super::Decoded::X86_64(Decoded(decoded)),
        })
    }
}

impl Decoder<'_> {
    /// As [`Decoder::next`], but only what most who walk over all code ask for.
    pub(super) fn next_step(&mut self) -> Option<Step> {
        if !self.inner.can_decode() {
            return None;
        }
        let decoded = self.inner.decode();
        let leads = is_near_branch(&decoded) || decoded.is_ip_rel_memory_operand();
        let lead = || {
            let (displacement, immediate) = self.numbers(&decoded);
            lead(&decoded, displacement, immediate)
        };
        Some(Step {
            end: decoded.next_ip(),
            is_valid: !decoded.is_invalid(),
            lead: leads.then(lead).flatten(),
        })
    }

    /// Where the displacement and the immediate stand in an instruction.
    fn numbers(&self, decoded: &iced_x86::Instruction) -> (Option<FieldPlace>, Option<FieldPlace>) {
        let constants = self.inner.get_constant_offsets(decoded);
        let place = |offset: usize, bytes: usize| FieldPlace {
            offset: decoded.ip().wrapping_add(offset as u64),
            bytes: bytes as u64,
        };
        let displacement = constants.has_displacement().then(|| {
            place(
                constants.displacement_offset(),
                constants.displacement_size(),
            )
        });
        let immediate = constants
            .has_immediate()
            .then(|| place(constants.immediate_offset(), constants.immediate_size()));
        (displacement, immediate)
    }
}

fn flow(decoded: &iced_x86::Instruction) -> Flow {
    // It waits for an interrupt, and code that ends in it is a loop that never does.
    if decoded.mnemonic() == Mnemonic::Hlt {
        return Flow::Stop;
    }
    match decoded.flow_control() {
        FlowControl::Next => Flow::Next,
        FlowControl::UnconditionalBranch => Flow::Jump,
        FlowControl::IndirectBranch => Flow::IndirectJump,
        FlowControl::ConditionalBranch => Flow::ConditionalJump,
        FlowControl::Return => Flow::Return,
        FlowControl::Call => Flow::Call,
        FlowControl::IndirectCall => Flow::IndirectCall,
        FlowControl::Interrupt | FlowControl::XbeginXabortXend => Flow::Elsewhere,
        FlowControl::Exception => Flow::Stop,
    }
}

fn filler(decoded: &iced_x86::Instruction) -> Option<Filler> {
    match decoded.mnemonic() {
        // gas pads long gaps with `xchg %ax,%ax` and `data16 cs nopw`; both decode as NOPs.
        Mnemonic::Nop => Some(Filler::Nop),
        Mnemonic::Int3 => Some(Filler::Trap),
        _ => None,
    }
}

/// Whether the first operand is a distance to go.
fn is_near_branch(decoded: &iced_x86::Instruction) -> bool {
    decoded.op_count() > 0
        && matches!(
            decoded.op0_kind(),
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
        )
}

fn lead(
    decoded: &iced_x86::Instruction,
    displacement: Option<FieldPlace>,
    immediate: Option<FieldPlace>,
) -> Option<Lead> {
    let is_branch = is_near_branch(decoded);
    let (field, to) = if is_branch {
        (immediate?, decoded.near_branch_target())
    } else if decoded.is_ip_rel_memory_operand() {
        (displacement?, decoded.ip_rel_memory_address())
    } else {
        return None;
    };
    let relocation: Option<&'static RelocationType> = match (field.bytes, is_branch) {
        (4, true) => Some(&PLT32),
        (4, false) => Some(&PC32),
        (2, _) => Some(&PC16),
        (1, _) => Some(&PC8),
        _ => None,
    };
    Some(Lead {
        field,
        to,
        is_branch,
        relocation,
    })
}

impl Decoded {
    pub(super) fn use_of_displacement(&self) -> Use {
        let register = |register| register != Register::None;
        let base = self.0.memory_base();
        let is_counted_from_here = matches!(base, Register::RIP | Register::EIP);
        if (register(base) && !is_counted_from_here) || register(self.0.memory_index()) {
            Use::Indexed
        } else if self.0.mnemonic() == Mnemonic::Lea {
            Use::Address
        } else {
            Use::Access
        }
    }

    pub(super) fn is_same_kind(&self, other: &Decoded) -> bool {
        self.0.mnemonic() == other.0.mnemonic()
    }
}

#[cfg(test)]
mod tests {
    use xsplice_abi::machine::x86_64::MACHINE;

    use super::super::ending::{Ending, ending_of};
    use super::super::{Use, walk};

    #[test]
    fn an_address_is_used_as_the_operand_says_that_holds_it() {
        let cases: [(&[u8], u64, Option<Use>); 15] = [
            // call; jne; jmp with a short distance; xbegin
            (&[0xe8, 0, 0, 0, 0], 1, Some(Use::Branch)),
            (&[0x0f, 0x85, 0, 0, 0, 0], 2, Some(Use::Branch)),
            (&[0xeb, 0], 1, Some(Use::Branch)),
            (&[0xc7, 0xf8, 0, 0, 0, 0], 2, Some(Use::Branch)),
            // movq $f, -0x18(%rbp): the displacement looks like a call
            (&[0x48, 0xc7, 0x45, 0xe8, 0, 0, 0, 0], 4, Some(Use::Address)),
            // movq $f, 8(%rsp): ModRM and SIB look like an operand with an index
            (
                &[0x48, 0xc7, 0x44, 0x24, 0x08, 0, 0, 0, 0],
                5,
                Some(Use::Address),
            ),
            // mov x(%rip), %eax; movl $1, x(%rip); call *x(%rip)
            (&[0x8b, 0x05, 0, 0, 0, 0], 2, Some(Use::Access)),
            (&[0xc7, 0x05, 0, 0, 0, 0, 1, 0, 0, 0], 2, Some(Use::Access)),
            (&[0xff, 0x15, 0, 0, 0, 0], 2, Some(Use::Access)),
            // lea x(%rip), %rax; lea x(,%rdi,8), %rax
            (&[0x48, 0x8d, 0x05, 0, 0, 0, 0], 3, Some(Use::Address)),
            (&[0x48, 0x8d, 0x04, 0xfd, 0, 0, 0, 0], 4, Some(Use::Indexed)),
            // mov x(,%rdi,8), %rax; mov x(%rbx), %rax; mov x, %eax
            (&[0x48, 0x8b, 0x04, 0xfd, 0, 0, 0, 0], 4, Some(Use::Indexed)),
            (&[0x48, 0x8b, 0x83, 0, 0, 0, 0], 3, Some(Use::Indexed)),
            (&[0x8b, 0x04, 0x25, 0, 0, 0, 0], 3, Some(Use::Access)),
            // No field begins there.
            (&[0xe8, 0, 0, 0, 0], 2, None),
        ];
        for (code, field, wanted) in cases {
            let first = walk(&MACHINE, code, 0).next().expect("an instruction");
            assert_eq!(first.use_of(field), wanted, "{code:x?}");
        }
    }

    #[test]
    fn a_field_is_as_far_from_the_end_as_what_follows_it_is_long() {
        let cases: [(&[u8], u64, u64); 5] = [
            // lea x(%rip), %rdi; cmpl $imm, x(%rip); movb $imm, x(%rip)
            (&[0x48, 0x8d, 0x3d, 0, 0, 0, 0], 3, 4),
            (&[0x83, 0x3d, 0, 0, 0, 0, 1], 2, 5),
            (&[0xc6, 0x05, 0, 0, 0, 0, 1], 2, 5),
            // vextracti128 $imm, %ymm0, x(%rip), whose opcode is that of a cmp without one
            (&[0xc4, 0xe3, 0x7d, 0x39, 0x05, 0, 0, 0, 0, 1], 5, 5),
            (&[0xe8, 0, 0, 0, 0], 1, 4),
        ];
        for (code, field, wanted) in cases {
            let first = walk(&MACHINE, code, 0).next().expect("an instruction");
            assert_eq!(first.behind(field), Some(wanted), "{code:x?}");
        }
    }

    #[test]
    fn code_ends_as_its_last_instruction_does_that_is_no_padding() {
        let cases: [(&[u8], (Ending, u64)); 13] = [
            (&[0x90, 0xc3, 0x90, 0xcc], (Ending::Leaves, 1)),
            (&[0x31, 0xc0, 0x0f, 0x1f, 0x00], (Ending::GoesOn, 0)),
            (&[0x90, 0xe8, 0, 0, 0, 0], (Ending::Calls, 1)),
            (&[0x75, 0], (Ending::GoesOn, 0)),
            // hlt; ud2
            (&[0xf4], (Ending::Leaves, 0)),
            (&[0x0f, 0x0b], (Ending::Leaves, 0)),
            // Nothing but padding: NOPs lead on, a trap does not.
            (&[0x66, 0x90, 0xcc], (Ending::GoesOn, 0)),
            (&[0xcc, 0x90], (Ending::Leaves, 0)),
            // ret; lfence. And: a branch to it; an lfence behind something else.
            (&[0xc3, 0x0f, 0xae, 0xe8], (Ending::Leaves, 0)),
            (&[0x75, 1, 0xc3, 0x0f, 0xae, 0xe8], (Ending::GoesOn, 3)),
            (&[0x31, 0xc0, 0x0f, 0xae, 0xe8], (Ending::GoesOn, 2)),
            // jne to the padding; a jump that a relocation fills.
            (&[0x75, 1, 0xc3, 0x90], (Ending::GoesOn, 3)),
            (&[0xe9, 0, 0, 0, 0, 0x90], (Ending::Leaves, 0)),
        ];
        for (code, wanted) in cases {
            assert_eq!(ending_of(walk(&MACHINE, code, 0)), wanted, "{code:x?}");
        }
    }
}
