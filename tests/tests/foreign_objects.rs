//! Objects that neither gcc nor our own writer made: faerie's, clang's integrated assembler's,
//! GNU as's, and relocatable links of several objects. Their section order, symbol order and
//! relocation style differ from what gcc writes, and a reader that only knows gcc fails here.

use std::fs;
use std::path::Path;
use std::process::Command;

use faerie::{ArtifactBuilder, Decl, Link};
use serde_json::Value;
use xsplice_tests::{compiler, tools};

/// Runs the differ on two objects: exit status and report.
#[track_caller]
fn diff(folder: &Path, original: &str, patched: &str) -> (i32, Value) {
    let run = tools::run("xsplice-diff", ["--json", "-", original, patched], folder).unwrap();
    let report =
        serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"));
    (run.status.unwrap_or_else(|| panic!("{run:?}")), report)
}

fn names(report: &Value, status: &str) -> Vec<String> {
    let functions = report["functions"].as_array().unwrap();
    let mut names: Vec<String> = functions
        .iter()
        .filter(|function| function["status"] == status)
        .map(|function| function["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

fn codes(report: &Value) -> Vec<String> {
    let refusals = report["refusals"].as_array().unwrap();
    refusals
        .iter()
        .map(|refusal| refusal["code"].as_str().unwrap().to_owned())
        .collect()
}

/// `mov $VALUE, %eax; call CALLEE; lea text(%rip), %rax; ret`, a neighbour, a string and a datum.
fn faerie_object(value: u8, callee: &str, text: &str, datum: u8) -> Vec<u8> {
    let target = "x86_64-unknown-unknown-elf".parse().unwrap();
    let mut object = ArtifactBuilder::new(target)
        .name("foreign.o".to_owned())
        .finish();
    object
        .declarations(
            [
                ("f", Decl::function().global().into()),
                ("g", Decl::function().global().into()),
                ("text", Decl::cstring().into()),
                ("datum", Decl::data().global().writable().into()),
                ("one", Decl::function_import().into()),
                ("two", Decl::function_import().into()),
            ]
            .into_iter(),
        )
        .unwrap();
    let mut code = vec![0xb8, value, 0, 0, 0];
    code.extend([0xe8, 0, 0, 0, 0, 0x48, 0x8d, 0x05, 0, 0, 0, 0, 0xc3]);
    object.define("f", code).unwrap();
    object.define("g", vec![0xb8, 9, 0, 0, 0, 0xc3]).unwrap();
    object
        .define("text", format!("{text}\0").into_bytes())
        .unwrap();
    object.define("datum", vec![datum, 0, 0, 0]).unwrap();
    object
        .link(Link {
            from: "f",
            to: callee,
            at: 6,
        })
        .unwrap();
    object
        .link(Link {
            from: "f",
            to: "text",
            at: 13,
        })
        .unwrap();
    object.emit().unwrap()
}

#[test]
fn faerie_objects_are_compared_like_any_other() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    fs::write(
        folder.join("original.o"),
        faerie_object(1, "one", "first", 3),
    )
    .unwrap();
    for (name, object, status, changed, refused) in [
        (
            "same",
            faerie_object(1, "one", "first", 3),
            3,
            &[][..],
            &[][..],
        ),
        ("bytes", faerie_object(2, "one", "first", 3), 0, &["f"], &[]),
        (
            "callee",
            faerie_object(1, "two", "first", 3),
            0,
            &["f"],
            &[],
        ),
        (
            "string",
            faerie_object(1, "one", "other", 3),
            0,
            &["f"],
            &[],
        ),
        (
            "datum",
            faerie_object(1, "one", "first", 4),
            2,
            &[],
            &["changed-data"],
        ),
        (
            "both",
            faerie_object(2, "one", "first", 4),
            2,
            &["f"],
            &["changed-data"],
        ),
    ] {
        fs::write(folder.join("patched.o"), object).unwrap();
        let (found, report) = diff(folder, "original.o", "patched.o");
        assert_eq!(found, status, "{name}: {report}");
        assert_eq!(codes(&report), refused, "{name}: {report}");
        if status != 2 {
            assert_eq!(names(&report, "changed"), changed, "{name}: {report}");
            assert_eq!(names(&report, "new"), [""; 0], "{name}: {report}");
        }
    }
}

const SOURCE: &str = "
static int kept = 4;
static __attribute__((noinline)) int helper(int x) { return x * 3 + kept; }
int f(int x) { kept += x; return helper(x) + 1; }
int g(int x) { return helper(x + 4) * 2; }
const char *h(void) { return \"a string\"; }
";

/// Compiles `text` by `line` to `NAME.o`.
fn compiled(folder: &Path, name: &str, text: &str, line: &str) {
    // One file name for all, or the FILE symbols differ.
    fs::write(folder.join("source.c"), text).unwrap();
    compiler::compile(folder, "source.c", &folder.join(format!("{name}.o")), line).unwrap();
}

#[test]
fn the_way_an_assembler_spells_relocations_is_no_change() {
    // The integrated assembler of clang and GNU as write one code with other symbols, addends and
    // section orders.
    for flags in [
        "-O2 -fpic",
        "-O1 -fno-pic -mcmodel=kernel",
        "-O2 -fpic -ffunction-sections",
    ] {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path();
        compiled(folder, "original", SOURCE, &format!("clang {flags}"));
        let assembly = Command::new("clang")
            .args(flags.split_whitespace())
            .args(["-S", "source.c", "-o", "source.s"])
            .current_dir(folder)
            .status()
            .unwrap();
        assert!(assembly.success());
        // Directives that only clang's assembler knows carry nothing that matters here.
        let text = fs::read_to_string(folder.join("source.s")).unwrap();
        let text: Vec<&str> = text
            .lines()
            .filter(|line| !line.contains(".addrsig"))
            .collect();
        fs::write(folder.join("source.s"), text.join("\n") + "\n").unwrap();
        let assembled = Command::new("as")
            .args(["source.s", "-o", "patched.o"])
            .current_dir(folder)
            .status()
            .unwrap();
        assert!(assembled.success());
        let (status, report) = diff(folder, "original.o", "patched.o");
        assert_eq!(status, 3, "{flags}: {report}");
        // And the twin: the same pair with a change in it.
        let changed = text.join("\n").replacen("a string", "b string", 1) + "\n";
        fs::write(folder.join("source.s"), changed).unwrap();
        let assembled = Command::new("as")
            .args(["source.s", "-o", "patched.o"])
            .current_dir(folder)
            .status()
            .unwrap();
        assert!(assembled.success());
        let (status, report) = diff(folder, "original.o", "patched.o");
        assert_eq!(status, 0, "{flags}: {report}");
        assert_eq!(names(&report, "changed"), ["h"], "{flags}: {report}");
    }
}

#[test]
fn an_object_that_was_stripped_of_unneeded_symbols_is_still_compared() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let line = "gcc -O2 -fpic -fno-ipa-icf";
    compiled(folder, "original", SOURCE, line);
    compiled(folder, "patched", &SOURCE.replace("x * 3", "x * 7"), line);
    for object in ["original.o", "patched.o"] {
        let status = Command::new("strip")
            .arg("--strip-unneeded")
            .arg(object)
            .current_dir(folder)
            .status()
            .unwrap();
        assert!(status.success());
    }
    // The static function has lost its name: what changed cannot be named, and must not be lost.
    let (status, report) = diff(folder, "original.o", "patched.o");
    assert_eq!(status, 2, "{report}");
    let refusals = report["refusals"].as_array().expect("a list of refusals");
    assert!(!refusals.is_empty(), "{report}");
}

#[test]
fn relocatable_links_of_several_objects_are_compared_symbol_by_symbol() {
    for line in [
        "gcc -O2 -fpic",
        "gcc -O2 -fpic -ffunction-sections -fdata-sections",
        "clang -O2 -fpic",
    ] {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path();
        let second = "static int kept = 9;\nstatic __attribute__((noinline)) int helper(int x) { return x / 7 + kept; }\nint f2(int x) { kept -= x; return helper(x) - helper(x + 2); }\n";
        for (tree, text) in [
            ("original", second.to_owned()),
            ("patched", second.replace("x / 7", "x / 9")),
        ] {
            compiled(folder, "first", SOURCE, line);
            fs::write(folder.join("second.c"), text).unwrap();
            compiler::compile(folder, "second.c", &folder.join("second.o"), line).unwrap();
            let status = Command::new("ld")
                .args(["-r", "first.o", "second.o", "-o", &format!("{tree}.o")])
                .current_dir(folder)
                .status()
                .unwrap();
            assert!(status.success());
        }
        let (status, report) = diff(folder, "original.o", "patched.o");
        assert_eq!(status, 0, "{line}: {report}");
        assert_eq!(names(&report, "changed"), ["helper"], "{line}: {report}");
        assert_eq!(
            report["functions"][0]["file"], "second.c",
            "{line}: {report}"
        );
    }
}

#[test]
fn more_sections_than_sixteen_bits_count_are_no_limit() {
    const FUNCTIONS: usize = 33_000;
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    // Two sections a function (code and a word of data) pass 65,279.
    let source = |changed: usize| {
        let mut text = String::new();
        for index in 0..FUNCTIONS {
            let value = index + usize::from(index == changed) * 1_000_000;
            text.push_str(&format!(
                ".section .text.f{index},\"ax\",@progbits\n.globl f{index}\n.type f{index},@function\nf{index}:\n\tmovl ${value}, %eax\n\tret\n.size f{index}, . - f{index}\n.section .rodata.f{index},\"a\",@progbits\n\t.long 7\n"
            ));
        }
        text
    };
    for (name, changed) in [("original", usize::MAX), ("patched", FUNCTIONS - 5)] {
        fs::write(folder.join("many.s"), source(changed)).unwrap();
        let status = Command::new("as")
            .args(["many.s", "-o", &format!("{name}.o")])
            .current_dir(folder)
            .status()
            .unwrap();
        assert!(status.success());
    }
    let (status, report) = diff(folder, "original.o", "patched.o");
    assert_eq!(status, 0, "{report}");
    assert_eq!(
        names(&report, "changed"),
        [format!("f{}", FUNCTIONS - 5)],
        "{report}"
    );
}
