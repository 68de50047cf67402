//! Commands of the README that are no transcripts, run as they stand there.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use xsplice_tests::tools::{self, limited};
use xsplice_tests::workspace;

/// The shell block of the README that holds `text`.
fn block_with(text: &str) -> String {
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    let mut found = readme
        .split("\n```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split("\n```\n").next())
        .filter(|block| block.contains(text));
    let block = found.next().expect("the README has it").to_owned();
    assert_eq!(found.next(), None, "{text}: one block");
    block
}

fn run(command: &mut Command) -> String {
    let run = limited(command).unwrap();
    assert_eq!(run.status, Some(0), "{command:?}\n{}", run.stderr);
    run.stdout
}

/// A key, its certificate, and `fix.signed.xsplice`, signed as the README says.
fn signed() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    run(Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes"])
        .args(["-subj", "/CN=the builder"])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(folder.path()));
    let case = workspace().join("fixtures/cases/string-only");
    run(Command::new(tools::folder().join("xsplice-build"))
        .arg("--orig")
        .arg(case.join("original"))
        .arg("--patched")
        .arg(case.join("patched"))
        .arg("--base")
        .arg(case.join("base"))
        .args(["-o", "fix.xsplice"])
        .current_dir(folder.path()));
    run(Command::new(tools::folder().join("xsplice-link"))
        .args(["sign", "--key", "key.pem", "--cert", "cert.pem"])
        .args(["-o", "fix.signed.xsplice", "fix.xsplice"])
        .current_dir(folder.path()));
    folder
}

fn shell(script: &str, folder: &Path) -> (Option<i32>, String) {
    let run = limited(Command::new("sh").args(["-c", script]).current_dir(folder)).unwrap();
    (run.status, run.stdout)
}

#[test]
fn openssl_alone_checks_a_signature_and_sees_one_changed_bit() {
    let folder = signed();
    let script = block_with("openssl dgst");
    let (status, said) = shell(&script, folder.path());
    assert_eq!((status, said.trim()), (Some(0), "Verified OK"));
    let content = fs::read(folder.path().join("content")).unwrap();
    let unsigned = fs::read(folder.path().join("fix.xsplice")).unwrap();
    assert_eq!(content, unsigned, "what was signed is the payload");

    let path = folder.path().join("fix.signed.xsplice");
    let mut changed = fs::read(&path).unwrap();
    changed[unsigned.len() / 2] ^= 1;
    fs::write(&path, changed).unwrap();
    let (status, _) = shell(&script, folder.path());
    assert_ne!(status, Some(0), "one bit is another payload");
}
