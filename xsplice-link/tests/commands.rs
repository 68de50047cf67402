//! The command line: exit statuses, where results and messages go, and that nothing is left
//! behind when there is nothing to leave.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::{Fix, KERNEL, Tree};
use tempfile::TempDir;
use xsplice_abi::profile::XSPLICE;

const ORIGINAL: &str = "int counter; int first(int x) { counter += x; return x / 3; }";
const PATCHED: &str = "int counter; int first(int x) { counter -= x; return x / 5; }";

/// A folder with the base as `image` and the extract as `a.extract`.
fn folder() -> TempDir {
    let fix = Fix::build(&[("a.c", ORIGINAL)], &[("a.c", PATCHED)], KERNEL);
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("image"), &fix.image).unwrap();
    let extract = xsplice_diff::extract::write(&fix.extracts(&XSPLICE)[0]);
    std::fs::write(directory.path().join("a.extract"), extract).unwrap();
    directory
}

fn xsplice_link(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xsplice-link"))
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn an_extract_file_becomes_a_payload_that_inspect_and_verify_take() {
    let directory = folder();
    let directory = directory.path();
    let linked = xsplice_link(
        directory,
        &["link", "--base", "image", "-o", "fix.xsplice", "a.extract"],
    );
    assert_eq!(linked.status.code(), Some(0), "{}", text(&linked.stderr));
    assert!(
        text(&linked.stdout).starts_with("fix.xsplice: "),
        "{}",
        text(&linked.stdout)
    );
    let page = xsplice_link(directory, &["inspect", "fix.xsplice"]);
    assert_eq!(page.status.code(), Some(0));
    assert!(
        text(&page.stdout).contains("payload   fix\n"),
        "{}",
        text(&page.stdout)
    );
    let json = xsplice_link(directory, &["inspect", "--json", "-", "fix.xsplice"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["schema"], 2);
    assert_eq!(json["records"][0]["name"], "first");
    let verified = xsplice_link(directory, &["verify", "--base", "image", "fix.xsplice"]);
    assert_eq!(
        verified.status.code(),
        Some(0),
        "{}",
        text(&verified.stdout)
    );
    let last = text(&verified.stdout).lines().last().unwrap().to_owned();
    assert_eq!(last, "fix.xsplice: the loader would take it");
    assert_eq!(names(directory), ["a.extract", "fix.xsplice", "image"]);
}

#[test]
fn a_refusal_is_status_2_with_every_reason_and_no_file() {
    let directory = folder();
    let directory = directory.path();
    let other = Tree::compile(&[("a.c", "int first(int x) { return x; }")], KERNEL);
    std::fs::write(directory.join("other"), other.link()).unwrap();
    let arguments = ["link", "--base", "other", "-o", "fix.xsplice", "a.extract"];
    let refused = xsplice_link(directory, &arguments);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
    assert_eq!(text(&refused.stdout), "");
    let reasons = text(&refused.stderr);
    assert!(reasons.contains("a.o (first): has"), "{reasons}");
    assert!(
        reasons.contains("(counter): other does not have it"),
        "{reasons}"
    );
    let json = xsplice_link(directory, &[&arguments[..], &["--json", "-"]].concat());
    assert_eq!(json.status.code(), Some(2));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["refusals"][0]["code"], "record-mismatch");
    assert!(json["payload"].is_null());
    assert_eq!(names(directory), ["a.extract", "image", "other"]);
}

#[test]
fn what_verify_would_refuse_is_not_linked_and_no_input_is_written_over() {
    let lost = PATCHED.replace("counter -= x;", "asm volatile(\"jmp .+4096\");");
    let fix = Fix::build(&[("a.c", ORIGINAL)], &[("a.c", lost.as_str())], KERNEL);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("image"), &fix.image).unwrap();
    let extract = xsplice_diff::extract::write(&fix.extracts(&XSPLICE)[0]);
    std::fs::write(folder.join("a.extract"), &extract).unwrap();
    let link = |output: &str| {
        let linked = ["link", "--base", "image", "-o", output, "a.extract"];
        xsplice_link(folder, &linked)
    };
    let refused = link("fix.xsplice");
    assert_eq!(refused.status.code(), Some(2));
    let message = text(&refused.stderr);
    assert!(
        message.starts_with("fix.xsplice: branches: .text+0x"),
        "{message}"
    );
    assert_eq!(names(folder), ["a.extract", "image"]);

    for (output, option) in [("image", "--base"), ("./a.extract", "EXTRACT")] {
        let refused = link(output);
        assert_eq!(refused.status.code(), Some(1), "{output}");
        let wanted = format!("it is the input of {option}; name another file\n");
        assert!(text(&refused.stderr).ends_with(&wanted), "{output}");
    }
    assert_eq!(std::fs::read(folder.join("image")).unwrap(), fix.image);
    assert_eq!(std::fs::read(folder.join("a.extract")).unwrap(), extract);
}

#[test]
fn a_failed_verification_is_status_2_and_names_the_check() {
    let directory = folder();
    let directory = directory.path();
    xsplice_link(
        directory,
        &["link", "--base", "image", "-o", "fix", "a.extract"],
    );
    let other = Tree::compile(&[("a.c", ORIGINAL), ("b.c", "int b;")], KERNEL);
    std::fs::write(directory.join("other"), other.link()).unwrap();
    let verified = xsplice_link(directory, &["verify", "--base", "other", "fix"]);
    assert_eq!(verified.status.code(), Some(2));
    assert!(
        text(&verified.stdout).contains("FAIL base-id"),
        "{}",
        text(&verified.stdout)
    );
    std::fs::write(directory.join("deny"), "# idle loops\nfirst\n").unwrap();
    let denied = xsplice_link(
        directory,
        &["verify", "--base", "image", "--deny", "deny", "fix"],
    );
    assert_eq!(denied.status.code(), Some(2));
    assert!(
        text(&denied.stdout).contains("FAIL record-denied"),
        "{}",
        text(&denied.stdout)
    );
    std::fs::write(directory.join("deny"), "# a range\nfirst ..\n").unwrap();
    let unread = xsplice_link(
        directory,
        &["verify", "--base", "image", "--deny", "deny", "fix"],
    );
    assert_eq!(unread.status.code(), Some(1));
    assert!(
        text(&unread.stderr).contains("deny:2: is neither a function nor START .. END"),
        "{}",
        text(&unread.stderr)
    );
}

#[test]
fn what_cannot_run_is_status_1_and_names_the_file() {
    let directory = folder();
    let directory = directory.path();
    std::fs::write(directory.join("empty"), b"").unwrap();
    std::fs::write(
        directory.join("text"),
        b"not an ELF file, but long enough to look",
    )
    .unwrap();
    let cases: [(&[&str], &str); 9] = [
        (&["link"], "--base"),
        (
            &["link", "--base", "none", "-o", "x", "a.extract"],
            "none: cannot be read",
        ),
        (
            &["link", "--base", "empty", "-o", "x", "a.extract"],
            "empty: is not a 64-bit ELF",
        ),
        (&["link", "--base", "image", "-o", "x", "text"], "text: "),
        (
            &["link", "--base", "image", "-o", "no/x", "a.extract"],
            "no/x: cannot be written",
        ),
        (
            &[
                "link",
                "--base",
                "image",
                "-o",
                "x",
                "--depends",
                "xyz",
                "a.extract",
            ],
            "xyz: is neither",
        ),
        (&["inspect", "text"], "text: cannot be read as a payload"),
        (&["inspect", "image"], "image: cannot be read as a payload"),
        (
            &[
                "link",
                "--base",
                "image",
                "-o",
                "x",
                "--abi",
                "mine",
                "a.extract",
            ],
            "livepatch",
        ),
    ];
    for (arguments, message) in cases {
        let output = xsplice_link(directory, arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(said.contains(message), "{arguments:?}: {said}");
    }
    assert_eq!(names(directory), ["a.extract", "empty", "image", "text"]);
}

#[test]
fn inspect_and_verify_read_a_payload_from_standard_input() {
    let directory = folder();
    let directory = directory.path();
    let linked = xsplice_link(
        directory,
        &["link", "--base", "image", "-o", "fix.xsplice", "a.extract"],
    );
    assert_eq!(linked.status.code(), Some(0), "{}", text(&linked.stderr));
    let piped = |arguments: &[&str], file: &str| {
        Command::new(env!("CARGO_BIN_EXE_xsplice-link"))
            .args(arguments)
            .current_dir(directory)
            .stdin(std::fs::File::open(directory.join(file)).unwrap())
            .output()
            .unwrap()
    };
    for verb in [&["inspect"][..], &["verify", "--base", "image"]] {
        let by_path = xsplice_link(directory, &[verb, &["fix.xsplice"]].concat());
        let by_pipe = piped(&[verb, &["-"]].concat(), "fix.xsplice");
        assert_eq!(by_path.status.code(), Some(0), "{verb:?}");
        assert_eq!(by_pipe.status.code(), Some(0), "{verb:?}");
        let named = text(&by_path.stdout).replace("fix.xsplice", "-");
        assert_eq!(text(&by_pipe.stdout), named, "{verb:?}");
        // Nothing is judged as an empty file is: no payload.
        let by_path = xsplice_link(directory, &[verb, &["/dev/null"]].concat());
        let nothing = piped(&[verb, &["-"]].concat(), "/dev/null");
        assert_ne!(nothing.status.code(), Some(0), "{verb:?}");
        assert_eq!(nothing.status.code(), by_path.status.code(), "{verb:?}");
    }
}
