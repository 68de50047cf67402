//! Addresses at the edges of the image and sums that wrap: what Xen and its loaders have is taken,
//! what 32 bits may not reach is not.

use std::fs;

use serde_json::Value;

use crate::support::{Trees, run};

const FLAGS: [&str; 7] = [
    "-O2",
    "-fpic",
    "-fvisibility=hidden",
    "-ffunction-sections",
    "-fdata-sections",
    "-fcf-protection=none",
    "-fno-asynchronous-unwind-tables",
];

/// Compiles one source with and without `PATCHED`, links the first by a script, and makes a
/// payload.
fn build(source: &str, script: &str) -> (i32, Value) {
    let trees = Trees::new();
    for (tree, define) in [("orig", "-DORIGINAL"), ("patched", "-DPATCHED")] {
        fs::create_dir(trees.path(tree)).expect("a folder");
        fs::write(trees.path(tree).join("f.c"), source).expect("a source");
        let arguments = [&FLAGS[..], &[define, "-c", "f.c"]].concat();
        run("gcc", &arguments, &trees.path(tree));
    }
    fs::write(trees.path("image.lds"), script).expect("a script");
    let arguments = "--build-id=sha1 -z noexecstack -e f -T image.lds -o base orig/f.o";
    let arguments: Vec<&str> = arguments.split(' ').collect();
    run("ld", &arguments, trees.folder());
    trees.build(&["--base", "base"])
}

/// Sections with a gap behind each, and a symbol in each gap.
const SCRIPT: &str = "
SECTIONS {
    . = 0xffff82d040200000;
    _start = .;
    .text : { *(.text .text.*) }
    _etext = .;
    . = ALIGN(4096);
    .rodata : { LONG(1) *(.rodata .rodata.*) *(.data.rel.ro.*) }
    between = . + 64;
    . = ALIGN(4096);
    .note.gnu.build-id : { *(.note.gnu.build-id) }
    .data : { LONG(2) *(.data .data.*) }
    .bss : { . += 8; *(.bss .bss.*) }
    _end = .;
    . = ALIGN(4096);
    page_end = .;
    far_away = 0x7000000000000000;
    /DISCARD/ : { *(.comment) *(.note.GNU-stack) *(.note.gnu.property) }
}
";

fn compared_with(symbol: &str) -> (i32, Value) {
    let source = format!(
        "#pragma GCC visibility push(hidden)
extern char _start[], {symbol}[];
#ifdef PATCHED
__attribute__((noinline)) int f(const char *p) {{ return p >= _start && p < {symbol}; }}
#else
__attribute__((noinline)) int f(const char *p) {{ return p >= _start + 16; }}
#endif
"
    );
    build(&source, SCRIPT)
}

#[test]
fn symbols_behind_sections_and_at_the_end_of_the_image_are_within_reach() {
    for symbol in ["_etext", "between", "_end", "page_end"] {
        let (status, report) = compared_with(symbol);
        assert_eq!(status, 0, "{symbol}: {report:#}");
    }
}

#[test]
fn a_symbol_far_from_the_image_is_not_within_reach() {
    let (status, report) = compared_with("far_away");
    assert_eq!(status, 2, "{report:#}");
}

#[test]
fn a_word_of_64_bits_may_wrap() {
    let source = "
#define VIRT_START 0xffff82d040000000UL
__attribute__((section(\".data.page\"))) char page[64] = { 1 };
#ifdef PATCHED
#define FACTOR 300
#else
#define FACTOR 500
#endif
__attribute__((noinline)) long f(int x)
{
    static const unsigned long offsets[2] = {
        (unsigned long)page - VIRT_START,
        (unsigned long)page - VIRT_START + FACTOR,
    };
    return offsets[x & 1] * FACTOR;
}
";
    let (status, report) = build(source, SCRIPT);
    assert_eq!(status, 0, "{report:#}");
    let functions = report["functions"].as_array().expect("functions");
    assert_eq!(functions.len(), 1, "{report:#}");
}
