//! What a sanitizer tells its run-time library of one place of the source is part of the code
//! there.

use xsplice_diff::report::object_diff::Verdict;

use crate::compiler::{KERNEL, assemble, changed, compile, compilers, diff, refused};

fn source(check: &str, kind: &str) -> String {
    format!(
        "int g(int);
         int f(int x) {{
         {check}
             return x + 7;
         }}
         {kind} unchanged({kind} x, int y) {{ return (x << y) + g((int)x); }}"
    )
}

/// A line that moves, and a number of descriptors that is another.
#[test]
fn lines_in_descriptors_are_no_change_and_new_descriptors_travel() {
    for compiler in compilers() {
        let flags = [KERNEL, &["-g", "-fsanitize=undefined"]].concat();
        let build = |check: &str, kind: &str| compile(compiler, &flags, &source(check, kind));
        let original = build("", "int");
        let moved = build("\n\n", "int");
        let shifted = diff(&original, &moved);
        assert_eq!(refused(&shifted), [], "{compiler}: {shifted:#?}");
        assert_eq!(
            shifted.verdict(),
            Verdict::Unchanged,
            "{compiler}: {shifted:#?}"
        );
        let checked = build("if (x > 1000)\nreturn x * 3;", "int");
        let fixed = diff(&original, &checked);
        assert_eq!(refused(&fixed), [], "{compiler}: {fixed:#?}");
        assert_eq!(changed(&fixed), ["f"], "{compiler}: {fixed:#?}");
    }
}

/// Anything but the line and the column counts.
#[test]
fn another_type_in_a_descriptor_is_a_change() {
    let flags = [KERNEL, &["-g", "-fsanitize=undefined"]].concat();
    let build = |kind: &str| compile("gcc", &flags, &source("", kind));
    let (original, patched) = (build("int"), build("unsigned int"));
    let diff = diff(&original, &patched);
    assert!(changed(&diff).contains(&"unchanged"), "{diff:#?}");
}

/// A function that has a descriptor of these bytes: what is behind the pointer to the file's name,
/// and the name of its section.
fn described(section: &str, bytes: &str) -> Vec<u8> {
    assemble(&format!(
        ".section .text.f, \"ax\", @progbits\n.globl f\n.type f, @function\n\
         f: .byte 0x48, 0x8d, 0x05\n.reloc ., R_X86_64_PC32, .Lubsan_data1-4\n.long 0\n\
         mov $12345, %ecx\nret\n.size f, .-f\n\
         .section {section}, \"aw\"\n.balign 8\n.Lubsan_data1: .quad .Lfile\n{bytes}\n\
         .section .rodata.str1.1, \"aMS\", @progbits, 1\n.Lfile: .asciz \"file.c\"\n"
    ))
}

#[test]
fn line_and_column_are_eight_bytes_of_a_descriptor_and_no_more() {
    let own = ".data..Lubsan_data1";
    let before = described(own, ".long 17, 4\n.long 1, 2");
    for (section, bytes, wanted) in [
        (own, ".long 18, 4\n.long 1, 2", &[][..]),
        (own, ".long 17, 5\n.long 1, 2", &[]),
        (own, ".long 17, 4\n.long 3, 2", &["f"]),
        (own, ".long 17, 4\n.long 1, 3", &["f"]),
        (own, ".long 18, 5\n.long 1, 3", &["f"]),
    ] {
        let after = described(section, bytes);
        for (before, after) in [(&before, &after), (&after, &before)] {
            let found = diff(before, after);
            assert_eq!(
                (changed(&found), refused(&found)),
                (wanted.to_vec(), vec![]),
                "{bytes}"
            );
        }
    }
    // The same bytes in a section of variables are a variable.
    let (before, after) = (
        described(".data.state", ".long 17, 4"),
        described(".data.state", ".long 18, 4"),
    );
    assert!(!refused(&diff(&before, &after)).is_empty());
}

/// The letters of a type's name stand where a place has its line. Clang names both kinds alike.
#[test]
fn another_name_of_a_type_in_a_descriptor_is_a_change() {
    for compiler in compilers() {
        let flags = [KERNEL, &["-g", "-fsanitize=alignment"]].concat();
        let build = |name: &str| {
            let source = format!(
                "struct {name} {{ int a; long b; }};
                 int f(struct {name} *p, int i) {{ return p[i].a; }}"
            );
            compile(compiler, &flags, &source)
        };
        let (original, patched) = (build("old1"), build("new1"));
        let diff = diff(&original, &patched);
        assert_eq!(changed(&diff), ["f"], "{compiler}: {diff:#?}");
    }
}
