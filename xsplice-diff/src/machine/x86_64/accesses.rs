//! What x86-64 instructions read and write in memory (Intel SDM volume 2). Operands alone do not
//! tell: string instructions, XLAT, CMPXCHG16B and others reach memory and registers that none of
//! them names.

use iced_x86::{InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

use super::super::addresses::Held;
use super::super::arguments;
use super::Decoded;

/// The registers that tell where in memory an instruction reads or writes, as whole ones; of LEA,
/// those that it adds.
pub(super) fn addressed(
    one: &iced_x86::Instruction,
    info: &iced_x86::InstructionInfo,
) -> Vec<arguments::Register> {
    let mut found: Vec<Register> = match one.mnemonic() {
        Mnemonic::Lea => vec![one.memory_base(), one.memory_index()],
        _ => {
            let all = info.used_memory().iter();
            all.flat_map(|memory| [memory.base(), memory.index()])
                .collect()
        }
    };
    found.retain(|register| *register != Register::None);
    found.into_iter().map(whole).collect()
}

fn whole(register: Register) -> arguments::Register {
    arguments::Register(register.full_register() as usize)
}

fn is_write(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

/// Whether it writes by an address in one of these registers.
pub(in super::super) fn writes(decoded: &Decoded, held: &Held) -> bool {
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(&decoded.0);
    info.used_memory().iter().any(|memory| {
        let mut by = [memory.base(), memory.index()].into_iter();
        let is_held = |one: Register| one != Register::None && held.since(whole(one)).is_some();
        is_write(memory.access()) && by.any(is_held)
    })
}

/// Whether it writes where its displacement leads.
pub(in super::super) fn writes_there(decoded: &Decoded) -> bool {
    let one = &decoded.0;
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(one);
    let mut operands = 0..one.op_count();
    operands
        .any(|operand| one.op_kind(operand) == OpKind::Memory && is_write(info.op_access(operand)))
}

/// Whether all that it does with a register is to keep it on the stack.
pub(in super::super) fn saves(decoded: &Decoded, register: arguments::Register) -> bool {
    let one = &decoded.0;
    let is_own = |operand: u32| {
        one.op_kind(operand) == OpKind::Register && whole(one.op_register(operand)) == register
    };
    let is_on_stack = matches!(one.memory_base(), Register::RSP | Register::RBP);
    match one.mnemonic() {
        Mnemonic::Push => is_own(0),
        Mnemonic::Mov => one.op0_kind() == OpKind::Memory && is_on_stack && is_own(1),
        _ => false,
    }
}

/// How many bytes it reads or writes from the place on where its memory operand leads; `None` where
/// the operand does not say.
pub(in super::super) fn extent(decoded: &Decoded) -> Option<u64> {
    let one = &decoded.0;
    let has_bit_offset = matches!(
        one.mnemonic(),
        Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc
    ) && one.op1_kind() == OpKind::Register;
    let bytes = one.memory_size().size() as u64;
    (bytes > 0 && !has_bit_offset && !one.is_string_instruction()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use xsplice_abi::machine::x86_64::MACHINE;

    use super::super::super::addresses::Held;
    use super::super::super::walk;
    use super::super::addresses::results;

    #[test]
    fn an_instruction_reads_what_it_is_for_and_not_what_its_operands_look_like() {
        let cases: [(&[u8], u64, Option<u64>); 12] = [
            // mov x(%rip), %eax; movzbl; movups; movlps; vmovups of 32 bytes; fldt
            (&[0x8b, 0x05, 0, 0, 0, 0], 2, Some(4)),
            (&[0x0f, 0xb6, 0x05, 0, 0, 0, 0], 3, Some(1)),
            (&[0x0f, 0x10, 0x05, 0, 0, 0, 0], 3, Some(16)),
            (&[0x0f, 0x12, 0x05, 0, 0, 0, 0], 3, Some(8)),
            (&[0xc5, 0xfc, 0x10, 0x05, 0, 0, 0, 0], 4, Some(32)),
            (&[0xdb, 0x2d, 0, 0, 0, 0], 2, Some(10)),
            // cmpxchg16b; lgdt; fxrstor; xrstor
            (&[0x48, 0x0f, 0xc7, 0x0d, 0, 0, 0, 0], 4, Some(16)),
            (&[0x0f, 0x01, 0x15, 0, 0, 0, 0], 3, Some(10)),
            (&[0x0f, 0xae, 0x0d, 0, 0, 0, 0], 3, Some(512)),
            (&[0x0f, 0xae, 0x2d, 0, 0, 0, 0], 3, None),
            // bt %ecx, x(%rip); bt $3, x(%rip)
            (&[0x0f, 0xa3, 0x0d, 0, 0, 0, 0], 3, None),
            (&[0x0f, 0xba, 0x25, 0, 0, 0, 0, 3], 3, Some(4)),
        ];
        for (code, field, wanted) in cases {
            let first = walk(&MACHINE, code, 0).next().expect("an instruction");
            assert_eq!(first.extent(field), wanted, "{code:x?}");
        }
    }

    #[test]
    fn what_writes_by_an_address_is_told_from_what_reads_by_it() {
        // The address is in rax before each.
        let cases: [(&[u8], bool); 5] = [
            // mov %ecx, (%rax); mov (%rax), %ecx; lock incl (%rax); cmpl $1, (%rax)
            (&[0x89, 0x08], true),
            (&[0x8b, 0x08], false),
            (&[0xf0, 0xff, 0x00], true),
            (&[0x83, 0x38, 1], false),
            // nopl (%rax)
            (&[0x0f, 0x1f, 0x00], false),
        ];
        for (code, wanted) in cases {
            let first = walk(&MACHINE, code, 0).next().expect("an instruction");
            assert_eq!(first.writes(&Held::new(results()[0])), wanted, "{code:x?}");
        }
        let there: [(&[u8], u64, bool); 3] = [
            // mov %eax, x(%rip); mov x(%rip), %eax; addl $1, x(%rip)
            (&[0x89, 0x05, 0, 0, 0, 0], 2, true),
            (&[0x8b, 0x05, 0, 0, 0, 0], 2, false),
            (&[0x83, 0x05, 0, 0, 0, 0, 1], 2, true),
        ];
        for (code, field, wanted) in there {
            let first = walk(&MACHINE, code, 0).next().expect("an instruction");
            assert_eq!(first.writes_there(field), wanted, "{code:x?}");
        }
    }
}
