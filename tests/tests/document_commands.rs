//! Commands of verify.md that are no transcripts, run as they stand there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use xsplice_tests::tools::{self, PAYLOAD_VERSION, limited};
use xsplice_tests::workspace;

/// What is run.
const DOCUMENT: &str = "docs/verify.md";

/// The shell block of the document that holds `text`.
fn block_with(text: &str) -> String {
    let document = fs::read_to_string(workspace().join(DOCUMENT)).unwrap();
    let mut found = document
        .split("\n```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split("\n```\n").next())
        .filter(|block| block.contains(text));
    let block = found.next().expect("the document has it").to_owned();
    assert_eq!(found.next(), None, "{text}: one block");
    block
}

/// Runs `script` in `folder` as a shell would that has the commands in its path.
fn shell(script: &str, folder: &Path) -> (Option<i32>, String) {
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", tools::folder().display());
    let mut command = Command::new("sh");
    command.args(["-e", "-c", script]).env("PATH", path);
    command.env(PAYLOAD_VERSION.0, PAYLOAD_VERSION.1);
    let run = limited(command.current_dir(folder)).unwrap();
    (run.status, format!("{}{}", run.stdout, run.stderr))
}

fn run(script: &str, folder: &Path) -> String {
    let (status, said) = shell(script, folder);
    assert_eq!(status, Some(0), "{script}\n{said}");
    said
}

/// A folder that holds what the repository holds once the first transcript of the document has run.
fn after_the_transcript() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    symlink(workspace().join("fixtures"), folder.path().join("fixtures")).unwrap();
    fs::create_dir(folder.path().join("target")).unwrap();
    let document = fs::read_to_string(workspace().join(DOCUMENT)).unwrap();
    let built = document
        .lines()
        .filter_map(|line| line.strip_prefix("$ "))
        .find(|line| line.starts_with("xsplice-build"));
    run(built.expect("a transcript"), folder.path());
    folder
}

/// Which payload and base the blocks of the document are about.
const NAMED: &str = "payload=target/";

#[test]
fn a_payload_is_checked_with_the_tools_of_binutils() {
    let folder = after_the_transcript();
    let said = run(&block_with(NAMED), folder.path());
    // The ids of the transcript, the old name, and the place of the new code.
    for what in [
        "e6adfca9c6b35c15922326aea0889a9bbad7d044",
        "Hex dump of section '.xsplice.funcs'",
        "R_X86_64_64",
        "<version-fix:f>:",
        "4365e838692a67a95f477f974979a3f9c989dda5",
    ] {
        assert!(said.contains(what), "{what}\n{said}");
    }
}

#[test]
fn openssl_alone_checks_a_signature_and_sees_one_changed_bit() {
    let folder = after_the_transcript();
    let signing = block_with("openssl req");
    run(&(block_with(NAMED) + "\n" + &signing), folder.path());
    let script = block_with("openssl dgst");
    assert!(run(&script, folder.path()).contains("Verified OK"));
    let content = fs::read(folder.path().join("content")).unwrap();
    let unsigned = fs::read(folder.path().join("target/version-fix.xsplice")).unwrap();
    assert_eq!(content, unsigned, "what was signed is the payload");

    let path = folder.path().join("fix.signed.xsplice");
    let mut changed = fs::read(&path).unwrap();
    changed[unsigned.len() / 2] ^= 1;
    fs::write(&path, changed).unwrap();
    let (status, _) = shell(&script, folder.path());
    assert_ne!(status, Some(0), "one bit is another payload");
}
