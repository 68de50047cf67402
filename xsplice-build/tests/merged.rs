//! Trees with merged objects, as builds leave them: the plain command says nothing of them, and
//! what only they hold is compared.

use std::fs;

use serde_json::Value;

use crate::support::{Trees, run};

const F: &str = "
int helper(int x);
int f(int x) { return helper(x) * STEP; }
";
const CALLEE: &str = "int helper(int x) { return x + ADD; }";
const HEAD: &str = "
    .globl start
    .type start, @function
start: call f
    ret
    .size start, . - start
";
const FLAGS: [&str; 8] = [
    "-O2",
    "-g",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-pic",
    "-mcmodel=kernel",
    "-fcf-protection=none",
    "-c",
];

/// Two trees that differ in one number of `f`; `merge` makes what else is in each.
fn trees(merge: impl Fn(&Trees, &str)) -> Trees {
    let trees = Trees::new();
    for (tree, step) in [("orig", "-DSTEP=3"), ("patched", "-DSTEP=500")] {
        fs::create_dir(trees.path(tree)).expect("a folder");
        compile(&trees, tree, "f", F, &[step]);
        compile(&trees, tree, "helper", CALLEE, &["-DADD=70000"]);
        fs::write(trees.path(tree).join("head.s"), HEAD).expect("a source");
        run("as", &["head.s", "-o", "head.o"], &trees.path(tree));
        merge(&trees, tree);
    }
    link(&trees, "orig", BASE, &["built_in.o"], "xen-syms");
    trees
}

fn compile(trees: &Trees, tree: &str, name: &str, source: &str, further: &[&str]) {
    let (source_file, object) = (format!("{name}.c"), format!("{name}.o"));
    fs::write(trees.path(tree).join(&source_file), source).expect("a source");
    let arguments = [&FLAGS, further, &["-o", &object, &source_file]].concat();
    run("gcc", &arguments, &trees.path(tree));
}

fn link(trees: &Trees, tree: &str, flags: &[&str], objects: &[&str], output: &str) {
    let arguments = [flags, objects, &["-o", output]].concat();
    run("ld", &arguments, &trees.path(tree));
}

const BASE: &[&str] = &[
    "-nostdlib",
    "--build-id=sha1",
    "-e",
    "start",
    "-Ttext-segment=0xffffffff81000000",
    "-z",
    "noexecstack",
];

fn changed(report: &Value) -> Vec<String> {
    let functions = report["functions"].as_array().expect("functions");
    let name = |function: &Value| {
        let of = |field: &str| function[field].as_str().unwrap_or("?").to_owned();
        format!("{} {}", of("object"), of("name"))
    };
    functions.iter().map(name).collect()
}

#[test]
fn the_plain_command_takes_a_tree_with_merged_objects() {
    let trees = trees(|trees, tree| {
        let parts = ["head.o", "f.o", "helper.o"];
        link(trees, tree, &["-r"], &parts, "built_in.o");
        link(trees, tree, &["-r"], &["built_in.o"], "prelink.o");
    });
    for ignored in [&[][..], &["--ignore-object", "*in*.o"]] {
        let (status, report) = trees.build(ignored);
        assert_eq!(status, 0, "{ignored:?}: {report:#}");
        assert_eq!(changed(&report), ["f.o f"]);
    }
    // What is left out is a part all the same, and nothing of it travels with the merged object.
    let (status, report) = trees.build(&["--ignore-object", "f.o"]);
    assert_eq!((status, changed(&report)), (3, Vec::new()), "{report:#}");
}

#[test]
fn what_only_a_merged_object_holds_is_found() {
    let trees = trees(|trees, tree| {
        let arguments: &[&str] = match tree {
            "orig" => &["-DSTEP=3"],
            _ => &["-DSTEP=4000"],
        };
        compile(
            trees,
            tree,
            "own",
            "int own(int x) { return x * STEP; }",
            arguments,
        );
        let parts = ["head.o", "f.o", "helper.o", "own.o"];
        link(trees, tree, &["-r"], &parts, "built_in.o");
        fs::remove_file(trees.path(tree).join("own.o")).expect("an object");
    });
    let (_, report) = trees.build(&[]);
    assert!(
        changed(&report).contains(&"built_in.o own".to_owned()),
        "{report:#}"
    );
}

#[test]
fn another_choice_of_parts_is_no_equal_object() {
    let trees = trees(|trees, tree| {
        // Both trees hold both, equal to the byte; the build takes the other one.
        compile(trees, tree, "plain", "int chosen(int x) { return x; }", &[]);
        compile(
            trees,
            tree,
            "hard",
            "int chosen(int x) { return x & 0xff; }",
            &[],
        );
        let part = match tree {
            "orig" => "plain.o",
            _ => "hard.o",
        };
        let parts = ["head.o", "f.o", "helper.o", part];
        link(trees, tree, &["-r"], &parts, "built_in.o");
    });
    let (status, report) = trees.build(&[]);
    let is_told = changed(&report).contains(&"built_in.o chosen".to_owned());
    assert!(is_told || status == 2, "{status}: {report:#}");
}

#[test]
fn a_part_that_joins_takes_no_name_from_the_others() {
    const UNUSED: &str = "int unused(int x) { return x + 7; }";
    let joined = |name_of_another: &str| {
        let unused = format!("{name_of_another}{UNUSED}");
        trees(|trees, tree| {
            // Both trees have it, as a member of a library that is linked only where it is needed.
            compile(trees, tree, "unused", &unused, &[]);
            let mut parts = vec!["head.o", "f.o", "helper.o"];
            if tree == "patched" {
                let helper = format!("int unused(int); {CALLEE}");
                compile(trees, tree, "helper", &helper, &["-DADD=unused(2)"]);
                parts.push("unused.o");
            }
            link(trees, tree, &["-r"], &parts, "built_in.o");
        })
    };
    let (status, report) = joined("").build(&[]);
    assert_eq!(status, 0, "{report:#}");
    let told = changed(&report);
    assert!(told.contains(&"helper.o helper".to_owned()), "{told:?}");
    assert!(
        !told.iter().any(|one| one.starts_with("built_in.o")),
        "{told:?}"
    );

    // A weak definition of a name that another part has: which one is linked is not told.
    let (status, report) = joined("__attribute__((weak)) int f(int x) { return x; }\n").build(&[]);
    let told = changed(&report);
    let is_told = told.iter().any(|one| one.starts_with("built_in.o"));
    assert!(is_told || status == 2, "{status}: {report:#}");
}

#[test]
fn parts_that_came_with_the_change_are_no_other_choice() {
    let trees = trees(|trees, tree| {
        let mut parts = vec!["head.o", "f.o", "helper.o"];
        if tree == "patched" {
            let new = "int fresh(int x) { return x + 7; }";
            compile(trees, tree, "fresh", new, &[]);
            compile(
                trees,
                tree,
                "helper",
                &format!("int fresh(int); {CALLEE}"),
                &["-DADD=fresh(2)"],
            );
            parts.push("fresh.o");
        }
        link(trees, tree, &["-r"], &parts, "built_in.o");
    });
    let (status, report) = trees.build(&[]);
    assert_eq!(status, 0, "{report:#}");
    assert_eq!(
        changed(&report),
        ["f.o f", "fresh.o fresh", "helper.o helper"]
    );
}
