//! Code of AArch64 that counts from one variable to another, instruction by instruction.

use xsplice_diff::verdict::kinds::RefusalCode;

use crate::compiler::{assemble_arm64, changed, diff, refused};

/// Three variables, of which the first has so many bytes; `fresh` is what stands behind it.
fn variables(section: &str, bytes: u32, fresh: &str) -> String {
    let variable = |name: &str, bytes: u32| {
        format!(".type {name}, @object\n{name}: .fill {bytes}, 1, 1\n.size {name}, {bytes}\n")
            .replace('@', "%")
    };
    format!(
        ".section {section}\n.balign 8\n{}{fresh}{}{}",
        variable("first", bytes),
        variable("second", 8),
        variable("third", 8)
    )
}

const FRESH: &str = ".type fresh, %object\nfresh: .fill 8, 1, 2\n.size fresh, 8\n";

/// A function that puts the address of `anchor` into `x0`, with a number that makes it another.
fn function(anchor: &str, code: &str, number: u32) -> String {
    format!(
        ".section .text.f, \"ax\"\n.globl f\n.type f, %function\n\
         f: mov w9, #{number}\nadrp x0, {anchor}\nadd x0, x0, :lo12:{anchor}\n{code}\nret\n\
         .size f, .-f\n\
         .section .text.g, \"ax\"\n.globl g\n.type g, %function\ng: mov w0, #1\nret\n\
         .size g, .-g\n\
         .section .text.unlikely.f, \"ax\"\n.type f.cold, %function\nf.cold: mov w1, #3\nbrk #1\n\
         .size f.cold, .-f.cold\n"
    )
}

/// Whether it is refused that `f` changed and a variable came behind the first one.
fn is_refused(section: &str, anchor: &str, bytes: u32, code: &str, fresh: &str) -> bool {
    let before = function(anchor, code, 1) + &variables(section, bytes, "");
    let after = function(anchor, code, 2) + &variables(section, bytes, fresh);
    let (before, after) = (assemble_arm64(&before), assemble_arm64(&after));
    let found = diff(&before, &after);
    assert_eq!(changed(&found), ["f"], "{found:#?}");
    refused(&found).contains(&RefusalCode::AmbiguousTarget)
}

#[test]
fn code_counts_as_far_as_nothing_moved_and_no_farther() {
    for (anchor, bytes, code, wanted) in [
        // Inside of the first, in the second, in what is beside it, behind everything.
        ("first", 8, "ldr w1, [x0]", false),
        ("first", 8, "ldr w1, [x0, #4]", false),
        ("first", 8, "ldr w1, [x0, #8]", true),
        ("first", 8, "add x1, x0, #8", true),
        ("first", 8, "str w1, [x0, #16]", true),
        ("second", 8, "ldr w1, [x0, #8]", false),
        ("third", 8, "ldur w1, [x0, #-8]", false),
        ("third", 8, "ldur w1, [x0, #-16]", true),
        ("third", 8, "ldur w1, [x0, #-24]", true),
        ("third", 8, "add x1, x0, #8", false),
        // By an index: in an array and in nothing else.
        ("first", 8, "ldr w1, [x0, x2]", true),
        ("first", 16, "ldr w1, [x0, x2]", false),
        ("first", 16, "add x0, x0, #8; ldr w1, [x0, x2]", true),
        ("first", 16, "add x1, x0, x2; ldr w1, [x1, #16]", true),
        ("first", 8, "1: add x0, x0, #8; cbnz w2, 1b", true),
        // In another register, and no more in that one.
        ("first", 8, "mov x3, x0; mov x0, #0; ldr w1, [x3, #8]", true),
        (
            "first",
            8,
            "mov x3, x0; mov x3, #0; ldr w1, [x3, #8]",
            false,
        ),
        ("first", 8, "mov x0, #0; ldr w1, [x0, #8]", false),
        // Behind a call only what a call keeps.
        ("first", 8, "bl g; ldr w1, [x0, #8]", false),
        // A register that a callee need not keep, and this one does.
        ("first", 8, "mov x10, x0; bl g; ldr w1, [x10, #8]", true),
        ("first", 8, "mov x19, x0; bl g; ldr w1, [x19, #8]", true),
        ("first", 8, "mov x19, x0; blr x8; ldr w1, [x19, #8]", true),
        ("first", 8, "mov x19, x0; bl g; ldr w1, [x19]", false),
        // On every way.
        ("first", 8, "cbz w2, 1f; ret; 1: ldr w1, [x0, #8]", true),
        ("first", 8, "cbz w2, 1f; ldr w1, [x0, #8]; 1: nop", true),
        ("first", 8, "cbz w2, 1f; ldr w1, [x0]; 1: nop", false),
        ("first", 8, "b 1f; ldr w1, [x0, #8]; 1: nop", false),
        ("first", 8, "b 1f; 2: ldr w1, [x0, #8]; ret; 1: b 2b", true),
        ("first", 8, "ret; ldr w1, [x0, #8]", false),
        // Behind the trap of a warning.
        ("first", 8, "brk #0x800; ldr w1, [x0, #8]", true),
        // A jump by a register leads to labels whose addresses were taken, or out.
        ("first", 8, "adr x3, 1f; br x3; 1: ldr w1, [x0, #8]", true),
        ("first", 8, "adr x3, 1f; br x3; 1: ldr w1, [x0]", false),
        (
            "first",
            8,
            "mov x0, #0; adr x3, 1f; br x3; 1: ldr w1, [x0, #8]",
            false,
        ),
        ("first", 8, "br x3; ldr w1, [x0, #8]", false),
        ("first", 8, "cbz w2, 1f; b f.cold; 1: nop", true),
        (
            "first",
            8,
            "mov x0, #0; cbz w2, 1f; b f.cold; 1: nop",
            false,
        ),
        ("first", 8, "cbz w2, 1f; b g; 1: nop", false),
    ] {
        let told = is_refused(".data", anchor, bytes, code, FRESH);
        assert_eq!(told, wanted, "{anchor} of {bytes}: {code}");
        // The twin: nothing moved.
        assert!(!is_refused(".data", anchor, bytes, code, ""), "{code}");
    }
}

#[test]
fn what_assembler_calls_keeps_registers_that_others_need_not_keep() {
    for (anchor, bytes, code, wanted) in [
        (
            "first",
            8,
            "mov x10, x0; bl elsewhere; ldr w1, [x10, #8]",
            true,
        ),
        // What nobody goes by, or has something else in it by then.
        (
            "first",
            8,
            "mov x10, x0; bl elsewhere; ldr w1, [x11, #8]",
            false,
        ),
        (
            "first",
            8,
            "mov x10, x0; bl elsewhere; mov x10, x2; ldr w1, [x10, #8]",
            false,
        ),
        ("first", 8, "bl elsewhere; ldr w1, [x0, #8]", false),
        ("first", 8, "bl elsewhere; cbz w1, f.cold", false),
        (
            "first",
            8,
            "mov x19, x0; bl elsewhere; cbz w1, f.cold",
            true,
        ),
    ] {
        let told = is_refused(".data", anchor, bytes, code, FRESH);
        assert_eq!(told, wanted, "{anchor} of {bytes}: {code}");
        // The twin: nothing moved.
        assert!(!is_refused(".data", anchor, bytes, code, ""), "{code}");
    }
}

#[test]
fn code_reaches_all_that_it_reads_or_writes_at_once() {
    for (anchor, bytes, code, wanted) in [
        ("first", 8, "ldp w1, w2, [x0]", false),
        ("first", 8, "ldp x1, x2, [x0]", true),
        ("first", 16, "ldp x1, x2, [x0]", false),
        ("first", 8, "ldr q1, [x0]", true),
        ("first", 16, "ldr q1, [x0]", false),
        ("first", 16, "ldr q1, [x0, #16]", true),
        ("first", 8, "ldr x1, [x0, #0]", false),
        ("first", 8, "ldur x1, [x0, #4]", true),
        ("first", 16, "ld1 {v1.16b}, [x0]", false),
        ("first", 16, "ld1 {v1.16b, v2.16b}, [x0]", true),
        ("first", 16, "ldxp x1, x2, [x0]", false),
        ("first", 8, "ldxp x1, x2, [x0]", true),
        ("first", 8, "ldxp w1, w2, [x0]", false),
    ] {
        let told = is_refused(".data", anchor, bytes, code, FRESH);
        assert_eq!(told, wanted, "{anchor} of {bytes}: {code}");
        // The twin: nothing moved.
        assert!(!is_refused(".data", anchor, bytes, code, ""), "{code}");
    }
}

#[test]
fn constants_that_changed_are_copied_and_no_place_to_count_from() {
    let code = "ldr w1, [x0, #8]";
    assert!(is_refused(".rodata", "first", 8, code, FRESH));
    assert!(!is_refused(".rodata", "first", 8, code, ""));
    let with = |number: u32, value: u32| {
        let constants = variables(".rodata", 8, "").replace(
            "second: .fill 8, 1, 1",
            &format!("second: .fill 8, 1, {value}"),
        );
        assemble_arm64(&(function("first", code, number) + &constants))
    };
    let (before, after) = (with(1, 1), with(2, 3));
    let found = diff(&before, &after);
    assert!(!refused(&found).is_empty(), "{found:#?}");
}

/// Code that is the same leads to another variable where two changed places.
#[test]
fn equal_code_that_counts_to_another_variable_is_refused() {
    let swapped = |text: &str| {
        text.replace("first", "other")
            .replace("second", "first")
            .replace("other", "second")
    };
    let f = function("first", "ldr w1, [x0, #8]", 1);
    let before = f.clone() + &variables(".data", 8, "");
    let after = f + &swapped(&variables(".data", 8, ""));
    let (before, after) = (assemble_arm64(&before), assemble_arm64(&after));
    let found = diff(&before, &after);
    assert_eq!(
        refused(&found),
        [RefusalCode::AmbiguousTarget],
        "{found:#?}"
    );
    assert_eq!(refused(&diff(&before, &before)), []);
}
