//! Special sections, as Xen's and Linux's macros write them.

use crate::compiler::{KERNEL, changed, compile, diff, refused};
use xsplice_diff::extract::{Extract, Place, Section};
use xsplice_diff::report::object_diff::Verdict;
use xsplice_diff::verdict::kinds::Reason;

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
