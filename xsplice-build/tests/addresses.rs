//! Addresses at the edges of the image and sums that wrap: what Xen and its loaders have is taken,
//! what 32 bits may not reach is not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

const FLAGS: [&str; 7] = [
    "-O2",
    "-fpic",
    "-fvisibility=hidden",
    "-ffunction-sections",
    "-fdata-sections",
    "-fcf-protection=none",
    "-fno-asynchronous-unwind-tables",
];

struct Trees {
    folder: TempDir,
}

fn run(program: &str, arguments: &[&str], folder: &Path) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {told}");
}

impl Trees {
    /// Compiles one source with and without `PATCHED` and links the first by a script.
    fn new(source: &str, script: &str) -> Trees {
        let trees = Trees {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        for (tree, define) in [("orig", "-DORIGINAL"), ("patched", "-DPATCHED")] {
            fs::create_dir(trees.path(tree)).expect("a folder");
            fs::write(trees.path(tree).join("f.c"), source).expect("a source");
            let arguments = [&FLAGS[..], &[define, "-c", "f.c"]].concat();
            run("gcc", &arguments, &trees.path(tree));
        }
        fs::write(trees.path("image.lds"), script).expect("a script");
        let arguments = [
            "--build-id=sha1",
            "-z",
            "noexecstack",
            "-e",
            "f",
            "-T",
            "image.lds",
            "-o",
            "base",
            "orig/f.o",
        ];
        run("ld", &arguments, trees.folder.path());
        trees
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn tool(&self) -> (i32, Value) {
        let output = Command::new(env!("CARGO_BIN_EXE_xsplice-build"))
            .args(["--orig", "orig", "--patched", "patched", "--base", "base"])
            .args([
                "--abi",
                "livepatch",
                "-n",
                "x",
                "-o",
                "x.livepatch",
                "--json",
                "-",
            ])
            .current_dir(self.folder.path())
            .output()
            .expect("the tool runs");
        let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
        });
        (output.status.code().expect("an exit status"), report)
    }
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
    Trees::new(&source, SCRIPT).tool()
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
    let (status, report) = Trees::new(source, SCRIPT).tool();
    assert_eq!(status, 0, "{report:#}");
    let functions = report["functions"].as_array().expect("functions");
    assert_eq!(functions.len(), 1, "{report:#}");
}
