//! What a section is for: a name that merely begins like a known one says nothing.

use crate::compiler::{KERNEL, assemble, compile, diff, refused};
use xsplice_diff::report::object_diff::Verdict;
use xsplice_diff::verdict::kinds::RefusalCode;

/// A variable in a section of this name and these flags, and a function that reads it.
fn variable(section: &str, flags: &str, value: u32) -> Vec<u8> {
    assemble(&format!(
        "\t.text\n\t.globl f\n\t.type f, @function\nf:\n\tmovl state(%rip), %eax\n\tret\n\
         \t.size f, .-f\n\
         \t.section {section}, \"{flags}\", @progbits\n\t.globl state\n\t.type state, @object\n\
         state:\n\t.long {value}\n\t.size state, 4\n"
    ))
}

/// Four bytes without a symbol in such a section, which nothing refers to.
fn nameless(section: &str, flags: &str, value: u32) -> Vec<u8> {
    assemble(&format!(
        "\t.text\n\t.globl f\n\t.type f, @function\nf:\n\tret\n\t.size f, .-f\n\
         \t.section {section}, \"{flags}\", @progbits\n\t.long {value}\n"
    ))
}

#[test]
fn a_variable_is_compared_whatever_its_section_is_called() {
    for section in [
        ".discardable",
        ".discard",
        ".discard.state",
        ".notebook",
        ".note",
        ".note.state",
        ".orc_state",
        ".orc_unwind",
        ".eh_frame_state",
        ".sframes",
        ".comment",
        ".commentary",
        ".modinfo",
        ".llvm_addrsig",
        ".debugger",
        ".debug_state",
        ".bug_frames.state",
        ".initial",
        ".reference",
        ".data.rel.rooms",
        ".data.structures",
    ] {
        let (before, after) = (variable(section, "aw", 4), variable(section, "aw", 5));
        let diff = diff(&before, &after);
        assert!(
            refused(&diff).contains(&RefusalCode::ChangedData),
            "{section}: {diff:#?}"
        );
    }
}

#[test]
fn what_is_boot_time_and_per_cpu_data_is_told_by_whole_words() {
    for (section, code) in [
        (".init.data", RefusalCode::ChangedInit),
        (".exit.data", RefusalCode::ChangedInit),
        (".ref.data", RefusalCode::ChangedInit),
        (".data.percpu", RefusalCode::ChangedPerCpu),
        (".data..percpu..first", RefusalCode::ChangedPerCpu),
        (".data.percpus", RefusalCode::ChangedData),
    ] {
        let (before, after) = (variable(section, "aw", 4), variable(section, "aw", 5));
        let diff = diff(&before, &after);
        assert!(refused(&diff).contains(&code), "{section}: {diff:#?}");
    }
}

#[test]
fn what_nothing_that_runs_can_read_is_ignored() {
    for (section, flags) in [
        (".discard", "a"),
        (".discard.state", "aw"),
        (".orc_unwind", "a"),
        (".comment", "a"),
        (".modinfo", "a"),
        (".commentary", ""),
        (".debug_state", ""),
    ] {
        let (before, after) = (nameless(section, flags, 4), nameless(section, flags, 5));
        let diff = diff(&before, &after);
        assert_eq!(diff.verdict(), Verdict::Unchanged, "{section}: {diff:#?}");
    }
}

/// A function, zeros without a name, and a label behind them; `zeros` are directives.
fn zeros(section: &str, zeros: &str) -> Vec<u8> {
    assemble(&format!(
        "\t.text\n\t.globl f\n\t.type f, @function\nf:\n\tret\n\t.size f, .-f\n\
         \t.section {section}\n{zeros}\n\t.globl end\nend:\n"
    ))
}

#[test]
fn zeros_that_grew_are_never_ignored() {
    for section in [
        ".bss",
        ".data",
        ".bss.pool, \"aw\", @nobits",
        ".data.pool, \"aw\", @progbits",
        ".rodata",
        ".init.data, \"aw\", @progbits",
        ".data.percpu, \"aw\", @progbits",
        ".tbss, \"awT\", @nobits",
        ".text",
    ] {
        for (before, after) in [
            (".balign 64; .skip 1024", ".balign 64; .skip 4096"),
            (".balign 64; .skip 1024", ".balign 64; .skip 1028"),
            (".balign 64; .skip 4096", ".balign 64; .skip 1024"),
            (".balign 64; .skip 8", ".balign 64; .skip 32"),
        ] {
            let (before, after) = (zeros(section, before), zeros(section, after));
            let diff = diff(&before, &after);
            assert_eq!(diff.verdict(), Verdict::Refused, "{section}: {diff:#?}");
        }
        let same = zeros(section, ".balign 64; .skip 1024");
        let more = crate::compiler::with_a_byte_appended(&same);
        assert_eq!(diff(&same, &more).verdict(), Verdict::Unchanged);
    }
}

#[test]
fn what_alignment_leaves_may_come_and_go() {
    let functions = |first: &str, filler: &str| {
        assemble(&format!(
            "\t.text\n\t.globl f\n\t.type f, @function\nf:\n{first}\tret\n\t.size f, .-f\n\
             {filler}\n\t.globl g\n\t.type g, @function\ng:\n\tmovl $7, %eax\n\tret\n\
             \t.size g, .-g\n"
        ))
    };
    let (short, long) = ("\tmovl $1, %eax\n", "\tmovl $1, %eax\n\tmovl $2, %ecx\n");
    for filler in [
        "\t.balign 16",
        "\t.balign 16, 0",
        "\t.balign 16, 0xcc",
        "\t.balign 16\n\t.skip 16, 0x90",
    ] {
        let (before, after) = (functions(short, filler), functions(long, filler));
        let diff = diff(&before, &after);
        assert_eq!(crate::compiler::changed(&diff), ["f"], "{filler} {diff:#?}");
        assert!(diff.refusals.is_empty(), "{filler} {diff:#?}");
    }
}

/// The base keeps the variable where it is, and somebody asked for its protection.
#[test]
fn a_variable_that_becomes_read_only_after_the_boot_is_refused() {
    const SOURCE: &str = "static SECTION int limit; int f(int x) { return x > limit++; }";
    let with = |section: &str| compile("gcc", KERNEL, &SOURCE.replace("SECTION", section));
    let (plain, moved) = (
        with(""),
        with("__attribute__((section(\".data.ro_after_init\")))"),
    );
    let one = diff(&plain, &moved);
    assert_eq!(one.verdict(), Verdict::Refused, "{one:#?}");
    // Back again it was refused before; other sections of plain data are all the same.
    let read_mostly = with("__attribute__((section(\".data.read_mostly\")))");
    assert_ne!(diff(&plain, &read_mostly).verdict(), Verdict::Refused);
}
