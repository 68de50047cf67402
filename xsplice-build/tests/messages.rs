//! What the command says of mistakes: the cause first, once, and nothing written or lost.

use std::fs;
use std::process::Command;

use crate::support::{Told, Trees, run};

const FILES: [&str; 4] = ["one", "two", "three", "four"];

/// A source of four files, two functions each; `changed` is a number of all of them.
fn source(name: &str, changed: u32) -> String {
    format!(
        "int helper_{name}(int x);\n\
         int {name}(int x) {{ return helper_{name}(x) * {changed}; }}\n\
         int helper_{name}(int x) {{ return x / 7 + {changed}; }}\n"
    )
}

/// Two builds of it, each with its image; the patched one has other numbers.
fn trees() -> Trees {
    let trees = Trees::new();
    for (tree, changed) in [("orig", 30), ("patched", 500)] {
        fs::create_dir(trees.path(tree)).expect("a folder");
        for name in FILES {
            compile(&trees, tree, name, &source(name, changed));
        }
        link(&trees, tree);
    }
    trees
}

fn compile(trees: &Trees, tree: &str, name: &str, source: &str) {
    let (file, object) = (format!("{name}.c"), format!("{name}.o"));
    fs::write(trees.path(tree).join(&file), source).expect("a source");
    let flags = "-O1 -ffunction-sections -fdata-sections -fno-pic -mcmodel=kernel -fno-inline \
                 -fcf-protection=none -c";
    let arguments: Vec<&str> = flags.split(' ').chain(["-o", &object, &file]).collect();
    run("gcc", &arguments, &trees.path(tree));
}

fn link(trees: &Trees, tree: &str) {
    let flags = "-nostdlib --build-id=sha1 -e one -Ttext-segment=0xffffffff81000000 -z \
                 noexecstack -o image one.o two.o three.o four.o";
    let arguments: Vec<&str> = flags.split(' ').collect();
    run("ld", &arguments, &trees.path(tree));
}

fn tool(trees: &Trees, arguments: &str) -> Told {
    let output = Command::new(env!("CARGO_BIN_EXE_xsplice-build"))
        .args(arguments.split(' '))
        .current_dir(trees.folder())
        .output()
        .expect("the tool runs");
    Told {
        status: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn no_output_replaces_an_input_or_another_output() {
    let trees = trees();
    fs::write(trees.path("deny"), "two\n").expect("a file");
    let before = |name: &str| fs::read(trees.path(name)).expect("a file");
    let build = "--orig orig --patched patched -n x";
    for (file, further, reason) in [
        (
            "orig/image",
            "--base orig/image",
            "it is the input of --base",
        ),
        ("orig/image", "", "it is a file of --orig"),
        ("patched/../patched/two.o", "", "it is a file of --patched"),
        ("deny", "--deny deny", "it is the input of --deny"),
    ] {
        let bytes = before(file);
        for option in ["-o", "--json", "--html"] {
            let arguments = format!("{build} {option} {file} {further}");
            let told = tool(&trees, arguments.trim_end());
            assert_eq!(told.status, Some(1), "{arguments}: {}", told.err);
            let wanted =
                format!("xsplice-build: {file}: cannot be written: {reason}; name another");
            assert!(told.err.starts_with(&wanted), "{arguments}: {}", told.err);
            assert_eq!(before(file), bytes, "{arguments}");
        }
    }
    let told = tool(&trees, &format!("{build} -o x.xsplice --json ./x.xsplice"));
    assert_eq!(told.status, Some(1), "{}", told.err);
    assert!(
        told.err.contains("it is the output of --output"),
        "{}",
        told.err
    );
    assert!(!trees.path("x.xsplice").exists());

    // What an earlier run wrote is no input.
    for _ in 0..2 {
        let told = tool(&trees, &format!("{build} -o x.xsplice --json x.json"));
        assert_eq!(told.status, Some(0), "{}", told.err);
    }
}

#[test]
fn trees_that_were_swapped_are_told_in_one_reason() {
    let trees = trees();
    let swapped = "--orig patched --patched orig --base orig/image -n x";
    let told = tool(&trees, swapped);
    assert_eq!(told.status, Some(2), "{}", told.err);
    let wanted = "refused: no payload was made, for 1 reason:\n  patched: in 4 objects orig/image \
                  holds the code of --patched (orig), and nowhere that of --orig: swap the two, or";
    assert!(told.err.starts_with(wanted), "{}", told.err);

    // The remedy, and an image of neither tree.
    let told = tool(
        &trees,
        "--orig orig --patched patched --base orig/image -n x",
    );
    assert_eq!(told.status, Some(0), "{}", told.err);
    fs::create_dir(trees.path("other")).expect("a folder");
    for name in FILES {
        compile(&trees, "other", name, &source(name, 9000));
    }
    link(&trees, "other");
    let told = tool(
        &trees,
        "--orig orig --patched patched --base other/image -n y",
    );
    assert_eq!(told.status, Some(2), "{}", told.err);
    assert!(!told.err.contains("swap the two"), "{}", told.err);
}

#[test]
fn an_object_that_the_original_tree_lacks_is_told_and_a_new_one_is_not() {
    let trees = trees();
    let missing = "is only in the patched tree, and the base holds";
    compile(&trees, "patched", "five", &source("five", 500));
    let told = tool(&trees, "--orig orig --patched patched -n x");
    assert!(!told.out.contains(missing), "{}", told.out);

    fs::copy(trees.path("orig/three.o"), trees.path("patched/three.o")).expect("a copy");
    fs::remove_file(trees.path("orig/three.o")).expect("the object");
    let told = tool(&trees, "--orig orig --patched patched -n x");
    let line = format!("  three.o {missing} 2 functions of it: is the original tree whole?");
    assert!(told.out.contains(&line), "{}{}", told.out, told.err);
    assert_eq!(told.status, Some(2), "{}", told.err);
}

#[test]
fn patterns_that_leave_out_nothing_or_everything_are_told() {
    let trees = trees();
    let build = "--orig orig --patched patched -n x --ignore-object";
    let told = tool(&trees, &format!("{build} tools/** --ignore-object four.o"));
    assert_eq!(told.status, Some(0), "{}", told.err);
    assert!(
        told.out
            .contains("--ignore-object tools/**: matches nothing\n"),
        "{}",
        told.out
    );
    assert!(
        !told.out.contains("--ignore-object four.o: matches"),
        "{}",
        told.out
    );
    let told = tool(&trees, &format!("{build} *.o"));
    assert_eq!(told.status, Some(1));
    assert!(
        told.err.contains("--ignore-object leaves out every object"),
        "{}",
        told.err
    );
}

#[test]
fn folders_without_an_object_of_one_name_are_told_as_such() {
    let trees = trees();
    fs::create_dir(trees.path("wrong")).expect("a folder");
    compile(&trees, "wrong", "nothing", &source("nothing", 1));
    let told = tool(&trees, "--orig wrong --patched patched -n x");
    assert_eq!(told.status, Some(1));
    let wanted = "xsplice-build: wrong and patched have no object of one name; give the folders";
    assert!(told.err.starts_with(wanted), "{}", told.err);
}

#[test]
fn hunks_of_one_cause_are_one_reason_with_their_places() {
    let trees = trees();
    let hunk = |name: &str| {
        format!("--- a/{name}.c\n+++ b/{name}.c\n@@ -3,1 +3,1 @@\n-    x = 1;\n+    x = 2;\n")
    };
    let patch: String = FILES.iter().map(|name| hunk(name)).collect();
    fs::write(trees.path("fix.patch"), patch).expect("a file");
    let told = tool(&trees, "--orig orig --patched orig -n x --patch fix.patch");
    assert_eq!(told.status, Some(2), "{}", told.err);
    let sentence = "  4 places: what is compiled from the file is the same in both trees: PATCHED \
                    was not built with this patch";
    assert!(told.err.contains(sentence), "{}", told.err);
    assert!(
        told.err.contains("\n    fix.patch:13 (three.c:3)\n"),
        "{}",
        told.err
    );
    // As the sentence says, all of a file can be accepted.
    let accepted: String = FILES
        .iter()
        .map(|name| format!(" --accept hunk:{name}.c"))
        .collect();
    let told = tool(
        &trees,
        &format!("--orig orig --patched orig -n x --patch fix.patch{accepted}"),
    );
    assert_eq!(told.status, Some(3), "{}", told.err);

    // Without line tables, the functions that changed where the file was compiled are named.
    let told = tool(
        &trees,
        "--orig orig --patched patched -n x --patch fix.patch",
    );
    assert_eq!(told.status, Some(0), "{}", told.err);
    let wanted = "no line table of two.o tells what it was compiled from; changed there: \
                  helper_two, two; build both trees with -g";
    assert!(told.out.contains(wanted), "{}", told.out);
}
