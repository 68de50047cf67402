//! AArch64 from objects to a payload: what a cross compiler and its linker make is compared, proven
//! against the image by parts of addresses, linked, accounted for and tried.

use std::fs;

use serde_json::Value;

use crate::support::{Trees, run};

const FLAGS: &str = "-O2 -ffunction-sections -fdata-sections -fno-pie -mno-outline-atomics \
                     -mgeneral-regs-only -fno-asynchronous-unwind-tables";

const SCRIPT: &str = "
SECTIONS {
    . = 0xa0000200000;
    .text : { *(.text .text.*) }
    . = ALIGN(4096);
    .rodata : { *(.rodata .rodata.*) }
    .bug_frames.1 : { KEEP(*(.bug_frames.1)) }
    .note.gnu.build-id : { *(.note.gnu.build-id) }
    . = ALIGN(4096);
    .data : { *(.data .data.*) }
    .bss : { *(.bss .bss.*) }
    /DISCARD/ : { *(.comment) *(.note.GNU-stack) *(.eh_frame) }
}
";

/// A switch with a table of its own, strings, data of several widths, a static function and calls.
const SOURCE: &str = r#"
int table[8] = { 1, 2, 3 }, other_table[8] = { 3, 2, 1 };
static unsigned short narrow = 5;
static const char *last;
extern void note(const char *text, int line);
__attribute__((noinline)) static int half(int x) { narrow += x; return narrow / 2; }
int kinds(int x)
{
    switch (x) {
    case 0: note("zero", 1); return 3;
    case 1: note("one", 2); return half(x);
    case 2: last = "two"; return 7;
    case 3: return table[x & 7];
    case 4: note("four", 5); return half(9);
    case 5: table[1]++; return 2;
    }
    return -1;
}
int look(int x)
{
#ifdef OTHER
    return other_table[x & 7];
#else
    return table[x & 7];
#endif
}
int changes(int x)
{
#ifdef PATCHED
    if (x > 100)
        note("too large", x);
#endif
    last = "changed";
    return kinds(x) + look(x) + half(x);
}
"#;

const NOTE: &str = "
volatile int lines;
const char *volatile texts;
void note(const char *text, int line) { texts = text; lines = line; }
";

/// A warning as Xen on Arm writes it: a trap, and a frame that names the file.
const WARNING: &str = r#"
#define WARN() \
        asm volatile("1: brk #1\n" \
                     ".pushsection .rodata.str, \"aMS\", %progbits, 1\n" \
                     "2: .asciz \"common/new.c\"\n" \
                     "3:\n" \
                     ".popsection\n" \
                     ".pushsection .bug_frames.1, \"a\", %progbits\n" \
                     "4: .p2align 2\n" \
                     ".long (1b - 4b)\n" \
                     ".long (2b - 4b)\n" \
                     ".long (3b - 4b)\n" \
                     ".hword 12, 0\n" \
                     ".popsection")
#ifdef OF_BASE
__attribute__((noinline)) int warned_before(int x) { if (x == 3) WARN(); return x; }
#endif
__attribute__((noinline)) int warns(int x)
{
#ifdef PATCHED
    if (x == 77)
        WARN();
#endif
    return x * 3;
}
"#;

fn compile(trees: &Trees, tree: &str, sources: &[(&str, &str)], define: &str) {
    let line = format!("aarch64-linux-gnu-gcc {FLAGS} {define}");
    compile_by(trees, tree, sources, &line);
}

/// Compiles by a line of a compiler and its flags.
fn compile_by(trees: &Trees, tree: &str, sources: &[(&str, &str)], line: &str) {
    fs::create_dir_all(trees.path(tree)).expect("a folder");
    for (name, source) in sources {
        let folder = trees.path(tree);
        fs::write(folder.join(name), source).expect("a source");
        let arguments = format!("{line} -c {name}");
        let mut arguments: Vec<&str> = arguments.split_whitespace().collect();
        let compiler = arguments.remove(0);
        run(compiler, &arguments, &folder);
        fs::remove_file(folder.join(name)).expect("it was there");
    }
}

/// Links the objects of a tree into an image, and makes a payload on it.
fn build(trees: &Trees, linked: &str, entry: &str, objects: &[&str]) -> (i32, Value) {
    fs::write(trees.path("image.lds"), SCRIPT).expect("a script");
    let mut arguments = vec!["--build-id=sha1", "-z", "noexecstack", "-T", "image.lds"];
    arguments.extend(["-e", entry, "-o", "base"]);
    let objects: Vec<String> = objects
        .iter()
        .map(|one| format!("{linked}/{one}"))
        .collect();
    arguments.extend(objects.iter().map(String::as_str));
    run("aarch64-linux-gnu-ld", &arguments, trees.folder());
    trees.build(&["--base", "base"])
}

fn codes(report: &Value) -> Vec<&str> {
    let refusals = report["refusals"].as_array().expect("refusals");
    refusals
        .iter()
        .filter_map(|one| one["code"].as_str())
        .collect()
}

#[test]
fn a_changed_function_becomes_a_payload_that_the_account_and_the_loader_take() {
    let trees = Trees::new();
    let sources = [("f.c", SOURCE), ("note.c", NOTE)];
    compile(&trees, "orig", &sources, "-DORIGINAL");
    compile(&trees, "patched", &sources, "-DPATCHED");
    let (status, report) = build(&trees, "orig", "changes", &["f.o", "note.o"]);
    assert_eq!(status, 0, "{report:#}");
    let functions = report["functions"].as_array().expect("functions");
    let names: Vec<_> = functions.iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["changes"], "{report:#}");
    assert!(report["payload"].is_object(), "{report:#}");
}

#[test]
fn equal_builds_are_no_change() {
    let trees = Trees::new();
    let sources = [("f.c", SOURCE), ("note.c", NOTE)];
    compile(&trees, "orig", &sources, "-DORIGINAL");
    compile(&trees, "patched", &sources, "-DORIGINAL");
    let (status, report) = build(&trees, "orig", "changes", &["f.o", "note.o"]);
    assert_eq!(status, 3, "{report:#}");
}

#[test]
fn an_image_whose_code_refers_to_another_table_is_not_the_one_of_the_objects() {
    let trees = Trees::new();
    let sources = [("f.c", SOURCE), ("note.c", NOTE)];
    compile(&trees, "orig", &sources, "-DORIGINAL");
    compile(&trees, "patched", &sources, "-DPATCHED");
    compile(&trees, "stale", &sources, "-DOTHER");
    // Only the page and the place in it tell the two tables apart.
    let (status, report) = build(&trees, "stale", "changes", &["f.o", "note.o"]);
    fs::remove_dir_all(trees.path("stale")).expect("a folder");
    assert_eq!(status, 2, "{report:#}");
    let failed = report["proof"].to_string();
    assert!(failed.contains("look"), "{report:#}");
}

#[test]
fn a_warning_whose_file_name_is_in_the_payload_is_refused_since_the_host_would_stop() {
    let trees = Trees::new();
    compile(&trees, "orig", &[("w.c", WARNING)], "-DORIGINAL");
    compile(&trees, "patched", &[("w.c", WARNING)], "-DPATCHED");
    let (status, report) = build(&trees, "orig", "warns", &["w.o"]);
    assert_eq!(status, 2, "{report:#}");
    assert_eq!(codes(&report), ["verify-failed"], "{report:#}");
    assert!(
        report["refusals"].to_string().contains("file name"),
        "{report:#}"
    );
}

#[test]
fn a_warning_names_its_file_as_the_image_does() {
    let trees = Trees::new();
    for data in ["", "const int in_rodata[3] = { 1, 2, 3 };"] {
        let source = format!("{data}{WARNING}");
        compile(&trees, "orig", &[("w.c", &source)], "-DOF_BASE");
        compile(
            &trees,
            "patched",
            &[("w.c", &source)],
            "-DOF_BASE -DPATCHED",
        );
        let (status, report) = build(&trees, "orig", "warns", &["w.o"]);
        assert_eq!(status, 0, "{report:#}");
        let path = report["payload"]["path"].as_str().expect("a payload");
        let payload = fs::read(trees.path(path)).expect("a payload");
        let name = b"common/new.c";
        assert!(!payload.windows(name.len()).any(|text| text == name));
        // The account finds every byte of the new function and its frame.
        assert!(report["account"].is_object(), "{report:#}");
    }
}

/// Addresses in four numbers of 16 bits each.
const LARGE: &str = "clang --target=aarch64-linux-gnu -O2 -mcmodel=large -fno-pic \
                     -ffunction-sections -fdata-sections -mno-outline-atomics \
                     -fno-asynchronous-unwind-tables";

#[test]
fn addresses_in_four_numbers_are_proven() {
    let trees = Trees::new();
    let sources = [("f.c", SOURCE), ("note.c", NOTE)];
    compile_by(&trees, "orig", &sources, &format!("{LARGE} -DORIGINAL"));
    compile_by(&trees, "patched", &sources, &format!("{LARGE} -DPATCHED"));
    let (status, report) = build(&trees, "orig", "changes", &["f.o", "note.o"]);
    assert_eq!(status, 0, "{report:#}");
}

#[test]
fn another_address_in_four_numbers_is_not_proven() {
    let trees = Trees::new();
    let sources = [("f.c", SOURCE), ("note.c", NOTE)];
    compile_by(&trees, "orig", &sources, &format!("{LARGE} -DORIGINAL"));
    compile_by(&trees, "patched", &sources, &format!("{LARGE} -DPATCHED"));
    compile_by(&trees, "stale", &sources, &format!("{LARGE} -DOTHER"));
    let (status, report) = build(&trees, "stale", "changes", &["f.o", "note.o"]);
    fs::remove_dir_all(trees.path("stale")).expect("a folder");
    assert_eq!(status, 2, "{report:#}");
    assert!(report["proof"].to_string().contains("look"), "{report:#}");
}

/// A fix-up of a fault, of which Xen on Arm knows nothing.
const FIXED_UP: &str = r#"
#define LOAD(p, v) \
        asm volatile("1: ldr %w0, [%1]\n2:\n" \
                     ".pushsection .fixup, \"ax\", %%progbits\n" \
                     "3: mov %w0, #1\nb 2b\n.popsection\n" \
                     ".pushsection .ex_table, \"a\", %%progbits\n" \
                     ".p2align 2\n.long 1b - ., 3b - .\n.popsection" \
                     : "=r"(v) : "r"(p))
__attribute__((noinline)) int loads(int *p) { int v; LOAD(p, v); return v; }
__attribute__((noinline)) int other(int x)
{
#ifdef PATCHED_OTHER
    return x * 5;
#endif
#ifdef PATCHED
    int v;
    LOAD((int *)8L, v);
    return x * 3 + v;
#endif
    return x * 3;
}
"#;

#[test]
fn a_table_that_the_machines_loader_refuses_is_refused_by_name() {
    let trees = Trees::new();
    compile(&trees, "orig", &[("f.c", FIXED_UP)], "-DORIGINAL");
    compile(&trees, "patched", &[("f.c", FIXED_UP)], "-DPATCHED");
    let (status, report) = build(&trees, "orig", "other", &["f.o"]);
    assert_eq!(status, 2, "{report:#}");
    assert_eq!(codes(&report), ["foreign-section"], "{report:#}");
}

#[test]
fn such_a_table_beside_a_change_is_no_matter() {
    let trees = Trees::new();
    compile(&trees, "orig", &[("f.c", FIXED_UP)], "-DORIGINAL");
    compile(&trees, "patched", &[("f.c", FIXED_UP)], "-DPATCHED_OTHER");
    let (status, report) = build(&trees, "orig", "other", &["f.o"]);
    assert_eq!(status, 0, "{report:#}");
}
