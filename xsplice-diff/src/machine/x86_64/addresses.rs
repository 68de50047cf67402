//! What x86-64 code does with an address (System V psABI for AMD64, 3.2.1 and 3.2.3).

use iced_x86::{InstructionInfo, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

use super::super::addresses::{Held, Loaded, Since, Taken};
use super::super::arguments;
use super::Decoded;
use super::accesses;

/// Registers that a called function need not keep.
const LOST_BY_CALLS: [Register; 9] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
];

fn whole(register: Register) -> arguments::Register {
    arguments::Register(register.full_register() as usize)
}

/// The registers that a result is given back in: a small one in the first.
pub(in super::super) fn results() -> [arguments::Register; 2] {
    [whole(Register::RAX), whole(Register::RDX)]
}

pub(in super::super) fn takes(decoded: &Decoded, is_displacement: bool) -> Taken {
    let one = &decoded.0;
    let into_register = one.op_count() > 0 && one.op0_kind() == OpKind::Register;
    let into = || Taken::Into(whole(one.op0_register()));
    match one.mnemonic() {
        Mnemonic::Lea if is_displacement => into(),
        _ if is_displacement || super::is_near_branch(one) => Taken::Nowhere,
        // Also a table's address added to an index.
        Mnemonic::Mov | Mnemonic::Add if into_register => into(),
        _ => Taken::Out,
    }
}

pub(in super::super) fn takes_from_slot(decoded: &Decoded) -> Taken {
    let one = &decoded.0;
    match one.mnemonic() {
        // It goes there.
        Mnemonic::Call | Mnemonic::Jmp => Taken::Nowhere,
        Mnemonic::Mov if one.op0_kind() == OpKind::Register => {
            Taken::Into(whole(one.op0_register()))
        }
        _ => Taken::Out,
    }
}

pub(in super::super) fn carries(decoded: &Decoded, held: &mut Held) -> bool {
    let one = &decoded.0;
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(one);
    let is_lea = one.mnemonic() == Mnemonic::Lea;
    let addressed = accesses::addressed(one, info);
    let mut copied: Option<Since> = None;
    for register in &addressed {
        let Some(since) = held.since(*register) else {
            continue;
        };
        if is_lea {
            copied = copied.max(Some(since.read()));
        } else {
            held.set(*register, Since::Used);
        }
    }
    if reads_unnamed(one, info, &addressed, held) {
        return true;
    }
    for operand in 0..one.op_count() {
        if one.op_kind(operand) != OpKind::Register {
            continue;
        }
        let register = whole(one.op_register(operand));
        let is_read = !matches!(
            info.op_access(operand),
            OpAccess::Write | OpAccess::CondWrite | OpAccess::None | OpAccess::NoMemAccess
        );
        let Some(since) = held.since(register).filter(|_| is_read) else {
            continue;
        };
        let to_register = one.op0_kind() == OpKind::Register;
        match (one.mnemonic(), operand) {
            (Mnemonic::Mov, 1) if to_register => copied = Some(since.read()),
            // An address and a distance.
            (Mnemonic::Add | Mnemonic::Sub, 0) => {}
            (Mnemonic::Add, 1) if to_register => copied = Some(since.read()),
            // A short way to put a number there.
            (Mnemonic::Or, 0)
                if to_register
                    && one.op1_kind() != OpKind::Register
                    && one.op1_kind() != OpKind::Memory
                    && one.immediate(1) == u64::MAX => {}
            // Only to move the stack.
            (Mnemonic::Push, 0) if since == Since::Call => {}
            // Of one register with itself, the carry alone is left.
            (Mnemonic::Sbb, _) if to_register && one.op0_register() == one.op1_register() => {}
            // Kept, compared, chosen, or anything that nobody thought of, also where something was
            // read by it before: what is only left in a register is named by no instruction.
            _ => return true,
        }
    }
    for used in info.used_registers() {
        let is_written = matches!(used.access(), OpAccess::Write | OpAccess::ReadWrite);
        // What a string instruction counts on goes on leading there.
        let stays = matches!(one.mnemonic(), Mnemonic::Add | Mnemonic::Sub)
            || addressed.contains(&whole(used.register())) && one.is_string_instruction();
        if is_written && !stays {
            held.clear(whole(used.register()));
        }
    }
    if let Some(since) = copied {
        held.set(whole(one.op0_register()), since);
    }
    false
}

/// Whether it reads or writes by a held address.
pub(in super::super) fn goes_by(decoded: &Decoded, held: &Held) -> bool {
    let one = &decoded.0;
    let by = [one.memory_base(), one.memory_index()].into_iter();
    let mut by = by.filter(|register| *register != Register::None);
    one.mnemonic() != Mnemonic::Lea && by.any(|register| held.since(whole(register)).is_some())
}

/// What becomes of the pointers that its memory operand holds.
pub(in super::super) fn loads(decoded: &Decoded) -> Loaded {
    const POINTER_BYTES: usize = 8;
    let one = &decoded.0;
    let is_register =
        |operand| one.op_count() > operand && one.op_kind(operand) == OpKind::Register;
    let is_number = |operand| {
        let is_memory = one.op_kind(operand) == OpKind::Memory;
        one.op_count() > operand && !is_register(operand) && !is_memory
    };
    match one.mnemonic() {
        Mnemonic::Lea => Loaded::Nothing,
        _ if one.memory_size().size() < POINTER_BYTES || super::is_near_branch(one) => {
            Loaded::Nothing
        }
        Mnemonic::Mov if one.op0_kind() == OpKind::Memory => Loaded::Nothing,
        Mnemonic::Mov if is_register(0) => Loaded::Into(vec![whole(one.op0_register())]),
        // Only a number of the code is compared with it.
        Mnemonic::Cmp | Mnemonic::Test if is_number(1) => Loaded::Nothing,
        _ => Loaded::Out,
    }
}

/// Whether it reads an address in a register that no operand names, for more than to read or write
/// there: what CMPXCHG16B stores and compares, what a multiplication takes.
fn reads_unnamed(
    one: &iced_x86::Instruction,
    info: &InstructionInfo,
    addressed: &[arguments::Register],
    held: &Held,
) -> bool {
    // Whoever answers may look at any register.
    if one.mnemonic() == Mnemonic::Int {
        return held.is_fresh();
    }
    let least = match one.mnemonic() {
        // Few of its answers depend on the second register, so that nobody sets it for the others.
        Mnemonic::Cpuid => Since::Fresh,
        _ => Since::Used,
    };
    let is_named = |register: arguments::Register| {
        (0..one.op_count()).any(|operand| {
            one.op_kind(operand) == OpKind::Register && whole(one.op_register(operand)) == register
        })
    };
    info.used_registers().iter().any(|used| {
        let register = whole(used.register());
        let is_read = !matches!(used.access(), OpAccess::Write | OpAccess::CondWrite);
        is_read
            && held.since(register) >= Some(least)
            && !addressed.contains(&register)
            && !is_named(register)
    })
}

/// Whether a callee need not keep a register.
pub(in super::super) fn is_lost(register: arguments::Register) -> bool {
    LOST_BY_CALLS.iter().any(|lost| whole(*lost) == register)
}

#[cfg(test)]
mod tests {
    use xsplice_abi::machine::x86_64::MACHINE;

    use super::super::super::addresses::{Held, Taken};
    use super::super::super::walk;
    use super::{Register, results, whole};

    #[test]
    fn an_address_is_taken_by_what_keeps_it() {
        let cases: [(&[u8], u64, Taken); 6] = [
            // lea x(%rip), %rax; mov $x, %eax; movq $x, 8(%rbx)
            (
                &[0x48, 0x8d, 0x05, 0, 0, 0, 0],
                3,
                Taken::Into(results()[0]),
            ),
            (&[0xb8, 0, 0, 0, 0], 1, Taken::Into(results()[0])),
            (&[0x48, 0xc7, 0x43, 8, 0, 0, 0, 0], 4, Taken::Out),
            // cmpq $x, 8(%rbx); mov x(%rip), %eax; push $x
            (&[0x48, 0x81, 0x7b, 8, 0, 0, 0, 0], 4, Taken::Out),
            (&[0x8b, 0x05, 0, 0, 0, 0], 2, Taken::Nowhere),
            (&[0x68, 0, 0, 0, 0], 1, Taken::Out),
        ];
        for (code, field, wanted) in cases {
            let first = walk(&MACHINE, code, 0).next().expect("an instruction");
            assert_eq!(first.takes(field), wanted, "{code:x?}");
        }
    }

    #[test]
    fn an_address_is_taken_from_a_slot_by_what_loads_it() {
        let cases: [(&[u8], u64, Taken); 4] = [
            // mov x(%rip), %rax; cmp x(%rip), %rax; call *x(%rip); push x(%rip)
            (
                &[0x48, 0x8b, 0x05, 0, 0, 0, 0],
                3,
                Taken::Into(results()[0]),
            ),
            (&[0x48, 0x3b, 0x05, 0, 0, 0, 0], 3, Taken::Out),
            (&[0xff, 0x15, 0, 0, 0, 0], 2, Taken::Nowhere),
            (&[0xff, 0x35, 0, 0, 0, 0], 2, Taken::Out),
        ];
        for (code, field, wanted) in cases {
            let first = walk(&MACHINE, code, 0).next().expect("an instruction");
            assert_eq!(first.takes_from_slot(field), wanted, "{code:x?}");
        }
    }

    #[test]
    fn an_address_in_a_register_is_read_by_copied_or_handed_out() {
        // The address is in rax before each.
        let cases: [(&[u8], bool, Register); 6] = [
            // mov (%rax,%rcx,4), %ecx; mov %rax, %rdi; mov %rax, (%rbx)
            (&[0x8b, 0x0c, 0x88], false, Register::RAX),
            (&[0x48, 0x89, 0xc7], false, Register::RDI),
            (&[0x48, 0x89, 0x03], true, Register::RAX),
            // lea 8(%rax), %rdx; cmp %rax, %rbx; add %rax, %rcx
            (&[0x48, 0x8d, 0x50, 8], false, Register::RDX),
            (&[0x48, 0x39, 0xc3], true, Register::RAX),
            (&[0x48, 0x01, 0xc1], false, Register::RCX),
        ];
        for (code, is_out, holds) in cases {
            let mut held = Held::new(results()[0]);
            let first = walk(&MACHINE, code, 0).next().expect("an instruction");
            assert_eq!(first.carries(&mut held), is_out, "{code:x?}");
            assert!(is_out || held.since(whole(holds)).is_some(), "{code:x?}");
        }
    }

    #[test]
    fn an_address_is_read_by_what_no_operand_names() {
        let cases: [(Register, &[u8], bool); 8] = [
            // rep movsb by rsi and by rdi; xlat; mul %rcx; cmpxchg16b (%rdi); cmpxchg %rcx, (%rdi)
            (Register::RSI, &[0xf3, 0xa4], false),
            (Register::RDI, &[0xf3, 0xa4], false),
            (Register::RBX, &[0xd7], false),
            (Register::RAX, &[0x48, 0xf7, 0xe1], true),
            (Register::RBX, &[0x48, 0x0f, 0xc7, 0x0f], true),
            (Register::RAX, &[0x48, 0x0f, 0xb1, 0x0f], true),
            // int $0x82; nopl (%rax)
            (Register::RSI, &[0xcd, 0x82], true),
            (Register::RAX, &[0x0f, 0x1f, 0x00], false),
        ];
        for (register, code, wanted) in cases {
            let mut held = Held::new(whole(register));
            let first = walk(&MACHINE, code, 0).next().expect("an instruction");
            assert_eq!(first.carries(&mut held), wanted, "{code:x?}");
            assert!(wanted || held.since(whole(register)).is_some(), "{code:x?}");
        }
    }
}
