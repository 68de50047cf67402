//! What a payload stacks on and is made for may be given by id, when the files are not at hand.

use std::fs;

use tempfile::TempDir;
use xsplice_tests::case::{BASE, Case};
use xsplice_tests::{tools, workspace};

const OTHER_ID: &str = "00112233445566778899aabbccddeeff00112233";

fn scratch() -> TempDir {
    let folder = workspace().join("fixtures/cases/one-function");
    let scratch = tempfile::tempdir().unwrap();
    Case::read(&folder)
        .unwrap()
        .lay_out(scratch.path())
        .unwrap();
    scratch
}

fn build(folder: &TempDir, output: &str, further: &[&str]) -> tools::Run {
    tools::build_payload(folder.path(), output, further).unwrap()
}

fn verify(folder: &TempDir, arguments: &[&str]) -> tools::Run {
    let fixed = ["verify", "--base", BASE];
    let arguments = fixed.iter().chain(arguments);
    tools::run("xsplice-link", arguments, folder.path()).unwrap()
}

#[test]
fn an_id_of_a_payload_below_is_taken_and_only_verify_misses_it() {
    let folder = scratch();
    let run = build(&folder, "out.xsplice", &["--depends", OTHER_ID]);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(run.stdout.contains(OTHER_ID), "{run:?}");
    assert_eq!(verify(&folder, &["out.xsplice"]).status, Some(2));
}

#[test]
fn an_id_of_another_base_is_taken_and_only_verify_misses_it() {
    let folder = scratch();
    let run = build(&folder, "out.xsplice", &["--xen-depends", OTHER_ID]);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert_eq!(verify(&folder, &["out.xsplice"]).status, Some(2));
}

#[test]
fn payloads_stack_on_payloads_that_are_stacked_themselves() {
    let folder = scratch();
    for (output, below) in [("b.xsplice", "a.xsplice"), ("c.xsplice", "b.xsplice")] {
        if below == "a.xsplice" {
            assert_eq!(build(&folder, below, &["--name", "a"]).status, Some(0));
        }
        let run = build(&folder, output, &["--depends", below, "--name", output]);
        assert_eq!(run.status, Some(0), "{run:?}");
    }
    let stack = ["--stack", "a.xsplice", "--stack", "b.xsplice", "c.xsplice"];
    let run = verify(&folder, &stack);
    assert_eq!(run.status, Some(0), "{run:?}");
    let wrong_order = ["--stack", "b.xsplice", "--stack", "a.xsplice", "c.xsplice"];
    assert_eq!(verify(&folder, &wrong_order).status, Some(2));
    assert!(fs::exists(folder.path().join("c.xsplice")).unwrap());
}

#[test]
fn a_payload_for_another_image_is_nothing_to_stack_on() {
    let (folder, other) = (scratch(), tempfile::tempdir().unwrap());
    let path = workspace().join("fixtures/cases/string-only");
    let case = Case::read(&path).unwrap();
    case.lay_out(other.path()).unwrap();
    assert_eq!(build(&other, "below.xsplice", &[]).status, Some(0));
    let below = other.path().join("below.xsplice");
    let run = build(
        &folder,
        "out.xsplice",
        &["--depends", below.to_str().unwrap()],
    );
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(run.stderr.contains("was made for the image"), "{run:?}");
    assert!(!fs::exists(folder.path().join("out.xsplice")).unwrap());
}

#[test]
fn a_function_that_a_payload_below_replaces_too_is_named() {
    let folder = scratch();
    let below = build(&folder, "below.xsplice", &["--name", "below"]);
    assert_eq!(below.status, Some(0), "{below:?}");
    assert!(!below.stdout.contains("must contain"), "{below:?}");
    let run = build(&folder, "out.xsplice", &["--depends", "below.xsplice"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    let told =
        "below: below.xsplice replaces f too; this payload's code of it must contain that fix";
    assert!(run.stdout.contains(told), "{run:?}");
    // The command that it gives to check it is right.
    let check = run
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("check it: xsplice-link verify "));
    let arguments: Vec<&str> = check.expect("a command").split(' ').collect();
    let verify = ["verify"].iter().chain(&arguments);
    let run = tools::run("xsplice-link", verify, folder.path()).unwrap();
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(run.stdout.contains(told), "{run:?}");
}
