//! Special sections, as Xen's and Linux's macros write them.

use crate::compiler::{KERNEL, assemble, changed, compile, diff, refused};
use xsplice_diff::extract::{Extract, Place, Section};
use xsplice_diff::report::object_diff::Verdict;
use xsplice_diff::verdict::kinds::{Reason, RefusalCode};

const SOURCE: &str = r#"
extern int ext(int);
#define BUG(n, text) asm volatile("1: ud2\n" \
    ".pushsection .bug_frames.1,\"a\",@progbits\n" \
    "2: .long (1b-2b)+((" n ")<<24), (%c0-2b)+((" n ")<<24)\n.popsection" :: "i"(text))
#define GUARD(value) asm volatile("1: nop\n" \
    ".pushsection .fixup,\"ax\"\n2: movl $" value ", %%eax\njmp 3f\n.popsection\n3:\n" \
    ".pushsection .ex_table,\"a\"\n.long 1b-., 2b-.\n.popsection" ::: "eax")
#define ALTERNATIVE(old, new) asm volatile("1: " old "\n2:\n" \
    ".pushsection .altinstructions,\"a\"\n.long 1b-., 3f-.\n.word 17\n.byte 2b-1b, 4f-3f, 0, 0\n.popsection\n" \
    ".pushsection .altinstr_replacement,\"ax\"\n3: " new "\n4:\n.popsection")
int f(int x) { if (x < 0) BUG("LINE", "file.c"); GUARD("14"); return ext(x) + N; }
int g(int x) { GUARD("FIX"); ALTERNATIVE("nopl (%rax)", "REPLACEMENT"); return ext(x * 3); }
int h(int x) { if (x > 5) BUG("9", "FILE"); GUARD("5"); return ext(x * 5); }
"#;

struct Case {
    line: &'static str,
    n: &'static str,
    fix: &'static str,
    replacement: &'static str,
    file: &'static str,
}

const BASE: Case = Case {
    line: "7",
    n: "1",
    fix: "14",
    replacement: "lfence",
    file: "other.c",
};

fn object(case: &Case) -> Vec<u8> {
    let source = SOURCE
        .replace("LINE\"", &format!("{}\"", case.line))
        .replace("+ N;", &format!("+ {};", case.n))
        .replace("FIX", case.fix)
        .replace("REPLACEMENT", case.replacement)
        .replace("\"FILE\"", &format!("\"{}\"", case.file));
    compile("gcc", KERNEL, &source)
}

fn section<'e, 'data>(extract: &'e Extract<'data>, name: &str) -> Vec<&'e Section<'data>> {
    extract
        .sections
        .iter()
        .filter(|section| section.name == name)
        .collect()
}

#[test]
fn only_the_entries_of_changed_functions_are_included_and_what_they_refer_to_follows() {
    let before = object(&BASE);
    let after = object(&Case { n: "2", ..BASE });
    let diff = diff(&before, &after);
    assert_eq!(refused(&diff), [], "{diff:#?}");
    assert_eq!(changed(&diff), ["f"]);
    let extract = diff.extract.as_ref().expect("f is included");
    for (name, bytes) in [(".bug_frames.1", 8), (".ex_table", 8)] {
        let sections = section(extract, name);
        assert_eq!(sections.len(), 1, "{name}");
        assert_eq!(sections[0].size, bytes, "{name}: one entry");
        for relocation in &sections[0].relocations {
            let symbol = &extract.symbols[relocation.symbol.0];
            assert!(
                matches!(symbol.place, Place::Section { .. }),
                "{name}: {symbol:?}"
            );
        }
    }
    assert_eq!(
        section(extract, ".altinstructions").len(),
        0,
        "g keeps its entry"
    );
    let fixup = section(extract, ".fixup");
    assert_eq!(fixup.len(), 1);
    assert_eq!(fixup[0].size, 10, "movl and jmp of f alone");
    let bug = section(extract, ".bug_frames.1")[0];
    let line = bug.relocations[0].addend >> 24;
    assert_eq!(line, 7, "the line number stays in the addend");
}

#[test]
fn lines_in_bug_frames_are_no_change_and_texts_are() {
    let before = object(&BASE);
    let moved = object(&Case {
        line: "107",
        ..BASE
    });
    let same = diff(&before, &moved);
    assert_eq!(same.verdict(), Verdict::Unchanged, "{same:#?}");
    let renamed = object(&Case {
        file: "third.c",
        ..BASE
    });
    let diff = diff(&before, &renamed);
    assert_eq!(changed(&diff), ["h"], "{diff:#?}");
}

#[test]
fn changed_fixup_and_replacement_code_change_their_function() {
    let before = object(&BASE);
    for (after, name) in [
        (object(&Case { fix: "22", ..BASE }), ".ex_table"),
        (
            object(&Case {
                replacement: "mfence",
                ..BASE
            }),
            ".altinstructions",
        ),
    ] {
        let diff = diff(&before, &after);
        assert_eq!(refused(&diff), [], "{diff:#?}");
        assert_eq!(changed(&diff), ["g"], "{diff:#?}");
        assert!(
            diff.functions[0].reasons.iter().any(
                |reason| matches!(reason, Reason::SpecialEntryDiffers { section, .. } if section == name)
            ),
            "{diff:#?}"
        );
        let extract = diff.extract.as_ref().expect("g is included");
        assert_eq!(section(extract, ".altinstructions").len(), 1);
        assert_eq!(section(extract, ".altinstr_replacement").len(), 1);
        let original = &extract.records[0].original;
        assert_eq!(original.patched_at_boot.len(), 1, "the alternative's range");
    }
}

#[test]
fn the_same_entries_are_no_change() {
    let before = object(&BASE);
    let after = crate::compiler::with_a_byte_appended(&before);
    assert_eq!(diff(&before, &after).verdict(), Verdict::Unchanged);
}

/// Three functions with an entry each of the table that `section` begins, of which `second` has
/// the constant `k`. In `entry`, `1b` is the code that it is about, `2b` another place in its
/// function, `text` a string; `behind` stands behind the last entry.
fn with_table(section: &str, entry: &str, behind: &str, k: u32) -> Vec<u8> {
    let function = |name: &str, k: u32| {
        format!(
            ".section .text.{name},\"ax\",@progbits\n.globl {name}\n.type {name},@function\n\
             {name}:\n1: movl (%rdi),%eax\nimull ${k},%eax,%eax\n2: ret\n.size {name},.-{name}\n\
             .section {section}\n{entry}\n"
        )
    };
    let functions = [("first", 3), ("second", k), ("third", 5)];
    let functions = functions.map(|(name, k)| function(name, k)).concat();
    assemble(&format!(
        "{functions}{behind}\n.section .rodata.text,\"a\"\ntext: .asciz \"a.c\"\n\
         .section .note.GNU-stack,\"\",@progbits\n"
    ))
}

/// How many bytes of the table travel with a change of `second`; `None`: it is refused as one
/// that cannot be cut.
fn travelling(section: &str, entry: &str, behind: &str) -> Option<u64> {
    let name = section.split(',').next().unwrap();
    let before = with_table(section, entry, behind, 4);
    let after = with_table(section, entry, behind, 6);
    let found = diff(&before, &after);
    assert_eq!(changed(&found), ["second"], "{section}: {entry}");
    if found.refusals.is_empty() {
        let extract = found.extract.as_ref().unwrap();
        let pieces = extract.sections.iter().filter(|piece| piece.name == name);
        return Some(pieces.map(|piece| piece.size).sum());
    }
    assert_eq!(refused(&found), [RefusalCode::MalformedSpecialSection]);
    // The twin: nothing of it matters as long as nobody who has an entry changes.
    let same = diff(&before, &before);
    assert_eq!(same.verdict(), Verdict::Unchanged, "{section}: {entry}");
    None
}

#[test]
fn an_entry_is_as_large_as_its_relocations_say_and_not_as_what_divides_the_section() {
    let bug = "__bug_table,\"aw\",@progbits";
    for (section, entry, bytes) in [
        // Three entries of 16 bytes are four of 12 and six of 8.
        (bug, ".long 1b-., text-., text-.\n.word 7, 0x901", 16),
        (bug, ".long 1b-., text-.\n.word 7, 0x901", 12),
        (bug, ".long 1b-.\n.word 0x901, 0", 8),
        // A layout that nobody was told: its relocations repeat after 24 bytes, or 20.
        (bug, ".quad 1b, text\n.word 7, 0x901\n.long 0", 24),
        (
            bug,
            ".long 1b-., text-., text-., text-.\n.word 7, 0x901",
            20,
        ),
        ("__ex_table,\"a\",@progbits", ".long 1b-., 2b-., 3", 12),
        ("__ex_table,\"a\",@progbits", ".quad 1b, 2b", 16),
        (
            "__jump_table,\"aw\",@progbits",
            ".long 1b-., 2b-.\n.quad text-.",
            16,
        ),
        (
            ".parainstructions,\"a\",@progbits",
            ".quad 1b\n.byte 7, 3\n.short 1, 0, 0",
            16,
        ),
        (
            ".parainstructions,\"a\",@progbits",
            ".quad 1b\n.byte 7, 3\n.short 1",
            12,
        ),
        (".ex_table,\"a\",@progbits", ".long 1b-., 2b-.", 8),
        (".alt_call_sites,\"a\",@progbits", ".long 1b-.", 4),
        // The object says it.
        (
            "__bug_table,\"aM\",@progbits,20",
            ".long 1b-.\n.long 0, 0, 0, 0",
            20,
        ),
    ] {
        assert_eq!(
            travelling(section, entry, ""),
            Some(bytes),
            "{section}: {entry}"
        );
    }
    for (section, entry) in [
        // Two entries of 12 bytes, or three of 8: either way each begins with code.
        ("__ex_table,\"a\",@progbits", ".long 1b-., 2b-."),
        // What the loader reads is 8 bytes, which divide three entries of 12 and of 16 as well.
        (".ex_table,\"a\",@progbits", ".long 1b-., 2b-., 0"),
        (".ex_table,\"a\",@progbits", ".long 1b-., 2b-., 0, 0"),
        (".alt_call_sites,\"a\",@progbits", ".long 1b-., 0"),
        // The object says what its relocations, or the loader, contradict.
        (
            "__bug_table,\"aM\",@progbits,8",
            ".long 1b-., text-., text-.\n.word 7, 0x901",
        ),
        (".ex_table,\"aM\",@progbits,16", ".long 1b-., 2b-."),
    ] {
        assert_eq!(travelling(section, entry, ""), None, "{section}: {entry}");
    }
}

#[test]
fn zeros_behind_the_last_entry_are_padding_and_nothing_else_is() {
    let (section, entry) = (".ex_table,\"a\",@progbits", ".balign 4\n.long 1b-., 2b-.");
    for behind in ["", ".long 0", ".balign 16", ".balign 64", ".byte 0, 0, 0"] {
        assert_eq!(travelling(section, entry, behind), Some(8), "{behind}");
    }
    for behind in [".long 7", ".long 0, 0, 0, 0", ".long 1b-."] {
        assert_eq!(travelling(section, entry, behind), None, "{behind}");
    }
    // Padding between entries would be entries to the loader.
    let torn = ".balign 16\n.long 1b-., 2b-.";
    assert_eq!(travelling(section, torn, ""), None);
    let foreign = (
        "__bug_table,\"aw\",@progbits",
        ".long 1b-., text-.\n.word 7, 1",
    );
    assert_eq!(travelling(foreign.0, foreign.1, ".balign 64"), Some(12));
    assert_eq!(travelling(foreign.0, foreign.1, ".long 9"), None);
}

#[test]
fn the_line_of_an_entry_stands_where_its_layout_has_it() {
    let bug = "__bug_table,\"aw\",@progbits";
    for fields in [".long 1b-., text-., text-.", ".long 1b-., text-."] {
        let object = |line: u32, flags: u32| {
            let entry = format!("{fields}\n.word {line}, {flags}");
            with_table(bug, &entry, "", 4)
        };
        let before = object(7, 0x901);
        let moved = object(9, 0x901);
        assert_eq!(
            diff(&before, &moved).verdict(),
            Verdict::Unchanged,
            "{fields}"
        );
        let other = object(7, 0x902);
        let found = diff(&before, &other);
        assert_eq!(changed(&found), ["first", "second", "third"], "{fields}");
    }
}
