//! Tables of entries that belong to code: of a changed function exactly its own entry travels,
//! whatever fills up the table, and a table that entries do not fill is refused.

use std::fs;

use serde_json::Value;

use crate::support::{Trees, run};

/// Builds one file with and without `PATCHED`, links the first, and makes a payload.
fn build(name: &str, source: &str) -> (i32, Value) {
    let trees = Trees::new();
    for (tree, define) in [("orig", "-DORIGINAL"), ("patched", "-DPATCHED")] {
        fs::create_dir(trees.path(tree)).expect("a folder");
        fs::write(trees.path(tree).join(name), source).expect("a source");
        let flags = "-O2 -ffunction-sections -fcf-protection=none -fno-asynchronous-unwind-tables";
        let mut arguments: Vec<&str> = flags.split(' ').collect();
        arguments.extend([define, "-c", name, "-o", "f.o"]);
        run("gcc", &arguments, &trees.path(tree));
    }
    let link = "--build-id=sha1 -z noexecstack -e first -Ttext-segment=0xffff82d040200000 \
                -z max-page-size=4096 -o base orig/f.o";
    let link: Vec<&str> = link.split_whitespace().collect();
    run("ld", &link, trees.folder());
    trees.build(&["--base", "base"])
}

fn changed(report: &Value) -> Vec<&str> {
    let functions = report["functions"].as_array().expect("functions");
    let names = functions.iter().filter_map(|item| item["name"].as_str());
    names.collect()
}

/// How many entries of a table travel.
fn entries(report: &Value, table: &str) -> u64 {
    let tables = report["special_sections"].as_array().expect("tables");
    let of_table = tables.iter().filter(|one| one["section"] == table);
    of_table.filter_map(|one| one["entries"].as_u64()).sum()
}

/// Three functions with an entry each in the exception table, and `BEHIND` them.
const FIX_UPS: &str = r#"
.file "f.c"
.macro function name, step
        .section .text.\name, "ax", @progbits
        .globl \name
        .type \name, @function
\name:  nop
1:      movl (%rdi), %eax
2:      addl $\step, %eax
        imull $77, %eax, %eax
        ret
        .pushsection .fixup, "ax"
3:      xorl %eax, %eax
        jmp 2b
        .popsection
        .pushsection .ex_table, "a"
        .balign 4
        .long 1b - ., 3b - .
        .popsection
        .size \name, . - \name
.endm
        function first, 1
#ifdef PATCHED
        function second, 5
#else
        function second, 2
#endif
        function third, 3
        .section .ex_table, "a"
        BEHIND
        .section .note.GNU-stack, "", @progbits
"#;

#[test]
fn zeros_that_fill_up_a_table_are_no_entry() {
    for behind in ["", ".balign 16", ".balign 64", ".long 0"] {
        let (status, report) = build("f.S", &FIX_UPS.replace("BEHIND", behind));
        assert_eq!(status, 0, "{behind}: {report:#}");
        assert_eq!(changed(&report), ["second"], "{behind}");
        assert_eq!(entries(&report, ".ex_table"), 1, "{behind}: {report:#}");
    }
}

#[test]
fn a_table_that_its_entries_do_not_fill_is_refused() {
    let (status, report) = build("f.S", &FIX_UPS.replace("BEHIND", ".long 7"));
    assert_eq!(status, 2, "{report:#}");
    let refusals = report["refusals"].as_array().expect("refusals");
    let malformed = |refusal: &Value| refusal["code"] == "malformed-special-section";
    assert!(refusals.iter().any(malformed), "{report:#}");
}

/// Entries of a table of bugs as newer Linux has them: place, format, file, line, flags.
const BUGS: &str = r#"
#define BUG(format) ({ static const char text[] = format; \
  asm volatile("1: ud2\n" \
    ".pushsection __bug_table,\"aw\",@progbits\n2:\n" \
    ".long 1b - .\n.long %c0 - .\n.long 3f - .\n.word %c1\n.word 0x901\n.popsection\n" \
    ".pushsection .rodata.str,\"aMS\",@progbits,1\n3: .asciz \"a.c\"\n.popsection\n" \
    : : "i"(text), "i"(__LINE__)); })
#ifdef PATCHED
#define STEP 300
#else
#define STEP 200
#endif
__attribute__((noinline)) long first(long x) { if (x == 9) BUG("in first"); return x + 5; }
__attribute__((noinline)) long second(long x) { if (x == 7) BUG("in second"); return x * STEP; }
__attribute__((noinline)) long third(long x) { if (x == 8) BUG("in third"); return x + 6; }
"#;

/// Xen's loader does not know the table, and nothing but that is refused.
#[test]
fn entries_of_16_bytes_are_told_apart() {
    let (status, report) = build("f.c", BUGS);
    assert_eq!(status, 2, "{report:#}");
    let refusals = report["refusals"].as_array().expect("refusals");
    let codes = refusals.iter().map(|refusal| &refusal["code"]);
    assert_eq!(codes.collect::<Vec<_>>(), ["foreign-section"], "{report:#}");
    assert_eq!(changed(&report), ["second"], "{report:#}");
    assert_eq!(entries(&report, "__bug_table"), 1, "{report:#}");
}
