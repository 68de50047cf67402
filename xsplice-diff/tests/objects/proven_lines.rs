//! When a number that changed is left out as a line number: code with a line table made by hand,
//! of which one thing at a time is otherwise.

use xsplice_diff::options::Options;
use xsplice_diff::report::object_diff::Verdict;
use xsplice_diff::verdict::kinds::Reason;

use crate::compiler::{assemble, changed, diff, diff_with, reasons};

/// A function whose code follows a line of the source in its table. `@` stands for a number, `#`
/// for the number of a line behind which comes another.
fn object(line: u32, code: &str, number: u32) -> Vec<u8> {
    let code = code
        .replace("#", &format!(".loc 1 {} 0", line + 10))
        .replace('@', &number.to_string());
    assemble(&format!(
        ".file 1 \"case.c\"\n.section .text.f, \"ax\", @progbits\n.globl f\n.type f, @function\n\
         f: .loc 1 {line} 0\n{code}\n.size f, .-f\n\
         .section .text.own, \"ax\", @progbits\n.type warn, @function\n\
         warn: mov %edi, %eax\nmov %esi, %eax\nret\n.size warn, .-warn\n\
         .section .rodata.str1.1, \"aMS\", @progbits, 1\n\
         .Lfile: .asciz \"case.c\"\n.Lname: .asciz \"queue\"\n.Lnone: .asciz \"\"\n\
         .Lodd: .asciz \"\\001odd.c\"\n"
    ))
}

/// Whether the change is left out.
fn is_left_out(before: &[u8], after: &[u8]) -> bool {
    let found = diff(before, after);
    match found.verdict() {
        Verdict::Unchanged => true,
        _ => {
            assert_eq!(changed(&found), ["f"], "{found:#?}");
            false
        }
    }
}

/// The same where both lines and numbers are 4 before and 7 afterwards.
fn is_a_line(code: &str) -> bool {
    is_left_out(&object(4, code, 4), &object(7, code, 7))
}

#[test]
fn a_number_is_its_line_in_both_builds() {
    let code = "mov $@, %edi\ncall warn_printk\nret";
    for (before, after, wanted) in [
        ((4, 4), (7, 7), true),
        ((4, 4), (4, 7), false),
        ((4, 4), (7, 8), false),
        ((4, 3), (7, 7), false),
        ((4, 7), (7, 4), false),
        ((4, 4), (104, 104), true),
    ] {
        let told = is_left_out(
            &object(before.0, code, before.1),
            &object(after.0, code, after.1),
        );
        assert_eq!(told, wanted, "{before:?} {after:?}");
    }
}

#[test]
fn every_number_that_changed_is_one() {
    let two = |first: u32, second: u32| {
        format!(
            "mov ${first}, %edi\ncall warn_printk\n#\nmov ${second}, %edi\ncall warn_printk\nret"
        )
    };
    let with = |line, first, second| object(line, &two(first, second), 0);
    let before = with(4, 4, 14);
    for (after, wanted) in [
        (with(7, 7, 17), true),
        (with(7, 7, 18), false),
        (with(7, 8, 17), false),
        (with(7, 17, 7), false),
    ] {
        assert_eq!(is_left_out(&before, &after), wanted);
    }
}

#[test]
fn a_line_is_given_to_what_reports_and_has_no_other_use() {
    for (code, wanted) in [
        ("mov $@, %edi; call warn; ret", true),
        ("mov $@, %edi; jmp warn", true),
        ("mov $@, %edi; call warn+2; ret", false),
        ("mov $@, %edi; call set_limit; ret", false),
        ("mov $@, %edi; call *%rax; ret", false),
        ("mov $@, %edi; ret", false),
        ("mov $@, %edi; nop; call warn_printk; ret", true),
        // Something else reads it, or it is no argument.
        ("mov $@, %edi; add %edi, %ecx; call warn_printk; ret", false),
        ("mov $@, %eax; call warn_printk; ret", false),
        (
            "mov $@, %edi; mov %edi, (%rax); call warn_printk; ret",
            false,
        ),
        ("mov $@, %edi; mov %eax, %edi; call warn_printk; ret", false),
        ("push $@; call warn_printk; pop %rax; ret", true),
        // Behind the name of a source file, and of nothing else.
        ("lea .Lfile(%rip), %rdi; mov $@, %esi; call told; ret", true),
        ("mov $@, %esi; lea .Lfile(%rip), %rdi; call told; ret", true),
        (
            "lea .Lname(%rip), %rdi; mov $@, %esi; call told; ret",
            false,
        ),
        (
            "lea .Lnone(%rip), %rdi; mov $@, %esi; call told; ret",
            false,
        ),
        ("lea .Lodd(%rip), %rdi; mov $@, %esi; call told; ret", false),
        (
            "lea .Lfile+4(%rip), %rdi; mov $@, %esi; call told; ret",
            true,
        ),
        (
            "lea .Lfile+6(%rip), %rdi; mov $@, %esi; call told; ret",
            false,
        ),
        (
            "lea .Lfile(%rip), %rsi; mov $@, %edi; call told; ret",
            false,
        ),
        (
            "lea .Lfile(%rip), %rdi; mov $@, %edx; call told; ret",
            false,
        ),
        (
            "mov .Lfile(%rip), %rdi; mov $@, %esi; call told; ret",
            false,
        ),
        // The name moves with a register, and is lost with it.
        (
            "lea .Lfile(%rip), %rax; mov %rax, %rdi; mov $@, %esi; call told; ret",
            true,
        ),
        (
            "lea .Lfile(%rip), %rdi; mov %rax, %rdi; mov $@, %esi; call told; ret",
            false,
        ),
        (
            "lea .Lfile(%rip), %rdi; call g; mov $@, %esi; call told; ret",
            false,
        ),
        // Several reports share a call.
        (
            "test %eax, %eax; je 2f; mov $@, %edi; jmp 1f; 2: ret; 1: call warn_printk; ret",
            true,
        ),
        (
            "test %eax, %eax; je 2f; mov $@, %edi; jmp 1f; 2: ret; 1: call set_limit; ret",
            false,
        ),
    ] {
        assert_eq!(is_a_line(code), wanted, "{code}");
    }
}

#[test]
fn branches_lead_to_the_same_instructions() {
    let code = |target: &str, behind: &str| {
        format!(
            "test %eax, %eax; je {target}; mov $@, %edi; call warn_printk\n1: mov $5, %ecx\n\
             2: mov $6, %edx\n3: ret\n4:\n{behind}"
        )
    };
    let with = |line, target, behind| object(line, &code(target, behind), line);
    let before = with(4, "1f", "");
    assert!(is_left_out(&before, &with(7, "1f", "")));
    assert!(!is_left_out(&before, &with(7, "2f", "")));
    assert!(!is_left_out(&before, &with(7, "3f", "")));
    assert!(!is_left_out(&before, &with(7, "1f+1", "")));
    assert!(!is_left_out(&before, &with(7, "1f", "ret")));
    // To where no instruction begins, at the same distance and at another.
    let end = with(4, "4f", "");
    assert!(is_left_out(&end, &with(7, "4f", "")));
    assert!(!is_left_out(&end, &with(7, "4f+1", "")));
    let within = with(4, "1f+1", "");
    assert!(is_left_out(&within, &with(7, "1f+1", "")));
    assert!(!is_left_out(&within, &with(7, "1f+2", "")));
}

#[test]
fn without_a_table_numbers_look_like_lines_when_all_moved_alike() {
    let object = |numbers: [u32; 2]| {
        let [first, second] = numbers;
        assemble(&format!(
            ".section .text.f, \"ax\", @progbits\n.globl f\n.type f, @function\n\
             f: mov ${first}, %edi\ncall warn_printk\nmov ${second}, %edi\ncall warn_printk\n\
             ret\n.size f, .-f\n"
        ))
    };
    let options = Options {
        accept: vec!["line-numbers".to_owned()],
        ..Options::default()
    };
    for (before, after, wanted) in [
        ([4, 9], [7, 12], true),
        ([4, 9], [7, 9], true),
        ([4, 9], [7, 13], false),
        ([1, 9], [7, 15], true),
        ([0, 9], [6, 15], false),
        ([4, 99_990], [12, 99_998], true),
        ([4, 99_990], [14, 100_000], false),
        ([14, 100_000], [4, 99_990], false),
    ] {
        let (old, new) = (object(before), object(after));
        let found = diff(&old, &new);
        assert_eq!(changed(&found), ["f"]);
        let is_labelled = reasons(&found, "f").contains(&Reason::LooksLikeLineNumbers);
        assert_eq!(is_labelled, wanted, "{before:?} {after:?}");
        let accepted = diff_with(&old, &new, &options);
        assert_eq!(accepted.verdict() == Verdict::Unchanged, wanted);
    }
}
