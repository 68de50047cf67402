//! An alternative with an empty replacement leads to a neighbour's, and refers to nothing.

use xsplice_diff::report::object_diff::Verdict;

use crate::compiler::{assemble, changed, diff, reasons, refused};

/// Two functions. `f` has an alternative without a replacement, which stands in the section where
/// `g`'s begins, or at the end of the section.
fn source(step: u32, jump: &str, of_f: &str) -> String {
    let f = format!(
        "
    .section .text.f, \"ax\", @progbits
    .globl f
    .type f, @function
f:  push %rbx
1:  lfence
2:  mov %edi, %eax
    imul %edi, %eax
    add $7, %eax
    pop %rbx
    ret
    .size f, . - f
    .section .altinstructions, \"a\", @progbits
    .long 1b - .
    .long .Lf_start - .
    .word 0x26f
    .byte 2b - 1b, .Lf_end - .Lf_start, 0, 0
    .section .altinstr_replacement, \"ax\", @progbits
.Lf_start:
    {of_f}
.Lf_end:
"
    );
    let g = format!(
        "
    .section .text.g, \"ax\", @progbits
    .globl g
    .type g, @function
g:  push %rbx
3:  .nops 5
5:  mov ${step}, %eax
    add %edi, %eax
.Lskip: pop %rbx
    add $1, %eax
    ret
    .size g, . - g
    .section .altinstructions, \"a\", @progbits
    .long 3b - .
    .long .Lg_start - .
    .word 0x27f
    .byte 5, .Lg_end - .Lg_start, 0, 0
    .section .altinstr_replacement, \"ax\", @progbits
.Lg_start: {jump}
.Lg_end:
"
    );
    format!("{f}{g}")
}

#[test]
fn a_neighbours_replacement_is_not_its_own() {
    let original = assemble(&source(1, "jmp .Lskip", ""));
    for patched in [
        assemble(&source(200, "jmp .Lskip", "")),
        assemble(&source(1, "call h", "")),
    ] {
        let diff = diff(&original, &patched);
        assert_eq!(changed(&diff), ["g"], "{diff:#?}");
        assert_eq!(refused(&diff), [], "{diff:#?}");
        assert_eq!(diff.verdict(), Verdict::Changed);
        let extract = diff.extract.as_ref().expect("something is included");
        let tables = extract
            .sections
            .iter()
            .filter(|section| section.name == ".altinstructions");
        let bytes: usize = tables.map(|section| section.data.len()).sum();
        assert_eq!(bytes, 14, "one entry: {extract:#?}");
    }
}

#[test]
fn where_nothing_stands_is_no_difference() {
    let original = assemble(&source(1, "jmp .Lskip", ""));
    let moved = assemble(
        &source(1, "jmp .Lskip", "").replace(".Lf_start:", "    .skip 3, 0x90\n.Lf_start:"),
    );
    let diff = diff(&original, &moved);
    assert_eq!((changed(&diff), refused(&diff)), (Vec::new(), Vec::new()));
}

#[test]
fn a_replacement_that_is_there_is_compared() {
    for (before, after) in [("", "sfence"), ("sfence", ""), ("sfence", "mfence")] {
        let original = assemble(&source(1, "jmp .Lskip", before));
        let patched = assemble(&source(1, "jmp .Lskip", after));
        let diff = diff(&original, &patched);
        assert_eq!(changed(&diff), ["f"], "{before} {after}: {diff:#?}");
        assert!(!reasons(&diff, "f").is_empty());
    }
    let linux = |replacement: &str| {
        // Flags where Xen has lengths: place and replacement stand in the last bytes.
        source(1, "jmp .Lskip", replacement).replace(
            ".byte 2b - 1b, .Lf_end - .Lf_start, 0, 0",
            ".byte 1, 0, 2b - 1b, .Lf_end - .Lf_start",
        )
    };
    let patched = assemble(&linux("mfence"));
    let original_of_linux = assemble(&linux("sfence"));
    let diff = diff(&original_of_linux, &patched);
    assert_eq!(changed(&diff), ["f"], "{diff:#?}");
}
