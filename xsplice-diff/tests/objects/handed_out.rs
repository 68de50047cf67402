//! Constants of one function that change: whether somebody may have got their address before.

use xsplice_diff::report::object_diff::Verdict;
use xsplice_diff::verdict::kinds::RefusalCode;

use crate::compiler::{assemble, changed, diff, refused};

/// A function, its out-of-line part, and a constant of theirs.
fn object(name: &str, code: &str, value: u32) -> Vec<u8> {
    // The third sign is the assembler's own.
    let code = code.replace("SLOT", "@~GOTPCREL(%rip)");
    let code = code.replace('@', name).replace('~', "@");
    assemble(&format!(
        ".section .text.f, \"ax\", @progbits\n.globl f\n.type f, @function\n\
         f: {code}\nret\n.size f, .-f\n\
         .section .text.unlikely.f, \"ax\", @progbits\n.type f.cold, @function\n\
         f.cold: mov $3, %ecx\nud2\n.size f.cold, .-f.cold\n\
         .section .text.g, \"ax\", @progbits\n.globl g\n.type g, @function\n\
         g: mov $4, %eax\nret\n.size g, .-g\n\
         .section .text.rbx, \"ax\", @progbits\n.globl takes_rbx\n.type takes_rbx, @function\n\
         takes_rbx: mov %rbx, (%rdi)\nret\n.size takes_rbx, .-takes_rbx\n\
         .globl saves_rbx\n.type saves_rbx, @function\n\
         saves_rbx: push %rbx\nmov %edi, %ebx\nmov %ebx, %eax\npop %rbx\nret\n\
         .size saves_rbx, .-saves_rbx\n\
         .section .rodata.{name}, \"a\", @progbits\n.balign 8\n.type {name}, @object\n\
         {name}: .quad {value}, 2\n.size {name}, 16\n"
    ))
}

fn codes(name: &str, code: &str) -> Vec<RefusalCode> {
    let (before, after) = (object(name, code, 1), object(name, code, 7));
    let found = diff(&before, &after);
    assert_eq!(changed(&found), ["f"], "{code}: {found:#?}");
    assert_eq!(diff(&before, &before).verdict(), Verdict::Unchanged);
    refused(&found)
}

#[test]
fn what_is_only_read_goes_along_and_what_is_handed_out_is_refused() {
    for (code, is_out) in [
        // Read, at once and by a register.
        ("mov @(%rip), %ecx", false),
        ("lea @(%rip), %rdx; mov (%rdx), %ecx; mov $0, %edx", false),
        ("lea @(%rip), %rdx; mov 8(%rdx), %rdx", false),
        (
            "lea @(%rip), %rdx; mov (%rdx,%rdi,8), %ecx; xor %edx, %edx",
            false,
        ),
        // Stored, given back, passed, compared, pushed.
        ("lea @(%rip), %rdx; mov %rdx, (%rdi)", true),
        ("lea @(%rip), %rax", true),
        ("lea @(%rip), %rdi; call g", true),
        ("lea @(%rip), %rdx; cmp %rdx, %rsi", true),
        ("lea @(%rip), %rdx; push %rdx; pop %rcx", true),
        ("lea @(%rip), %rdi; jmp g", true),
        ("lea @(%rip), %rdi; call *%rcx", true),
        ("lea @(%rip), %rdi; jmp *%rcx", true),
        // In another register, and no more in that one.
        ("lea @(%rip), %rdx; mov %rdx, %r8; mov %r8, (%rdi)", true),
        (
            "lea @(%rip), %rdx; mov %rdx, %r8; mov (%r8), %r8; mov (%rdx), %rdx",
            false,
        ),
        (
            "lea @(%rip), %rdx; mov (%rdx), %ecx; mov %rsi, %rdx; mov %rdx, (%rdi)",
            false,
        ),
        // What a call keeps, and what it does not.
        ("lea @(%rip), %rbx; call g; mov %rbx, (%rdi)", true),
        (
            "lea @(%rip), %rbx; call g; mov (%rbx), %ecx; mov %rsi, %rbx",
            false,
        ),
        ("lea @(%rip), %r10; call elsewhere; mov %r10, (%rdi)", true),
        ("lea @(%rip), %r10; call *%rcx; mov %r10, (%rdi)", true),
        (
            "lea @(%rip), %r10; mov (%r10), %r10; call *%rcx; mov %r10, (%rdi)",
            false,
        ),
        // On every way.
        (
            "lea @(%rip), %rdx; je 1f; mov (%rdx), %rdx; ret; 1: mov %rdx, (%rdi)",
            true,
        ),
        (
            "lea @(%rip), %rdx; je 1f; mov %rdx, (%rdi); 1: mov (%rdx), %rdx",
            true,
        ),
        (
            "lea @(%rip), %rdx; je 1f; mov (%rdx), %rdx; 1: mov (%rdx), %rdx",
            false,
        ),
        (
            "lea @(%rip), %rdx; jmp 1f; mov %rdx, (%rdi); 1: mov (%rdx), %rdx",
            false,
        ),
        (
            "lea @(%rip), %rdx; 1: mov (%rdx), %ecx; add $8, %rdx; jne 1b; xor %edx, %edx",
            false,
        ),
        (
            "lea @(%rip), %rdx; jmp 2f; 1: mov %rdx, (%rdi); ret; 2: je 1b; mov (%rdx), %rdx",
            true,
        ),
        // By a slot of the GOT: what is read there is the address.
        ("mov SLOT, %rdx; mov (%rdx), %ecx; mov $0, %edx", false),
        ("mov SLOT, %rdx; mov %rdx, (%rdi)", true),
        ("mov SLOT, %rdi; call g", true),
        ("mov SLOT, %rax", true),
        ("push SLOT; pop %rcx", true),
        ("cmp SLOT, %rsi; sete %cl", true),
        ("cmpq $0, SLOT; sete %cl", false),
        // In another part, which goes on with what is in any register.
        ("lea @(%rip), %rdx; je f.cold; mov (%rdx), %rdx", true),
        ("je f.cold; lea @(%rip), %rdx; mov (%rdx), %rdx", false),
    ] {
        assert_told(code, is_out);
    }
}

fn assert_told(code: &str, is_out: bool) {
    let wanted: &[RefusalCode] = match is_out {
        true => &[RefusalCode::ChangedRodata],
        false => &[],
    };
    for name in ["table", "table.1"] {
        assert_eq!(codes(name, code), wanted, "{name}: {code}");
    }
}

#[test]
fn assembler_passes_by_any_register_and_what_it_calls_may_keep_any() {
    for (code, is_out) in [
        // Inline assembler may know that its callee keeps one that others do not keep.
        (
            "lea @(%rip), %rcx; mov (%rcx), %esi; call other; mov %rcx, %r8; mov %r8, (%rdi)",
            true,
        ),
        (
            "lea @(%rip), %r11; mov (%r11), %esi; call other; push %r11; pop %r11",
            false,
        ),
        (
            "lea @(%rip), %r11; mov (%r11), %esi; call other; or $-1, %r11; mov %r11, (%rdi)",
            false,
        ),
        // It passes by any register: not where that is used again, or where a callee is seen to
        // have no use for it.
        ("lea @(%rip), %rbx; call elsewhere; mov %rsi, %rbx", true),
        ("lea @(%rip), %r12; call *%rcx; mov %rsi, %r12", true),
        (
            "lea @(%rip), %rbx; mov (%rbx), %ecx; call elsewhere; mov %rsi, %rbx",
            true,
        ),
        (
            "lea @(%rip), %rbx; call elsewhere; mov (%rbx), %ecx; mov %rsi, %rbx",
            false,
        ),
        ("lea @(%rip), %rbx; call g; mov %rsi, %rbx", false),
        ("lea @(%rip), %rbx; call takes_rbx; mov %rsi, %rbx", true),
        ("lea @(%rip), %rbx; call saves_rbx; mov %rsi, %rbx", false),
        ("lea @(%rip), %r11; jmp elsewhere", true),
        ("lea @(%rip), %rcx", true),
    ] {
        assert_told(code, is_out);
    }
}

#[test]
fn instructions_read_and_write_what_no_operand_names_and_what_is_written_is_no_constant() {
    for (code, is_out) in [
        // By what no operand names.
        (
            "lea @(%rip), %rbx; lock cmpxchg16b (%rdi); mov $0, %ebx",
            true,
        ),
        ("lea @(%rip), %rbx; xlat; mov $0, %ebx", false),
        ("lea @(%rip), %rsi; rep movsb; mov $0, %esi", false),
        // What is written to is no constant.
        ("mov %ecx, @(%rip)", true),
        ("lea @(%rip), %rdx; mov %ecx, 8(%rdx); mov $0, %edx", true),
        ("lea @(%rip), %rdx; lock incl (%rdx); mov $0, %edx", true),
        ("lea @(%rip), %rdi; rep movsb; mov $0, %edi", true),
        // The code of this one is here, and it keeps the register.
        ("lea @(%rip), %r10; call g; mov %r10, (%rdi)", true),
    ] {
        assert_told(code, is_out);
    }
}

/// A function that reads from a table, whose only entries lead to a constant and to nothing.
fn table(code: &str, value: u32) -> Vec<u8> {
    assemble(&format!(
        ".section .text.f, \"ax\", @progbits\n.globl f\n.type f, @function\n\
         f: {code}\nret\n.size f, .-f\n\
         .section .data.rel.ro.local.table.2, \"aw\", @progbits\n.balign 8\n\
         .type table.2, @object\ntable.2: .quad k.1, 5\n.size table.2, 16\n\
         .section .rodata.k.1, \"a\", @progbits\n.balign 8\n.type k.1, @object\n\
         k.1: .quad {value}, 2\n.size k.1, 16\n"
    ))
}

#[test]
fn a_pointer_that_is_read_from_a_table_is_followed() {
    for (code, is_out) in [
        // Only read from, by way of one register or two, and a number beside it.
        (
            "mov table.2(%rip), %rdx; mov (%rdx), %ecx; xor %edx, %edx",
            false,
        ),
        (
            "lea table.2(%rip), %rdx; mov (%rdx,%rdi,8), %rdx; mov 8(%rdx), %rdx",
            false,
        ),
        ("mov table.2+8(%rip), %eax", false),
        (
            "lea table.2(%rip), %rdx; mov 8(%rdx), %eax; xor %edx, %edx",
            false,
        ),
        ("cmpq $0, table.2(%rip); sete %cl", false),
        // Stored, given back, compared, pushed, copied by a wide register.
        ("mov table.2(%rip), %rdx; mov %rdx, (%rdi)", true),
        (
            "lea table.2(%rip), %rdx; mov (%rdx,%rdi,8), %rdx; mov %rdx, (%rsi)",
            true,
        ),
        ("mov table.2(%rip), %rax", true),
        ("cmp table.2(%rip), %rdi; sete %cl", true),
        ("push table.2(%rip); pop %rcx", true),
        ("lea table.2(%rip), %rdx; push (%rdx); pop %rcx", true),
        ("movups table.2(%rip), %xmm0; movups %xmm0, (%rdi)", true),
        // The table itself, and by a slot of the GOT.
        ("lea table.2(%rip), %rdx; mov %rdx, (%rdi)", true),
        (
            "mov table.2@GOTPCREL(%rip), %rdx; mov (%rdx), %rdx; mov %rdx, (%rdi)",
            true,
        ),
        (
            "mov table.2@GOTPCREL(%rip), %rdx; mov (%rdx), %rdx; mov (%rdx), %rdx",
            false,
        ),
    ] {
        let (before, after) = (table(code, 1), table(code, 7));
        let found = diff(&before, &after);
        assert_eq!(changed(&found), ["f"], "{code}: {found:#?}");
        let wanted: &[RefusalCode] = match is_out {
            true => &[RefusalCode::ChangedRodata],
            false => &[],
        };
        let mut codes = refused(&found);
        codes.dedup();
        assert_eq!(codes, wanted, "{code}");
    }
}

#[test]
fn what_compilers_name_is_handed_out_by_its_text() {
    let code = "lea @(%rip), %rdi; call g";
    for name in ["__func__.0", "CSWTCH.3"] {
        assert_eq!(codes(name, code), [], "{name}");
    }
}

#[test]
fn a_constant_that_stays_is_nobodys_matter() {
    let code = |number: u32| format!("lea @(%rip), %rdi; mov ${number}, %ecx; call g");
    for name in ["table", "table.1"] {
        let with = |number: u32| object(name, &code(number), 1);
        let (before, after) = (with(5), with(6));
        let found = diff(&before, &after);
        assert_eq!((changed(&found), refused(&found)), (vec!["f"], vec![]));
    }
}
