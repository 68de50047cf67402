//! What cannot be worked on: the message names the file at fault and what would make it right,
//! the exit status is 1, and nothing is left where the output would have been.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use xsplice_tests::case::{BASE, Case};
use xsplice_tests::tools::{self, Run};
use xsplice_tests::{compiler, workspace};

const OUTPUT: &str = "out.xsplice";

/// The two trees and the base of a case that is known to work.
fn good() -> TempDir {
    let folder = workspace().join("fixtures/cases/one-function");
    let scratch = tempfile::tempdir().unwrap();
    Case::read(&folder)
        .unwrap()
        .lay_out(scratch.path())
        .unwrap();
    scratch
}

fn build(folder: &Path) -> Run {
    build_with(folder, &[])
}

fn build_with(folder: &Path, further: &[&str]) -> Run {
    tools::build_payload(folder, OUTPUT, further).unwrap()
}

/// `run` could not run, says so about `culprit`, says `words`, and left `before` as it was.
#[track_caller]
fn refused_to_run(run: &Run, culprit: &str, words: &[&str], folder: &Path, before: &[String]) {
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(
        run.stderr.contains(culprit),
        "the message does not name {culprit}: {run:?}"
    );
    for word in words {
        assert!(
            run.stderr.contains(word),
            "the message does not say {word:?}: {run:?}"
        );
    }
    assert!(!run.stderr.contains("panicked"), "{run:?}");
    assert_eq!(listing(folder), before, "files were left behind or lost");
}

fn listing(folder: &Path) -> Vec<String> {
    xsplice_tests::case::files(folder).unwrap()
}

/// One thing spoiled in trees that are good otherwise.
#[track_caller]
fn spoiled(culprit: &str, words: &[&str], spoil: impl FnOnce(&Path)) {
    let scratch = good();
    spoil(scratch.path());
    let before = listing(scratch.path());
    let run = build(scratch.path());
    refused_to_run(&run, culprit, words, scratch.path(), &before);
}

#[test]
fn the_trees_that_the_other_tests_spoil_are_good() {
    let scratch = good();
    let run = build(scratch.path());
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(scratch.path().join(OUTPUT).exists());
}

#[test]
fn a_missing_tree_is_named() {
    spoiled("patched", &[], |folder| {
        fs::remove_dir_all(folder.join("patched")).unwrap();
    });
}

#[test]
fn a_missing_base_is_named() {
    spoiled(BASE, &[], |folder| {
        fs::remove_file(folder.join(BASE)).unwrap();
    });
}

#[test]
fn a_tree_without_objects_is_named() {
    spoiled("original", &["object"], |folder| {
        fs::remove_file(folder.join("original/f.o")).unwrap();
        fs::write(folder.join("original/readme.txt"), "no objects here").unwrap();
    });
}

#[test]
fn a_truncated_patched_object_is_named_and_not_the_original() {
    for keep in [10, 63, 64, 300] {
        spoiled("patched/f.o", &[], |folder| {
            let path = folder.join("patched/f.o");
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..keep]).unwrap();
        });
    }
}

#[test]
fn a_truncated_original_object_is_named() {
    spoiled("original/f.o", &[], |folder| {
        let path = folder.join("original/f.o");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    });
}

#[test]
fn an_empty_object_is_named() {
    spoiled("patched/f.o", &[], |folder| {
        fs::write(folder.join("patched/f.o"), "").unwrap();
    });
}

#[test]
fn an_object_for_another_machine_is_named() {
    spoiled("patched/f.o", &["x86-64"], |folder| {
        let path = folder.join("patched/f.o");
        let mut bytes = fs::read(&path).unwrap();
        bytes[18..20].copy_from_slice(&183_u16.to_le_bytes());
        fs::write(&path, bytes).unwrap();
    });
}

#[test]
fn an_object_of_32_bits_is_named() {
    spoiled("patched/f.o", &["64", "--ignore-object"], |folder| {
        fs::write(folder.join("f.c"), "int f(int x) { return x; }\n").unwrap();
        compiler::compile(
            folder,
            "f.c",
            &folder.join("patched/f.o"),
            "gcc -m32 -O2 -fno-pic",
        )
        .unwrap();
    });
}

/// Puts an object of 32 bits into each of the two trees, compiled from these sources.
fn with_start_objects(folder: &Path, original: &str, patched: &str) {
    for (side, source) in [("original", original), ("patched", patched)] {
        fs::write(folder.join("start.c"), source).unwrap();
        let object = folder.join(side).join("start.o");
        compiler::compile(folder, "start.c", &object, "gcc -m32 -O2 -fno-pic").unwrap();
    }
}

#[test]
fn an_object_of_32_bits_that_differs_is_refused_beside_the_others() {
    let scratch = good();
    with_start_objects(
        scratch.path(),
        "int start(int x) { return x + 1; }\n",
        "int start(int x) { return x + 3; }\n",
    );
    let before = listing(scratch.path());
    let run = build_with(scratch.path(), &["--json", "-"]);
    assert_eq!(run.status, Some(2), "{run:?}");
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let refusals = report["refusals"].as_array().unwrap();
    assert_eq!(refusals.len(), 1, "{run:?}");
    assert_eq!(refusals[0]["code"], "foreign-object");
    assert_eq!(refusals[0]["object"], "start.o");
    assert!(run.stderr.contains("--ignore-object 'start.o'"), "{run:?}");
    // The function that changed besides is told all the same.
    assert_eq!(report["functions"].as_array().unwrap().len(), 1, "{run:?}");
    assert_eq!(listing(scratch.path()), before);
}

#[test]
fn an_object_of_32_bits_that_is_left_out_or_the_same_is_in_nobodys_way() {
    let source = "int start(int x) { return x + 1; }\n";
    let scratch = good();
    with_start_objects(scratch.path(), source, source);
    assert_eq!(build(scratch.path()).status, Some(0));

    let scratch = good();
    with_start_objects(scratch.path(), source, &source.replace('1', "3"));
    let run = build_with(scratch.path(), &["--ignore-object", "start.o"]);
    assert_eq!(run.status, Some(0), "{run:?}");
}

#[test]
fn an_object_of_32_bits_that_is_new_is_refused() {
    let source = "int start(int x) { return x + 1; }\n";
    let scratch = good();
    with_start_objects(scratch.path(), source, source);
    fs::remove_file(scratch.path().join("original/start.o")).unwrap();
    let run = build(scratch.path());
    assert_eq!(run.status, Some(2), "{run:?}");
    assert!(run.stderr.contains("[foreign-object]"), "{run:?}");
}

#[test]
fn objects_of_link_time_optimisation_are_named() {
    for line in ["gcc -O2 -flto", "clang -O2 -flto"] {
        for side in ["original", "patched"] {
            spoiled(&format!("{side}/f.o"), &[], |folder| {
                fs::write(folder.join("f.c"), "int f(int x) { return x; }\n").unwrap();
                compiler::compile(folder, "f.c", &folder.join(side).join("f.o"), line).unwrap();
            });
        }
    }
}

#[test]
fn a_linked_image_in_place_of_an_object_is_named() {
    spoiled("patched/f.o", &["object"], |folder| {
        fs::copy(folder.join(BASE), folder.join("patched/f.o")).unwrap();
    });
}

#[test]
fn text_in_place_of_an_object_is_named() {
    spoiled("patched/f.o", &["ELF"], |folder| {
        fs::write(folder.join("patched/f.o"), "int f(int x) { return x; }\n").unwrap();
    });
}

#[test]
fn a_base_without_symbols_is_named() {
    spoiled(BASE, &["symbol"], |folder| {
        let status = Command::new("strip")
            .arg(folder.join(BASE))
            .status()
            .unwrap();
        assert!(status.success());
    });
}

#[test]
fn a_base_without_a_build_id_is_named() {
    spoiled(BASE, &["build-id"], |folder| {
        let status = Command::new("objcopy")
            .args(["--remove-section", ".note.gnu.build-id"])
            .arg(folder.join(BASE))
            .status()
            .unwrap();
        assert!(status.success());
    });
}

#[test]
fn a_base_that_is_an_object_is_named() {
    spoiled(BASE, &[], |folder| {
        fs::copy(folder.join("original/f.o"), folder.join(BASE)).unwrap();
    });
}

#[test]
fn a_truncated_base_is_named() {
    for keep in [0, 40, 200, 900] {
        spoiled(BASE, &[], |folder| {
            let path = folder.join(BASE);
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..keep]).unwrap();
        });
    }
}

#[test]
fn a_base_for_another_machine_is_named() {
    spoiled(BASE, &["x86-64"], |folder| {
        let path = folder.join(BASE);
        let mut bytes = fs::read(&path).unwrap();
        bytes[18..20].copy_from_slice(&183_u16.to_le_bytes());
        fs::write(&path, bytes).unwrap();
    });
}

#[test]
fn an_output_that_cannot_be_written_is_named() {
    let scratch = good();
    let before = listing(scratch.path());
    let arguments = [
        "--orig",
        "original",
        "--patched",
        "patched",
        "--base",
        BASE,
        "-o",
        "nowhere/out",
    ];
    let run = tools::run("xsplice-build", arguments, scratch.path()).unwrap();
    refused_to_run(&run, "nowhere", &[], scratch.path(), &before);
}

#[test]
fn usage_errors_exit_with_1_for_every_command() {
    let scratch = good();
    let before = listing(scratch.path());
    for command in tools::COMMANDS {
        for arguments in [&["--no-such-option"][..], &[]] {
            // Without a word it shows what it can do, as it does when asked.
            if arguments.is_empty() && command == "xsplice-ctl" {
                continue;
            }
            let run = tools::run(command, arguments, scratch.path()).unwrap();
            refused_to_run(&run, "--help", &[], scratch.path(), &before);
        }
    }
}

#[test]
fn an_abi_that_is_not_known_is_a_usage_error() {
    let scratch = good();
    let before = listing(scratch.path());
    let run = build_with(scratch.path(), &["--abi", "xen"]);
    refused_to_run(&run, "livepatch", &["xen"], scratch.path(), &before);
}

#[test]
fn what_cannot_run_prints_no_report_though_json_was_asked_for() {
    let scratch = good();
    fs::write(scratch.path().join("patched/f.o"), "").unwrap();
    let run = build_with(scratch.path(), &["--json", "-"]);
    assert_eq!(run.status, Some(1), "{run:?}");
    assert_eq!(run.stdout, "", "half a report would be none");
    assert!(run.stderr.contains("patched/f.o"), "{run:?}");
}

#[test]
fn every_broken_object_is_reported_not_the_first_alone() {
    let scratch = good();
    fs::write(scratch.path().join("original/f.o"), "no object").unwrap();
    for name in ["second.o", "third.o"] {
        for side in ["original", "patched"] {
            fs::write(
                scratch.path().join(side).join(name),
                format!("no object {side}"),
            )
            .unwrap();
        }
    }
    let run = build(scratch.path());
    assert_eq!(run.status, Some(1), "{run:?}");
    for name in ["f.o", "second.o", "third.o"] {
        assert!(run.stderr.contains(name), "{name}: {run:?}");
    }
}

#[test]
fn the_differ_alone_names_the_file_at_fault() {
    let scratch = good();
    fs::write(scratch.path().join("patched/f.o"), "").unwrap();
    let before = listing(scratch.path());
    let run = tools::run(
        "xsplice-diff",
        ["-o", "extract", "original/f.o", "patched/f.o"],
        scratch.path(),
    )
    .unwrap();
    refused_to_run(&run, "patched/f.o", &[], scratch.path(), &before);
    let run = tools::run("xsplice-diff", ["missing.o", "patched/f.o"], scratch.path()).unwrap();
    refused_to_run(&run, "missing.o", &[], scratch.path(), &before);
}

#[test]
fn the_linker_alone_names_the_file_at_fault() {
    let scratch = good();
    let before = listing(scratch.path());
    for (extract, culprit) in [
        ("missing", "missing"),
        ("original/f.o", "original/f.o"),
        (BASE, BASE),
    ] {
        let arguments = ["link", "--base", BASE, "-o", OUTPUT, extract];
        let run = tools::run("xsplice-link", arguments, scratch.path()).unwrap();
        refused_to_run(&run, culprit, &[], scratch.path(), &before);
    }
    let run = tools::run(
        "xsplice-link",
        ["verify", "--base", BASE, "original/f.o"],
        scratch.path(),
    )
    .unwrap();
    assert_eq!(run.status, Some(2), "an object is no payload: {run:?}");
    assert!(run.stdout.contains("FAIL"), "{run:?}");
    assert!(!run.stderr.contains("panicked"), "{run:?}");
}

#[test]
fn an_image_or_an_object_is_no_payload_to_look_into_or_to_sign() {
    let scratch = good();
    for file in [BASE, "original/f.o"] {
        let before = listing(scratch.path());
        let run = tools::run("xsplice-link", ["inspect", file], scratch.path()).unwrap();
        let words = ["no section of a payload"];
        refused_to_run(&run, file, &words, scratch.path(), &before);
    }
}

#[test]
fn with_an_output_that_cannot_be_written_there_is_none_of_the_others() {
    let scratch = good();
    let before = listing(scratch.path());
    for further in [["--html", "gone/x.html"], ["--json", "gone/x.json"]] {
        let run = build_with(scratch.path(), &further);
        let words = ["there is no folder gone"];
        refused_to_run(&run, further[1], &words, scratch.path(), &before);
    }
    let objects = [
        "original/f.o",
        "patched/f.o",
        "-o",
        "f.extract",
        "--json",
        "gone/x",
    ];
    let run = tools::run("xsplice-diff", objects, scratch.path()).unwrap();
    let words = ["there is no folder gone"];
    refused_to_run(&run, "gone/x", &words, scratch.path(), &before);
}
