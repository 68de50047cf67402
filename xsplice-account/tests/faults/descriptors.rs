//! A sanitizer's descriptors of places and types, and what is only named like them.

use crate::built::{Sources, of, without_payload};

/// A function, and a sanitizer's descriptor of a check in it: file, line and type. Compilers
/// number the labels of both anew in each object. `lead` is the instruction by which the function
/// has the descriptor, if any is left. Variables with names stand between.
fn with_descriptor(function: &str, line: u32, kind: &str, lead: &str) -> String {
    format!(
        r#"__asm__(
            ".section .data..Lubsan_type_{function}, \"aw\"\n"
            ".Lubsan_type_{function}: .asciz \"{kind}\"\n"
            ".section .rodata.str1.1, \"aMS\", @progbits, 1\n.Lfile: .asciz \"shared.h\"\n");
        long before_{function} = 1;
        __asm__(
            ".section .data.rel.local..Lubsan_data_{function}, \"aw\"\n.balign 8\n"
            ".Lubsan_data_{function}: .quad .Lfile, {line}, .Lubsan_type_{function}\n");
        long behind_{function} = 1;
        __asm__(
            ".section .text.{function}, \"ax\"\n.globl {function}\n.type {function}, @function\n"
            "{function}: {lead}\nret\n.size {function}, . - {function}\n");"#
    )
}

#[test]
fn descriptors_that_nothing_uses_and_that_lead_to_equal_types_are_no_table() {
    let (one, other) = (
        with_descriptor("one", 17, "int", ""),
        with_descriptor("other", 18, "int", ""),
    );
    // The linker takes the objects in another order than the tree has them.
    let linked: Sources<'_> = &[("b.c", &other), ("a.c", &one)];
    let build: Sources<'_> = &[("a.c", &one), ("b.c", &other)];
    assert!(without_payload(linked, build, build).is_complete());
}

#[test]
fn a_section_named_like_a_descriptors_is_a_table_where_authors_name_its_entries() {
    let row = "__attribute__((used, section(\".data..Lubsan_data\")))";
    let old = format!("{row} static long one = 1; {row} static long two = 2;");
    let new = format!("{row} static long two = 2; {row} static long one = 1;");
    assert!(of(&[("t.c", &old)], &[("t.c", &old)]).is_complete());
    assert!(!of(&[("t.c", &old)], &[("t.c", &new)]).is_complete());
}

#[test]
fn a_section_without_names_that_is_no_descriptors_is_as_it_was() {
    let with = |value: u32| {
        format!(
            r#"long f(long a) {{ return a; }}
               __asm__(".section .data..Lstate, \"aw\"\n.long {value}");"#
        )
    };
    let (old, new) = (with(1), with(2));
    assert!(of(&[("f.c", &old)], &[("f.c", &old)]).is_complete());
    assert!(!of(&[("f.c", &old)], &[("f.c", &new)]).is_complete());
}

#[test]
fn a_descriptor_that_code_has_is_as_it_was() {
    let used = |kind| with_descriptor("f", 17, kind, "leaq .Lubsan_data_f(%rip), %rax");
    assert!(of(&[("f.c", &used("int"))], &[("f.c", &used("int"))]).is_complete());
    assert!(!of(&[("f.c", &used("int"))], &[("f.c", &used("u32"))]).is_complete());
}

/// Clang gives what describes a type the name that it gives what describes a place.
#[test]
fn a_type_that_is_named_like_a_place_has_no_line() {
    let with = |kind: &str| {
        let text = with_descriptor("f", 17, kind, "leaq .Lubsan_data_f(%rip), %rax");
        text.replace("ubsan_type", "__unnamed_1")
    };
    let [one, other] = ["struct one1", "struct one2"].map(with);
    assert!(of(&[("f.c", &one)], &[("f.c", &one)]).is_complete());
    assert!(!of(&[("f.c", &one)], &[("f.c", &other)]).is_complete());
}
